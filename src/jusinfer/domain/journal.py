"""The journal's binary records: what a gateway worker writes down before and after spending.

A file is a run of frames: length (4 bytes), CRC-32 of the payload (4 bytes), payload; both
integers little-endian. A payload is one record as a MessagePack array whose first item is the
record's tag. The first record of a file is `SegmentHeader`. Reading stops at the first frame that
is torn or does not match its checksum, and says at which offset.
"""

import binascii
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

FORMAT_VERSION: Final = 1
FRAME_HEAD: Final = struct.Struct("<II")
RECORD_BYTES_MAX: Final = 16_384
# Stands in the records of what is free, for which nothing was lent.
NO_LEASE_ID: Final = "0" * 32


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """The first record of a journal: who writes it and in which format."""

    format_version: int
    worker_id: str
    opened_at_us: int


class RequestAdmitted(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """Written before an upstream is called: from here on money may be spent elsewhere."""

    completion_id: str
    tenant_id: str
    member_id: str
    key_id: str
    mode: str
    lease_id: str
    bound_nano: int
    requested_model: str
    route_id: str
    price_version: str
    admitted_at_us: int


class RequestEnded(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """Written once when a completion ends; it stands alone, so that posting needs no look-up.

    Times are microseconds since 1970 (UTC) or, for `first_byte_us` and `latency_us`, since the
    admission; `first_byte_us` is -1 when none came. `error_text` is cleaned and at most 500
    characters. `attempt_log` names each route that was tried and how it ended. The charge is
    counted against `spend_limit_leases`, which are of hard limits. `reasons` are codes of the
    router's rules, and `rules_version` names their table. `lease_id` is
    NO_LEASE_ID for what was free.
    `provider_generation_id` is the provider's own name for an answer whose usage it did not report
    and can still be asked for; else empty.
    No field can hold a part of a prompt or of an answer.
    """

    completion_id: str
    request_id: str
    tenant_id: str
    member_id: str
    key_id: str
    mode: str
    lease_id: str
    admitted_at_us: int
    first_byte_us: int
    latency_us: int
    requested_model: str
    served_model: str
    upstream: str
    reasons: str
    price_version: str
    prompt_tokens: int
    cached_prompt_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    is_estimated: bool
    is_stream: bool
    cost_pico: int
    charge_nano: int
    bound_nano: int
    attempts: int
    outcome: str
    status: int
    country: str
    error_text: str
    cache_write_1h_tokens: int = 0
    image_count: int = 0
    reported_cost_pico: int = -1
    price_list: str = ""
    attempt_log: str = ""
    spend_limit_leases: str = ""
    rules_version: str = ""
    provider_generation_id: str = ""


Record = SegmentHeader | RequestAdmitted | RequestEnded


class CorruptTail(msgspec.Struct, frozen=True):
    """Where reading stopped before the end, and why."""

    offset_bytes: int
    left_bytes: int
    cause: str


class FrameEncoder:
    """Encodes records as frames; one per writer, since it holds its encoder."""

    __slots__ = ("_encode",)

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode

    def frame(self, record: Record) -> bytes:
        """Give the bytes of one frame, ready to be appended in a single write."""
        payload = self._encode(record)
        if len(payload) > RECORD_BYTES_MAX:
            raise ValueError("a journal record is larger than its maximum")
        return FRAME_HEAD.pack(len(payload), binascii.crc32(payload)) + payload


class FrameDecoder:
    """Decodes frames from bytes; keeps no state between calls."""

    __slots__ = ("_decode",)

    def __init__(self) -> None:
        self._decode = msgspec.msgpack.Decoder(Record).decode

    def records(self, data: bytes) -> Iterator[tuple[int, Record] | CorruptTail]:
        """Yield (offset after the record, record) and, last, where a torn tail begins if any."""
        offset, size, head_bytes = 0, len(data), FRAME_HEAD.size
        while offset < size:
            left = size - offset
            if left < head_bytes:
                yield CorruptTail(offset, left, "frame head is cut")
                return
            length, checksum = FRAME_HEAD.unpack_from(data, offset)
            if not 0 < length <= RECORD_BYTES_MAX:
                yield CorruptTail(offset, left, "frame length is impossible")
                return
            end = offset + head_bytes + length
            if end > size:
                yield CorruptTail(offset, left, "frame is cut")
                return
            payload = data[offset + head_bytes : end]
            if binascii.crc32(payload) != checksum:
                yield CorruptTail(offset, left, "checksum does not match")
                return
            try:
                record = self._decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield CorruptTail(offset, left, "record cannot be read")
                return
            offset = end
            yield offset, record

import binascii
from typing import Any

import msgspec
import pytest

from jusinfer.domain.journal import (
    FORMAT_VERSION,
    FRAME_HEAD,
    RECORD_BYTES_MAX,
    CorruptTail,
    FrameDecoder,
    FrameEncoder,
    Record,
    RequestAdmitted,
    RequestEnded,
    SegmentHeader,
)

OPENED = SegmentHeader(
    format_version=FORMAT_VERSION, worker_id="w1", opened_at_us=1_764_000_000_000_000
)
ADMITTED = RequestAdmitted(
    completion_id="c1",
    tenant_id="t1",
    member_id="m1",
    key_id="k1",
    mode="live",
    lease_id="l1",
    bound_nano=2**62,
    requested_model="jusinfer/auto",
    route_id="deepseek/flash",
    price_version="2026-11-23.1",
    admitted_at_us=1,
)


def ended(**changes: Any) -> RequestEnded:
    values: dict[str, Any] = {
        "completion_id": "c1",
        "request_id": "r1",
        "tenant_id": "t1",
        "member_id": "m1",
        "key_id": "k1",
        "mode": "live",
        "lease_id": "l1",
        "admitted_at_us": 1,
        "first_byte_us": -1,
        "latency_us": 2,
        "requested_model": "a",
        "served_model": "b",
        "upstream": "u",
        "reasons": "r",
        "price_version": "p",
        "prompt_tokens": 1,
        "cached_prompt_tokens": 0,
        "cache_write_tokens": 0,
        "completion_tokens": 2,
        "reasoning_tokens": 0,
        "is_estimated": False,
        "is_stream": True,
        "cost_pico": 2**63,
        "charge_nano": 3,
        "bound_nano": 4,
        "attempts": 1,
        "outcome": "completed",
        "status": 200,
        "country": "",
        "error_text": "",
    }
    return RequestEnded(**(values | changes))


def frames(*records: Record) -> bytes:
    encoder = FrameEncoder()
    return b"".join(map(encoder.frame, records))


def frame_events(payload: bytes) -> bytes:
    return FRAME_HEAD.pack(len(payload), binascii.crc32(payload)) + payload


def test_what_was_written_is_read_with_the_place_after_it() -> None:
    written = (OPENED, ADMITTED, ended())
    data = frames(*written)
    read = list(FrameDecoder().records(data))
    assert [item[1] for item in read if not isinstance(item, CorruptTail)] == list(written)
    ends = [len(frames(*written[: count + 1])) for count in range(3)]
    assert [item[0] for item in read if not isinstance(item, CorruptTail)] == ends


def test_an_empty_journal_has_no_records() -> None:
    assert list(FrameDecoder().records(b"")) == []


@pytest.mark.parametrize(
    ("tail", "cause"),
    [
        (b"\x01", "frame head is cut"),
        (b"\x00" * 7, "frame head is cut"),
        (b"\x00" * 64, "frame length is impossible"),
        (FRAME_HEAD.pack(RECORD_BYTES_MAX + 1, 0), "frame length is impossible"),
        (FRAME_HEAD.pack(3, 0) + b"ab", "frame is cut"),
        (FRAME_HEAD.pack(2, 0) + b"ab", "checksum does not match"),
        (frame_events(b"\xc1"), "record cannot be read"),
        (frame_events(msgspec.msgpack.encode(["z", 1])), "record cannot be read"),
        (frame_events(msgspec.msgpack.encode(["o", "one", "w", 1])), "record cannot be read"),
        (frame_events(b"\x94\xa1o\x01\xa1\xff\x01"), "record cannot be read"),
        (frame_events(msgspec.msgpack.encode(ADMITTED) + b"\x00"), "record cannot be read"),
    ],
)
def test_reading_stops_where_the_tail_is_torn(tail: bytes, cause: str) -> None:
    whole = frames(OPENED)
    *good, last = FrameDecoder().records(whole + tail)
    assert good == [(len(whole), OPENED)]
    assert last == CorruptTail(offset_bytes=len(whole), left_bytes=len(tail), cause=cause)


def test_nothing_after_a_torn_record_is_read() -> None:
    torn = bytearray(frames(OPENED, ADMITTED, ended()))
    torn[len(frames(OPENED)) + FRAME_HEAD.size] ^= 1
    items = list(FrameDecoder().records(bytes(torn)))
    assert len(items) == 2
    assert isinstance(items[1], CorruptTail)


def test_a_record_over_its_bound_is_refused_before_it_is_written() -> None:
    with pytest.raises(ValueError, match="larger than its maximum"):
        FrameEncoder().frame(ended(reasons="x" * RECORD_BYTES_MAX))


def test_the_longest_record_that_a_completion_can_end_with_fits() -> None:
    longest = ended(error_text="\U0001f600" * 500, requested_model="\U0001f600" * 256)
    assert list(FrameDecoder().records(frames(longest))) == [(len(frames(longest)), longest)]


def test_the_bytes_of_a_record_stay_as_they_are() -> None:
    # Journals outlive releases: another order or another tag would read old money wrongly.
    assert frames(SegmentHeader(format_version=1, worker_id="w", opened_at_us=2)) == frame_events(
        b"\x94\xa1o\x01\xa1w\x02"
    )
    assert RequestEnded.__struct_fields__[:3] == ("completion_id", "request_id", "tenant_id")
    assert RequestEnded.__struct_fields__[27:30] == ("status", "country", "error_text")
    assert RequestEnded.__struct_fields__[30:] == (
        "cache_write_1h_tokens",
        "image_count",
        "reported_cost_pico",
        "price_list",
        "attempt_log",
        "spend_limit_leases",
        "rules_version",
        "provider_generation_id",
    )
    # A record of an older release lacks the newest fields: they have defaults.
    assert len(RequestEnded.__struct_defaults__) == 8
    assert len(RequestAdmitted.__struct_fields__) == 11

"""Anthropic Messages on both sides: bytes pass, and only money and honesty are read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.inference.stream_state import DONE, Chunk, ChunkMalformed, UpstreamFailure
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.inbound.anthropic.blocks import message_id, usage_members
from jusinfer.wire.inbound.anthropic.error_event import error_event
from jusinfer.wire.upstream.anthropic.response import FINISH, Event, read_event
from jusinfer.wire.upstream.errors import plain_error, read_inner_error
from jusinfer.wire.upstream.lenient_text import Members, object_of, whole_number
from jusinfer.wire.upstream.usage_shapes import (
    TOKENS_MAX,
    MessagesUsage,
    merged,
    messages_usage,
    neutral_usage,
    read_usage,
)

_encode: Final = msgspec.json.Encoder().encode


# Events that say nothing that is read here.
_SILENT: Final = frozenset({"content_block_stop", "message_stop", "ping"})
_NO_TOKENS: Final[Mapping[str, int]] = MappingProxyType({"input_tokens": 0, "output_tokens": 0})
_COUNTS: Final = (*_NO_TOKENS, "cache_creation_input_tokens", "cache_read_input_tokens")
# What is said of the end where a provider gave no reason for it.
_NO_REASON: Final = (
    b'{"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null},"usage":{}}'
)


class _Delta(msgspec.Struct, gc=False):
    stop_reason: str | None = None


class _Kind(msgspec.Struct, gc=False):
    type: str = ""
    delta: _Delta | None = None


_kind: Final = msgspec.json.Decoder(_Kind).decode


class NativeReader:
    """Passes events on, and adds the end mark that the attempt machine waits for."""

    __slots__ = ()

    def chunks(self, payload: bytes) -> list[bytes]:
        """Give the event as it came."""
        # The words may also stand in what the model says.
        if b"message_stop" in payload[:64] and _type_of(payload) == "message_stop":
            return [payload, DONE]
        return [payload]

    def end(self) -> list[bytes]:
        """Leave it to the machine to judge whether this was an end."""
        return []


class NativeDecoder:
    """Reads what the machine must know of each event of one stream."""

    __slots__ = ("_has_delta", "_usage")

    def __init__(self) -> None:
        self._usage = MessagesUsage()
        self._has_delta = False

    def decode(self, payload: bytes) -> Chunk:
        """Read one event; raises ChunkMalformed."""
        try:
            event = read_event(payload)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("an event is no part of a message") from error
        chunk = Chunk()
        kind = event.type
        if kind == "content_block_delta" and event.delta is not None:
            delta = event.delta
            size = sum(
                len(bytes(raw)) - 2 for raw in (delta.text, delta.thinking, delta.partial_json)
            )
            if size > 0:
                chunk.has_content = True
                chunk.content_bytes = size
        elif kind == "content_block_start":
            block = event.content_block
            chunk.has_content = block is not None and block.type not in {"text", "thinking"}
            chunk.content_bytes = 1 if chunk.has_content else 0
        elif kind == "message_start" and event.message is not None:
            said = messages_usage(event.message.usage)
            if said is not None:
                self._usage = merged(self._usage, said)
                self._count(chunk)
        elif kind == "message_delta":
            self._close(event, chunk)
        elif kind not in _SILENT:
            chunk.failure = _failure(event, payload)
        return chunk

    def _close(self, event: Event, chunk: Chunk) -> None:
        said = messages_usage(event.usage)
        if said is not None:
            self._usage = merged(self._usage, said)
            self._has_delta = True
            self._count(chunk)
        delta = event.delta
        if delta is not None and delta.stop_reason is not None:
            chunk.finish_reason = FINISH.get(delta.stop_reason, "stop")
            chunk.finished_choices = (0,)

    def _count(self, chunk: Chunk) -> None:
        usage = self._usage
        if not self._has_delta:
            usage = merged(usage, MessagesUsage(output_tokens=0))
        chunk.raw_usage = _encode(neutral_usage(usage))
        chunk.usage = read_usage(chunk.raw_usage)

    def flush(self) -> None:
        """Give nothing: events pass as they come."""


class NativeWriter:
    """Frames events under their names; the last two wait until it is known what is charged."""

    __slots__ = ("_ident", "_last", "_stop")

    def __init__(self, ident: AnswerIdent) -> None:
        self._ident = ident
        self._last: Members = {}
        self._stop = b""

    def events(self, payloads: list[bytes]) -> bytes:
        """Frame events as Anthropic does; raises ChunkMalformed."""
        return b"".join([self._event(payload) for payload in payloads])

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Give the provider's own last events, with the usage that is charged."""
        last = self._last or object_of(_NO_REASON)
        said: dict[str, object] = {**last}
        said["usage"] = charged_usage(last.get("usage"), usage, cost_usd)
        return _framed(_encode(said)) + _framed(self._stop or b'{"type":"message_stop"}')

    def fail(self, code: str, message: str) -> bytes:
        """Write the one error event."""
        return error_event(code, message)

    def _event(self, payload: bytes) -> bytes:
        kind = _kind(payload)
        if kind.type == "message_start":
            return _framed(self._begun(payload))
        if kind.type == "message_delta" and kind.delta is not None and kind.delta.stop_reason:
            self._last = object_of(payload)
            return b""
        if kind.type == "message_stop":
            self._stop = payload
            return b""
        return _framed(payload)

    def _begun(self, payload: bytes) -> bytes:
        event: dict[str, object] = dict(object_of(payload))
        message: dict[str, object] = dict(_object(object_of(payload).get("message")))
        usage: dict[str, object] = dict(_object(object_of(_encode(message)).get("usage")))
        for name in _COUNTS:
            raw = usage.get(name)
            if isinstance(raw, msgspec.Raw) and bytes(raw) != b"null":
                usage[name] = whole_number(raw, TOKENS_MAX) or 0
        message |= {"id": message_id(self._ident), "usage": {**_NO_TOKENS, **usage}}
        event["message"] = message
        return _encode(event)


def native_answer(body: bytes, ident: AnswerIdent, usage: TokenUsage, cost_usd: str) -> bytes:
    """Give a provider's whole message our id, and the usage and cost that are charged."""
    members = object_of(body)
    said: dict[str, object] = {**members, "id": message_id(ident)}
    said["usage"] = charged_usage(members.get("usage"), usage, cost_usd)
    return _encode(said)


def charged_usage(raw: msgspec.Raw | None, usage: TokenUsage, cost_usd: str) -> dict[str, object]:
    """Give what is charged as Anthropic counts it, beside what else the provider says of it."""
    said: dict[str, object] = dict(_object(raw))
    return said | usage_members(usage) | {"cost": msgspec.Raw(cost_usd.encode("ascii"))}


def _object(raw: msgspec.Raw | None) -> Members:
    said = b"" if raw is None else bytes(raw)
    try:
        return object_of(said) if said.startswith(b"{") else {}
    except ChunkMalformed:
        return {}


def _failure(event: Event, payload: bytes) -> UpstreamFailure | None:
    """Read an error, in an event of any name; raises ChunkMalformed for one without a name."""
    if event.type == "error":
        return read_inner_error(bytes(event.error))
    failure = plain_error(payload)
    if not event.type and failure is None:
        raise ChunkMalformed("an event is no part of a message")
    return failure


def _type_of(payload: bytes) -> str:
    try:
        return _kind(payload).type
    except (ValueError, RecursionError):
        return ""


def _framed(payload: bytes) -> bytes:
    kind = _type_of(payload)
    name = kind.encode() if kind.isascii() and kind.isidentifier() else b"message"
    return b"event: %b\ndata: %b\n\n" % (name, payload.replace(b"\n", b"\ndata: "))

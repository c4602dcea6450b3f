"""Anthropic Messages on both sides: bytes pass, and only money and honesty are read."""

from typing import Final

import msgspec

from jusinfer.domain.stream import DONE, Chunk, ChunkMalformed
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.anthropic_dialect import FINISH, Event, read_event
from jusinfer.wire.error_kinds import kind_of
from jusinfer.wire.upstream_errors import read_inner_error
from jusinfer.wire.usage_shapes import (
    MessagesUsage,
    merged,
    messages_usage,
    neutral_usage,
    read_usage,
)

_encode: Final = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


_kind: Final = msgspec.json.Decoder(_Kind).decode


class NativeReader:
    """Passes events on, and adds the end mark that the attempt machine waits for."""

    __slots__ = ()

    def chunks(self, payload: bytes) -> list[bytes]:
        """Give the event as it came."""
        if b"message_stop" in payload[:64]:
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
        elif kind == "error":
            chunk.failure = read_inner_error(bytes(event.error))
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


class NativeWriter:
    """Frames events under their names."""

    __slots__ = ()

    def events(self, payloads: list[bytes]) -> bytes:
        """Frame events as Anthropic does."""
        return b"".join([_framed(payload) for payload in payloads])

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Add nothing: the upstream's own last events have passed."""
        del usage, cost_usd
        return b""

    def fail(self, code: str, message: str) -> bytes:
        """Write the one error event."""
        return error_event(code, message)


def error_event(code: str, message: str) -> bytes:
    """Write an error event as Anthropic does."""
    if "overload" in code:
        kind = "overloaded_error"
    elif code == "rate_limit_exceeded":
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error" if kind_of((code,)) else "api_error"
    error = {"type": kind, "message": f"{message} ({code})"}
    return b"event: error\ndata: %b\n\n" % _encode({"type": "error", "error": error})


def _framed(payload: bytes) -> bytes:
    kind = _kind(payload).type
    name = kind.encode() if kind.isascii() and kind.isidentifier() else b"message"
    return b"event: %b\ndata: %b\n\n" % (name, payload.replace(b"\n", b"\ndata: "))

"""Writes a stream as Anthropic does: blocks that open, grow and close one after another."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.call_ids import portable
from jusinfer.wire.inbound.answer_parts import Part, PartQueue
from jusinfer.wire.inbound.anthropic.blocks import (
    UNSIGNED,
    baggage,
    input_of,
    message_id,
    redacted,
    signature_of,
    stop_reason_of,
    usage_members,
)
from jusinfer.wire.inbound.anthropic.error_event import error_event
from jusinfer.wire.inbound.anthropic.stop_sequence import STOP_SEQUENCE, Stopped, stopped_by
from jusinfer.wire.strict_chunks import (
    StrictCall,
    StrictChoice,
    StrictChunk,
    StrictDelta,
    listed,
    read_strict,
    said,
    thought_of,
    value_of,
)
from jusinfer.wire.tool_names import ClientNames
from jusinfer.wire.upstream.lenient_text import plain

_encode: Final = msgspec.json.Encoder().encode
_EMPTY: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "text": b'{"type":"text","text":""}',
        "refusal": b'{"type":"text","text":""}',
        "reasoning": b'{"type":"thinking","thinking":"","signature":""}',
    }
)
_DELTAS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "text": b'"text_delta","text"',
        "refusal": b'"text_delta","text"',
        "reasoning": b'"thinking_delta","thinking"',
        "call": b'"input_json_delta","partial_json"',
    }
)


class MessageWriter:
    """One streamed message."""

    __slots__ = (
        "_asked_body",
        "_has_begun",
        "_ident",
        "_is_refused",
        "_names",
        "_native",
        "_out",
        "_queue",
        "_reason",
        "_stopped",
    )

    def __init__(self, ident: AnswerIdent, asked_body: bytes) -> None:
        self._ident = ident
        self._asked_body = asked_body
        self._names = ClientNames(asked_body)
        self._has_begun = False
        self._is_refused = False
        self._queue = PartQueue(self)
        self._out: list[bytes] = []
        self._reason: str | None = None
        self._native: str | None = None
        self._stopped = Stopped()

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; raises ChunkMalformed for what cannot be written."""
        for payload in payloads:
            chunk = read_strict(payload)
            if not self._has_begun:
                self._begin(chunk)
            for choice in chunk.choices:
                if choice.index == 0:
                    self._take(choice)
                    self._queue.advance()
        return self._given()

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Close the last block and the message."""
        if not self._has_begun:
            self._begin(None)
        self._queue.finish(is_complete=True)
        members = usage_members(usage) | {"cost": msgspec.Raw(cost_usd.encode("ascii"))}
        reason = stop_reason_of(
            self._reason,
            self._native,
            is_refused=self._is_refused,
            has_calls=any(part.kind == "call" for part in self._queue.parts),
            is_by_word=self._stopped.is_by_word,
        )
        word = self._stopped.word if reason == STOP_SEQUENCE else None
        self._out.append(
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,'
            b'"stop_sequence":%b},"usage":%b}\n\n'
            % (_encode(reason), _encode(word), _encode(members))
        )
        self._out.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        return self._given()

    def fail(self, code: str, message: str) -> bytes:
        """Write what is still held, as it was counted, and the one error event."""
        self._queue.finish(is_complete=False)
        return self._given() + error_event(code, message)

    # ------------------------------------------------------------------ what the queue tells

    def opened(self, part: Part) -> None:
        """Begin a block."""
        block = _EMPTY.get(part.kind)
        if part.kind == "call":
            call_id, name = (
                _encode(portable(part.call_id)),
                _encode(self._names.original(part.name)),
            )
            block = b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (call_id, name)
        elif part.details:
            block = _encode(part.details[0])
        self._out.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,'
            b'"content_block":%b}\n\n' % (part.index, block or b"{}")
        )

    def grew(self, part: Part, piece: bytes) -> None:
        """Send a piece of a block as it came; a custom tool's input waits for its end."""
        if part.is_custom or piece == b'""':
            return
        self._grow(part, _DELTAS[part.kind], piece)

    def closed(self, part: Part, *, is_complete: bool) -> None:
        """End a block."""
        del is_complete
        if part.is_custom and part.pieces:
            # A tool's input is an object here, and a custom tool's is a text.
            whole = _encode(input_of(part.text)).decode()
            self._grow(part, _DELTAS["call"], _encode(whole))
        elif part.kind == "reasoning" and not part.details:
            self._grow(part, b'"signature_delta","signature"', _encode(part.signature or UNSIGNED))
        self._out.append(
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
            % part.index
        )

    # ------------------------------------------------------------------ inside

    def _begin(self, chunk: StrictChunk | None) -> None:
        self._has_begun = True
        message: dict[str, Any] = {
            "id": message_id(self._ident),
            "type": "message",
            "role": "assistant",
            "model": self._ident.model if chunk is None else chunk.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._out.append(
            b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n'
            % _encode(message)
        )

    def _take(self, choice: StrictChoice) -> None:
        delta = choice.delta
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
            native = bytes(choice.native_finish_reason)
            self._native = plain(native) if native[:1] == b'"' else None
            told = (value_of(choice.stop_reason), value_of(choice.matched_stop))
            self._stopped = stopped_by(self._asked_body, told, self._native)
        self._think(delta)
        content = said(delta.content)
        if content:
            self._queue.grow(self._queue.part("text"), content)
        refusal = said(delta.refusal)
        if refusal:
            self._is_refused = True
            self._queue.grow(self._queue.part("refusal"), refusal)
        for call in delta.tool_calls or ():
            self._call(call)

    def _think(self, delta: StrictDelta) -> None:
        thought = thought_of(delta)
        if thought:
            self._queue.grow(self._queue.part("reasoning"), thought)
        for row in listed(delta.reasoning_details):
            if row.get("type") == "reasoning.encrypted":
                self._block(redacted(row))
                continue
            signature = signature_of(row)
            if signature:
                # A signed thought is a block of its own: what comes next is another.
                part = self._queue.part("reasoning")
                part.signature = signature
                part.is_ended = True

    def _block(self, block: dict[str, Any]) -> None:
        """Add a block that is whole as it begins."""
        if self._queue.parts:
            self._queue.parts[-1].is_ended = True
        part = self._queue.part("reasoning")
        part.details = [block]
        part.is_ended = True

    def _call(self, call: StrictCall) -> None:
        body = call.function or call.custom
        part = self._queue.call(call.index)
        extra = value_of(call.extra_content)
        if extra is not None:
            call_id = call.id or ("" if part is None else part.call_id)
            self._block(baggage(call_id, extra))
        if part is None:
            part = self._queue.add_call(call.index)
            part.call_id = call.id
            part.name = "" if body is None else body.name
            part.is_custom = call.custom is not None
        given = b"" if body is None else said(body.arguments) or said(body.input)
        if given:
            self._queue.grow(part, given)

    def _grow(self, part: Part, delta: bytes, piece: bytes) -> None:
        self._out.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":%b:%b}}\n\n' % (part.index, delta, piece)
        )

    def _given(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

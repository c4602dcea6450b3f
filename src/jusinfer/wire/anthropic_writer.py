"""Writes a stream as Anthropic does: blocks that open, grow and close one after another."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.anthropic_native import error_event
from jusinfer.wire.call_ids import portable
from jusinfer.wire.tolerant import objects
from jusinfer.wire.tolerant import text as text_of

BUFFERED_BYTES_MAX: Final = 4 * 1024 * 1024
STOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
        "model_length": "model_context_window_exceeded",
    }
)
_UNSAID: Final = msgspec.Raw()
_NOTHING: Final = frozenset({b"", b"null", b'""', b"[]"})
_encode: Final = msgspec.json.Encoder().encode
_any: Final = msgspec.json.Decoder().decode


class _Function(msgspec.Struct, gc=False):
    name: msgspec.Raw = _UNSAID
    arguments: msgspec.Raw = _UNSAID
    input: msgspec.Raw = _UNSAID


class _Call(msgspec.Struct, gc=False):
    index: int | None = 0
    id: msgspec.Raw = _UNSAID
    function: _Function | None = None
    custom: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = _UNSAID
    refusal: msgspec.Raw = _UNSAID
    reasoning_content: msgspec.Raw = _UNSAID
    reasoning: msgspec.Raw = _UNSAID
    reasoning_details: msgspec.Raw = _UNSAID
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None


_chunk: Final = msgspec.json.Decoder(_Chunk).decode


class _Tool:
    """One tool call: its name, and the arguments that could not be sent yet."""

    __slots__ = ("arguments", "call_id", "is_done", "name")

    def __init__(self) -> None:
        self.call_id = b'""'
        self.name = b'""'
        self.arguments: list[bytes] = []
        self.is_done = False


class MessageWriter:
    """One streamed message."""

    __slots__ = ("_block", "_buffered", "_has_begun", "_index", "_reason", "_tool", "_tools")

    def __init__(self) -> None:
        self._has_begun = False
        self._index = -1
        self._block = ""
        self._tool: int | None = None
        self._tools: dict[int, _Tool] = {}
        self._buffered = 0
        self._reason: str | None = None

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; what cannot be read is left out."""
        out: list[bytes] = []
        for payload in payloads:
            try:
                chunk = _chunk(payload)
            except (ValueError, RecursionError):
                continue
            if not self._has_begun:
                self._begin(chunk, out)
            for choice in chunk.choices or ():
                if choice.delta is not None and not choice.index:
                    self._take(choice.delta, out)
                if choice.finish_reason:
                    self._reason = choice.finish_reason
        return b"".join(out)

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Close the last block and the message."""
        out: list[bytes] = []
        if not self._has_begun:
            self._begin(_Chunk(), out)
        self._close(out)
        for tool in self._tools.values():
            if not tool.is_done:
                self._open_tool(tool, out)
                self._close(out)
        members = usage_members(usage) | {"cost": msgspec.Raw(cost_usd.encode("ascii"))}
        reason = stop_reason_of(self._reason)
        out.append(
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,'
            b'"stop_sequence":null},"usage":%b}\n\n' % (_encode(reason), _encode(members))
        )
        out.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        return b"".join(out)

    def fail(self, code: str, message: str) -> bytes:
        """Write the one error event."""
        return error_event(code, message)

    # ------------------------------------------------------------------ inside

    def _begin(self, chunk: _Chunk, out: list[bytes]) -> None:
        self._has_begun = True
        name = chunk.id or ""
        message: dict[str, Any] = {
            "id": name if name.startswith("msg_") else f"msg_{name.removeprefix('chatcmpl-')}",
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        out.append(
            b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n'
            % _encode(message)
        )

    def _take(self, delta: _Delta, out: list[bytes]) -> None:
        details = bytes(delta.reasoning_details)
        thought = bytes(delta.reasoning_content)
        if thought in _NOTHING:
            thought = bytes(delta.reasoning)
        if not thought.startswith(b'"'):
            thought = b""
        if details not in _NOTHING:
            self._details(details, thought, out)
        elif thought not in _NOTHING:
            self._grow("thinking", b'{"type":"thinking_delta","thinking":%b}' % thought, out)
        for text in (bytes(delta.content), bytes(delta.refusal)):
            if text not in _NOTHING and text.startswith(b'"'):
                self._grow("text", b'{"type":"text_delta","text":%b}' % text, out)
        for call in delta.tool_calls or ():
            self._call(call, out)

    def _details(self, details: bytes, thought: bytes, out: list[bytes]) -> None:
        try:
            rows = objects(_any(details))
        except (ValueError, RecursionError):
            rows = []
        for row in rows:
            if row.get("type") == "reasoning.encrypted":
                self._close(out)
                block = {"type": "redacted_thinking", "data": text_of(row.get("data"))}
                self._open("redacted_thinking", _encode(block), out)
                self._close(out)
                continue
            text = row.get("text")
            said = _encode(text) if isinstance(text, str) and text else b""
            if said:
                self._grow("thinking", b'{"type":"thinking_delta","thinking":%b}' % said, out)
                thought = b""
            signature = row.get("signature")
            if isinstance(signature, str) and signature:
                self._grow(
                    "thinking",
                    b'{"type":"signature_delta","signature":%b}' % _encode(signature),
                    out,
                )
                self._close(out)
        if thought not in _NOTHING and not rows:
            self._grow("thinking", b'{"type":"thinking_delta","thinking":%b}' % thought, out)

    def _call(self, call: _Call, out: list[bytes]) -> None:
        index = call.index or 0
        function = call.function or call.custom
        tool = self._tools.get(index)
        if tool is None:
            tool = self._tools[index] = _Tool()
        if bytes(call.id) not in _NOTHING:
            tool.call_id = _portable(bytes(call.id))
        if function is not None and bytes(function.name) not in _NOTHING:
            tool.name = bytes(function.name)
        part = b"" if function is None else bytes(function.arguments) or bytes(function.input)
        if self._tool is None or self._block != "tool_use":
            if tool.is_done:
                return
            self._close(out)
            self._open_tool(tool, out)
            self._tool = index
        if part in _NOTHING or not part.startswith(b'"'):
            return
        if self._tool == index:
            self._grow("tool_use", b'{"type":"input_json_delta","partial_json":%b}' % part, out)
        elif self._buffered + len(part) <= BUFFERED_BYTES_MAX:
            # Blocks come one after another: another call waits for the end of this one.
            self._buffered += len(part)
            tool.arguments.append(part)

    def _open_tool(self, tool: _Tool, out: list[bytes]) -> None:
        block = b'{"type":"tool_use","id":%b,"name":%b,"input":{}}' % (tool.call_id, tool.name)
        self._open("tool_use", block, out)
        tool.is_done = True
        for part in tool.arguments:
            self._grow("tool_use", b'{"type":"input_json_delta","partial_json":%b}' % part, out)
        tool.arguments = []

    def _grow(self, kind: str, delta: bytes, out: list[bytes]) -> None:
        if self._block != kind:
            self._close(out)
            self._open(kind, _EMPTY[kind], out)
        out.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":%b}\n\n' % (self._index, delta)
        )

    def _open(self, kind: str, block: bytes, out: list[bytes]) -> None:
        self._index += 1
        self._block = kind
        out.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,'
            b'"content_block":%b}\n\n' % (self._index, block)
        )

    def _close(self, out: list[bytes]) -> None:
        if self._block:
            self._block = ""
            self._tool = None
            out.append(
                b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
                % self._index
            )


_EMPTY: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "text": b'{"type":"text","text":""}',
        "thinking": b'{"type":"thinking","thinking":"","signature":""}',
    }
)


def _portable(call_id: bytes) -> bytes:
    try:
        return _encode(portable(str(_any(call_id))))
    except ValueError:
        return call_id


def stop_reason_of(finish_reason: object) -> str:
    """Give Anthropic's word for why an answer ended."""
    return STOP.get(finish_reason, "end_turn") if isinstance(finish_reason, str) else "end_turn"


def usage_members(usage: TokenUsage) -> dict[str, Any]:
    """Count as Anthropic does: the input without what was cached."""
    fresh = usage.prompt_tokens - usage.cached_prompt_tokens - usage.cache_write_tokens
    return {
        "input_tokens": max(fresh, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_prompt_tokens,
        "output_tokens": usage.completion_tokens,
    }

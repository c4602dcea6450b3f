"""Writes responses: whole, and as the event sequence that ends in exactly one terminal event."""

import re
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.error_kinds import failed_error
from jusinfer.wire.responses_tools import NO_NAMES, call_item
from jusinfer.wire.sealed import seal
from jusinfer.wire.tolerant import member, objects, text

_HALVES: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_UNSAID: Final = msgspec.Raw()
_NOTHING: Final = frozenset({b"", b"null", b'""', b"[]"})
_encode: Final = msgspec.json.Encoder().encode
_any: Final = msgspec.json.Decoder().decode
_string: Final = msgspec.json.Decoder(str).decode
# Members of a request that its response repeats, with what stands where nothing was said.
ECHOED: Final[tuple[tuple[str, object], ...]] = (
    ("instructions", None),
    ("max_output_tokens", None),
    ("metadata", {}),
    ("parallel_tool_calls", True),
    ("temperature", 1.0),
    ("text", {"format": {"type": "text"}}),
    ("tool_choice", "auto"),
    ("tools", []),
    ("top_p", 1.0),
    ("reasoning", {"effort": None, "summary": None}),
)


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
    logprobs: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[_Choice] | None = None


_chunk: Final = msgspec.json.Decoder(_Chunk).decode


def response_of(asked_body: bytes, chat_id: str, model: str) -> dict[str, Any]:
    """Give a response that has just begun, with what it repeats of its request."""
    try:
        asked = member(_any(asked_body))
    except (ValueError, RecursionError):
        asked = {}
    response: dict[str, Any] = {
        "id": f"resp_{chat_id.removeprefix('chatcmpl-').removeprefix('msg_')}",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }
    for name, default in ECHOED:
        value = asked.get(name)
        response[name] = default if value is None else value
    return response


def finished(
    response: dict[str, Any], finish_reason: object, usage: TokenUsage, cost_usd: str
) -> dict[str, Any]:
    """Close a response that ended well: completed, or incomplete with its reason."""
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = cut.get(finish_reason) if isinstance(finish_reason, str) else None
    response["status"] = "completed" if reason is None else "incomplete"
    if reason is not None:
        response["incomplete_details"] = {"reason": reason}
    response["usage"] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_prompt_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": msgspec.Raw(cost_usd.encode("ascii")),
    }
    return response


def items_of(message: dict[str, Any], logprobs: object) -> list[dict[str, Any]]:
    """Give the output items of a whole chat message."""
    items: list[dict[str, Any]] = []
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = objects(message.get("reasoning_details"))
    if thought or details:
        items.append(_reasoning_item("rs_0", thought, details))
    parts: list[dict[str, Any]] = []
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text(part.get("text")) for part in objects(content))
    if text(content):
        rows = objects(member(logprobs).get("content"))
        parts.append(_text_part(text(content), rows) | _notes(message))
    if text(message.get("refusal")):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        items.append(_message_item("msg_0", parts))
    calls = objects(message.get("tool_calls"))
    items += [_call_item(f"fc_{place}", call) for place, call in enumerate(calls)]
    return items


def _notes(message: dict[str, Any]) -> dict[str, Any]:
    notes = objects(message.get("annotations"))
    if not notes:
        return {}
    flat = [
        {"type": "url_citation"} | note["url_citation"]
        for note in notes
        if member(note.get("url_citation"))
    ]
    return {"annotations": flat}


def _text_part(said: str, logprobs: list[Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": logprobs}


def _message_item(item_id: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": parts,
    }


def _reasoning_item(item_id: str, said: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": said}] if said else []
    rows = details or ([{"type": "reasoning.text", "text": said}] if said else [])
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": summary,
        "encrypted_content": seal(rows),
        "status": "completed",
    }


def _call_item(item_id: str, call: dict[str, Any]) -> dict[str, Any]:
    custom = call.get("custom")
    function = custom if isinstance(custom, dict) else member(call.get("function"))
    shape = NO_NAMES.shape_of(text(function.get("name")), is_custom=isinstance(custom, dict))
    given = text(function.get("input" if shape.kind == "custom" else "arguments"))
    return call_item(shape, item_id, text(call.get("id")), given)


class _Item:
    """One output item that is being written; its text is kept for the event that closes it."""

    __slots__ = ("call_id", "details", "index", "item_id", "kind", "logprobs", "name", "pieces")

    def __init__(self, kind: str, index: int) -> None:
        prefix = {"reasoning": "rs", "text": "msg", "refusal": "msg"}.get(kind, "fc")
        self.kind = kind
        self.index = index
        self.item_id = f"{prefix}_{index}"
        self.pieces: list[bytes] = []
        self.details: list[dict[str, Any]] = []
        self.logprobs: list[Any] = []
        self.call_id = ""
        self.name = ""

    @property
    def text(self) -> str:
        """Put what was said together."""
        whole = b'"%b"' % b"".join(piece[1:-1] for piece in self.pieces)
        try:
            return _string(whole)
        except ValueError:
            # Bytes that are no text, or half of a pair: what upstreams send is not checked.
            readable = whole.decode("utf-8", "replace").encode()
            return _plain(msgspec.Raw(_HALVES.sub(rb"\\ufffd", readable)))


class ResponseWriter:
    """One streamed response."""

    __slots__ = ("_asked_body", "_calls", "_items", "_open", "_reason", "_response", "_sequence")

    def __init__(self, asked_body: bytes) -> None:
        self._asked_body = asked_body
        self._response: dict[str, Any] | None = None
        self._sequence = 0
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._reason: str | None = None

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; what cannot be read is left out."""
        out: list[bytes] = []
        for payload in payloads:
            try:
                chunk = _chunk(payload)
            except (ValueError, RecursionError):
                continue
            if self._response is None:
                self._begin(chunk, out)
            for choice in chunk.choices or ():
                if choice.delta is not None and not choice.index:
                    self._take(choice.delta, choice.logprobs, out)
                if choice.finish_reason:
                    self._reason = choice.finish_reason
        return b"".join(out)

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Close what is open, and the response."""
        out: list[bytes] = []
        response = self._response or self._begin(_Chunk(), out)
        self._close(out)
        for item in self._calls.values():
            self._end_call(item, out)
        response["output"] = [_whole(item) for item in self._items]
        finished(response, self._reason, usage, cost_usd)
        self._emit(f"response.{response['status']}", {"response": response}, out)
        return b"".join(out)

    def fail(self, code: str, message: str) -> bytes:
        """End as failed; what came before was sent and stays true."""
        out: list[bytes] = []
        response = self._response or self._begin(_Chunk(), out)
        response["status"] = "failed"
        response["error"] = failed_error(code, message)
        response["output"] = [_whole(item) for item in self._items]
        self._emit("response.failed", {"response": response}, out)
        return b"".join(out)

    # ------------------------------------------------------------------ inside

    def _begin(self, chunk: _Chunk, out: list[bytes]) -> dict[str, Any]:
        response = response_of(self._asked_body, chunk.id or "", chunk.model or "")
        response["created_at"] = chunk.created or 0
        self._response = response
        self._emit("response.created", {"response": response}, out)
        self._emit("response.in_progress", {"response": response}, out)
        return response

    def _take(self, delta: _Delta, logprobs: dict[str, Any] | None, out: list[bytes]) -> None:
        thought = bytes(delta.reasoning_content)
        if thought in _NOTHING:
            thought = bytes(delta.reasoning)
        if not thought.startswith(b'"'):
            thought = b""
        details = bytes(delta.reasoning_details)
        if thought not in _NOTHING or details not in _NOTHING:
            item = self._item("reasoning", out)
            if details not in _NOTHING:
                item.details += objects(_read(details))
            if thought not in _NOTHING:
                self._grow(item, b"response.reasoning_summary_text.delta", thought, out)
        content = bytes(delta.content)
        if content not in _NOTHING and content.startswith(b'"'):
            item = self._item("text", out)
            if logprobs is not None:
                item.logprobs += objects(logprobs.get("content"))
            self._grow(item, b"response.output_text.delta", content, out)
        refusal = bytes(delta.refusal)
        if refusal not in _NOTHING and refusal.startswith(b'"'):
            item = self._item("refusal", out)
            self._grow(item, b"response.refusal.delta", refusal, out)
        for call in delta.tool_calls or ():
            self._call(call, out)

    def _item(self, kind: str, out: list[bytes]) -> _Item:
        """Give the open item of a kind, closing another and opening it where needed."""
        if self._open is not None and self._open.kind == kind:
            return self._open
        self._close(out)
        item = self._open = self._added(kind)
        shown = _reasoning_item(item.item_id, "", []) if kind == "reasoning" else None
        shown = shown or _message_item(item.item_id, [])
        shown["status"] = "in_progress"
        self._emit("response.output_item.added", {"output_index": item.index, "item": shown}, out)
        where: dict[str, Any] = {"item_id": item.item_id, "output_index": item.index}
        if kind == "reasoning":
            part: dict[str, Any] = {"type": "summary_text", "text": ""}
            members = where | {"summary_index": 0, "part": part}
            self._emit("response.reasoning_summary_part.added", members, out)
        else:
            part = _text_part("", []) if kind == "text" else {"type": "refusal", "refusal": ""}
            self._emit(
                "response.content_part.added", where | {"content_index": 0, "part": part}, out
            )
        return item

    def _added(self, kind: str) -> _Item:
        item = _Item(kind, len(self._items))
        self._items.append(item)
        return item

    def _grow(self, item: _Item, event: bytes, piece: bytes, out: list[bytes]) -> None:
        item.pieces.append(piece)
        place = b"content_index"
        more = b""
        if item.kind == "reasoning":
            place = b"summary_index"
        elif item.kind == "text":
            more = b',"logprobs":[]'
        out.append(
            b'event: %b\ndata: {"type":"%b","sequence_number":%d,"item_id":"%b",'
            b'"output_index":%d,"%b":0,"delta":%b%b}\n\n'
            % (
                event,
                event,
                self._sequence,
                item.item_id.encode(),
                item.index,
                place,
                piece,
                more,
            )
        )
        self._sequence += 1

    def _close(self, out: list[bytes]) -> None:
        item, self._open = self._open, None
        if item is None:
            return
        said = item.text
        where: dict[str, Any] = {"item_id": item.item_id, "output_index": item.index}
        if item.kind == "reasoning":
            where["summary_index"] = 0
            self._emit("response.reasoning_summary_text.done", where | {"text": said}, out)
            part: dict[str, Any] = {"type": "summary_text", "text": said}
            self._emit("response.reasoning_summary_part.done", where | {"part": part}, out)
        else:
            where["content_index"] = 0
            if item.kind == "text":
                members = where | {"text": said, "logprobs": item.logprobs}
                self._emit("response.output_text.done", members, out)
                part = _text_part(said, item.logprobs)
            else:
                self._emit("response.refusal.done", where | {"refusal": said}, out)
                part = {"type": "refusal", "refusal": said}
            self._emit("response.content_part.done", where | {"part": part}, out)
        members = {"output_index": item.index, "item": _whole(item)}
        self._emit("response.output_item.done", members, out)

    def _call(self, call: _Call, out: list[bytes]) -> None:
        index = call.index or 0
        body = call.function or call.custom
        item = self._calls.get(index)
        if item is None:
            self._close(out)
            item = self._calls[index] = self._added("call" if call.custom is None else "custom")
            item.call_id = _plain(call.id)
            item.name = "" if body is None else _plain(body.name)
            shown = _whole(item)
            if item.kind == "call":
                shown["status"] = "in_progress"
            members = {"output_index": item.index, "item": shown}
            self._emit("response.output_item.added", members, out)
        piece = b"" if body is None else bytes(body.arguments) or bytes(body.input)
        if piece not in _NOTHING and piece.startswith(b'"'):
            name = b"function_call_arguments" if item.kind == "call" else b"custom_tool_call_input"
            item.pieces.append(piece)
            event = b"response.%b.delta" % name
            out.append(
                b'event: %b\ndata: {"type":"%b","sequence_number":%d,"item_id":"%b",'
                b'"output_index":%d,"delta":%b}\n\n'
                % (event, event, self._sequence, item.item_id.encode(), item.index, piece)
            )
            self._sequence += 1

    def _end_call(self, item: _Item, out: list[bytes]) -> None:
        where: dict[str, Any] = {"item_id": item.item_id, "output_index": item.index}
        if item.kind == "call":
            members = where | {"name": item.name, "arguments": item.text}
            self._emit("response.function_call_arguments.done", members, out)
        else:
            self._emit("response.custom_tool_call_input.done", where | {"input": item.text}, out)
        members = {"output_index": item.index, "item": _whole(item)}
        self._emit("response.output_item.done", members, out)

    def _emit(self, kind: str, members: dict[str, Any], out: list[bytes]) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event)))


def _whole(item: _Item) -> dict[str, Any]:
    """Give an item as it stands."""
    said = item.text
    if item.kind == "reasoning":
        return _reasoning_item(item.item_id, said, item.details)
    if item.kind == "text":
        return _message_item(item.item_id, [_text_part(said, item.logprobs)])
    if item.kind == "refusal":
        return _message_item(item.item_id, [{"type": "refusal", "refusal": said}])
    if item.kind == "custom":
        custom = {"name": item.name, "input": said}
        return _call_item(item.item_id, {"id": item.call_id, "custom": custom})
    function = {"name": item.name, "arguments": said}
    return _call_item(item.item_id, {"id": item.call_id, "function": function})


def _read(raw: bytes) -> object:
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        return None


def _plain(raw: msgspec.Raw) -> str:
    try:
        return _string(raw)
    except ValueError:
        return ""

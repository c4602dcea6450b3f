"""Writes a streamed response: its event sequence, which ends in exactly one terminal event."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.error_kinds import failed_error
from jusinfer.wire.inbound.answer_parts import Part, PartQueue
from jusinfer.wire.inbound.responses.output import (
    CUT,
    annotation_of,
    call_extra,
    content_of,
    finished,
    item_id_of,
    item_of,
    response_of,
    shape_of,
)
from jusinfer.wire.inbound.responses.tools import names_of
from jusinfer.wire.lenient_json import objects
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

_encode: Final = msgspec.json.Encoder().encode
# The events by which each kind of part grows, and the member that says where within its item.
_DELTAS: Final[Mapping[str, tuple[bytes, bytes]]] = MappingProxyType(
    {
        "reasoning": (b"response.reasoning_summary_text.delta", b'"summary_index":0,'),
        "text": (b"response.output_text.delta", b'"content_index":0,'),
        "refusal": (b"response.refusal.delta", b'"content_index":0,'),
    }
)


class ResponseWriter:
    """One streamed response."""

    __slots__ = (
        "_asked_body",
        "_ident",
        "_ids",
        "_items",
        "_names",
        "_out",
        "_queue",
        "_reason",
        "_response",
        "_sequence",
        "_summed",
    )

    def __init__(self, asked_body: bytes, ident: AnswerIdent) -> None:
        self._asked_body = asked_body
        self._ident = ident
        self._names = names_of(asked_body)
        self._response: dict[str, Any] | None = None
        self._sequence = 0
        self._queue = PartQueue(self)
        self._items: list[dict[str, Any]] = []
        self._ids: list[str] = []
        # The parts of reasoning that have a text, and so a summary.
        self._summed: set[int] = set()
        self._out: list[bytes] = []
        self._reason: str | None = None

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; raises ChunkMalformed for what cannot be written."""
        for payload in payloads:
            chunk = read_strict(payload)
            if self._response is None:
                self._begin(chunk)
            for choice in chunk.choices:
                if choice.index == 0:
                    self._take(choice)
                    self._queue.advance()
        return self._given()

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Close what is open, and the response."""
        response = self._response or self._begin(None)
        self._queue.finish(is_complete=self._reason not in CUT)
        response["output"] = self._items
        finished(response, self._reason, usage, cost_usd)
        self._emit(f"response.{response['status']}", {"response": response})
        return self._given()

    def fail(self, code: str, message: str) -> bytes:
        """End as failed; what came before was sent and stays true, and is closed as incomplete."""
        response = self._response or self._begin(None)
        self._queue.finish(is_complete=False)
        response["status"] = "failed"
        response["error"] = failed_error(code, message)
        response["output"] = self._items
        self._emit("response.failed", {"response": response})
        return self._given()

    # ------------------------------------------------------------------ what the queue tells

    def opened(self, part: Part) -> None:
        """Add an item; a call that is given back in another form waits for its end."""
        self._ids.append(item_id_of(self._ident, part))
        if part.kind != "call" or self._is_streamed(part):
            self._added(part)

    def grew(self, part: Part, piece: bytes) -> None:
        """Send a piece of an item as it came."""
        if part.kind == "call":
            if self._is_streamed(part):
                self._delta(part, self._call_event(part) + b".delta", b"", piece)
            return
        if piece == b'""':
            return
        if part.kind == "reasoning" and part.index not in self._summed:
            self._summed.add(part.index)
            where: dict[str, Any] = {"item_id": self._ids[part.index], "output_index": part.index}
            members = where | {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}
            self._emit("response.reasoning_summary_part.added", members)
        event, place = _DELTAS[part.kind]
        self._delta(part, event, place, piece)

    def closed(self, part: Part, *, is_complete: bool) -> None:
        """End an item: what it holds, then the whole of it."""
        status = "completed" if is_complete else "incomplete"
        item = item_of(part, self._ids[part.index], self._names, status)
        if part.kind == "call":
            if not self._is_streamed(part):
                self._added(part)
                if item["type"] == "custom_tool_call" and item["input"]:
                    event = self._call_event(part) + b".delta"
                    self._delta(part, event, b"", _encode(item["input"]))
            self._call_done(part, item)
        elif part.kind == "reasoning":
            if part.index in self._summed:
                self._reasoning_done(part)
        else:
            self._content_done(part)
        self._items.append(item)
        self._emit("response.output_item.done", {"output_index": part.index, "item": item})

    # ------------------------------------------------------------------ inside

    def _begin(self, chunk: StrictChunk | None) -> dict[str, Any]:
        created = self._ident.created if chunk is None else chunk.created
        model = self._ident.model if chunk is None else chunk.model
        response = response_of(self._asked_body, self._ident, created, model)
        self._response = response
        self._emit("response.created", {"response": response})
        self._emit("response.in_progress", {"response": response})
        return response

    def _take(self, choice: StrictChoice) -> None:
        delta = choice.delta
        self._reason = choice.finish_reason or self._reason
        self._think(delta)
        content = said(delta.content)
        notes = listed(delta.annotations)
        if content or notes:
            part = self._queue.part("text")
            if choice.logprobs is not None:
                part.logprobs += self._queue.kept(objects(choice.logprobs.get("content")))
            if content:
                self._queue.grow(part, content)
            self._annotate(part, self._queue.kept(notes))
        refusal = said(delta.refusal)
        if refusal:
            self._queue.grow(self._queue.part("refusal"), refusal)
        for call in delta.tool_calls or ():
            self._call(call)

    def _think(self, delta: StrictDelta) -> None:
        thought = thought_of(delta)
        details = listed(delta.reasoning_details)
        if thought or details:
            part = self._queue.part("reasoning")
            part.details += self._queue.kept(details)
            if thought:
                self._queue.grow(part, thought)

    def _annotate(self, part: Part, notes: list[dict[str, Any]]) -> None:
        for note in notes:
            annotation = annotation_of(note)
            if annotation is None:
                continue
            self._queue.advance()
            part.annotations.append(annotation)
            if len(self._ids) <= part.index:
                continue
            where = {"item_id": self._ids[part.index], "output_index": part.index}
            members = where | {
                "content_index": 0,
                "annotation_index": len(part.annotations) - 1,
                "annotation": annotation,
            }
            self._emit("response.output_text.annotation.added", members)

    def _call(self, call: StrictCall) -> None:
        body = call.function or call.custom
        part = self._queue.call(call.index)
        extra = value_of(call.extra_content)
        if extra is not None:
            # Before the call that it belongs to, where what is opaque has its place.
            call_id = call.id or ("" if part is None else part.call_id)
            self._queue.part("reasoning").details.append(call_extra(call_id, extra))
        if part is None:
            part = self._queue.add_call(call.index)
            part.call_id = call.id
            part.name = "" if body is None else body.name
            part.is_custom = call.custom is not None
        given = b"" if body is None else said(body.arguments) or said(body.input)
        if given:
            self._queue.grow(part, given)

    def _is_streamed(self, part: Part) -> bool:
        kind = shape_of(part, self._names).kind
        return kind == ("custom" if part.is_custom else "function")

    def _call_event(self, part: Part) -> bytes:
        if shape_of(part, self._names).kind == "custom":
            return b"response.custom_tool_call_input"
        return b"response.function_call_arguments"

    def _added(self, part: Part) -> None:
        blank = Part(part.kind, part.index)
        if part.kind == "call" and shape_of(part, self._names).kind not in {"custom", "function"}:
            # A tool of a fixed shape is called by an object, which has no beginning.
            blank.pieces = part.pieces
        blank.call_id, blank.name, blank.is_custom = part.call_id, part.name, part.is_custom
        item_id = self._ids[part.index]
        shown = item_of(blank, item_id, self._names, "in_progress")
        has_content = part.kind in {"text", "refusal"}
        if has_content:
            shown["content"] = []
        self._emit("response.output_item.added", {"output_index": part.index, "item": shown})
        if has_content:
            where: dict[str, Any] = {"item_id": item_id, "output_index": part.index}
            members = where | {"content_index": 0, "part": content_of(blank)}
            self._emit("response.content_part.added", members)

    def _call_done(self, part: Part, item: dict[str, Any]) -> None:
        where: dict[str, Any] = {"item_id": self._ids[part.index], "output_index": part.index}
        if item["type"] == "custom_tool_call":
            self._emit("response.custom_tool_call_input.done", where | {"input": item["input"]})
        elif item["type"] == "function_call":
            members = where | {"name": item["name"], "arguments": item["arguments"]}
            self._emit("response.function_call_arguments.done", members)

    def _reasoning_done(self, part: Part) -> None:
        where: dict[str, Any] = {"item_id": self._ids[part.index], "output_index": part.index}
        where["summary_index"] = 0
        text = part.text
        self._emit("response.reasoning_summary_text.done", where | {"text": text})
        members = where | {"part": {"type": "summary_text", "text": text}}
        self._emit("response.reasoning_summary_part.done", members)

    def _content_done(self, part: Part) -> None:
        where: dict[str, Any] = {"item_id": self._ids[part.index], "output_index": part.index}
        where["content_index"] = 0
        whole = content_of(part)
        if part.kind == "text":
            members = where | {"text": whole["text"], "logprobs": part.logprobs}
            self._emit("response.output_text.done", members)
        else:
            self._emit("response.refusal.done", where | {"refusal": whole["refusal"]})
        self._emit("response.content_part.done", where | {"part": whole})

    def _delta(self, part: Part, event: bytes, place: bytes, piece: bytes) -> None:
        more = b',"logprobs":[]' if part.kind == "text" else b""
        self._out.append(
            b'event: %b\ndata: {"type":"%b","sequence_number":%d,"item_id":"%b",'
            b'"output_index":%d,%b"delta":%b%b}\n\n'
            % (
                event,
                event,
                self._sequence,
                self._ids[part.index].encode(),
                part.index,
                place,
                piece,
                more,
            )
        )
        self._sequence += 1

    def _emit(self, kind: str, members: dict[str, Any]) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event)))

    def _given(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

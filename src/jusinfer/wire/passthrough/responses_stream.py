"""Responses on both sides, a stream: events pass, and only money and honesty are read.

Events that hold the response itself are put right; the one that ends it is kept back until what is
charged is known.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.stream_state import DONE, Chunk, ChunkMalformed, UpstreamFailure
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.error_kinds import failed_error
from jusinfer.wire.inbound.responses.output import response_of
from jusinfer.wire.passthrough.responses_answer import (
    Members,
    failure_of,
    finish_of,
    is_shown,
    item_bytes,
    members_of,
    put_right,
    rows_of,
    shown_bytes,
    text_of,
    usage_members,
    usage_of,
)
from jusinfer.wire.upstream.errors import plain_error, read_inner_error

BEGUN: Final = frozenset({b"response.created", b"response.queued", b"response.in_progress"})
ENDED: Final = frozenset({b"response.completed", b"response.incomplete"})
FAILED: Final = frozenset({b"response.failed", b"response.cancelled"})
_TYPE: Final = b'{"type":"'
_TYPE_CHARS_MAX: Final = 80
_NAME: Final = re.compile(rb"[A-Za-z0-9_.]{1,80}")
# Heads of the events that most of a stream is made of.
_HEADS: Final[Mapping[bytes, bytes]] = MappingProxyType(
    {
        kind: b"event: %b\ndata: " % kind
        for kind in (
            b"response.output_text.delta",
            b"response.function_call_arguments.delta",
            b"response.reasoning_summary_text.delta",
        )
    }
)
_NULL: Final = msgspec.Raw(b"null")
_NOT_SENT: Final = msgspec.Raw()
_NOTHING: Final = frozenset({b"", b"null"})
_encode: Final = msgspec.json.Encoder().encode


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


class _Event(msgspec.Struct, gc=False):
    output_index: int | None = 0
    sequence_number: int | None = None
    delta: msgspec.Raw = _NOT_SENT
    item: msgspec.Raw = _NOT_SENT
    response: msgspec.Raw = _NOT_SENT
    error: msgspec.Raw = _NOT_SENT


_kind: Final = msgspec.json.Decoder(_Kind).decode
_event: Final = msgspec.json.Decoder(_Event).decode
_int: Final = msgspec.json.Decoder(int, strict=False).decode
_members: Final = msgspec.json.Decoder(Members).decode
_OF_RESPONSES: Final = b"response."
_UNTOLD: Final = frozenset({"error", "incomplete_details"})
_PARTS: Final = ("delta", "error", "item", "response")


def kind_of(payload: bytes) -> bytes:
    """Read the name of an event, which nearly always comes first; raises ValueError."""
    if payload.startswith(_TYPE):
        end = payload.find(b'"', len(_TYPE), _TYPE_CHARS_MAX)
        if end > 0:
            return payload[len(_TYPE) : end]
    return _kind(payload).type.encode("utf-8", "replace")


def _read(payload: bytes) -> _Event:
    """Read an event, also one whose places are numbers in another form; raises ValueError."""
    try:
        return _event(payload)
    except msgspec.ValidationError:
        members = _members(payload)
        return _Event(
            output_index=_whole(members.get("output_index", _NULL)),
            sequence_number=_whole(members.get("sequence_number", _NULL)),
            **{name: members[name] for name in _PARTS if name in members},
        )


def _whole(raw: msgspec.Raw) -> int | None:
    try:
        return _int(raw)
    except (ValueError, RecursionError):
        return None


class ResponsesRelay:
    """One streamed response: what the attempt machine must know of it, and what the client gets."""

    __slots__ = ("_asked_body", "_begun", "_counted", "_failed", "_items", "_last", "_response_id")

    def __init__(self, response_id: str, asked_body: bytes) -> None:
        self._response_id = response_id
        self._asked_body = asked_body
        # The last event that was passed on, the first that held the response, and its end.
        self._last = b""
        self._begun: bytes | None = None
        self._failed: Members | None = None
        # What was measured of each output item, by its place; items that are whole.
        self._counted: dict[int, int] = {}
        self._items: dict[int, msgspec.Raw] = {}

    # ------------------------------------------------------------------ from the provider

    def chunks(self, payload: bytes) -> list[bytes]:
        """Give the event as it came, and the machine's end mark after the one that ends it.

        An end mark of the provider's own says nothing: only an event can end a response.
        """
        if payload.startswith(DONE):
            return []
        try:
            is_end = kind_of(payload) in ENDED
        except (ValueError, RecursionError):
            is_end = False
        return [payload, DONE] if is_end else [payload]

    def end(self) -> list[bytes]:
        """Leave it to the machine to judge whether this was an end."""
        return []

    def decode(self, payload: bytes) -> Chunk:
        """Read one event; raises ChunkMalformed."""
        try:
            kind = kind_of(payload)
            event = _read(payload)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("an event is no part of a response") from error
        chunk = Chunk()
        if kind.endswith(b".delta"):
            size = 0 if event.delta is _NOT_SENT else shown_bytes(event.delta)
            self._count(event.output_index or 0, size, chunk)
        elif kind == b"response.output_item.added":
            item = members_of(event.item) or {}
            chunk.has_content = text_of(item.get("type", _NULL)) not in {"message", "reasoning"}
        elif kind == b"response.output_item.done":
            self._close(event, chunk)
        elif kind in ENDED:
            self._end(members_of(event.response), chunk)
        elif kind in FAILED:
            self._failed = members_of(event.response) or {}
            chunk.usage = usage_of(self._failed)
            chunk.failure = failure_of(self._failed) or _failure()
        elif kind == b"error" or bytes(event.error) not in _NOTHING:
            inner = bytes(event.error)
            chunk.failure = read_inner_error(payload if inner in _NOTHING else inner)
        elif not kind.startswith(_OF_RESPONSES):
            chunk.failure = plain_error(payload)
            if not kind and chunk.failure is None:
                raise ChunkMalformed("an event is no part of a response")
        return chunk

    def flush(self) -> None:
        """Give nothing: events pass as they come."""

    def _count(self, place: int, size: int, chunk: Chunk) -> None:
        if size > 0:
            chunk.has_content = True
            chunk.content_bytes += size
            self._counted[place] = self._counted.get(place, 0) + size

    def _close(self, event: _Event, chunk: Chunk) -> None:
        """Measure what of a whole item did not come in pieces."""
        item, place = members_of(event.item), event.output_index or 0
        if item is None:
            return
        self._items[place] = event.item
        if is_shown(item):
            self._count(place, item_bytes(item) - self._counted.get(place, 0), chunk)

    def _end(self, response: Members | None, chunk: Chunk) -> None:
        if response is None:
            chunk.failure = _failure()
            return
        failure = failure_of(response)
        if failure is not None:
            self._failed = response
            chunk.failure = failure
            return
        items = rows_of(response.get("output", _NULL)) or []
        for place, item in enumerate(items):
            if is_shown(item):
                self._count(place, item_bytes(item) - self._counted.get(place, 0), chunk)
        chunk.usage = usage_of(response)
        chunk.raw_usage = bytes(response.get("usage", _NULL))
        chunk.finish_reason = finish_of(response)
        chunk.finished_choices = (0,)
        if chunk.finish_reason == "stop" and not (items or self._items or self._counted):
            chunk.failure = UpstreamFailure(
                code="empty_answer", message="the upstream produced nothing", status=502
            )

    # ------------------------------------------------------------------ to the client

    def events(self, payloads: list[bytes]) -> bytes:
        """Frame events under their names; the one that ends the response is kept back."""
        out: list[bytes] = []
        for payload in payloads:
            kind = kind_of(payload)
            if not self._last and kind not in BEGUN:
                # Clients wait for a response to begin before they take anything of it.
                number = max(_number_of(payload) - 2, 0)
                out.append(_made(b"response.created", number, self._known("in_progress")))
            if kind in BEGUN:
                if self._begun is None:
                    self._begun = payload
                out.append(_framed(kind, self._right(payload, {})))
            elif kind not in ENDED:
                out.append(_framed(kind, payload))
            self._last = payload
        return b"".join(out)

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Give the event that ends the response, with what is charged."""
        response = _response_in(self._last)
        shown = {"usage": usage_members(response, usage, cost_usd)}
        return _framed(kind_of(self._last), self._right(self._last, shown))

    def fail(self, code: str, message: str) -> bytes:
        """End as failed; what came before was sent and stays true."""
        number = _number_of(self._last)
        out: list[bytes] = []
        if not self._last:
            out.append(_made(b"response.created", number, self._known("in_progress")))
            number += 1
        response = self._known("failed")
        response["error"] = failed_error(code, message)
        response["output"] = [self._items[place] for place in sorted(self._items)]
        out.append(_made(b"response.failed", number, response))
        return b"".join(out)

    def _known(self, status: str) -> dict[str, object]:
        """Give the response as far as it is known."""
        begun = {} if self._begun is None else _response_in(self._begun)
        # What a failed response says of its end is said in our words.
        failed = self._failed or {}
        told = {**begun, **{name: failed[name] for name in failed.keys() - _UNTOLD}}
        made: dict[str, object] = dict(response_of(self._asked_body, AnswerIdent("", 0, ""), 0, ""))
        asked_model = (members_of(self._asked_body) or {}).get("model", _NULL)
        right = put_right(told, self._response_id, self._asked_body)
        return {**made, "model": asked_model, **right, "status": status, "usage": None}

    def _right(self, payload: bytes, more: Mapping[str, object]) -> bytes:
        members = members_of(payload) or {}
        response = members_of(members.get("response", _NULL))
        if response is None:
            return payload
        right = {**put_right(response, self._response_id, self._asked_body), **more}
        return _encode({**members, "response": right})


def response_as_events(body: bytes) -> list[bytes]:
    """Turn a whole response into the events of a stream, for a provider that did not stream.

    Takes what `read_response` found good. The end mark for the machine comes last.
    """
    response = members_of(body) or {}
    begun: dict[str, object] = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(rows_of(response.get("output", _NULL)) or []):
        events += _item_events(place, item)
    is_cut = finish_of(response) != "stop" or text_of(response.get("status", _NULL)) == "incomplete"
    kind = "response.incomplete" if is_cut else "response.completed"
    events.append({"type": kind, "response": response})
    numbered = [
        {"type": event.pop("type"), "sequence_number": number, **event}
        for number, event in enumerate(events)
    ]
    return [*(_encode(event) for event in numbered), DONE]


def _item_events(place: int, item: Members) -> list[dict[str, Any]]:
    kind = text_of(item.get("type", _NULL))
    where: dict[str, Any] = {"item_id": item.get("id", ""), "output_index": place}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    inner: list[dict[str, Any]] = []
    if kind == "message":
        begun["content"] = []
        for index, part in enumerate(rows_of(item.get("content", _NULL)) or []):
            inner += _part_events(where | {"content_index": index}, part)
    elif kind in {"function_call", "custom_tool_call"}:
        name, member = (
            ("function_call_arguments", "arguments")
            if kind == "function_call"
            else ("custom_tool_call_input", "input")
        )
        given = item.get(member, msgspec.Raw(b'""'))
        begun[member] = ""
        inner.append({"type": f"response.{name}.delta", **where, "delta": given})
        inner.append({"type": f"response.{name}.done", **where, member: given})
    return [
        {"type": "response.output_item.added", "output_index": place, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]


def _part_events(where: dict[str, Any], part: Members) -> list[dict[str, Any]]:
    is_refusal = text_of(part.get("type", _NULL)) == "refusal"
    member, name = ("refusal", "refusal") if is_refusal else ("text", "output_text")
    said = part.get(member, msgspec.Raw(b'""'))
    more: dict[str, Any] = {} if is_refusal else {"logprobs": []}
    return [
        {"type": "response.content_part.added", **where, "part": {**part, member: ""}},
        {"type": f"response.{name}.delta", **where, "delta": said, **more},
        {"type": f"response.{name}.done", **where, member: said, **more},
        {"type": "response.content_part.done", **where, "part": part},
    ]


def _response_in(payload: bytes) -> Members:
    """Give the response that an event holds; empty where it cannot be read here."""
    try:
        return members_of(_read(payload).response) or {}
    except (ValueError, RecursionError):
        return {}


def _number_of(payload: bytes) -> int:
    """Give the number of the event that comes after this one."""
    try:
        number = _read(payload).sequence_number
    except (ValueError, RecursionError):
        return 0
    return 0 if number is None else number + 1


def _made(kind: bytes, number: int, response: dict[str, object]) -> bytes:
    event = {"type": kind.decode("ascii"), "sequence_number": number, "response": response}
    return _framed(kind, _encode(event))


def _framed(kind: bytes, payload: bytes) -> bytes:
    head = _HEADS.get(kind)
    if head is None:
        name = kind if _NAME.fullmatch(kind) else b"message"
        head = b"event: %b\ndata: " % name
    if b"\n" in payload:
        payload = payload.replace(b"\n", b"\ndata: ")
    return head + payload + b"\n\n"


def _failure() -> UpstreamFailure:
    return UpstreamFailure(
        code="upstream_error", message="the upstream reported an error", status=502
    )

"""Tells a streamed answer event by event, with all that can go wrong between them."""

from collections.abc import Generator, Iterator
from typing import Any, Final

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.chat import Answer, Piece
from jusinfer.sandbox.events import Events
from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.script_steps import Script, Step, Token, Wait
from jusinfer.sandbox.text import compact
from jusinfer.sandbox.usage import reported_usage

COMMENTS: Final = (" OPENROUTER PROCESSING", " keep-alive", "", " ping")
Ending = Generator[Step, None, bool]


def event_script(answer: Answer, http: Http) -> Script:
    """Give the events of an answer, not yet framed for HTTP."""
    fault = answer.fault
    events = Events(answer)
    yield from _leading(answer, events, http)
    if fault.has("comments") and fault.flag("only"):
        return
    if fault.options.get("at") == "head" and (yield from inject_fault(fault, http)):
        return
    for index in range(answer.count):
        yield events.delta('{"role":"assistant","content":"","refusal":null}', index)
    if fault.options.get("at") == "role" and (yield from inject_fault(fault, http)):
        return
    is_over = False
    if not fault.has("role_only"):
        is_over = yield from _spoken(answer, events, http)
        extra_members = provider_quirks.extra_members(fault.names)
        if extra_members and not is_over:
            yield events.delta(compact(extra_members), 0)
    if not is_over:
        yield from _ending(answer, events, http)


def _leading(answer: Answer, events: Events, http: Http) -> Script:
    fault = answer.fault
    first = provider_quirks.leading(answer.like, answer.answer_id)
    if first is not None:
        yield events.frame(
            compact(answer.envelope("chat.completion.chunk") | first | {"choices": []})
        )
    if fault.has("comments"):
        for text in COMMENTS:
            yield events.comment(text)
    if fault.has("keepalive"):
        yield from http.idle(events.comment(" keep-alive"))
    if fault.has("no_choices"):
        yield events.without_choices({"note": "no choices here"})
    if fault.has("null_choices"):
        yield events.members({}, None)
        yield events.members({})
    if fault.has("long_line"):
        yield events.members({"obfuscation": "z" * (fault.number("kb", 1_000) << 10)})


def _spoken(answer: Answer, events: Events, http: Http) -> Ending:
    """Say all tokens; true when a fault has ended the answer."""
    fault = answer.fault
    after = fault.number("after", 5)
    strikes = fault.has("cut", "reset", "stall") and "at" not in fault.options
    fails = fault.has("error_in_stream", "bad_json", "error_in_200")
    is_slow = fault.has("slow") or "token_ms" in fault.options
    pause = Wait(fault.number("token_ms", fault.number("ms", 50)) / 1000)
    comment = events.comment(COMMENTS[0]) if fault.has("comments") else b""
    produced = 0
    for index, pieces in _turns(answer):
        if strikes and produced >= after:
            return (yield from inject_fault(fault, http))
        if fails and produced >= after:
            yield _failed(fault, events)
            fails = False
            if not fault.flag("go_on"):
                return True
        if is_slow:
            yield pause
        produced += len(pieces)
        tail = ""
        if fault.has("usage_every_chunk"):
            tail = f',"usage":{compact(answer.usage(produced))}}}'
        data = events.content(pieces, answer.choices[index], index, tail)
        yield Token(comment + data, len(pieces))
    if fails:
        yield _failed(fault, events)
        return not fault.flag("go_on")
    return strikes and (yield from inject_fault(fault, http))


def _turns(answer: Answer) -> Iterator[tuple[int, list[Piece]]]:
    """Give the tokens of all choices in turn, as many at a time as one event carries."""
    rows = [list(_grouped(answer.fault, choice.pieces)) for choice in answer.choices]
    if len(rows) == 1:
        yield from ((0, pieces) for pieces in rows[0])
        return
    for turn in range(max(map(len, rows))):
        for index, row in enumerate(rows):
            if turn < len(row):
                yield index, row[turn]


def _grouped(fault: Fault, pieces: list[Piece]) -> Iterator[list[Piece]]:
    size = fault.number("per", 1)
    is_whole = fault.has("whole_call")
    group: list[Piece] = []
    for piece in pieces:
        is_same = bool(group) and (group[0].kind, group[0].call) == (piece.kind, piece.call)
        is_call = piece.kind == "call"
        # A call's first token says its name and stands alone, unless the call comes whole.
        may_join = is_same and (is_whole if is_call else len(group) < size)
        if group and not may_join:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _failed(fault: Fault, events: Events) -> bytes:
    if fault.has("bad_json"):
        return events.frame('{"id":"chatcmpl-amber","choices":[{"index":0,"del')
    code: int | str = fault.number("code", 502)
    if "err" in fault.options:
        code = fault.options["err"]
    error = {"error": {"code": code, "message": "the provider disconnected"}}
    if fault.flag("plain"):
        return events.frame(compact(error))
    row = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    return events.members(error, [row])


def inject_fault(fault: Fault, http: Http) -> Ending:
    """Break off, as the fault says, if it says so; true when nothing more is to be said."""
    if not fault.has("cut", "reset", "stall"):
        return False
    if not (fault.has("cut") and fault.flag("clean")):
        yield from http.end_badly()
    return True


def _ending(answer: Answer, events: Events, http: Http) -> Script:
    fault = answer.fault
    usage = reported_usage(fault, answer.usage()) if answer.wants_usage else None
    if not fault.has("role_only", "done_no_finish"):
        yield from _finishes(answer, events, usage)
        if fault.options.get("at") == "finish" and (yield from inject_fault(fault, http)):
            return
    if fault.has("content_after_finish"):
        yield events.delta('{"content":" late"}', 0)
    if usage is not None:
        yield from _usage_event(answer, events, usage)
    if fault.options.get("at") == "usage" and (yield from inject_fault(fault, http)):
        return
    if not fault.has("no_done"):
        yield events.frame("[DONE] amber" if fault.has("done_trailing") else "[DONE]")
    if fault.has("data_after_done"):
        yield events.delta('{"content":" ghost"}', 0)


def _finishes(answer: Answer, events: Events, usage: dict[str, Any] | None) -> Script:
    members = provider_quirks.closing(answer.like, usage)
    if usage is not None and _is_beside_finish(answer):
        members |= {"usage": usage}
    if answer.fault.has("usage_every_chunk"):
        members |= {"usage": answer.usage()}
    for index, choice in enumerate(answer.choices):
        yield events.ending(choice, index, members)


def _usage_event(answer: Answer, events: Events, usage: dict[str, Any]) -> Script:
    if answer.fault.has("usage_nonempty_choices"):
        row = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
        yield events.members({"usage": usage}, [row])
    elif not _is_beside_finish(answer):
        yield events.members({"usage": usage})


def _is_beside_finish(answer: Answer) -> bool:
    return answer.like in provider_quirks.USAGE_BESIDE or answer.fault.has("usage_with_finish")

"""Responses on both sides under any events, any cut and any request."""

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.stream_state import (
    AttemptState,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.passthrough.responses_answer import read_response, whole_response
from jusinfer.wire.passthrough.responses_request import Target, native_request
from jusinfer.wire.passthrough.responses_stream import ResponsesRelay, response_as_events

ASKED = ENDPOINTS["/v1/responses"].decode(b'{"model":"m","input":"hi","stream":true}')
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
THOUGHT = {"type": "reasoning", "summary": []}
TEXTS = st.text(max_size=6)
DELTAS = st.sampled_from(
    ["output_text", "refusal", "function_call_arguments", "reasoning_summary_text"]
)
LOOSE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "id", "status", "output", "content", "text", "arguments", "usage"),
                    *("input_tokens", "output_tokens", "error", "code", "message", "response"),
                    *("item", "delta", "output_index", "sequence_number", "summary", "input"),
                    *("tools", "tool_choice", "encrypted_content", "file_id", "include", "role"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [
        *TERMINAL,
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.strange",
        "error",
        "",
    ]
)


class Relayed:
    """A stream of events as the gateway relays it; the client's bytes as events."""

    def __init__(self, payloads: list[bytes], *, at_once: bool) -> None:
        self.relay = ResponsesRelay("resp_ours", b'{"model":"m"}')
        self.machine = StreamAttempt(
            self.relay.decode,
            self,
            wants_usage=True,
            choice_count=1,
            deadlines=Deadlines(30.0, 20.0, 100.0, 15.0),
            now=0.0,
            frame=self.relay.events,
            done_event=b"",
        )
        out = b""
        rows = [row for payload in payloads for row in self.relay.chunks(payload)]
        for read in [rows] if at_once else [[row] for row in rows]:
            out += self.machine.feed(read, 1.0)
        self.out = out + self.machine.end(2.0)
        self.events: list[dict[str, Any]] = [
            json.loads(block.split("\ndata: ", 1)[1])
            for block in self.out.decode().split("\n\n")[:-1]
        ]

    def usage_event(self, machine: StreamAttempt) -> bytes:
        return self.relay.finish(machine.final_usage(1), "0.5")

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        assert machine.failure is failure
        return self.relay.fail(failure.code, "it broke")


def event(kind: str, **more: Any) -> bytes:
    return json.dumps({"type": kind, **more}).encode()


@given(
    pieces=st.lists(st.tuples(DELTAS, st.integers(0, 2), TEXTS), max_size=8),
    has_end=st.booleans(),
    at_once=st.booleans(),
)
def test_text_delivered_is_text_counted_and_the_end_is_one(
    pieces: list[tuple[str, int, str]],
    has_end: bool,  # noqa: FBT001 (drawn by name)
    at_once: bool,  # noqa: FBT001 (drawn by name)
) -> None:
    payloads = [
        event(f"response.{kind}.delta", sequence_number=number, output_index=place, delta=piece)
        for number, (kind, place, piece) in enumerate(pieces)
    ]
    ending = event("response.completed", response={"status": "completed", "output": [THOUGHT]})
    relayed = Relayed([*payloads, *([ending] if has_end else [])], at_once=at_once)
    machine = relayed.machine
    deltas = [row["delta"] for row in relayed.events if row["type"].endswith(".delta")]
    said = [piece for _, _, piece in pieces]
    if has_end or any(said):
        assert deltas == said
        kinds = [row["type"] in TERMINAL for row in relayed.events]
        assert kinds == [False] * (len(deltas) + 1) + [True]
        assert relayed.events[0]["type"] == "response.created"
        assert (machine.state is AttemptState.COMPLETED) == has_end
        assert machine.content_bytes == sum(len(json.dumps(piece)) - 2 for piece in said)
    else:
        assert relayed.out == b""
        assert machine.state is AttemptState.FAILED


@given(rows=st.lists(st.tuples(KINDS, LOOSE), max_size=6), at_once=st.booleans())
def test_loose_events_end_once_and_break_nothing(
    rows: list[tuple[str, Any]],
    at_once: bool,  # noqa: FBT001 (drawn by name)
) -> None:
    payloads = [
        event(kind, **{name: value for name, value in more.items() if name != "type"})
        if isinstance(more, dict)
        else event(kind, response=more, item=more, delta=more)
        for kind, more in rows
    ]
    relayed = Relayed(payloads, at_once=at_once)
    ends = [row for row in relayed.events if row["type"] in TERMINAL]
    assert len(ends) == bool(relayed.out)
    assert relayed.machine.is_over
    for row in ends:
        assert row["response"]["id"] == "resp_ours"
        assert row is relayed.events[-1]


@given(body=LOOSE)
def test_loose_answers_are_judged_and_shown_whole(body: Any) -> None:
    data = json.dumps(body).encode()
    answer = read_response(data)
    if answer.failure is None:
        usage = answer.final_usage(3)
        shown = json.loads(whole_response(data, "resp_ours", b"{}", usage, "0.5"))
        assert shown["usage"]["output_tokens"] == usage.completion_tokens
        assert shown["output"] == body["output"]
        assert response_as_events(data)


@given(more=LOOSE, items=st.lists(LOOSE, max_size=3))
def test_loose_requests_are_sent_or_refused_by_name(more: Any, items: list[Any]) -> None:
    fields = more if isinstance(more, dict) else {"metadata": more}
    body = json.dumps({**fields, "model": "m", "input": items}).encode()
    for flags in (("responses", "no_obfuscation"), ("responses", "openrouter")):
        target = Target("x", flags=flags, is_reasoning=True)
        with contextlib.suppress(InvalidRequest):
            made = json.loads(native_request(ASKED, body, target))
            assert (made["model"], made["store"]) == ("x", False)
            assert "file_id" not in [
                name for item in made["input"] if isinstance(item, dict) for name in parts(item)
            ]


def parts(item: dict[str, Any]) -> list[str]:
    """Give the names in the parts of an item that may point to a file."""
    rows: list[Any] = []
    for name in ("content", "output"):
        value = item.get(name)
        rows += value if isinstance(value, list) else [value]
    return [
        name
        for row in rows
        if isinstance(row, dict) and row.get("type") != "output_text"
        for name, value in row.items()
        if value is not None
    ]

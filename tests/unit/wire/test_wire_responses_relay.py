"""Responses on both sides: what of an answer reaches the client, and what is charged for it."""

import json
from typing import Any

import pytest

from jusinfer.domain.inference.stream_state import (
    DONE,
    AttemptState,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.passthrough.responses_answer import read_response, whole_response
from jusinfer.wire.passthrough.responses_stream import ResponsesRelay, response_as_events

ASKED = json.dumps(
    {"model": "m", "input": "hi", "metadata": {"a": "1"}, "user": "ann", "prompt_cache_key": "k"}
).encode()
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 16,
}
READ = TokenUsage(
    prompt_tokens=9,
    cached_prompt_tokens=4,
    cache_write_tokens=2,
    completion_tokens=7,
    reasoning_tokens=3,
)
TEXT = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
MESSAGE = {
    "id": "msg_68ab",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [TEXT],
}
CALL = {
    "id": "fc_68ab",
    "type": "function_call",
    "status": "completed",
    "call_id": "c",
    "name": "f",
    "arguments": '{"a":"\u00e4"}',
}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "d", "name": "g", "input": "xyz"}
THOUGHT = {"id": "rs_68ab", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
BASE = {
    "id": "resp_theirs",
    "object": "response",
    "created_at": 1_700_000_000,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-x-2026",
    "output": [],
    "store": False,
    "metadata": {},
    "user": "opaque",
    "prompt_cache_key": "opaque",
    "safety_identifier": "opaque",
    "usage": None,
}


def response(*items: Any, **more: Any) -> dict[str, Any]:
    return BASE | {"status": "completed", "output": list(items), "usage": USAGE} | more


def event(kind: str, number: int = 0, **more: Any) -> bytes:
    return json.dumps({"type": kind, "sequence_number": number, **more}).encode()


CREATED = event("response.created", 0, response=BASE)
DELTA = event("response.output_text.delta", 4, item_id="msg_68ab", output_index=0, delta="Hello")
ENDING = event("response.completed", 9, response=response(MESSAGE))
FAILED = event(
    "response.failed",
    5,
    response=BASE
    | {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}},
)


class Heard:
    """A stream as the gateway relays it, and what its client gets."""

    def __init__(self, *payloads: bytes, asked: bytes = ASKED) -> None:
        self.relay = ResponsesRelay("resp_ours", asked)
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
        self.out = b""
        for payload in payloads:
            self.feed(payload)

    def feed(self, *payloads: bytes) -> None:
        rows = [row for payload in payloads for row in self.relay.chunks(payload)]
        self.out += self.machine.feed(rows, 1.0)

    def end(self) -> "Heard":
        rows = self.relay.end()
        self.out += self.machine.feed(rows, 1.0) + self.machine.end(1.0)
        return self

    def usage_event(self, machine: StreamAttempt) -> bytes:
        return self.relay.finish(machine.final_usage(5), "0.25")

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        assert machine.failure is failure
        return self.relay.fail(failure.code, "it broke")

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = self.out.decode().split("\n\n")
        assert blocks.pop() == ""
        events = []
        for block in blocks:
            name, data = block.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        return events

    @property
    def failure(self) -> UpstreamFailure:
        assert self.machine.failure is not None
        return self.machine.failure


# ------------------------------------------------------------------ streams


def test_a_stream_passes_and_its_response_is_put_right() -> None:
    heard = Heard(CREATED, DELTA, ENDING)
    assert heard.machine.state is AttemptState.COMPLETED
    created, delta, ending = heard.events
    assert delta == json.loads(DELTA)
    assert b"data: " + DELTA + b"\n\n" in heard.out
    own = {"id": "resp_ours", "metadata": {"a": "1"}, "user": "ann", "prompt_cache_key": "k"}
    own |= {"safety_identifier": None}
    assert created == {"type": "response.created", "sequence_number": 0, "response": BASE | own}
    shown = USAGE | {"cost": 0.25}
    assert ending["response"] == response(MESSAGE) | own | {"usage": shown}
    assert ending["sequence_number"] == 9


def test_the_end_comes_only_with_what_is_charged_and_nothing_comes_after() -> None:
    heard = Heard(CREATED, DELTA)
    assert b"completed" not in heard.out
    heard.feed(ENDING, DONE)
    heard.feed(DELTA)
    assert [row["type"] for row in heard.events][-1] == "response.completed"
    assert heard.machine.final_usage(5) == READ


@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.shell_call_command.delta",
        "response.a_kind_of_tomorrow.delta",
    ],
)
def test_every_kind_of_delta_is_content(kind: str) -> None:
    heard = Heard(CREATED)
    heard.feed(event(kind, delta=""))
    assert heard.out == b""
    heard.feed(event(kind, delta="abc\n"))
    assert [row["type"] for row in heard.events] == ["response.created", kind, kind]
    assert heard.machine.content_bytes == len("abc\\n")


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call", "local_shell_call", "x"])
def test_a_call_that_has_begun_is_content(kind: str) -> None:
    heard = Heard(CREATED, event("response.output_item.added", item={"type": kind}))
    assert len(heard.events) == 2


@pytest.mark.parametrize("kind", ["message", "reasoning"])
def test_an_item_that_says_nothing_yet_is_none(kind: str) -> None:
    added = event("response.output_item.added", item={"type": kind})
    part = event("response.content_part.added", part=TEXT | {"text": ""})
    sealed = event("response.output_item.done", item=THOUGHT)
    assert Heard(CREATED, added, part, sealed).out == b""


@pytest.mark.parametrize("item", [MESSAGE, CALL, CUSTOM])
def test_what_came_only_as_a_whole_item_is_counted_once(item: dict[str, Any]) -> None:
    done = event("response.output_item.done", output_index=1, item=item)
    heard = Heard(CREATED, done)
    size = heard.machine.content_bytes
    assert size == len(
        {"message": "Hello", "function_call": '{\\"a\\":\\"\\u00e4\\"}'}.get(item["type"], "xyz")
    )
    heard.feed(event("response.completed", response=response(THOUGHT, item)))
    assert heard.machine.content_bytes == size


def test_what_came_only_in_the_end_is_counted() -> None:
    heard = Heard(CREATED, event("response.completed", response=response(MESSAGE, usage=None)))
    assert heard.machine.content_bytes == len("Hello")
    assert heard.machine.final_usage(5).is_estimated
    usage = heard.events[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["is_estimated"], usage["cost"]) == (5, True, 0.25)
    assert usage["total_tokens"] == 5 + usage["output_tokens"] > 5


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("max_output_tokens", "length"),
        ("content_filter", "content_filter"),
        ("max_messages", "stop"),
        ("steered", "stop"),
    ],
)
def test_an_incomplete_response_is_passed_with_its_reason(reason: str, finish: str) -> None:
    cut = response(MESSAGE, status="incomplete", incomplete_details={"reason": reason})
    heard = Heard(CREATED, DELTA, event("response.incomplete", 9, response=cut))
    assert heard.machine.finish_reason == finish
    assert heard.events[-1]["type"] == "response.incomplete"
    assert heard.events[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert heard.events[-1]["response"]["usage"]["cost"] == 0.25


def test_a_failure_before_content_is_a_failed_attempt() -> None:
    heard = Heard(CREATED, event("response.in_progress", response=BASE), FAILED)
    assert heard.machine.state is AttemptState.FAILED
    assert heard.out == b""
    assert heard.failure.status == 429


@pytest.mark.parametrize(
    ("code", "status", "is_clients_fault"),
    [
        ("server_error", 502, False),
        ("rate_limit_exceeded", 429, False),
        ("invalid_prompt", 400, True),
        ("context_length_exceeded", 400, True),
        ("insufficient_quota", 429, False),
    ],
)
@pytest.mark.parametrize("shape", ["failed", "flat", "nested", "bare"])
def test_errors_of_every_shape_are_judged(
    shape: str, code: str, status: int, is_clients_fault: object
) -> None:
    error = {"code": code, "message": "why"}
    payload = {
        "failed": event("response.failed", response=BASE | {"status": "failed", "error": error}),
        "flat": event("error", **error, param=None),
        "nested": event("error", error=error),
        "bare": json.dumps({"error": error}).encode(),
    }[shape]
    heard = Heard(CREATED, payload)
    assert (heard.failure.status, heard.failure.is_clients_fault) == (status, is_clients_fault)
    assert heard.failure.message == "why"
    assert heard.out == b""


def test_a_failure_after_content_ends_the_stream_once_and_honestly() -> None:
    done = event("response.output_item.done", 4, output_index=0, item=MESSAGE)
    heard = Heard(CREATED, DELTA, done, FAILED, ENDING)
    last = heard.events[-1]
    assert [row["type"] for row in heard.events].count("response.failed") == 1
    assert last["sequence_number"] == 5
    told = last["response"]
    assert (told["id"], told["status"], told["usage"]) == ("resp_ours", "failed", None)
    assert told["error"]["code"] in {"rate_limit_exceeded", "server_error"}
    assert told["output"] == [MESSAGE]
    assert (told["model"], told["metadata"]) == ("gpt-x-2026", {"a": "1"})


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_stream_without_its_end_was_cut(is_marked: object) -> None:
    heard = Heard(CREATED, DELTA, *([DONE] if is_marked else [])).end()
    assert heard.failure.code == "upstream_cut"
    assert heard.events[-1]["type"] == "response.failed"
    assert heard.events[-1]["response"]["error"]["code"] == "server_error"


def test_a_stream_that_says_nothing_is_a_failed_attempt() -> None:
    assert Heard().end().failure.code == "empty_answer"
    assert Heard(CREATED, DONE).end().failure.code == "empty_answer"
    nothing = event("response.completed", response=response(usage=None))
    assert Heard(CREATED, nothing).failure.code == "empty_answer"


def test_items_that_are_missing_at_the_end_were_there_all_the_same() -> None:
    heard = Heard(CREATED, DELTA, event("response.completed", response=response()))
    assert heard.machine.state is AttemptState.COMPLETED


def test_an_end_that_tells_of_an_error_is_a_failure() -> None:
    lie = response(MESSAGE, error={"code": "server_error", "message": "x"})
    assert Heard(CREATED, event("response.completed", response=lie)).out == b""
    assert Heard(CREATED, event("response.completed", response=7)).failure.status == 502
    assert Heard(CREATED, event("response.cancelled", response=None)).failure.status == 502


@pytest.mark.parametrize(
    "payload",
    [
        b"gibberish",
        b"[]",
        b"7",
        b'{"type":7}',
        b'{"type":"response.output_text.delta"',
        b'{"choices":[{"delta":{"content":"a"}}]}',
        b"[" * 5_000,
    ],
)
def test_what_is_no_event_is_a_failure(payload: bytes) -> None:
    assert Heard(CREATED, payload).failure.code == "malformed_stream"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sequence_number":1,"type":"response.output_text.delta","delta":"a"}',
        b'{ "type": "response.output_text.delta", "delta" : "a" }',
        b'{"type":"response.output_text.delta","output_index":"0","delta":"a"}',
        b'{"type":"response.output_text.delta","output_index":null,"delta":1.5}',
        b'{"type":"response.output_text.delta","sequence_number":[],"delta":"a"}',
    ],
)
def test_odd_events_pass_as_they_came(payload: bytes) -> None:
    heard = Heard(CREATED, payload)
    assert b"event: response.output_text.delta\ndata: " + payload + b"\n\n" in heard.out


def test_the_end_is_known_wherever_its_name_stands() -> None:
    ending = json.dumps({"response": response(MESSAGE), "type": "response.completed"}).encode()
    heard = Heard(CREATED, DELTA, ending)
    assert heard.machine.state is AttemptState.COMPLETED
    assert heard.events[-1]["response"]["id"] == "resp_ours"


@pytest.mark.parametrize(
    "payload",
    [
        event("keepalive", 3),
        event("response.compaction.compacting", 3, output_index=0),
        event("response.output_text.annotation.added", 3, annotation={"type": "url_citation"}),
        event("response.output_item.done", 3, output_index=0, item=MESSAGE | {"phase": "final"}),
        event("response.web_search_call.completed", 3, item_id="ws_1", output_index=0),
        event("response.a_kind_of_tomorrow", 3, delta={"a": [1.50]}),
    ],
)
def test_events_between_are_passed_whatever_they_are(payload: bytes) -> None:
    name = json.loads(payload)["type"].encode()
    assert b"event: %b\ndata: %b\n\n" % (name, payload) in Heard(DELTA, payload).out


def test_a_name_that_cannot_stand_in_a_line_is_not_written_there() -> None:
    strange = b'{"type":"a b\\nc","x":1}'
    assert b"event: message\ndata: " + strange in Heard(DELTA, strange).out


@pytest.mark.parametrize("kind", ["queued", "in_progress"])
def test_every_event_that_holds_the_response_is_put_right(kind: str) -> None:
    heard = Heard(event(f"response.{kind}", 1, response=BASE), DELTA)
    assert heard.events[0]["response"]["id"] == "resp_ours"
    odd = event(f"response.{kind}", 1, response=None)
    assert b"data: " + odd in Heard(odd, DELTA).out


def test_a_failure_before_anything_was_framed_begins_a_response_first() -> None:
    out = ResponsesRelay("resp_ours", ASKED).fail("upstream_timeout", "too late")
    names = [line for line in out.decode().split("\n") if line.startswith("event")]
    assert names == ["event: response.created", "event: response.failed"]
    last = json.loads(out.decode().rstrip().rsplit("data: ", 1)[1])
    assert (last["sequence_number"], last["response"]["model"]) == (1, "m")
    assert last["response"]["error"] == {
        "code": "server_error",
        "message": "too late (upstream_timeout)",
    }


def test_interleaved_items_are_counted_each_by_its_place() -> None:
    kind = "response.function_call_arguments.delta"
    heard = Heard(
        CREATED,
        event(kind, output_index=0, delta="ab"),
        event(kind, output_index=1, delta="cde"),
        event(kind, output_index=0, delta="f"),
        event("response.output_item.done", output_index=1, item=CALL | {"arguments": "cde"}),
        event("response.output_item.done", output_index=0, item=CALL | {"arguments": "abf"}),
    )
    assert heard.machine.content_bytes == 6


# ------------------------------------------------------------------ whole answers


def test_a_whole_answer_is_judged_and_put_right() -> None:
    body = json.dumps(response(THOUGHT, MESSAGE, CALL, a_member_of_tomorrow=1)).encode()
    answer = read_response(body)
    assert (answer.failure, answer.finish_reason, answer.has_content) == (None, "stop", True)
    assert answer.usage == READ
    made = json.loads(whole_response(body, "resp_ours", ASKED, READ, "0.5"))
    assert made["id"] == "resp_ours"
    assert made["output"] == [THOUGHT, MESSAGE, CALL]
    assert made["usage"] == USAGE | {"cost": 0.5}
    assert (made["metadata"], made["user"], made["prompt_cache_key"]) == ({"a": "1"}, "ann", "k")
    assert (made["safety_identifier"], made["store"]) == (None, False)
    assert made["a_member_of_tomorrow"] == 1


def test_usage_shown_is_usage_charged() -> None:
    odd = USAGE | {"input_tokens": 3, "total_tokens": 99, "cost": "7"}
    body = json.dumps(response(MESSAGE, usage=odd)).encode()
    charged = read_response(body).final_usage(5)
    shown = json.loads(whole_response(body, "r", ASKED, charged, "0.000001"))["usage"]
    assert shown["input_tokens"] == charged.prompt_tokens
    assert shown["input_tokens_details"]["cached_tokens"] == charged.cached_prompt_tokens
    assert shown["total_tokens"] == charged.prompt_tokens + charged.completion_tokens
    assert shown["cost"] == 0.000001
    body = json.dumps(response(MESSAGE, usage=None)).encode()
    charged = read_response(body).final_usage(5)
    assert charged.is_estimated
    shown = json.loads(whole_response(body, "r", ASKED, charged, "1"))["usage"]
    assert shown["output_tokens"] == charged.completion_tokens > 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_an_answer"),
        (b"[]", "not_an_answer"),
        (b"{}", "not_an_answer"),
        (b'{"choices":[{"message":{"content":"a"}}]}', "not_an_answer"),
        (json.dumps(response(MESSAGE, status="queued")).encode(), "not_an_answer"),
        (json.dumps(response(MESSAGE, status="in_progress")).encode(), "not_an_answer"),
        (json.dumps(response(MESSAGE, status="cancelled")).encode(), "upstream_error"),
        (json.dumps(response(status="failed")).encode(), "upstream_error"),
        (json.dumps(response()).encode(), "empty_answer"),
        (json.dumps(response(MESSAGE, output="a")).encode(), "not_an_answer"),
    ],
)
def test_what_is_no_good_answer_is_a_failed_attempt(body: bytes, code: str) -> None:
    failure = read_response(body).failure
    assert failure is not None
    assert (failure.code, failure.status) == (code, 502)


def test_an_error_inside_an_answer_keeps_its_meaning() -> None:
    error = {"code": "invalid_prompt", "message": "no"}
    failure = read_response(json.dumps(response(status="failed", error=error)).encode()).failure
    assert failure is not None
    assert (failure.status, failure.is_clients_fault, failure.message) == (400, True, "no")


def test_an_answer_that_was_cut_has_its_reason() -> None:
    cut = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    answer = read_response(json.dumps(cut).encode())
    assert (answer.failure, answer.finish_reason) == (None, "length")


@pytest.mark.parametrize(
    "item",
    [THOUGHT, MESSAGE, MESSAGE | {"content": [{"type": "refusal", "refusal": "no"}]}, CUSTOM],
)
def test_an_answer_that_was_not_streamed_is_told_event_by_event(item: dict[str, Any]) -> None:
    whole = response(item, CALL)
    heard = Heard()
    out = heard.machine.feed(response_as_events(json.dumps(whole).encode()), 1.0)
    heard.out = out
    assert heard.machine.state is AttemptState.COMPLETED
    numbers = [row["sequence_number"] for row in heard.events]
    assert numbers == list(range(len(numbers)))
    assert heard.events[0]["type"] == "response.created"
    assert heard.events[-1]["response"]["output"] == [item, CALL]
    assert heard.machine.usage == READ
    deltas = [row["delta"] for row in heard.events if row["type"].endswith(".delta")]
    assert deltas[-1] == CALL["arguments"]


def test_an_incomplete_answer_that_was_not_streamed_ends_so() -> None:
    cut = response(MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"})
    *_, last, done = response_as_events(json.dumps(cut).encode())
    assert json.loads(last)["type"] == "response.incomplete"
    assert done == DONE


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"error_of_tomorrow","error":{"message":"our account"}}',
        b'{"type":"response.error","error":{"message":"our account"}}',
        b'{"type":"invalid_value","message":"our account"}',
        b'{"type":"odd","errors":["our account"]}',
    ],
)
def test_an_event_that_says_of_an_error_is_one_and_is_not_passed(payload: bytes) -> None:
    assert b"our account" not in Heard(DELTA, payload).out

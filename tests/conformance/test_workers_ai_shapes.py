"""Shapes of Workers AI, through its provider API and the attempt machine, by code."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook.script import IDENT, machine_for

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.stream_state import AttemptState, ChunkMalformed, StreamAttempt
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.upstream.openai_chat import decode_answer
from jusinfer.wire.upstream.workers_ai import WorkersAiProviderApi

PROVIDER_API = WorkersAiProviderApi()
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def streamed(*events: Any, done: bool = True) -> tuple[StreamAttempt, list[dict[str, Any]]]:
    machine, reader = machine_for(), PROVIDER_API.stream(IDENT)
    payloads = [json.dumps(event).encode() for event in events]
    if done:
        payloads.append(b"[DONE]")
    sent = b""
    for payload in payloads:
        sent += machine.feed(reader.chunks(payload), 1.0)
    if not machine.is_over:
        sent += machine.feed(reader.end(), 1.0)
        sent += machine.end(1.0)
    rows = [row.removeprefix(b"data: ") for row in sent.split(b"\n\n")]
    return machine, [json.loads(row) for row in rows if row.startswith(b"{")]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for row in chunks for c in row["choices"])


def calls_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        call
        for row in chunks
        for choice in row["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]


OPENAI = {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("code", "events", "text"),
    [
        ("W01", [{"response": "a"}, {"response": "b"}], "ab"),
        ("W02", [{"response": 4}, {"response": 2.5}], "42.5"),
        ("W03", [{"response": {"a": 1}}], '{"a":1}'),
        ("W04", [{"response": "a"}, OPENAI], "ab"),
        ("W08", [{"response": '{"name":"f","arguments":{}}'}], '{"name":"f","arguments":{}}'),
    ],
)
def test_text_of_this_shape(code: str, events: list[Any], text: str) -> None:
    assert code
    last = {"response": "", "usage": USAGE}
    machine, chunks = streamed(*events, last)
    assert text_of(chunks) == text
    assert machine.state is AttemptState.COMPLETED
    assert machine.finish_reason == "stop"
    assert machine.final_usage(1) == TokenUsage(9, 0, 0, 2)


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("W05", {"name": "f", "arguments": {"a": 1}}),
        ("W06", {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}),
    ],
)
def test_a_tool_call_of_this_shape(code: str, call: dict[str, Any]) -> None:
    null = {"id": None, "function": {"name": None, "arguments": ""}}
    machine, chunks = streamed(
        {"response": "", "tool_calls": [call]}, {"response": "", "tool_calls": [null]}
    )
    (found,) = calls_of(chunks)
    assert (found["index"], found["function"]["name"]) == (0, "f")
    assert json.loads(found["function"]["arguments"]) == {"a": 1}
    assert found["id"] == ("t" if code == "W06" else found["id"])
    assert found["id"]
    assert machine.finish_reason == "tool_calls"


def test_w07_a_null_call_is_left_out() -> None:
    _, chunks = streamed({"response": "a"}, {"tool_calls": [{"name": None, "arguments": None}]})
    assert calls_of(chunks) == []


def test_w09_a_reason_may_stand_at_the_top() -> None:
    machine, _ = streamed({"response": "a", "finish_reason": "length"}, done=False)
    assert (machine.finish_reason, machine.state) == ("length", AttemptState.COMPLETED)


def test_w10_data_without_an_end_is_a_cut() -> None:
    machine, _ = streamed({"response": "a"}, done=False)
    assert machine.state is AttemptState.FAILED


def envelope(result: Any) -> bytes:
    members = {"result": result, "success": True, "errors": [], "messages": []}
    return PROVIDER_API.answer(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("code", "result", "text", "usage"),
    [
        ("W11", {"response": "a", "usage": USAGE}, "a", TokenUsage(9, 0, 0, 2)),
        ("W12", {"response": {"a": 1}, "usage": USAGE}, '{"a":1}', TokenUsage(9, 0, 0, 2)),
        (
            "W13",
            {
                "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
                "usage": USAGE,
            },
            "a",
            TokenUsage(9, 0, 0, 2),
        ),
        ("W14", {"response": "abcdefgh"}, "abcdefgh", TokenUsage(1, 0, 0, 2, is_estimated=True)),
    ],
)
def test_an_answer_of_this_shape(code: str, result: Any, text: str, usage: TokenUsage) -> None:
    assert code
    neutral = envelope(result)
    assert json.loads(neutral)["choices"][0]["message"]["content"] == text
    assert decode_answer(neutral).final_usage(1) == usage


def test_w15_a_failed_run_within_a_good_status() -> None:
    members = {"success": False, "errors": [{"code": 3040, "message": "m"}], "result": None}
    failure = decode_answer(PROVIDER_API.answer(json.dumps(members).encode())).failure
    assert failure is not None
    assert (failure.status, failure.is_retryable) == (429, True)


def asked(**members: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | members
    request = decode_request(json.dumps(body).encode())
    written = PROVIDER_API.encode(
        request, upstream_model="@cf/a/b", output_tokens_max=None, flags=()
    )
    found = json.loads(written)
    assert isinstance(found, dict)
    return found


def test_w16_a_budget_is_always_said() -> None:
    assert asked()["max_tokens"] == 2048
    assert asked(max_tokens=7)["max_tokens"] == 7
    assert "model" not in asked(stream=True)
    assert PROVIDER_API.path("@cf/a/b", is_stream=True) == "/run/@cf/a/b"


@pytest.mark.parametrize("name", ["logit_bias", "n", "logprobs", "parallel_tool_calls", "odd"])
def test_what_it_cannot_say_is_refused_by_name(name: str) -> None:
    value: Any = {"logit_bias": {"1": 1}, "n": 2, "parallel_tool_calls": False}.get(name, True)
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(InvalidRequest) as caught:
        asked(tools=tools, **{name: value})
    assert caught.value.param == name


def test_one_call_at_a_time_asks_for_nothing_where_no_tool_may_be_called() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert "parallel_tool_calls" not in asked(parallel_tool_calls=False)
    held = asked(parallel_tool_calls=False, tools=tools, tool_choice="none")
    assert "parallel_tool_calls" not in held


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_are_read_or_refused(payloads: list[bytes]) -> None:
    reader = PROVIDER_API.stream(IDENT)
    for payload in payloads:
        try:
            reader.chunks(payload)
            PROVIDER_API.answer(payload)
        except ChunkMalformed:
            continue
    reader.end()

"""The corpus of shapes that upstreams send: framing and chat chunks; every test bears its code.

What comes out is asserted for the whole stream and again for the stream cut at every byte.
"""

import json
from typing import Any, NamedTuple

import pytest
from tests.playbook.script import Played, play

from jusinfer.domain.inference.stream_state import AttemptState
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.sse import SseDecoder, encode_event
from jusinfer.wire.upstream.openai_chat import answer_as_events, decode_answer, decode_chunk

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
STOP = {"index": 0, "delta": {}, "finish_reason": "stop"}
DONE = "[DONE]"


def chunk(*choices: dict[str, Any], **members: Any) -> str:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return json.dumps(head | {"choices": list(choices)} | members, ensure_ascii=False)


def delta(index: int = 0, finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"index": index, "delta": members, "finish_reason": finish}


def said(text: str) -> str:
    return chunk(delta(content=text))


def sse(*payloads: str, newline: str = "\n") -> bytes:
    return "".join(f"data: {payload}{newline}{newline}" for payload in payloads).encode()


class Case(NamedTuple):
    """A stream and what must come of it; counts of None are not looked at."""

    code: str
    data: bytes
    finish: str | None = "stop"
    events: int | None = None
    usage: TokenUsage | None = TokenUsage(9, 0, 0, 2)
    state: AttemptState = AttemptState.COMPLETED
    choice_count: int = 1
    is_estimated: bool = False


A, B = said("a"), said("bé€😀")
LAST = chunk(usage=USAGE)
GOOD = (A, B, chunk(STOP), LAST, DONE)
CALL = {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}


def call(index: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def around(*middle: str, last: str = LAST) -> bytes:
    return sse(A, *middle, chunk(STOP), last, DONE)


def finished(reason: str | None, **kept: Any) -> bytes:
    return sse(A, chunk(delta(finish=reason, **kept)), LAST, DONE)


ROLE = chunk(delta(role="assistant", content=""))
FAILED = AttemptState.FAILED
CASES = (
    Case("F01", b": OPENROUTER PROCESSING\n\n" + sse(A) + b": x\n\n" + sse(*GOOD[1:]), events=3),
    Case("F02", b": keep-alive\n\n" * 3 + sse(*GOOD), events=3),
    Case("F03", b": ping\n\n" + sse(*GOOD), events=3),
    Case("F05", sse(*GOOD).replace(b"\n\n", b"\n\n\n\n"), events=3),
    Case("F06", sse(*GOOD), events=3),
    Case("F07", sse(*GOOD), events=3),
    Case("F08-crlf", sse(*GOOD, newline="\r\n"), events=3),
    Case("F08-no-space", sse(*GOOD).replace(b"data: ", b"data:"), events=3),
    Case("F08-lines", sse(*GOOD).replace(b', "object"', b',\ndata: "object"'), events=3),
    Case("F09", sse(*GOOD[:-1], "[DONE] amber"), events=3),
    Case("F10", sse(*GOOD[:-1]), events=3),
    Case("F11", sse(*GOOD).replace(b"data:", b"event: message\nid: 1\ndata:"), events=3),
    Case("C01", sse(ROLE, *GOOD), events=4),
    Case("C02", sse(chunk(delta(content="a"), usage=None), *GOOD[1:]), events=3),
    Case("C03", sse(*GOOD), events=3),
    Case("C04", sse(A, chunk(STOP), chunk(delta(content=""), usage=USAGE), DONE), events=3),
    Case("C05", sse(A, chunk(STOP, usage=USAGE), DONE), events=2),
    Case(
        "C06",
        sse(
            chunk(delta(content="a"), usage=USAGE | {"completion_tokens": 1}),
            chunk(delta(content="b"), usage=USAGE),
            chunk(STOP, usage=USAGE),
            DONE,
        ),
        events=3,
    ),
    Case("C07", around('{"id":"c1"}'), events=3),
    Case("C08-null", around('{"id":"c1","choices":null}'), events=3),
    Case("C08-empty", around(chunk()), events=3),
    Case(
        "C09",
        around(
            chunk(
                delta(content="b"),
                obfuscation="zz",
                service_tier="default",
                moderation={"flagged": False},
                system_fingerprint="fp",
                strange=[1],
            )
        ),
        events=3,
    ),
    Case(
        "C10",
        sse(
            chunk(delta(0, content="a")),
            chunk(delta(1, content="b")),
            chunk(delta(1, "stop")),
            chunk(delta(0, content="c")),
            chunk(STOP),
            LAST,
            DONE,
        ),
        events=5,
        choice_count=2,
    ),
    Case("C11", around(chunk(delta(content="b") | {"logprobs": {"content": []}})), events=3),
    Case("C12", sse(chunk(delta(refusal="no")), chunk(STOP), LAST, DONE), events=2),
    Case("C13", around(chunk(delta(annotations=[{"type": "url_citation"}]))), events=3),
    Case("C14", sse(chunk(delta(audio={"data": "AA"})), chunk(STOP), LAST, DONE), events=2),
    Case("C15", sse(chunk(delta(images=[{"type": "image_url"}])), chunk(STOP), LAST, DONE)),
    Case("C16", sse(chunk(delta(reasoning_content="h")), *GOOD), events=4),
    Case("C17", sse(chunk(delta(reasoning="h")), *GOOD), events=4),
    Case("C18", sse(chunk(delta(reasoning_details=[{"text": "h"}])), *GOOD), events=4),
    Case("C19", sse(chunk(delta(content=None, reasoning="h")), *GOOD), events=4),
    Case(
        "C20",
        sse(chunk(delta(content=[{"type": "thinking", "thinking": []}])), *GOOD),
        events=4,
    ),
    Case(
        "C21",
        sse(
            chunk(delta(tool_calls=[CALL])),
            chunk(delta(**call(0, '{"a"'))),
            chunk(delta(**call(0, ":1}"))),
            chunk(delta(finish="tool_calls")),
            LAST,
            DONE,
        ),
        finish="tool_calls",
        events=4,
    ),
    Case(
        "C22",
        sse(
            chunk(delta(tool_calls=[CALL, CALL | {"index": 1, "id": "t2"}])),
            chunk(delta(**call(1, "{"))),
            chunk(delta(**call(0, "{"))),
            chunk(delta(finish="tool_calls")),
            LAST,
            DONE,
        ),
        finish="tool_calls",
        events=4,
    ),
    Case(
        "C23",
        sse(chunk(delta(finish="tool_calls", tool_calls=[CALL])), LAST, DONE),
        finish="tool_calls",
        events=1,
    ),
    Case(
        "C24",
        sse(chunk(delta(tool_calls=[{"id": "t", "function": {"name": "f"}}])), *GOOD[2:]),
        events=2,
    ),
    Case(
        "C25",
        sse(chunk(delta(tool_calls=[{"index": 0, "custom": {"input": "x"}}])), *GOOD[2:]),
        events=2,
    ),
    Case(
        "C26",
        sse(
            chunk(
                delta(tool_calls=[CALL | {"extra_content": {"google": {"thought_signature": "s"}}}])
            ),
            *GOOD[2:],
        ),
        events=2,
    ),
    Case(
        "C27",
        sse(chunk(delta(function_call={"name": "f"})), chunk(delta(finish="function_call")), DONE),
        finish="function_call",
        usage=None,
        is_estimated=True,
    ),
    Case("C28", sse(chunk(delta(tool_calls=[CALL])), *GOOD[2:]), events=2),
    Case("C29a", finished("stop")),
    Case("C29b", finished("length"), finish="length"),
    Case("C29c", finished("tool_calls"), finish="tool_calls"),
    Case("C29d", finished("content_filter"), finish="content_filter"),
    Case("C29e", finished("function_call"), finish="function_call"),
    Case("C30a", finished("error"), finish=None, usage=None, state=FAILED),
    Case("C30b", finished("eos"), finish="eos"),
    Case("C30c", finished("model_length"), finish="model_length"),
    Case(
        "C30d",
        finished("insufficient_system_resource"),
        finish=None,
        usage=None,
        state=FAILED,
    ),
    Case("C30e", finished("from_the_future"), finish="from_the_future"),
    Case("C30f", finished(None), finish=None),
    Case(
        "C31",
        sse(A, chunk(STOP | {"native_finish_reason": "end"}, provider="P"), LAST, DONE),
    ),
    Case(
        "C32",
        sse(
            chunk(delta(role="assistant"), x_groq={"id": "r"}),
            A,
            chunk(STOP, x_groq={"usage": USAGE}),
            DONE,
        ),
    ),
    Case("C33", sse(chunk(prompt_filter_results=[{}]), *GOOD), events=4),
    Case("C34", around(chunk(delta(content="b") | {"content_filter_results": {}})), events=3),
    Case("C35", sse(A, chunk(STOP, timings={"predicted_n": 2}), LAST, DONE)),
    Case("C36", sse(A, chunk(STOP, usage=USAGE, p="abcd"), DONE)),
    Case("C37", sse(A, chunk(STOP), chunk(usage=USAGE | {"cost": 0.5}), DONE), usage=None),
    Case("U04", sse(A, chunk(STOP), DONE), usage=None, is_estimated=True),
    Case(
        "U26",
        around(last=chunk(usage={"prompt_tokens": 9, "completion_tokens": 0})),
        usage=TokenUsage(9, 0, 0, 1, is_estimated=True),
        is_estimated=True,
    ),
    Case(
        "E43",
        sse(A, chunk(delta(content="", finish="error"), error={"code": 502, "message": "x"})),
        finish=None,
        usage=None,
        state=FAILED,
    ),
    Case(
        "E44",
        sse(A, chunk(delta(finish="error"), error={"code": "server_error", "message": "x"})),
        finish=None,
        usage=None,
        state=FAILED,
    ),
)


def judged(case: Case, played: Played) -> None:
    assert played.state is case.state
    assert played.finish_reason == case.finish
    if case.usage is not None:
        assert played.final_usage == case.usage
    if case.state is FAILED:
        assert b"[DONE]" not in played.sent
        assert played.sent.endswith(b"data: <error>\n\n")
        return
    assert played.final_usage.is_estimated is case.is_estimated
    assert played.sent.endswith(b"data: [DONE]\n\n")
    if case.events is not None:
        assert len(played.events) == case.events + 1
    given = {json.dumps(json.loads(row)) for row in rows_of(case.data)}
    for event in played.events[:-1]:
        assert json.dumps(json.loads(event.replace(b"\ndata: ", b"\n"))) in given


def rows_of(data: bytes) -> list[bytes]:
    return [row for row in SseDecoder().feed(data) if row.startswith(b"{")]


@pytest.mark.parametrize("case", CASES, ids=[case.code for case in CASES])
def test_a_stream_of_this_shape(case: Case) -> None:
    whole = play([case.data], choice_count=case.choice_count)
    judged(case, whole)
    bytewise = [case.data[at : at + 1] for at in range(len(case.data))]
    again = play(bytewise, choice_count=case.choice_count)
    assert (again.sent, again.final_usage) == (whole.sent, whole.final_usage)


@pytest.mark.parametrize("case", CASES[:12], ids=[case.code for case in CASES[:12]])
def test_a_frame_cut_anywhere(case: Case) -> None:
    whole = play([case.data])
    for at in range(1, len(case.data)):
        cut = play([case.data[:at], case.data[at:]])
        assert (cut.sent, cut.final_usage) == (whole.sent, whole.final_usage)


def test_c32_an_error_of_groq_is_a_failure() -> None:
    assert decode_chunk(chunk(x_groq={"error": {"message": "x"}}).encode()).failure is not None


@pytest.mark.parametrize("code", ["F04"])
def test_blank_lines_before_a_body(code: str) -> None:
    assert code
    message = {"role": "assistant", "content": "a"}
    row = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"id": "c", "choices": [row], "usage": USAGE}).encode()
    answer = decode_answer(b"\n\n  \r\n" + body)
    assert answer.usage == TokenUsage(9, 0, 0, 2)


@pytest.mark.parametrize("code", ["F13"])
def test_a_whole_answer_to_a_stream_becomes_one(code: str) -> None:
    assert code
    calls = [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": "a", "tool_calls": calls}
    row = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    body = json.dumps({"id": "c", "choices": [row], "usage": USAGE}).encode()
    played = play([b"".join(map(encode_event, answer_as_events(body)))])
    assert played.finish_reason == "tool_calls"
    assert played.final_usage == TokenUsage(9, 0, 0, 2)


# ---------------------------------------------------------------- usage


USAGES: tuple[tuple[str, dict[str, Any], TokenUsage], ...] = (
    (
        "U01",
        USAGE
        | {
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        TokenUsage(9, 4, 0, 2, 1),
    ),
    ("U02", USAGE, TokenUsage(9, 0, 0, 2)),
    (
        "U03",
        USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None},
        TokenUsage(9, 0, 0, 2),
    ),
    ("U05", USAGE | {"prompt_tokens_details": {"cached_tokens": 9}}, TokenUsage(9, 9, 0, 2)),
    ("U06", USAGE | {"prompt_tokens_details": {"cached_tokens": 90}}, TokenUsage(9, 9, 0, 2)),
    (
        "U09",
        USAGE | {"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 5}},
        TokenUsage(9, 2, 5, 2),
    ),
    (
        "U11",
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5, "completion_tokens": 2},
        TokenUsage(9, 4, 0, 2),
    ),
    (
        "U12",
        USAGE | {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 50},
        TokenUsage(9, 4, 0, 2),
    ),
    (
        "U13",
        USAGE | {"completion_tokens_details": {"reasoning_tokens": 2}},
        TokenUsage(9, 0, 0, 2, 2),
    ),
    (
        "U14",
        USAGE | {"completion_tokens_details": {"rejected_prediction_tokens": 1}},
        TokenUsage(9, 0, 0, 2),
    ),
    ("U15", USAGE | {"prompt_tokens_details": {"image_tokens": 3}}, TokenUsage(9, 0, 0, 2)),
    (
        "U16",
        USAGE | {"cost": 0.000012, "cost_details": {"upstream_inference_cost": 0.000012}},
        TokenUsage(9, 0, 0, 2, reported_cost_pico=12_000_000),
    ),
    (
        "U17",
        USAGE | {"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}},
        TokenUsage(9, 0, 0, 2, reported_cost_pico=0),
    ),
    ("U21", USAGE | {"queue_time": 0.1, "total_time": 0.2}, TokenUsage(9, 0, 0, 2)),
    ("U22", USAGE | {"prompt_audio_seconds": 3}, TokenUsage(9, 0, 0, 2)),
    ("U23", {"prompt_eval_count": 9, "eval_count": 2}, TokenUsage(9, 0, 0, 2)),
    (
        "U25",
        USAGE | {"server_tool_use_details": {"tool_calls_executed": 1}},
        TokenUsage(9, 0, 0, 2),
    ),
    ("U27", USAGE | {"total_tokens": 999}, TokenUsage(9, 0, 0, 990, is_estimated=True)),
    ("U27", USAGE | {"total_tokens": 3}, TokenUsage(9, 0, 0, 2)),
)


@pytest.mark.parametrize(("code", "usage", "expected"), USAGES, ids=[row[0] for row in USAGES])
def test_usage_of_this_shape(code: str, usage: dict[str, Any], expected: TokenUsage) -> None:
    assert code.startswith("U")
    played = play([around(last=chunk(usage=usage))])
    assert played.final_usage == expected
    message = {"role": "assistant", "content": "a"}
    row = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = decode_answer(json.dumps({"choices": [row], "usage": usage}).encode())
    assert whole.final_usage(1) == expected


@pytest.mark.parametrize(
    ("code", "text", "pico"),
    [
        ("U18", "1.2345678901e-5", 12_345_679),
        ("U18", "0.00001234567890123", 12_345_679),
        ("U18", "1E-12", 1),
        ("U29", "-1", -1),
        ("U29", '"many"', -1),
        ("U29", "null", -1),
    ],
)
def test_a_reported_cost_is_read_as_a_decimal(code: str, text: str, pico: int) -> None:
    assert code
    payload = chunk(usage=USAGE).replace('"total_tokens": 11', f'"cost": {text}').encode()
    usage = decode_chunk(payload).usage
    assert usage is not None
    assert usage.reported_cost_pico == pico


def test_u28_nothing_said_and_nothing_meant_costs_nothing() -> None:
    played = play([sse(chunk(delta(content="")), DONE)])
    assert played.final_usage == TokenUsage()

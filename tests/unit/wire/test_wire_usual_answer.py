"""The short way for usual answers says the same as the long way for any."""

import json
from typing import Any

import pytest

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_answer import named_answer, read_answer
from jusinfer.wire.upstream.usual_answer import read_usual, write_usual

IDENT = AnswerIdent("c" * 32, 1_790_000_000, "public/model")
MESSAGE: dict[str, Any] = {"role": "assistant", "content": 'He said "é" \\ \u2028 and <b>.\n'}
CHOICE: dict[str, Any] = {"index": 0, "message": MESSAGE, "finish_reason": "stop"}
USUAL: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_780_000_000,
    "model": "gpt-x",
    "choices": [CHOICE],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}


def usage(**more: int) -> dict[str, Any]:
    return {"usage": USUAL["usage"] | more}


def choice(**more: Any) -> dict[str, Any]:
    return {"choices": [CHOICE | more]}


def message(**more: Any) -> dict[str, Any]:
    return choice(message=MESSAGE | more)


SAME = [
    {},
    {"system_fingerprint": "fp_1"},
    {"system_fingerprint": None},
    choice(logprobs=None),
    choice(finish_reason="length"),
    message(refusal=None),
    message(reasoning=None),
    message(annotations=[]),
    choice(native_finish_reason="STOP"),
    {"service_tier": "default"},
    {"provider": "Somebody"},
    usage(prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 0}),
    usage(completion_tokens_details={"reasoning_tokens": 0, "accepted_prediction_tokens": 0}),
    usage(prompt_cache_hit_tokens=0, prompt_cache_miss_tokens=9),
    usage(queue_time=0.1),
    {"model": 'odd "name"'},
]
OTHERS = [
    {"x": 1},
    {"object": "other"},
    {"created": 0},
    {"created": 1.5},
    {"created": "1"},
    {"model": ""},
    {"id": 7},
    {"choices": []},
    {"choices": [CHOICE, CHOICE]},
    choice(index=1),
    choice(finish_reason="tool_calls"),
    choice(finish_reason=None),
    choice(logprobs={"content": []}),
    message(content=""),
    message(content=None),
    message(content=["a"]),
    message(content=6),
    message(reasoning_content="I think."),
    message(tool_calls=[]),
    message(role="user"),
    message(annotations=[{"type": "url_citation"}]),
    message(reasoning="I think."),
    choice(native_finish_reason=7),
    {"provider": 7},
    usage(prompt_tokens=0),
    usage(completion_tokens=0),
    usage(total_tokens=14),
    usage(prompt_tokens=-9),
    usage(reasoning_tokens=1),
    {"usage": None},
    {"error": {"message": "no"}},
]


@pytest.mark.parametrize("changes", SAME, ids=range(len(SAME)))
@pytest.mark.parametrize("is_spaced", [False, True])
def test_the_short_way_reads_and_writes_what_the_long_way_does(
    changes: dict[str, Any], *, is_spaced: bool
) -> None:
    spaces = (", ", ": ") if is_spaced else (",", ":")
    body = json.dumps(USUAL | changes, separators=spaces, ensure_ascii=False).encode()
    short = read_usual(body)
    assert short is not None
    # A member that nobody knows sends the same answer the long way.
    long, strict = read_answer(json.dumps(USUAL | changes | {"x": 1}).encode())
    assert long.failure is None
    assert short.final_usage(5) == long.final_usage(5) == TokenUsage(9, 0, 0, 4)
    assert (short.finish_reason, short.has_content) == (long.finish_reason, long.has_content)
    written = write_usual(body, IDENT, TokenUsage(9, 0, 0, 4), "0.000017")
    assert written is not None
    expected = json.loads(named_answer(strict, IDENT, TokenUsage(9, 0, 0, 4), "0.000017"))
    made = json.loads(written)
    del expected["x"]
    for one in (made, expected):
        for name in ("logprobs", "refusal"):
            one["choices"][0].pop(name, None)
            one["choices"][0]["message"].pop(name, None)
    assert made == expected


@pytest.mark.parametrize("changes", OTHERS, ids=range(len(OTHERS)))
def test_any_other_answer_goes_the_long_way(changes: dict[str, Any]) -> None:
    assert read_usual(json.dumps(USUAL | changes).encode()) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"id":' + b"[" * 5_000, b"\xff"])
def test_what_is_no_answer_goes_the_long_way(body: bytes) -> None:
    assert read_usual(body) is None
    assert write_usual(body, IDENT, TokenUsage(9, 0, 0, 4), "0") is None


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 1}}, TokenUsage(9, 1, 0, 4)),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, TokenUsage(9, 0, 0, 4, 2)),
        ({"prompt_cache_hit_tokens": 5}, TokenUsage(9, 5, 0, 4)),
        ({"cost": 0.5}, TokenUsage(9, 0, 0, 4, reported_cost_pico=500_000_000_000)),
    ],
)
def test_usage_that_has_more_to_say_is_charged_and_shown_the_same(
    said: dict[str, Any], counted: TokenUsage
) -> None:
    body = json.dumps(USUAL | usage(**said)).encode()
    short = read_usual(body)
    long, strict = read_answer(json.dumps(USUAL | usage(**said) | {"x": 1}).encode())
    assert short is not None
    assert short.final_usage(5) == long.final_usage(5) == counted
    written = write_usual(body, IDENT, counted, "0.1")
    assert written is not None
    assert (
        json.loads(written)["usage"]
        == json.loads(named_answer(strict, IDENT, counted, "0.1"))["usage"]
    )


def test_an_estimate_is_shown_as_one() -> None:
    said = TokenUsage(9, 0, 0, 4, is_estimated=True)
    written = write_usual(json.dumps(USUAL).encode(), IDENT, said, "0")
    assert written is not None
    assert json.loads(written)["usage"]["is_estimated"] is True

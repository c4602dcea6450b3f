"""Streams that break, by the ids of the conformance corpus: no end is ever made up."""

import pytest
from tests.playbook.script import (
    DONE,
    PROMPT_TOKENS_ESTIMATE,
    ROLE,
    STOP,
    USAGE,
    chunk,
    play,
    stream,
    text,
)

from jusinfer.domain.inference.stream_state import AttemptState
from jusinfer.domain.usage import TokenUsage

TOKENS = [text(f" t{number}") for number in range(40)]
A = text("a")
B = text("b")
TORN = stream(A) + b'data: {"choices":[{"delta":{"conte'
FAILED = AttemptState.FAILED
COMPLETED = AttemptState.COMPLETED


@pytest.mark.parametrize("ending", ["end", "cut"], ids=["B01", "B02"])
def test_b01_b02_a_cut_amid_tokens_ends_in_one_error_event(ending: str) -> None:
    played = play([stream(ROLE, *TOKENS)], ending=ending)
    assert (played.state, played.code) == (FAILED, "upstream_cut")
    assert played.events[:-1] == [event.encode() for event in (ROLE, *TOKENS)]
    assert played.events[-1] == b"<error>"
    assert played.final_usage == TokenUsage(
        prompt_tokens=PROMPT_TOKENS_ESTIMATE, completion_tokens=40, is_estimated=True
    )


def test_b03_the_death_of_an_upstream_is_no_normal_end() -> None:
    for ending in ("end", "cut"):
        assert b"[DONE]" not in play([stream(A)], ending=ending, wants_usage=True).sent


@pytest.mark.parametrize(("ending", "code"), [("end", "empty_answer"), ("cut", "upstream_cut")])
def test_b05_nothing_at_all_may_be_tried_elsewhere(ending: str, code: str) -> None:
    played = play([], ending=ending)
    assert (played.sent, played.code, played.has_sent_content) == (b"", code, False)
    assert played.final_usage == TokenUsage()


@pytest.mark.parametrize(("ending", "code"), [("end", "empty_answer"), ("cut", "upstream_cut")])
def test_b06_a_role_alone_has_not_been_sent(ending: str, code: str) -> None:
    played = play([stream(ROLE)], ending=ending)
    assert (played.sent, played.code, played.has_sent_content) == (b"", code, False)


@pytest.mark.parametrize("ending", ["end", "cut"])
def test_b10_a_chunk_cut_in_its_middle_is_a_cut(ending: str) -> None:
    played = play([TORN], ending=ending)
    assert (played.state, played.code) == (FAILED, "upstream_cut")
    assert played.events == [A.encode(), b"<error>"]


def test_b10_after_the_finish_a_torn_chunk_takes_nothing_away() -> None:
    played = play([stream(A, STOP) + b'data: {"choices":[],"usa'])
    assert played.state is COMPLETED
    assert played.events[-1] == b"[DONE]"


def test_b11_b12_a_short_body_after_the_finish_was_whole() -> None:
    assert play([stream(A, STOP)], ending="cut").state is COMPLETED


def test_b13_the_end_mark_is_enough() -> None:
    assert play([stream(A, DONE)]).state is COMPLETED


def test_b14_comments_alone_are_nothing() -> None:
    played = play([b": x\n\n" * 50])
    assert (played.sent, played.code) == (b"", "empty_answer")


def test_b15_a_role_and_the_end_mark_are_nothing() -> None:
    played = play([stream(ROLE, DONE)], wants_usage=True)
    assert (played.sent, played.state, played.code) == (b"", FAILED, "empty_answer")
    assert played.final_usage == TokenUsage()


def test_b16_content_after_the_finish_is_passed_on() -> None:
    played = play([stream(A, STOP, B, DONE)])
    assert [event.decode() for event in played.events] == [A, STOP, B, DONE]


def test_b17_nothing_follows_the_end_mark() -> None:
    played = play([stream(A, STOP, DONE, B), stream(B, DONE)])
    assert [event.decode() for event in played.events] == [A, STOP, DONE]


def test_b18_nothing_follows_an_error() -> None:
    played = play([stream(A, '{"error":{"message":"m"}}', B), stream(B, DONE)])
    assert [event.decode() for event in played.events] == [A, "<error>"]


def test_b19_reported_usage_outlives_the_cut() -> None:
    finished = play([stream(A, STOP, USAGE)], ending="cut", wants_usage=True)
    assert finished.state is COMPLETED
    assert finished.final_usage == TokenUsage(prompt_tokens=9, completion_tokens=2)
    assert finished.events[-2:] == [b"<usage>", b"[DONE]"]
    unfinished = play([stream(A, USAGE)], ending="cut")
    assert (unfinished.state, unfinished.code) == (FAILED, "upstream_cut")
    assert unfinished.final_usage == TokenUsage(prompt_tokens=9, completion_tokens=2)


@pytest.mark.parametrize("usage", ["", ',"usage":null', ',"usage":{}'])
def test_b20_u04_missing_usage_is_estimated(usage: str) -> None:
    last = chunk("{}", '"stop"', more=usage)
    played = play([stream(A, B, last, DONE)])
    assert played.final_usage == TokenUsage(
        prompt_tokens=PROMPT_TOKENS_ESTIMATE, completion_tokens=2, is_estimated=True
    )


def test_u26_a_count_of_zero_for_an_answer_is_not_believed() -> None:
    zero = USAGE.replace('"completion_tokens":2', '"completion_tokens":0')
    played = play([stream(A, B, STOP, zero, DONE)])
    assert played.final_usage == TokenUsage(prompt_tokens=9, completion_tokens=2, is_estimated=True)


def test_u28_nothing_produced_costs_nothing() -> None:
    zero = '{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}'
    assert play([stream(ROLE, zero, DONE)]).final_usage == TokenUsage()


@pytest.mark.parametrize("garbage", ["not json", "null", "12", "[]", '"text"', '{"a":1}}'])
def test_garbage_amid_a_stream_fails_it(garbage: str) -> None:
    before = play([stream(ROLE, garbage, A, DONE)])
    assert (before.sent, before.code) == (b"", "malformed_stream")
    after = play([stream(A, garbage, B, DONE)])
    assert (after.events, after.code) == ([A.encode(), b"<error>"], "malformed_stream")


def test_an_event_without_end_is_a_cut() -> None:
    endless = b'data: {"choices":"' + b"x" * (5 * 1024 * 1024)
    assert play([stream(A), endless, stream(B)]).code == "upstream_cut"


def test_depth_without_end_is_garbage() -> None:
    deep = b'{"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert play([stream(A, deep)]).code == "malformed_stream"

from collections.abc import Callable

import pytest

from jusinfer.domain.inference.stream_state import (
    HELD_BYTES_MAX,
    HELD_EVENTS_MAX,
    AttemptState,
    Chunk,
    ChunkMalformed,
    Deadlines,
    StreamAttempt,
    TimeoutCheck,
    UpstreamFailure,
    estimate_completion_tokens,
    frame_events,
    usage_to_charge,
)
from jusinfer.domain.usage import TokenUsage

FAILURE = UpstreamFailure(code="upstream_error", message="SECRET WORDS", status=502)
USAGE = TokenUsage(prompt_tokens=3, completion_tokens=1)


def decode(payload: bytes) -> Chunk:
    """Read a provider API of one word: what the event is."""
    word, _, _ = payload.strip().partition(b" ")
    made: dict[bytes, Callable[[], Chunk]] = {
        b"role": Chunk,
        b"text": lambda: Chunk(has_content=True, content_bytes=4),
        b"stop": lambda: Chunk(finish_reason="stop", finished_choices=(0,)),
        b"stop1": lambda: Chunk(finish_reason="length", finished_choices=(1,)),
        b"usage": lambda: Chunk(usage=USAGE, raw_usage=b"{}", is_usage_only=True),
        b"fail": lambda: Chunk(failure=FAILURE, usage=USAGE, raw_usage=b"{}"),
    }
    if word not in made:
        raise ChunkMalformed
    return made[word]()


class Render:
    def usage_event(self, machine: StreamAttempt) -> bytes:
        assert machine.state is AttemptState.COMPLETED
        return b"<usage>"

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        assert machine.state is AttemptState.FAILED
        assert machine.failure is failure
        return b"<error>"


def attempt(*, wants_usage: bool = False, choice_count: int = 1) -> StreamAttempt:
    return StreamAttempt(
        decode,
        Render(),
        wants_usage=wants_usage,
        choice_count=choice_count,
        deadlines=Deadlines(
            first_event_seconds=30.0,
            between_events_seconds=20.0,
            total_seconds=100.0,
            keep_alive_seconds=15.0,
        ),
        now=0.0,
    )


def fed(machine: StreamAttempt, *words: str, now: float = 1.0) -> bytes:
    return machine.feed([word.encode() for word in words], now)


def test_nothing_is_sent_before_content() -> None:
    machine = attempt()
    assert machine.state is AttemptState.WAITING
    assert fed(machine, "role", "role 2") == b""
    assert machine.state is AttemptState.HOLDING
    assert not machine.has_sent_content
    assert fed(machine, "text 1") == b"data: role\n\ndata: role 2\n\ndata: text 1\n\n"
    assert machine.state is AttemptState.RELAYING
    assert machine.has_sent_content
    assert fed(machine, "text 2") == b"data: text 2\n\n"
    assert (machine.content_event_count, machine.content_bytes) == (2, 8)


def test_an_event_of_several_lines_is_framed_anew() -> None:
    assert frame_events([b"a\nb", b"c"]) == b"data: a\ndata: b\n\ndata: c\n\n"


def test_events_held_are_bounded_by_count() -> None:
    machine = attempt()
    assert fed(machine, *["role"] * HELD_EVENTS_MAX) == b""
    assert fed(machine, "role") == b"data: role\n\n" * (HELD_EVENTS_MAX + 1)
    assert machine.has_sent_content
    assert fed(machine, "[DONE]") == b"<error>"


def test_events_held_are_bounded_by_bytes() -> None:
    machine = attempt()
    large = "role " + "x" * (HELD_BYTES_MAX // 2)
    assert fed(machine, large) == b""
    assert fed(machine, large).startswith(b"data: role ")
    assert machine.state is AttemptState.RELAYING


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_good_end(wants_usage: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    machine = attempt(wants_usage=wants_usage)
    out = fed(machine, "text", "stop", "usage", "[DONE]")
    tail = b"<usage>data: [DONE]\n\n" if wants_usage else b"data: [DONE]\n\n"
    assert out == b"data: text\n\ndata: stop\n\n" + tail
    assert (machine.state, machine.is_over) == (AttemptState.COMPLETED, True)
    assert (machine.finish_reason, machine.usage) == ("stop", USAGE)


@pytest.mark.parametrize("words", [("text", "stop", "[DONE]"), ("text", "fail")])
def test_nothing_comes_after_the_end(words: tuple[str, ...]) -> None:
    machine = attempt()
    fed(machine, *words)
    state = machine.state
    assert fed(machine, "text", "fail", "[DONE]") == b""
    assert machine.end(2.0) == b""
    assert machine.cut() == b""
    assert machine.tick(9_999.0) is TimeoutCheck.WAIT
    assert machine.state is state


def test_a_finish_without_content_is_a_good_end() -> None:
    machine = attempt()
    assert fed(machine, "role", "stop", "[DONE]").endswith(b"data: stop\n\ndata: [DONE]\n\n")
    assert machine.final_usage(7) == TokenUsage(prompt_tokens=7, is_estimated=True)


@pytest.mark.parametrize("ending", ["end", "cut"])
def test_an_end_of_the_body_after_the_finish(ending: str) -> None:
    machine = attempt()
    assert fed(machine, "stop") == b""
    out = machine.end(2.0) if ending == "end" else machine.cut()
    assert out == b"data: stop\n\ndata: [DONE]\n\n"
    machine = attempt()
    fed(machine, "text", "stop")
    assert (machine.end(2.0) if ending == "end" else machine.cut()) == b"data: [DONE]\n\n"


def test_every_choice_must_finish() -> None:
    machine = attempt(choice_count=2)
    fed(machine, "text", "stop", "stop")
    assert machine.cut() == b"<error>"
    machine = attempt(choice_count=2)
    fed(machine, "text", "stop", "stop1", "stop1")
    assert machine.cut() == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("words", "ending", "code"),
    [
        ((), "end", "empty_answer"),
        ((), "cut", "upstream_cut"),
        (("role",), "end", "empty_answer"),
        (("[DONE]",), "", "empty_answer"),
        (("role", "usage", "[DONE]"), "", "empty_answer"),
        (("role", "fail"), "", "upstream_error"),
        (("role", "garbage"), "", "malformed_stream"),
    ],
)
def test_failing_before_content_leaves_nothing_sent(
    words: tuple[str, ...], ending: str, code: str
) -> None:
    machine = attempt(wants_usage=True)
    out = fed(machine, *words)
    if ending:
        out += machine.end(2.0) if ending == "end" else machine.cut()
    assert out == b""
    assert not machine.has_sent_content
    assert machine.failure is not None
    assert machine.failure.code == code


@pytest.mark.parametrize(
    ("words", "ending", "code"),
    [
        (("text",), "end", "upstream_cut"),
        (("text",), "cut", "upstream_cut"),
        (("text", "fail", "text"), "", "upstream_error"),
        (("text", "garbage", "text"), "", "malformed_stream"),
    ],
)
def test_failing_after_content_sends_one_error_event(
    words: tuple[str, ...], ending: str, code: str
) -> None:
    machine = attempt(wants_usage=True)
    out = fed(machine, *words)
    if ending:
        out += machine.end(2.0) if ending == "end" else machine.cut()
    assert out == b"data: text\n\n<error>"
    assert machine.failure is not None
    assert machine.failure.code == code


def test_the_usage_of_a_failing_event_is_kept() -> None:
    machine = attempt()
    fed(machine, "text", "fail")
    assert machine.usage == USAGE


def test_the_end_mark_may_have_blanks_before_it() -> None:
    machine = attempt()
    assert fed(machine, "text", " [DONE]").endswith(b"data: [DONE]\n\n")
    assert machine.state is AttemptState.COMPLETED


def test_the_first_event_with_content_names_the_stream() -> None:
    machine = attempt()
    fed(machine, "role")
    assert machine.first_payload == b"role"
    fed(machine, "text 1", "text 2")
    assert machine.first_payload == b"text 1"


def test_usage_without_content_is_what_was_reported() -> None:
    machine = attempt()
    fed(machine, "usage")
    assert machine.final_usage(7) == USAGE
    assert attempt().final_usage(7) == TokenUsage()


@pytest.mark.parametrize(
    ("words", "fed_at", "now", "verdict"),
    [
        ((), 0.0, 15.0, TimeoutCheck.WAIT),
        ((), 0.0, 15.1, TimeoutCheck.KEEP_ALIVE),
        ((), 0.0, 30.1, TimeoutCheck.FIRST_EVENT_TIMEOUT),
        (("role",), 29.0, 31.0, TimeoutCheck.KEEP_ALIVE),
        (("role",), 29.0, 49.1, TimeoutCheck.STALLED),
        (("text",), 29.0, 44.0, TimeoutCheck.WAIT),
        (("text",), 29.0, 44.1, TimeoutCheck.KEEP_ALIVE),
        (("text",), 29.0, 49.1, TimeoutCheck.STALLED),
        (("text",), 99.0, 100.1, TimeoutCheck.TOTAL_TIMEOUT),
        ((), 0.0, 100.1, TimeoutCheck.TOTAL_TIMEOUT),
    ],
)
def test_deadlines(
    words: tuple[str, ...], fed_at: float, now: float, verdict: TimeoutCheck
) -> None:
    machine = attempt()
    fed(machine, *words, now=fed_at)
    assert machine.tick(now) is verdict


def test_a_keep_alive_counts_as_sent() -> None:
    machine = attempt()
    assert machine.tick(16.0) is TimeoutCheck.KEEP_ALIVE
    assert machine.tick(17.0) is TimeoutCheck.WAIT


def test_b09_reads_without_events_are_no_progress() -> None:
    machine = attempt()
    for second in range(31):
        fed(machine, now=float(second))
    assert machine.tick(31.0) is TimeoutCheck.FIRST_EVENT_TIMEOUT


@pytest.mark.parametrize(
    ("events", "size", "tokens"),
    [(0, 0, 0), (10, 40, 10), (10, 120, 10), (10, 121, 31), (0, 1, 1), (0, 8, 2)],
)
def test_completion_tokens_are_counted(events: int, size: int, tokens: int) -> None:
    assert estimate_completion_tokens(events, size) == tokens


@pytest.mark.parametrize(
    ("reported", "has_content", "charged"),
    [
        (None, True, TokenUsage(prompt_tokens=50, completion_tokens=5, is_estimated=True)),
        (None, False, TokenUsage(prompt_tokens=50, is_estimated=True)),
        (TokenUsage(), False, TokenUsage()),
        (USAGE, True, USAGE),
        (USAGE, False, USAGE),
        (
            TokenUsage(prompt_tokens=9, cached_prompt_tokens=4),
            True,
            TokenUsage(
                prompt_tokens=9, cached_prompt_tokens=4, completion_tokens=5, is_estimated=True
            ),
        ),
        (
            TokenUsage(completion_tokens=7),
            True,
            TokenUsage(prompt_tokens=50, completion_tokens=7, is_estimated=True),
        ),
        (
            TokenUsage(prompt_tokens=9, cached_prompt_tokens=12, completion_tokens=1),
            True,
            TokenUsage(prompt_tokens=9, cached_prompt_tokens=9, completion_tokens=1),
        ),
    ],
)
def test_usage_to_charge(
    reported: TokenUsage | None,
    has_content: bool,  # noqa: FBT001 (a parameter of the test)
    charged: TokenUsage,
) -> None:
    found = usage_to_charge(
        reported, has_content=has_content, prompt_tokens=50, completion_tokens=5
    )
    assert found == charged


def test_a_failure_does_not_show_the_upstreams_words() -> None:
    assert "SECRET" not in repr(FAILURE)
    assert "SECRET" not in str(FAILURE)
    assert "upstream_error" in repr(FAILURE)


def told(*words: str) -> list[str]:
    """Feed words at once to a machine whose writer keeps a state; gives what it was asked for."""
    order: list[str] = []

    class Writer:
        def usage_event(self, machine: StreamAttempt) -> bytes:
            assert machine.state is AttemptState.COMPLETED
            order.append("finish")
            return b""

        def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
            assert machine.failure is failure
            order.append("fail")
            return b""

    def frame(payloads: list[bytes]) -> bytes:
        order.extend(payload.decode() for payload in payloads)
        return b""

    machine = StreamAttempt(
        decode,
        Writer(),
        wants_usage=True,
        choice_count=1,
        deadlines=Deadlines(30.0, 20.0, 100.0, 15.0),
        now=0.0,
        frame=frame,
    )
    fed(machine, *words)
    if not machine.is_over:
        machine.cut()
    return order


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("text", "stop", "[DONE]"), ["text", "stop", "finish"]),
        (("stop", "[DONE]"), ["stop", "finish"]),
        (("stop",), ["stop", "finish"]),
        (("text", "fail"), ["text", "fail"]),
        (("text", "gibberish"), ["text", "fail"]),
        (("text",), ["text", "fail"]),
        (("role", "fail"), []),
    ],
)
def test_a_writer_sees_every_event_before_it_is_asked_to_end(
    words: tuple[str, ...], order: list[str]
) -> None:
    assert told(*words) == order

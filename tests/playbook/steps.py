"""What can happen in the world of a request, for the right side of `>>`."""

from collections.abc import Callable

from tests.playbook import script
from tests.playbook.world import USAGE, Permits, Playbook

from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.domain.usage import TokenUsage

Step = Callable[[Playbook], object]


class Answer:
    """A whole answer that is good."""

    finish_reason: str | None

    def __init__(self, finish_reason: str = "stop", usage: TokenUsage = USAGE) -> None:
        self.finish_reason = finish_reason
        self._usage = usage

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        assert prompt_tokens_estimate > 0
        return self._usage


def arrives(world: Playbook) -> None:
    """A known key sends the request."""
    world.pending.authenticated(world.principal)


def is_large(world: Playbook) -> None:
    """The request is so large that it is read and written beside the loop."""
    world.is_large = True


def is_read(world: Playbook) -> None:
    """A large request has been read."""
    world.pending.request_read(world.planned.asked)


def is_written(index: int = 0) -> Step:
    """A large request has been written for a route."""

    def step(world: Playbook) -> None:
        if not world.request.is_over:
            world.request.attempt_sent(world.send(index))

    return step


def begins(number: int = -1) -> Step:
    """A provider sends its head."""
    return lambda world: world.request.response_started(world.attempts[number])


def answers(answer: Answer | None = None, number: int = -1, *, is_unwritable: bool = False) -> Step:
    """A provider answers whole."""

    def step(world: Playbook) -> None:
        attempt = world.attempts[number]
        assert attempt.is_heard
        attempt.is_unwritable = is_unwritable
        world.request.response_started(attempt)
        world.request.answer_received(attempt, answer or Answer(), [])

    return step


def streams(*payloads: str, number: int = -1) -> Step:
    """A provider sends events."""

    def step(world: Playbook) -> None:
        attempt = world.attempts[number]
        assert attempt.is_heard
        stream = attempt.stream
        assert stream is not None
        out = stream.feed(attempt.sse.feed(script.stream(*payloads)), world.now())
        if stream.is_over:
            world.request.stream_ended(attempt, out)
        elif out:
            world.request.stream_data(out)

    return step


def breaks(number: int = -1, *, is_reused: bool = False) -> Step:
    """The connection to a provider breaks."""

    def step(world: Playbook) -> None:
        attempt = world.attempts[number]
        assert attempt.is_heard
        attempt.is_heard = False
        if attempt.stream is not None and attempt.stream.has_sent_content:
            world.request.stream_ended(attempt, attempt.stream.cut())
            return
        cut = UpstreamFailure(code="upstream_lost", message="", status=502, is_cut=True)
        world.request.attempt_failed(attempt, cut, is_reused=is_reused)

    return step


def fails(status: int = 500, number: int = -1, **more: object) -> Step:
    """A provider answers with an error status."""

    def step(world: Playbook) -> None:
        attempt = world.attempts[number]
        assert attempt.is_heard
        attempt.is_heard = False
        failure = UpstreamFailure(code="upstream_error", message="", status=status, **more)  # type: ignore[arg-type]
        world.request.response_started(attempt)
        world.request.attempt_failed(attempt, failure)

    return step


def passes(seconds: float) -> Step:
    """Time passes."""
    return lambda world: world.pass_time(seconds)


def leaves(world: Playbook) -> None:
    """The client leaves."""
    (world.request if world.is_admitted else world.pending).client_gone()


def stops(world: Playbook) -> None:
    """The gateway is stopped."""
    world.request.stop()


def gets_limits(world: Playbook) -> None:
    """The database grants limits."""
    world.pending.limits_acquired(Permits(world))


def gets_credit(available_nano: int | None = None, *, is_here: bool = True) -> Step:
    """The database lends credit, or says what is available."""

    def step(world: Playbook) -> None:
        world.is_credit_here = is_here
        world.pending.credit_fetched(available_nano)

    return step


def without(name: str) -> Step:
    """Something is not there: `credit_here`, `limits_here`, `rate_left` or `journal_open`."""

    def step(world: Playbook) -> None:
        prefix = "are" if name.startswith("limits") else "is"
        assert hasattr(world, f"{prefix}_{name}")
        setattr(world, f"{prefix}_{name}", False)

    return step

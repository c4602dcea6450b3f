"""Two attempts at once: the first that is answered goes on, the other is stopped at our expense.

Only before the first byte, only for requests without tools, and only within a budget.
"""

from typing import Protocol

from jusinfer.domain.health import Way
from jusinfer.domain.stream import StreamAttempt, UpstreamFailure
from jusinfer.gateway.relay import PlainAttempt, Story, StreamedAttempt
from jusinfer.gateway.speech import Speech
from jusinfer.wire.openai_chat import Answer
from jusinfer.wire.pivot import SurfaceStream

Attempt = PlainAttempt | StreamedAttempt


class Owner(Story, Protocol):
    """The completion that two attempts race for."""

    def adopt(self, rival: "Rival") -> None:
        """Go on with one of the two."""
        ...

    def drop(self, rival: "Rival", failure: UpstreamFailure | None) -> None:
        """Stop one of the two; `failure` says why it fell out by itself."""
        ...


class Rival:
    """One of two attempts, with what the completion must know to go on with it."""

    __slots__ = ("_other", "_owner", "attempt", "index", "speech", "way", "writer")

    def __init__(
        self,
        owner: Owner,
        attempt: Attempt,
        index: int,
        way: Way | None,
        speech: Speech,
        writer: SurfaceStream | None,
    ) -> None:
        self._owner = owner
        self._other: Rival | None = None
        self.attempt = attempt
        self.index = index
        self.way = way
        self.speech = speech
        self.writer = writer
        attempt.retell(self)

    def race(self, other: "Rival") -> None:
        """Let two attempts race."""
        self._other = other
        other._other = self  # noqa: SLF001 (of its own kind)

    def _win(self) -> None:
        other, self._other = self._other, None
        self._owner.adopt(self)
        if other is not None:
            other._other = None  # noqa: SLF001
            self._owner.drop(other, None)

    # ------------------------------------------------------------------ what an attempt tells

    def first_byte(self) -> None:
        """An upstream answers: this one goes on if its answer is good, so the other stops."""
        self._win()
        self._owner.first_byte()

    def attempt_failed(self, failure: UpstreamFailure, *, is_reused: bool) -> None:
        """Leave it to the other, if there still is one."""
        other, self._other = self._other, None
        if other is None:
            self._owner.attempt_failed(failure, is_reused=is_reused)
            return
        other._other = None  # noqa: SLF001
        self._owner.adopt(other)
        self._owner.drop(self, failure)

    def relay(self, data: bytes) -> None:
        """Pass on."""
        self._owner.relay(data)

    def stream_ended(self, last: bytes) -> None:
        """Pass on."""
        self._owner.stream_ended(last)

    def collected(self, size: int) -> None:
        """Pass on."""
        self._owner.collected(size)

    def answered(self, answer: Answer, body: bytes) -> None:
        """Pass on."""
        self._owner.answered(answer, body)

    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Pass on."""
        return self._owner.usage_event(machine)

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Pass on."""
        return self._owner.error_event(machine, failure)

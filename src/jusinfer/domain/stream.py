"""The attempt machine (sans I/O): events and ticks in, bytes for the caller and one end out.

Before the first content byte nothing has been sent, so a failed attempt may move to another
route. After it never: one error event, and no made-up end. However the upstream's bytes were cut,
the same events come out.
"""

import enum
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from jusinfer.domain.usage import TokenUsage, plausible

HELD_EVENTS_MAX: Final = 64
HELD_BYTES_MAX: Final = 256 * 1024
DONE: Final = b"[DONE]"
DONE_EVENT: Final = b"data: [DONE]\n\n"
BYTES_PER_TOKEN: Final = 4
ONE_TOKEN_BYTES_MAX: Final = 12


class UpstreamFailure(msgspec.Struct, frozen=True):
    """Why an attempt failed. `message` is the upstream's raw text: in memory only, never shown."""

    code: str
    message: str
    status: int
    retry_after_seconds: int | None = None
    is_retryable: bool = True
    is_callers_fault: bool = False
    is_quota: bool = False
    param: str | None = None

    def __repr__(self) -> str:
        """Show the code, not the upstream's words."""
        return f"UpstreamFailure({self.code!r}, {self.status}, {len(self.message)} characters)"


class Chunk(msgspec.Struct, gc=False):
    """One event of an upstream, as its dialect reads it."""

    has_content: bool = False
    content_bytes: int = 0
    is_finish: bool = False
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    raw_usage: bytes | None = None
    is_usage_only: bool = False
    failure: UpstreamFailure | None = None
    finished_choices: tuple[int, ...] = ()


class ChunkMalformed(ValueError):
    """An event that is no JSON object of the dialect."""


class AttemptState(enum.Enum):
    """Where a streamed attempt stands."""

    WAITING = "waiting"
    HOLDING = "holding"
    RELAYING = "relaying"
    COMPLETED = "completed"
    FAILED = "failed"


class Verdict(enum.Enum):
    """What a tick finds."""

    WAIT = "wait"
    KEEP_ALIVE = "keep_alive"
    FIRST_EVENT_TIMEOUT = "first_event_timeout"
    STALLED = "stalled"
    TOTAL_TIMEOUT = "total_timeout"


class Deadlines(msgspec.Struct, frozen=True):
    """How long a stream may take, in seconds."""

    first_event_seconds: float
    between_events_seconds: float
    total_seconds: float
    keep_alive_seconds: float


class StreamRender(Protocol):
    """Builds the two events that the machine cannot build itself."""

    def usage_event(self, machine: "StreamAttempt") -> bytes:
        """Give the last usage event, framed, for a caller who asked for it."""
        ...

    def error_event(self, machine: "StreamAttempt", failure: UpstreamFailure) -> bytes:
        """Give the one error event that ends a broken stream, framed."""
        ...


class StreamAttempt:
    """One attempt at one route of a streamed completion."""

    __slots__ = (
        "_choice_count",
        "_deadlines",
        "_decode",
        "_finished",
        "_held",
        "_held_bytes",
        "_last_event_at",
        "_last_sent_at",
        "_render",
        "_started_at",
        "_wants_usage",
        "content_bytes",
        "content_event_count",
        "failure",
        "finish_reason",
        "first_payload",
        "has_sent_content",
        "raw_usage",
        "state",
        "usage",
    )

    def __init__(
        self,
        decode: Callable[[bytes], Chunk],
        render: StreamRender,
        *,
        wants_usage: bool,
        choice_count: int,
        deadlines: Deadlines,
        now: float,
    ) -> None:
        self._decode = decode
        self._render = render
        self._wants_usage = wants_usage
        self._choice_count = choice_count
        self._deadlines = deadlines
        self._finished: set[int] = set()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._started_at = now
        self._last_event_at = now
        self._last_sent_at = now
        self.state = AttemptState.WAITING
        self.has_sent_content = False
        self.failure: UpstreamFailure | None = None
        self.finish_reason: str | None = None
        self.first_payload: bytes | None = None
        self.usage: TokenUsage | None = None
        self.raw_usage: bytes | None = None
        self.content_event_count = 0
        self.content_bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come of this attempt."""
        return self.state is AttemptState.COMPLETED or self.state is AttemptState.FAILED

    # ------------------------------------------------------------------ what comes in

    def feed(self, payloads: list[bytes], raw: bytes, now: float) -> bytes:
        """Take the events of one read; gives what to send to the caller now.

        `raw` may be the very bytes of the read: when all its events are plain content and it is
        exactly their framing, it is passed on as it is.
        """
        if self.is_over:
            return b""
        self._last_event_at = now
        out: list[bytes] = []
        is_plain = self.has_sent_content
        size = 0
        for payload in payloads:
            size += len(payload) + 8
            if payload.startswith(DONE):
                is_plain = False
                out.append(self._done())
                break
            try:
                chunk = self._decode(payload)
            except ChunkMalformed:
                is_plain = False
                out.append(self._fail(_broken("malformed_stream", "an event could not be read")))
                break
            if self.first_payload is None:
                self.first_payload = payload
            if chunk.failure is not None:
                is_plain = False
                out.append(self._fail(chunk.failure))
                break
            if not self._take(chunk, payload, out):
                is_plain = False
        sent = raw if is_plain and size == len(raw) else b"".join(out)
        if sent:
            self._last_sent_at = now
        return sent

    def end(self, now: float) -> bytes:
        """The upstream's body ended as HTTP says it should."""
        if self.is_over:
            return b""
        if self._is_finished():
            return self._complete()
        self._last_sent_at = now
        return self._break_off()

    def cut(self) -> bytes:
        """The connection died, or the body was shorter than said."""
        if self.is_over:
            return b""
        return self._complete() if self._is_finished() else self._break_off()

    def tick(self, now: float) -> Verdict:
        """Judge the time; after KEEP_ALIVE a comment is expected to be sent."""
        deadlines = self._deadlines
        if now - self._started_at > deadlines.total_seconds:
            return Verdict.TOTAL_TIMEOUT
        if self.state is AttemptState.WAITING:
            if now - self._started_at > deadlines.first_event_seconds:
                return Verdict.FIRST_EVENT_TIMEOUT
        elif now - self._last_event_at > deadlines.between_events_seconds:
            return Verdict.STALLED
        if now - self._last_sent_at > deadlines.keep_alive_seconds:
            self._last_sent_at = now
            return Verdict.KEEP_ALIVE
        return Verdict.WAIT

    # ------------------------------------------------------------------ what it comes to

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        """Give the usage to charge: as reported if it can be believed, else counted here."""
        reported = self.usage
        if self.content_event_count == 0 and reported is None:
            return TokenUsage()
        if reported is not None and (
            reported.completion_tokens > 0 or self.content_event_count == 0
        ):
            return plausible(reported)
        prompt = prompt_tokens_estimate
        if reported is not None and reported.prompt_tokens > 0:
            prompt = reported.prompt_tokens
        counted = estimate_completion_tokens(self.content_event_count, self.content_bytes)
        return TokenUsage(prompt_tokens=prompt, completion_tokens=counted, is_estimated=True)

    # ------------------------------------------------------------------ inside

    def _take(self, chunk: Chunk, payload: bytes, out: list[bytes]) -> bool:
        """Take one good event; true when it was plainly passed on."""
        if chunk.usage is not None:
            self.usage = chunk.usage
            self.raw_usage = chunk.raw_usage
        if chunk.is_usage_only:
            return False
        if chunk.is_finish:
            self.finish_reason = chunk.finish_reason
            self._finished.update(chunk.finished_choices)
        if chunk.has_content:
            self.content_event_count += 1
            self.content_bytes += chunk.content_bytes
        if self.has_sent_content:
            out.append(b"data: %b\n\n" % payload)
            return True
        self._hold(payload)
        if chunk.has_content or self._held_bytes > HELD_BYTES_MAX:
            self._let_go(out)
        return False

    def _hold(self, payload: bytes) -> None:
        """Keep an event without content, so that failing before content leaves nothing sent."""
        self.state = AttemptState.HOLDING
        if len(self._held) >= HELD_EVENTS_MAX:
            # More than any dialect begins with: the oldest but the first is of no use.
            self._held_bytes -= len(self._held.pop(1))
        self._held.append(b"data: %b\n\n" % payload)
        self._held_bytes += len(payload)

    def _let_go(self, out: list[bytes]) -> None:
        out.extend(self._held)
        self._held.clear()
        self._held_bytes = 0
        self.has_sent_content = True
        self.state = AttemptState.RELAYING

    def _is_finished(self) -> bool:
        return len(self._finished) >= self._choice_count

    def _done(self) -> bytes:
        if self.content_event_count == 0 and self.finish_reason is None:
            return self._fail(_broken("empty_answer", "the upstream produced nothing"))
        return self._complete()

    def _complete(self) -> bytes:
        out: list[bytes] = []
        if not self.has_sent_content:
            self._let_go(out)
        self.state = AttemptState.COMPLETED
        if self._wants_usage:
            out.append(self._render.usage_event(self))
        out.append(DONE_EVENT)
        return b"".join(out)

    def _break_off(self) -> bytes:
        if self.content_event_count == 0 and self.finish_reason is None:
            return self._fail(_broken("empty_answer", "the upstream produced nothing"))
        return self._fail(_broken("upstream_cut", "the upstream broke off before its end"))

    def _fail(self, failure: UpstreamFailure) -> bytes:
        self.state = AttemptState.FAILED
        self.failure = failure
        self._held.clear()
        return self._render.error_event(self, failure) if self.has_sent_content else b""


def estimate_completion_tokens(event_count: int, content_bytes: int) -> int:
    """Count the tokens of a relayed answer whose upstream reported none.

    Most upstreams send one token an event; where events are larger, four bytes are a token.
    """
    if content_bytes <= ONE_TOKEN_BYTES_MAX * event_count:
        return event_count
    return -(-content_bytes // BYTES_PER_TOKEN)


def _broken(code: str, message: str) -> UpstreamFailure:
    return UpstreamFailure(code=code, message=message, status=502)

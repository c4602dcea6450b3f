"""The attempt machine (sans I/O): events and ticks in, bytes for the client and one end out.

Before the first content byte nothing has been sent, so a failed attempt may move to another
route. After it never: one error event, and no made-up end. However the upstream's bytes were cut,
the same events come out.
"""

import enum
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from jusinfer.domain.usage import TokenUsage, clamp_usage, newer

HELD_EVENTS_MAX: Final = 64
HELD_BYTES_MAX: Final = 256 * 1024
DONE: Final = b"[DONE]"
DONE_EVENT: Final = b"data: [DONE]\n\n"
BYTES_PER_TOKEN: Final = 4
ONE_TOKEN_BYTES_MAX: Final = 12


class UpstreamFailure(msgspec.Struct, frozen=True):
    """Why an attempt failed. `message` is the upstream's raw text, in memory only.

    `kind` is what it means to a client, from a closed list; `context_tokens` are what was asked
    and the most, 0 where an input that is too long did not say. `provider_code` is the provider's
    own code, of a closed list. The text may be shown to the client unless `is_private`, as it
    speaks of our account or of what was said; words of it may be stored where `is_quotable`.
    `is_cut` says that the connection broke.
    """

    code: str
    message: str
    status: int
    retry_after_seconds: int | None = None
    is_retryable: bool = True
    is_clients_fault: bool = False
    is_quota: bool = False
    param: str | None = None
    kind: str = ""
    context_tokens: tuple[int, int] = (0, 0)
    provider_code: str = ""
    is_private: bool = False
    is_quotable: bool = False
    is_cut: bool = False

    def __repr__(self) -> str:
        """Show the code, not the upstream's words."""
        return f"UpstreamFailure({self.code!r}, {self.status}, {len(self.message)} characters)"


class Chunk(msgspec.Struct, gc=False):
    """One event of an upstream, as its provider API reads it.

    `content_bytes` is the size of what the client would see as answer, as JSON writes it.
    `payload` is the event as it is relayed; None where that is as it came.
    """

    has_content: bool = False
    content_bytes: int = 0
    finish_reason: str | None = None
    finished_choices: tuple[int, ...] = ()
    usage: TokenUsage | None = None
    raw_usage: bytes | None = None
    is_usage_only: bool = False
    failure: UpstreamFailure | None = None
    payload: bytes | None = None


class ChunkMalformed(ValueError):
    """An event that is no JSON object of the provider API."""


class AttemptState(enum.Enum):
    """Where a streamed attempt stands."""

    WAITING = "waiting"
    HOLDING = "holding"
    RELAYING = "relaying"
    COMPLETED = "completed"
    FAILED = "failed"


class TimeoutCheck(enum.Enum):
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


class StreamCallbacks(Protocol):
    """Builds the two events that the machine cannot build itself."""

    def usage_event(self, machine: "StreamAttempt") -> bytes:
        """Give the last usage event, framed, for a client who asked for it."""
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
        "_done_event",
        "_finished",
        "_flush",
        "_frame",
        "_held",
        "_held_bytes",
        "_is_usage_early",
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
        "is_error_finish",
        "raw_usage",
        "state",
        "usage",
    )

    def __init__(  # noqa: PLR0913 (what one attempt is made of)
        self,
        decode: Callable[[bytes], Chunk],
        render: StreamCallbacks,
        *,
        wants_usage: bool,
        choice_count: int,
        deadlines: Deadlines,
        now: float,
        frame: Callable[[list[bytes]], bytes] | None = None,
        done_event: bytes = DONE_EVENT,
        flush: Callable[[], Chunk | None] | None = None,
    ) -> None:
        self._flush = flush
        self._frame = frame_events if frame is None else frame
        self._done_event = done_event
        self._decode = decode
        self._render = render
        self._wants_usage = wants_usage
        self._choice_count = choice_count
        self._deadlines = deadlines
        self._finished: set[int] = set()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_usage_early = False
        self._started_at = now
        self._last_event_at = now
        self._last_sent_at = now
        self.state = AttemptState.WAITING
        self.has_sent_content = False
        self.is_error_finish = False
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

    @property
    def has_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return len(self._finished) >= self._choice_count

    # ------------------------------------------------------------------ what comes in

    def feed(self, payloads: list[bytes], now: float) -> bytes:
        """Take the events of one read; gives what to send to the client now, framed."""
        state = self.state
        if not payloads or state is AttemptState.COMPLETED or state is AttemptState.FAILED:
            return b""
        self._last_event_at = now
        passed: list[bytes] = []
        tail = b""
        for payload in payloads:
            if payload.startswith(DONE):
                tail = self._done(passed)
                break
            try:
                chunk = self._decode(payload)
            except ChunkMalformed:
                if payload.lstrip().startswith(DONE):
                    tail = self._done(passed)
                else:
                    tail = self._fail(UNREADABLE, passed)
                break
            if chunk.usage is not None:
                self.usage = newer(self.usage, chunk.usage)
                self.raw_usage = chunk.raw_usage
                self._is_usage_early = self.content_event_count == 0 and not chunk.has_content
            if chunk.failure is not None:
                self.is_error_finish = True
                tail = self._fail(chunk.failure, passed)
                break
            if not chunk.is_usage_only:
                self._take(chunk, payload, passed)
        if passed:
            self._last_sent_at = now
            return self._framed(passed) + tail
        return tail

    def end(self, now: float) -> bytes:
        """The upstream's body ended as HTTP says it should."""
        if self.is_over:
            return b""
        self._last_sent_at = now
        if self.content_event_count == 0 and self.finish_reason is None:
            return self._fail(_broken("empty_answer", "the upstream produced nothing"), [])
        return self.cut()

    def cut(self) -> bytes:
        """The connection died, or the body was shorter than said."""
        if self.is_over:
            return b""
        if len(self._finished) < self._choice_count:
            return self._fail(_broken("upstream_cut", "the upstream broke off before its end"), [])
        passed: list[bytes] = []
        self._take_rest(passed)
        return self._complete(passed)

    def tick(self, now: float) -> TimeoutCheck:
        """Judge the time; after KEEP_ALIVE a comment is expected to be sent."""
        if self.is_over:
            return TimeoutCheck.WAIT
        deadlines = self._deadlines
        if now - self._started_at > deadlines.total_seconds:
            return TimeoutCheck.TOTAL_TIMEOUT
        if self.state is AttemptState.WAITING:
            if now - self._started_at > deadlines.first_event_seconds:
                return TimeoutCheck.FIRST_EVENT_TIMEOUT
        elif now - self._last_event_at > deadlines.between_events_seconds:
            return TimeoutCheck.STALLED
        if now - self._last_sent_at > deadlines.keep_alive_seconds:
            self._last_sent_at = now
            return TimeoutCheck.KEEP_ALIVE
        return TimeoutCheck.WAIT

    def client_is_slow(self, now: float) -> None:
        """Count no silence, and send no comment, while the upstream is kept waiting."""
        self._last_event_at = now
        self._last_sent_at = now

    # ------------------------------------------------------------------ what it comes to

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        """Give the usage to charge: as reported if it can be believed, else counted here."""
        has_content = self.content_event_count > 0
        if self.usage is None and not has_content and self.finish_reason is None:
            return TokenUsage()
        counted = estimate_completion_tokens(self.content_event_count, self.content_bytes)
        usage = self.usage
        if usage is not None and self._is_usage_early and counted > usage.completion_tokens:
            # Said before the first word, and never again: it cannot count the answer.
            usage = msgspec.structs.replace(usage, completion_tokens=0)
        return usage_to_charge(
            usage,
            has_content=has_content,
            prompt_tokens=prompt_tokens_estimate,
            completion_tokens=counted,
        )

    # ------------------------------------------------------------------ inside

    def _take(self, chunk: Chunk, payload: bytes, passed: list[bytes]) -> None:
        """Take one good event: pass it on, or hold it while there is no content yet."""
        if chunk.payload is not None:
            payload = chunk.payload
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
            if len(self._finished) < self._choice_count:
                self._finished.update(chunk.finished_choices)
        if chunk.has_content:
            if self.content_event_count == 0:
                self.first_payload = payload
            self.content_event_count += 1
            self.content_bytes += chunk.content_bytes
        if self.has_sent_content:
            passed.append(payload)
            return
        self._held.append(payload)
        self._held_bytes += len(payload)
        self.state = AttemptState.HOLDING
        if self.first_payload is None:
            self.first_payload = payload
        if (
            chunk.has_content
            or len(self._held) > HELD_EVENTS_MAX
            or self._held_bytes > HELD_BYTES_MAX
        ):
            self._flush_held(passed)

    def _flush_held(self, passed: list[bytes]) -> None:
        passed.extend(self._held)
        self._held.clear()
        self._held_bytes = 0
        self.has_sent_content = True
        self.state = AttemptState.RELAYING

    def _take_rest(self, passed: list[bytes]) -> None:
        """Take what the decoder still holds: nothing more comes that could complete it."""
        rest = None if self._flush is None else self._flush()
        if rest is not None:
            self._take(rest, b"", passed)

    def _done(self, passed: list[bytes]) -> bytes:
        self._take_rest(passed)
        if self.content_event_count == 0 and self.finish_reason is None:
            return self._fail(_broken("empty_answer", "the upstream produced nothing"), passed)
        return self._complete(passed)

    def _complete(self, passed: list[bytes]) -> bytes:
        """End well: gives what was held or not yet passed on, framed, then the last events."""
        if not self.has_sent_content:
            self._flush_held(passed)
        before = self._framed(passed)
        if self.state is AttemptState.FAILED:
            return before
        self.state = AttemptState.COMPLETED
        end = self._done_event
        return before + self._render.usage_event(self) + end if self._wants_usage else before + end

    def _fail(self, failure: UpstreamFailure, passed: list[bytes]) -> bytes:
        """End as failed: gives what was not yet passed on, framed, then the error event."""
        self.state = AttemptState.FAILED
        self.failure = failure
        self._held.clear()
        if not self.has_sent_content:
            return b""
        before = self._framed(passed)
        return before + self._render.error_event(self, failure)

    def _framed(self, passed: list[bytes]) -> bytes:
        """Frame what is to be passed on and empty the list.

        A writer keeps a state: what closes a stream may be asked of it only after this. What it
        cannot write fails the stream: it was counted, so it must not be missing in silence.
        """
        if not passed:
            return b""
        try:
            return self._frame(passed)
        except (ChunkMalformed, RecursionError):
            # What is nested as deeply as can be read at all may be too deep a few calls further on.
            return b"" if self.is_over else self._fail(UNREADABLE, [])
        finally:
            passed.clear()


def frame_events(payloads: list[bytes]) -> bytes:
    """Frame events that hold at least one; those of several lines become several data lines."""
    if len(payloads) == 1 and b"\n" not in payloads[0]:
        return b"data: %b\n\n" % payloads[0]
    joined = b"\n\ndata: ".join(payloads)
    if joined.count(b"\n") > 2 * (len(payloads) - 1):
        joined = b"\n\ndata: ".join([payload.replace(b"\n", b"\ndata: ") for payload in payloads])
    return b"data: %b\n\n" % joined


def estimate_completion_tokens(event_count: int, content_bytes: int) -> int:
    """Count the tokens of a relayed answer whose upstream reported none.

    Most upstreams send one token an event; where events are larger, four bytes are a token.
    """
    if content_bytes <= ONE_TOKEN_BYTES_MAX * event_count:
        return event_count
    return -(-content_bytes // BYTES_PER_TOKEN)


def usage_to_charge(
    reported: TokenUsage | None, *, has_content: bool, prompt_tokens: int, completion_tokens: int
) -> TokenUsage:
    """Put our own estimates where an upstream reported nothing, or nothing for what it did.

    A count of zero is not believed when there was content: no prompt and no answer is empty.
    """
    if reported is None:
        return TokenUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens if has_content else 0,
            is_estimated=True,
        )
    if (
        has_content
        and reported == TokenUsage(reported.prompt_tokens, 0, 0, reported.completion_tokens)
        and reported.prompt_tokens > 0
        and reported.completion_tokens > 0
    ):
        return reported
    believed = clamp_usage(reported)
    if not has_content or (believed.prompt_tokens > 0 and believed.completion_tokens > 0):
        return believed
    return msgspec.structs.replace(
        believed,
        prompt_tokens=believed.prompt_tokens or prompt_tokens,
        completion_tokens=believed.completion_tokens or completion_tokens,
        is_estimated=True,
    )


def _broken(code: str, message: str) -> UpstreamFailure:
    return UpstreamFailure(code=code, message=message, status=502)


UNREADABLE: Final = _broken("malformed_stream", "an event could not be read")

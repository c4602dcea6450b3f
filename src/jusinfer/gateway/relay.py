"""Does what the attempt machine says: one attempt at one route, streamed or plain."""

from collections.abc import Callable
from typing import Final, Protocol

from jusinfer.domain.stream import (
    ChunkMalformed,
    Deadlines,
    StreamAttempt,
    StreamRender,
    UpstreamFailure,
    Verdict,
)
from jusinfer.gateway.generation import Generation
from jusinfer.gateway.pool import Exchange, Failure, FailureKind
from jusinfer.gateway.speech import Speech
from jusinfer.wire.openai_chat import Answer
from jusinfer.wire.pivot import DialectStream
from jusinfer.wire.sse import SseDecoder, SseTooLarge, encode_event
from jusinfer.wire.utf8 import as_utf8

OK: Final = 200
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
UNREADABLE: Final = b"?"
_TIMEOUTS: Final = frozenset({FailureKind.CONNECT_TIMEOUT})


Clock = Callable[[], float]


class Story(StreamRender, Protocol):
    """What an attempt tells the completion it belongs to."""

    def relay(self, data: bytes) -> None:
        """Send bytes of a stream to the caller."""
        ...

    def first_byte(self) -> None:
        """Note that the upstream has begun to answer."""
        ...

    def stream_ended(self, last: bytes) -> None:
        """The machine has come to its end; its state says which, and these bytes are the last.

        They leave after the end has been written down: what a caller has got whole is on record.
        """
        ...

    def collected(self, size: int) -> None:
        """Count bytes of an answer that is read whole before any of it is sent."""
        ...

    def answered(self, answer: Answer, body: bytes) -> None:
        """A plain answer is whole and good."""
        ...

    def attempt_failed(self, failure: UpstreamFailure, *, is_reused: bool) -> None:
        """The attempt failed before anything was sent to the caller."""
        ...


class PlainAttempt:
    """One attempt whose answer is read whole."""

    __slots__ = (
        "_body",
        "_deadline",
        "_headers",
        "_speech",
        "_status",
        "_story",
        "_wall",
        "collected_bytes",
        "exchange",
        "generation",
    )

    def __init__(self, story: Story, speech: Speech, deadline: float, wall: float) -> None:
        self._story = story
        self._speech = speech
        self._deadline = deadline
        self._wall = wall
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self.collected_bytes = 0
        self.exchange: Exchange | None = None
        self.generation: Generation | None = None

    def retell(self, story: Story) -> None:
        """Tell another from now on."""
        self._story = story

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The head of the upstream's answer."""
        return self._headers

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the head."""
        self._status = status
        self._headers = headers
        if self.generation is not None:
            self.generation.began(status, headers)
        self._story.first_byte()

    def upstream_body(self, data: bytes) -> None:
        """Collect the body; of an error only as much as will be read."""
        if self._status != OK and self.collected_bytes >= ERROR_BODY_BYTES_MAX:
            return
        self.collected_bytes += len(data)
        self._body.append(data)
        self._story.collected(len(data))

    def upstream_end(self) -> None:
        """Judge the whole answer."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self.generation is not None:
            self.generation.heard(body)
        if self._status != OK:
            failure = self._speech.failure(self._status, self._headers, body, self._wall)
            self._story.attempt_failed(failure, is_reused=False)
            return
        answer, body = self._speech.answer(as_utf8(body))
        if answer.failure is not None:
            self._story.attempt_failed(answer.failure, is_reused=False)
        else:
            self._story.answered(answer, body)

    def whole(self) -> bytes:
        """Give the body as far as it was collected."""
        return b"".join(self._body)

    def upstream_failed(self, failure: Failure) -> None:
        """Turn a broken connection into a failed attempt."""
        self._story.attempt_failed(connection_failure(failure), is_reused=failure.is_reused)

    def caller_is_slow(self, now: float) -> None:
        """Nothing waits for the caller yet."""

    def was_held_back(self, seconds: float) -> None:
        """Give the upstream the time for which it was not read."""
        self._deadline += seconds

    def tick(self, now: float) -> UpstreamFailure | None:
        """Give the failure when the answer has taken too long."""
        return timeout_failure("upstream_timeout") if now > self._deadline else None


class StreamedAttempt:
    """One attempt whose answer is relayed as it comes."""

    __slots__ = (
        "_clock",
        "_reader",
        "_speech",
        "_sse",
        "_status",
        "_story",
        "_wall",
        "exchange",
        "generation",
        "machine",
        "plain",
    )

    def __init__(
        self,
        story: Story,
        speech: Speech,
        reader: DialectStream | None,
        machine: StreamAttempt,
        times: tuple[float, float],
        clock: Clock,
    ) -> None:
        """Begin; `times` are the deadline, and the wall's time now."""
        deadline, wall = times
        self._story = story
        self._clock = clock
        self._wall = wall
        self._speech = speech
        self._reader = reader
        self._sse = SseDecoder()
        self._status = 0
        self.machine = machine
        self.exchange: Exchange | None = None
        self.generation: Generation | None = None
        # Collects an answer that is no event stream: an error, or plain JSON.
        self.plain: PlainAttempt | None = PlainAttempt(story, speech, deadline, wall)

    def retell(self, story: Story) -> None:
        """Tell another from now on."""
        self._story = story
        if self.plain is not None:
            self.plain.retell(story)

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the head, and see whether the answer is a stream at all."""
        self._status = status
        if self.generation is not None:
            self.generation.began(status, headers)
        plain = self.plain
        if plain is None:
            return
        plain.upstream_head(status, headers)
        if status == OK and _is_event_stream(headers):
            self.plain = None

    def upstream_body(self, data: bytes) -> None:
        """Feed the machine, and send on what it gives."""
        if self.plain is not None:
            self.plain.upstream_body(data)
            return
        machine = self.machine
        try:
            payloads = self._sse.feed(data)
        except SseTooLarge:
            out = machine.cut()
        else:
            if not payloads:
                return
            if self.generation is not None:
                self.generation.heard(payloads[0])
            payloads = [as_utf8(payload) for payload in payloads]
            if self._reader is not None:
                payloads = _translated(self._reader, payloads)
            out = machine.feed(payloads, data, self._clock())
        if machine.is_over:
            self._story.stream_ended(out)
        elif out:
            self._story.relay(out)

    def upstream_end(self) -> None:
        """Let the machine judge an end, or re-emit plain JSON as a stream."""
        plain = self.plain
        machine = self.machine
        if plain is not None:
            self._plain_end(plain)
            return
        out = b""
        rest = [as_utf8(payload) for payload in self._sse.end()]
        if self._reader is not None:
            rest = _translated(self._reader, rest)
            if not machine.is_over:
                rest += self._reader.end()
        if rest:
            out = machine.feed(rest, b"", self._clock())
        if not machine.is_over:
            out += machine.end(self._clock())
        self._story.stream_ended(out)

    def _plain_end(self, plain: PlainAttempt) -> None:
        body = plain.whole()
        if self.generation is not None:
            self.generation.heard(body)
        answer, body = self._speech.answer(as_utf8(body)) if self._status == OK else (None, body)
        if answer is None or answer.failure is not None:
            plain.upstream_end()
            return
        payloads = self._speech.as_events(body)
        raw = b"".join(encode_event(payload) for payload in payloads)
        out = self.machine.feed(payloads, raw, self._clock())
        if not self.machine.is_over:
            out += self.machine.end(self._clock())
        self._story.stream_ended(out)

    def upstream_failed(self, failure: Failure) -> None:
        """Let the machine judge a cut; before any event it is a failed attempt."""
        machine = self.machine
        if self.plain is not None:
            self._story.attempt_failed(connection_failure(failure), is_reused=failure.is_reused)
            return
        out = machine.cut()
        self._story.stream_ended(out)

    @property
    def collected_bytes(self) -> int:
        """What is held of an answer that is no stream."""
        return 0 if self.plain is None else self.plain.collected_bytes

    def was_held_back(self, seconds: float) -> None:
        """Blame the upstream for no silence while it was not read."""
        del seconds
        self.machine.caller_is_slow(self._clock())

    def caller_is_slow(self, now: float) -> None:
        """Blame the upstream for no silence while it is kept waiting."""
        self.machine.caller_is_slow(now)

    def tick(self, now: float) -> UpstreamFailure | None:
        """Give the failure when a deadline has passed; send a keep-alive when it is time."""
        verdict = self.machine.tick(now)
        if verdict is Verdict.WAIT:
            return None
        if verdict is Verdict.KEEP_ALIVE:
            self._story.relay(b": keep-alive\n\n")
            return None
        code = "upstream_stalled" if verdict is Verdict.STALLED else "upstream_timeout"
        return timeout_failure(code)


def _translated(reader: DialectStream, payloads: list[bytes]) -> list[bytes]:
    """Turn events into neutral ones; one that cannot be read stays, for the machine to refuse."""
    neutral: list[bytes] = []
    for payload in payloads:
        try:
            neutral += reader.chunks(payload)
        except ChunkMalformed:
            neutral.append(UNREADABLE)
            break
    return neutral


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return b"json" not in value and b"html" not in value
    return True


def connection_failure(failure: Failure) -> UpstreamFailure:
    """Say what a connection's failure means for the attempt."""
    is_timeout = failure.kind in _TIMEOUTS
    return UpstreamFailure(
        code=f"upstream_{failure.kind.value}",
        message=f"the connection to the upstream failed: {failure.kind.value}",
        status=504 if is_timeout else 502,
        retry_after_seconds=None,
        is_retryable=True,
        is_callers_fault=False,
        is_quota=False,
        param=None,
    )


def timeout_failure(code: str) -> UpstreamFailure:
    """Say that an upstream took too long."""
    return UpstreamFailure(
        code=code,
        message="the upstream did not answer in time",
        status=504,
        retry_after_seconds=None,
        is_retryable=True,
        is_callers_fault=False,
        is_quota=False,
        param=None,
    )


def deadlines(first: float, between: float, total: float, keep_alive: float) -> Deadlines:
    """Make the machine's deadlines from an upstream's settings."""
    return Deadlines(
        first_event_seconds=first,
        between_events_seconds=between,
        total_seconds=total,
        keep_alive_seconds=keep_alive,
    )

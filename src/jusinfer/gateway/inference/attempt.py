"""One attempt at one route: reads a provider's answer, and tells the request what came of it."""

from typing import ClassVar, Final

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.stream_state import (
    DONE_EVENT,
    ChunkMalformed,
    Deadlines,
    StreamAttempt,
    TimeoutCheck,
    UpstreamFailure,
)
from jusinfer.domain.provider_report import REPORTS_FLAG
from jusinfer.domain.upstream_health import UpstreamEndpoint
from jusinfer.domain.usage import TokenUsage
from jusinfer.gateway.http.connection_pool import Exchange, Failure, FailureKind
from jusinfer.gateway.inference.event_writer import Client, EventWriter
from jusinfer.gateway.inference.generation_report import Generation
from jusinfer.gateway.inference.translator import Translator
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.interfaces import ClientStream, Headers, ProviderStream
from jusinfer.wire.json.route import with_route
from jusinfer.wire.sse import SseDecoder, SseTooLarge
from jusinfer.wire.upstream.generation_id import repeats
from jusinfer.wire.upstream.openai_chat import Answer
from jusinfer.wire.utf8 import as_utf8

OK: Final = 200
ERROR_BODY_BYTES_MAX: Final = 64 * 1024
UNREADABLE: Final = b"?"
KEEP_ALIVE: Final = b": keep-alive\n\n"
_TIMEOUTS: Final = frozenset({FailureKind.CONNECT_TIMEOUT})


class Collected:
    """An answer that is read whole; of an error only as much as is looked at."""

    __slots__ = ("_parts", "headers", "size", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> bool:
        """Collect a piece of the body; tells whether it is kept."""
        if self.status != OK and self.size >= ERROR_BODY_BYTES_MAX:
            return False
        self.size += len(data)
        self._parts.append(data)
        return True

    def body(self) -> bytes:
        """Return what was collected."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class ExchangeAttempt:
    """What both kinds of attempt have: a route, and an exchange with its provider."""

    __slots__ = (
        "_client",
        "_generation",
        "_request",
        "_translator",
        "_wall",
        "endpoint",
        "exchange",
        "held_since",
        "index",
        "sent_at",
        "upstream",
    )

    def __init__(
        self,
        client: Client,
        request: AdmittedRequest,
        translator: Translator,
        upstream: Upstream,
        index: int,
    ) -> None:
        self._client = client
        self._request = request
        self._translator = translator
        self._generation = Generation(upstream.name) if REPORTS_FLAG in upstream.flags else None
        self._wall = client.wall_seconds()
        self.upstream = upstream
        self.index = index
        self.sent_at = client.now()
        self.endpoint: UpstreamEndpoint | None = None
        self.exchange: Exchange | None = None
        # Since when it is not read because of all answers together; below 0: it is.
        self.held_since = -1.0

    def _answer_of(self, collected: Collected) -> tuple[Answer, bytes]:
        """Read an answer that came whole, whatever its status; gives it in canonical form."""
        body = collected.body()
        if self._generation is not None:
            self._generation.heard(body)
        if collected.status != OK:
            failure = self._translator.failure(
                collected.status, collected.headers, body, self._wall
            )
            return Answer(failure=failure), body
        return self._translator.answer(as_utf8(body))

    def generation_id(self, usage: TokenUsage) -> str:
        """Return the provider's name for an answer whose usage it did not report; else empty."""
        generation, client = self._generation, self._client
        named = "" if generation is None else generation.id_for(generation.upstream, usage)
        is_told = named and (client.secrets.has(named) or repeats(named, client.body))
        return "" if is_told else named

    def cancel(self) -> None:
        """Stop; nothing more is heard."""
        if self.exchange is not None:
            self.exchange.cancel()

    def release(self) -> None:
        """Hear nothing more, but let the connection be used again."""
        if self.exchange is not None:
            self.exchange.release()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.exchange is not None:
            self.exchange.pause()

    def resume(self) -> None:
        """Read on, unless all answers together hold too much."""
        if self.exchange is not None and self.held_since < 0:
            self.exchange.resume()

    def detach(self) -> None:
        """Let go of the exchange."""
        self.exchange = None


class UnaryAttempt(ExchangeAttempt):
    """One attempt whose answer is read whole."""

    __slots__ = ("_answer_body", "_collected", "_deadline")
    stream: ClassVar[StreamAttempt | None] = None

    def __init__(
        self,
        client: Client,
        request: AdmittedRequest,
        translator: Translator,
        upstream: Upstream,
        index: int,
    ) -> None:
        super().__init__(client, request, translator, upstream, index)
        self._deadline = self.sent_at + upstream.total_seconds
        self._collected = Collected()
        self._answer_body = b""

    def upstream_head(self, status: int, headers: Headers) -> None:
        """Keep the head."""
        self._collected.status = status
        self._collected.headers = headers
        if self._generation is not None:
            self._generation.began(status, headers)
        self._request.response_started(self)

    def upstream_body(self, data: bytes) -> None:
        """Collect the body."""
        if self._collected.add(data):
            self._client.collected(self, len(data))

    def upstream_end(self) -> None:
        """Judge the whole answer."""
        collected = self._collected
        answer, self._answer_body = self._answer_of(collected)
        if answer.failure is not None:
            self._request.attempt_failed(self, answer.failure)
        else:
            self._request.answer_received(self, answer, collected.headers)

    def upstream_failed(self, failure: Failure) -> None:
        """Turn a broken connection into a failed attempt."""
        self._request.attempt_failed(self, connection_failure(failure), is_reused=failure.is_reused)

    def render(self, usage: TokenUsage, cost_usd: str) -> bytes | None:
        """Write the answer for the client; None where it cannot be written."""
        client, asked = self._client, self._request.planned.asked
        try:
            body = self._translator.whole(
                self._answer_body, asked, client.body, usage, cost_usd, client.ident(self.index)
            )
        except (ChunkMalformed, ValueError, RecursionError):
            return None
        return with_route(body, client.route_json(self.index)) if asked.wants_route else body

    def error_event(self, code: str, message: str) -> bytes:
        """No stream has begun: there is nothing to write."""
        del code, message
        raise AssertionError("an answer that is read whole has no events")

    def failure_event(self, failure: UpstreamFailure) -> bytes:
        """No stream has begun: there is nothing to write."""
        del failure
        raise AssertionError("an answer that is read whole has no events")

    @property
    def collected_bytes(self) -> int:
        """What is held of the answer."""
        return self._collected.size

    def was_held_back(self, seconds: float) -> None:
        """Give the provider the time for which it was not read."""
        self._deadline += seconds

    def client_is_slow(self, now: float) -> None:
        """Nothing waits for the client yet."""

    def tick(self, now: float) -> UpstreamFailure | None:
        """Return the failure when the answer has taken too long."""
        return timeout_failure("upstream_timeout") if now > self._deadline else None


class StreamingAttempt(ExchangeAttempt):
    """One attempt whose answer is relayed as it comes."""

    __slots__ = ("_collected", "_events", "_reader", "_sse", "stream")

    def __init__(
        self,
        client: Client,
        request: AdmittedRequest,
        translator: Translator,
        upstream: Upstream,
        index: int,
        names: tuple[AnswerIdent, ClientStream | None],
    ) -> None:
        """Begin; `names` are how the answer names itself, and what writes it in the client's API.

        That writer was made first: the reader and the decoder of a passthrough come from it.
        """
        super().__init__(client, request, translator, upstream, index)
        ident, writer = names
        decoder = translator.decoder(ident)
        asked = request.planned.asked
        self._events = EventWriter(client, request, index, ident, writer)
        self._reader = translator.reader(ident)
        self._sse = SseDecoder()
        # Collects an answer that is no event stream: an error, or plain JSON.
        self._collected: Collected | None = Collected()
        self.stream = StreamAttempt(
            decoder.decode,
            self._events,
            wants_usage=asked.wants_usage or writer is not None,
            choice_count=asked.choice_count,
            deadlines=Deadlines(
                upstream.first_event_seconds,
                upstream.between_events_seconds,
                upstream.total_seconds,
                client.keep_alive_seconds(),
            ),
            now=self.sent_at,
            frame=None if writer is None else writer.events,
            done_event=DONE_EVENT if writer is None else b"",
            flush=decoder.flush,
        )

    def upstream_head(self, status: int, headers: Headers) -> None:
        """Keep the head, and see whether the answer is a stream at all."""
        if self._generation is not None:
            self._generation.began(status, headers)
        collected = self._collected
        if collected is None:
            return
        collected.status = status
        collected.headers = headers
        if status == OK and _is_event_stream(headers):
            self._collected = None
        self._request.response_started(self)

    def upstream_body(self, data: bytes) -> None:
        """Feed the stream, and send on what it gives."""
        if self._collected is not None:
            if self._collected.add(data):
                self._client.collected(self, len(data))
            return
        stream = self.stream
        try:
            payloads = self._sse.feed(data)
        except SseTooLarge:
            out = stream.cut()
        else:
            if not payloads:
                return
            if self._generation is not None:
                self._generation.heard(payloads[0])
            payloads = list(map(as_utf8, payloads))
            if self._reader is not None:
                payloads = _translated(self._reader, payloads)
            out = stream.feed(payloads, self._client.now())
        if stream.is_over:
            self._request.stream_ended(self, out)
        elif out:
            self._request.stream_data(out)

    def upstream_end(self) -> None:
        """Let the stream judge its end, or write a plain answer as a stream."""
        if self._collected is not None:
            self._collected_end(self._collected)
            return
        stream, out = self.stream, b""
        rest = [as_utf8(payload) for payload in self._sse.end()]
        if self._reader is not None:
            rest = _translated(self._reader, rest)
            if not stream.is_over:
                rest += self._reader.end()
        if rest:
            out = stream.feed(rest, self._client.now())
        if not stream.is_over:
            out += stream.end(self._client.now())
        self._request.stream_ended(self, out)

    def _collected_end(self, collected: Collected) -> None:
        answer, body = self._answer_of(collected)
        if answer.failure is not None:
            self._request.attempt_failed(self, answer.failure)
            return
        stream = self.stream
        out = stream.feed(self._translator.as_events(body), self._client.now())
        if not stream.is_over:
            out += stream.end(self._client.now())
        self._request.stream_ended(self, out)

    def upstream_failed(self, failure: Failure) -> None:
        """Let the stream judge a cut; before any event it is a failed attempt."""
        if self._collected is not None:
            self._request.attempt_failed(
                self, connection_failure(failure), is_reused=failure.is_reused
            )
            return
        self._request.stream_ended(self, self.stream.cut())

    def render(self, usage: TokenUsage, cost_usd: str) -> bytes | None:
        """Nothing is answered whole here."""
        del usage, cost_usd
        raise AssertionError("a stream is relayed")

    def error_event(self, code: str, message: str) -> bytes:
        """Write the event that ends a stream which has begun."""
        return self._events.write_error(self.stream, code, message)

    def failure_event(self, failure: UpstreamFailure) -> bytes:
        """Write the event that ends a stream which broke."""
        return self._events.error_event(self.stream, failure)

    @property
    def collected_bytes(self) -> int:
        """What is held of an answer that is no stream."""
        return 0 if self._collected is None else self._collected.size

    def was_held_back(self, seconds: float) -> None:
        """Blame the provider for no silence while it was not read."""
        del seconds
        self.stream.client_is_slow(self._client.now())

    def client_is_slow(self, now: float) -> None:
        """Blame the provider for no silence while it is kept waiting."""
        self.stream.client_is_slow(now)

    def tick(self, now: float) -> UpstreamFailure | None:
        """Return the failure when a deadline has passed; send a keep-alive when it is time."""
        verdict = self.stream.tick(now)
        if verdict is TimeoutCheck.WAIT:
            return None
        if verdict is TimeoutCheck.KEEP_ALIVE:
            self._request.stream_data(KEEP_ALIVE)
            return None
        code = "upstream_stalled" if verdict is TimeoutCheck.STALLED else "upstream_timeout"
        return timeout_failure(code)


def _translated(reader: ProviderStream, payloads: list[bytes]) -> list[bytes]:
    """Turn events into neutral ones; one that cannot be read stays, for the stream to refuse."""
    neutral: list[bytes] = []
    for payload in payloads:
        try:
            neutral += reader.chunks(payload)
        except ChunkMalformed:
            neutral.append(UNREADABLE)
            break
    return neutral


def _is_event_stream(headers: Headers) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return b"json" not in value and b"html" not in value
    return True


def connection_failure(failure: Failure) -> UpstreamFailure:
    """Return what a connection's failure means for the attempt."""
    is_timeout = failure.kind in _TIMEOUTS
    return UpstreamFailure(
        code=f"upstream_{failure.kind.value}",
        message=f"the connection to the upstream failed: {failure.kind.value}",
        status=504 if is_timeout else 502,
        is_cut=True,
    )


def timeout_failure(code: str) -> UpstreamFailure:
    """Return the failure of a provider that took too long."""
    return UpstreamFailure(code=code, message="the upstream did not answer in time", status=504)

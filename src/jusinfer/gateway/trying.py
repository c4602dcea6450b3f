"""Trying the routes of a plan: one retry loop, ours, with a budget, jitter and breakers."""

from abc import abstractmethod
from functools import partial
from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability, Upstream
from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import InvalidRequest, JusinferError, PolicyRefused
from jusinfer.domain.identity import Mode
from jusinfer.domain.preferences import NO_POLICY, closed_gate
from jusinfer.domain.provider_report import QUIRK
from jusinfer.domain.stamps import Stamp
from jusinfer.domain.stream import DONE_EVENT, StreamAttempt, UpstreamFailure
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.gateway.admission import Admission, sent_budget, warmth_of
from jusinfer.gateway.arrivals import FAULT, US_PER_SECOND, Arrival
from jusinfer.gateway.doors import CHAT_PATH
from jusinfer.gateway.failures import RATE_STATUS, STOPPING, error_of, outcome_of
from jusinfer.gateway.generation import Generation
from jusinfer.gateway.heavy import LARGE_BYTES_MIN
from jusinfer.gateway.outbound import gateway_lines, stamp_of
from jusinfer.gateway.relay import PlainAttempt, StreamedAttempt, deadlines
from jusinfer.gateway.rivals import Rival
from jusinfer.gateway.snapshot import Dispatch
from jusinfer.gateway.speech import Speech
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.openai_chat import Answer
from jusinfer.wire.pivot import SurfaceStream

ATTEMPTS_MAX: Final = 3
LENGTH: Final = b"content-length: "
NO_USAGE: Final = TokenUsage()
# What a request is written from: itself, its body, the model's name, the budget, quirks, sender.
Written = tuple[CompletionRequest, bytes, str, int | None, tuple[str, ...], Stamp]
# What a provider is sent; for a stream how it names itself, and what writes it as its caller reads.
Spoken = tuple[bytes, AnswerIdent | None, SurfaceStream | None]


def written(speech: Speech, *request: *Written) -> bytes:
    """Write a request for a provider; raises InvalidRequest."""
    try:
        return speech.encode(*request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A value that was carried unread until this provider needed it read.
        raise InvalidRequest(
            "a value of this request cannot be read: a number beyond all bounds, or no text",
            hint="Send JSON in UTF-8, with numbers that fit 64 bits.",
        ) from None


def spoken(speech: Speech, ident: AnswerIdent | None, request: Written) -> Spoken:
    """Write a request, and make ready to write the answer of a stream; raises InvalidRequest."""
    sent = written(speech, *request)
    return sent, ident, None if ident is None else speech.writer(request[1], ident)


def with_lines(head: bytes, lines: bytes) -> bytes:
    """Add header lines to the head of a request, before the length that comes last.

    A header that the settings state too is joined to theirs: both lists count.
    """
    name, _, value = lines.partition(b": ")
    place = head.find(b"\r\n%b: " % name)
    if place >= 0 and lines.count(b"\r\n") == 1:
        place = head.index(b"\r\n", place + 2)
        return b"%b,%b%b" % (head[:place], value.rstrip(), head[place:])
    return head[: -len(LENGTH)] + lines + LENGTH


class Trying(Arrival):
    """A completion that tries its routes until one answers, or none may be tried any more."""

    __slots__ = ()

    def _try_route(self, index: int) -> None:
        context = self._context
        admission, principal = self._known()
        if index != self._index:
            self._index, self._tries = index, 0
        step = admission.plan.routes[index]
        route = step.route
        dispatch = context.snapshot.dispatch(principal.mode, route.upstream)
        asked = admission.asked
        quirks = dispatch.upstream.quirks
        speech = self._speech = self._door.speech(
            dispatch.dialect,
            quirks=quirks,
            completion_id=self.completion_id,
            is_reasoning=Capability.REASONING in step.model.capabilities,
        )
        if (
            principal.policy is not NO_POLICY
            and principal.mode == Mode.LIVE
            and closed_gate(principal.policy, dispatch.upstream)
        ):
            self._cannot_say(PolicyRefused("the policy of this account closes this route"))
            return
        request = (
            asked,
            self._body,
            route.upstream_model,
            sent_budget(admission, index),
            quirks,
            stamp_of(dispatch.upstream, principal, admission.prices[index]),
        )
        ident = self._ident() if asked.is_stream else None
        if len(self._body) >= LARGE_BYTES_MIN:
            self._attempt = None
            work = partial(spoken, speech, ident, request)
            send = partial(self._send, dispatch)
            context.spawn(self._beside(work, send, self._cannot_say))
            return
        try:
            sent = spoken(speech, ident, request)
        except JusinferError as error:
            self._cannot_say(error)
            return
        self._send(dispatch, sent)

    def _send(self, dispatch: Dispatch, sent: Spoken) -> None:
        """Send a request that was written for the route that is tried."""
        body, ident, self._writer = sent
        context = self._context
        admission, principal = self._known()
        asked, index = admission.asked, self._index
        step = admission.plan.routes[index]
        route, speech = step.route, self._speech
        quirks = dispatch.upstream.quirks
        now = context.loop.time()
        attempt = self._prepare(speech, dispatch.upstream, ident, now)
        self._attempt = attempt
        self._attempts += 1
        self._tries += 1
        if self._dispatched_at == 0.0:
            self._overhead_seconds = now - self._started_at
        self._dispatched_at = now
        self._held_since = -1.0
        self._way = context.health.began(route.upstream, route.upstream_model, now)
        path = self._door.path(
            dispatch.dialect, route.upstream_model, is_stream=asked.is_stream, quirks=quirks
        )
        head = dispatch.chat_head if path is CHAT_PATH else dispatch.head(path)
        if dispatch.is_gateway:
            lines = gateway_lines(
                dispatch.upstream,
                principal,
                step.model.model_id,
                self.completion_id,
                admission.prices[index],
            )
            head = with_lines(head, lines)
        if self._passed_lines and speech.passes_headers:
            head = with_lines(head, self._passed_lines)
        head = b"%b%d\r\n\r\n" % (head, len(body))
        attempt.exchange = context.pool.open(dispatch.target, head, body, attempt)
        if self.responder.is_paused:
            attempt.exchange.pause()
        if dispatch.upstream.hedge_seconds and self._may_hedge(index):
            self._timer = context.loop.call_later(dispatch.upstream.hedge_seconds, self._hedge)

    def _may_hedge(self, index: int) -> bool:
        admission, _ = self._known()
        return (
            self._attempts == 1
            # A second copy of a large body is dearer than waiting for the first.
            and len(self._body) < LARGE_BYTES_MIN
            and index + 1 < len(admission.plan.routes)
            and not admission.asked.traits.tool_count
        )

    def _hedge(self) -> None:
        """Try the next route beside the first, which has said nothing yet."""
        self._timer = None
        first = self._attempt
        if self._is_over or first is None or self._first_byte_at >= 0:
            return
        if not self._context.health.take_hedge():
            return
        one = Rival(self, first, self._index, self._way, self._speech, self._writer)
        self._way = None
        self._rival = one
        self._try_route(self._index + 1)
        second = self._attempt
        if second is None or second is first:
            # The next route cannot take this request, or fell at once: the first goes on alone.
            first.retell(self)
            self.adopt(one)
            return
        one.race(Rival(self, second, self._index, self._way, self._speech, self._writer))

    def adopt(self, rival: Rival) -> None:
        """Go on with one of two attempts."""
        self._rival = None
        self._attempt = rival.attempt
        self._index = rival.index
        self._way = rival.way
        self._speech = rival.speech
        self._writer = rival.writer

    def drop(self, rival: Rival, failure: UpstreamFailure | None) -> None:
        """Stop one of two attempts; what it costs is ours."""
        exchange = rival.attempt.exchange
        if exchange is not None:
            exchange.cancel()
        context = self._context
        if rival.way is not None:
            if failure is None or failure.is_callers_fault:
                context.health.left(rival.way)
            else:
                context.health.ended(rival.way, context.loop.time(), is_good=False)
        route_id = self._known()[0].plan.routes[rival.index].route.route_id
        self._note_attempt(route_id, "hedged" if failure is None else failure.code)

    def _drop_rival(self) -> None:
        """Stop the first of two attempts because the completion ends."""
        rival, self._rival = self._rival, None
        if rival is None:
            return
        if rival.attempt.exchange is not None:
            rival.attempt.exchange.cancel()
            rival.attempt.exchange = None
        if rival.way is not None:
            self._context.health.left(rival.way)

    def _prepare(
        self, speech: Speech, upstream: Upstream, ident: AnswerIdent | None, now: float
    ) -> PlainAttempt | StreamedAttempt:
        """Make ready to hear an upstream's answer."""
        context = self._context
        asked = self._known()[0].asked
        wall = context.clock_us() / US_PER_SECOND
        generation = Generation(upstream.name) if QUIRK in upstream.quirks else None
        if ident is None:
            plain = PlainAttempt(self, speech, now + upstream.total_seconds, wall)
            plain.generation = generation
            return plain
        writer = self._writer
        decoder = speech.decoder(ident)
        machine = StreamAttempt(
            decoder.decode,
            self,
            wants_usage=asked.wants_usage or writer is not None,
            choice_count=asked.choice_count,
            deadlines=deadlines(
                upstream.first_event_seconds,
                upstream.between_events_seconds,
                upstream.total_seconds,
                context.bounds.keep_alive_seconds,
            ),
            now=now,
            frame=None if writer is None else writer.events,
            done_event=DONE_EVENT if writer is None else b"",
            flush=decoder.flush,
        )
        attempt = StreamedAttempt(
            self,
            speech,
            speech.reader(ident),
            machine,
            (now + upstream.total_seconds, wall),
            context.loop.time,
        )
        attempt.generation = generation
        return attempt

    def _ident(self) -> AnswerIdent:
        """Say how the answer of the route that is tried names itself."""
        admission, _ = self._known()
        model = admission.plan.routes[self._index].model.model_id
        return AnswerIdent(
            self.completion_id,
            self._context.clock_us() // US_PER_SECOND,
            model,
            admission.asked.choice_count,
            takes_function_call="functions" in admission.asked.fields,
        )

    def _cannot_say(self, error: JusinferError) -> None:
        """A route cannot carry this request: try the next, else say what is at fault."""
        if self._rival is not None:
            return
        admission, _ = self._known()
        step = admission.plan.routes[self._index]
        if self._index + 1 < len(admission.plan.routes):
            self._note_attempt(step.route.route_id, error.code)
            self._try_route(self._index + 1)
            return
        failure = UpstreamFailure(code=error.code, message="", status=400, is_callers_fault=True)
        self._settle(Outcome.UPSTREAM_REFUSED, NO_USAGE, error, failure)

    def _broke(self) -> None:
        """End because of a fault of ours; what was begun is settled."""
        if self._opening is None:
            super()._broke()
        elif not self._is_over:
            self._cancel()
            self._settle(Outcome.GATEWAY_STOPPED, NO_USAGE, FAULT, None)

    @property
    def collected_bytes(self) -> int:
        """What is held of an answer that is read whole before any of it is sent."""
        return 0 if self._attempt is None else self._attempt.collected_bytes

    def collected(self, size: int) -> None:
        """Count what came of a whole answer; read no more where all of them hold too much."""
        if self._context.collected.take(self, size) or self._held_since >= 0:
            return
        attempt = self._attempt
        if attempt is not None and attempt.exchange is not None:
            self._held_since = self._context.loop.time()
            attempt.exchange.pause()

    def _read_on(self, now: float) -> None:
        """Read the upstream further, which was held back, when there is room."""
        attempt = self._attempt
        if attempt is None:
            self._held_since = -1.0
            return
        attempt.was_held_back(now - self._held_since)
        if self._context.collected.resume(self):
            self._held_since = -1.0
            if attempt.exchange is not None and not self.responder.is_paused:
                attempt.exchange.resume()
        else:
            self._held_since = now

    def first_byte(self) -> None:
        """Note when the upstream began to answer."""
        now = self._context.loop.time()
        if self._first_byte_at < 0:
            self._first_byte_at = now
        if self._way is not None:
            self._context.health.answered(self._way, now - self._dispatched_at, now)

    def attempt_failed(self, failure: UpstreamFailure, *, is_reused: bool) -> None:
        """Move on to the next route if one may still be tried, else say what happened."""
        if self._is_over:
            return
        if self._rival is not None:
            self._judge_way(failure)
            self._attempt = self._rival.attempt
            return
        admission, principal = self._known()
        step = admission.plan.routes[self._index]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._judge_way(failure)
        if is_reused and self._reused_retries == 0:
            self._reused_retries = 1
            self._attempts -= 1
            self._try_route(self._index)
            return
        counters = self._context.counters
        key = (step.route.upstream, failure.code)
        counters.attempts_failed[key] = counters.attempts_failed.get(key, 0) + 1
        if not failure.is_callers_fault and self._attempts < ATTEMPTS_MAX:
            upstream = self._context.snapshot.dispatch(principal.mode, step.route.upstream).upstream
            if self._retry(failure, admission, upstream):
                return
        sizes = (admission.asked.traits.input_tokens, step.model.context_tokens)
        self._settle(outcome_of(failure), NO_USAGE, self._error_of(failure, sizes), failure)

    def _error_of(self, failure: UpstreamFailure, sizes: tuple[int, int] = (0, 0)) -> JusinferError:
        """Say a failure as its caller may hear it."""
        return error_of(failure, sizes, self._context.snapshot.secrets)

    def _retry(self, failure: UpstreamFailure, admission: Admission, upstream: Upstream) -> bool:
        """Try the next route at once, or the same one after a pause, if the budget allows it."""
        context = self._context
        health = context.health
        following = self._index + 1
        has_next = following < len(admission.plan.routes)
        is_again = (
            not has_next
            and failure.is_retryable
            and not failure.is_quota
            and self._tries < upstream.attempts_max
        )
        if not has_next and not is_again:
            return False
        wait = (
            0.0 if has_next else health.wait_seconds(self._tries - 1, failure.retry_after_seconds)
        )
        if wait is None or not health.take_retry(context.loop.time()):
            return False
        self._note_attempt(admission.plan.routes[self._index].route.route_id, failure.code)
        if has_next:
            self._try_route(following)
        else:
            self._attempt = None
            self._timer = context.loop.call_later(wait, self._again)
        return True

    def _again(self) -> None:
        """Try the same route once more, unless the completion has ended meanwhile."""
        self._timer = None
        if not self._is_over:
            self._try_route(self._index)

    def _judge_way(self, failure: UpstreamFailure | None) -> None:
        """Tell the breaker what an attempt showed of its upstream."""
        way, self._way = self._way, None
        if way is None:
            return
        context = self._context
        health, now = context.health, context.loop.time()
        if failure is None:
            health.ended(way, now, is_good=True)
            admission, _ = self._known()
            if admission.conversation:
                warm = warmth_of(admission, self._index)
                context.affinity.note(admission.conversation, warm, now)
        elif failure.is_callers_fault or failure.status == RATE_STATUS or failure is STOPPING:
            health.left(way)
            if failure.is_quota:
                self._shut(failure, now)
        else:
            health.ended(way, now, is_good=False)
            if failure.is_quota:
                self._shut(failure, now)

    def _shut(self, failure: UpstreamFailure, now: float) -> None:
        """Shut an account that is used up; the sandbox plays every account and stays open."""
        admission, principal = self._known()
        name = admission.plan.routes[self._index].route.upstream
        if not self._context.snapshot.dispatch(principal.mode, name).upstream.is_sandbox:
            self._context.health.used_up(name, now, failure.retry_after_seconds)

    @abstractmethod
    def _settle(
        self,
        outcome: Outcome,
        usage: TokenUsage,
        error: JusinferError | None,
        failure: UpstreamFailure | None,
    ) -> int:
        """End the money, once; gives the charge."""

    @abstractmethod
    def _cancel(self) -> None:
        """Stop what is under way at upstreams."""

    @abstractmethod
    def _note_attempt(self, route_id: str, ending: str) -> None:
        """Add an attempt to what the receipt shows of them."""

    @abstractmethod
    def relay(self, data: bytes) -> None:
        """Send bytes of a stream."""

    @abstractmethod
    def stream_ended(self, last: bytes) -> None:
        """End a stream."""

    @abstractmethod
    def answered(self, answer: Answer, body: bytes) -> None:
        """End with a whole answer."""

    @abstractmethod
    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Build the last usage event."""

    @abstractmethod
    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Build the one error event."""

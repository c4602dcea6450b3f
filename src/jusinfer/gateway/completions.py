"""The story of one completion: admit, attempt in order, answer, end once."""

from typing import Final

from jusinfer.domain.catalog import Price
from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.identity import Principal
from jusinfer.domain.journal import Ended
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.redaction import clean
from jusinfer.domain.stream import AttemptState, StreamAttempt, UpstreamFailure
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.gateway.admission import Admission, clamp, credential, examine
from jusinfer.gateway.context import Context
from jusinfer.gateway.failures import EMPTY, STOPPING, error_of, finished, outcome_of
from jusinfer.gateway.leases import Reservation
from jusinfer.gateway.rates import RateWindow
from jusinfer.gateway.receipt import (
    admitted_record,
    answer_headers,
    cost_text,
    country_of,
    own_ids,
    passed_headers,
)
from jusinfer.gateway.relay import PlainAttempt, StreamedAttempt, deadlines
from jusinfer.gateway.server import Request, Responder
from jusinfer.gateway.settlement import Opening, settle
from jusinfer.wire.chat_request import encode_request
from jusinfer.wire.errors import render, status_of
from jusinfer.wire.openai_chat import (
    Answer,
    decode_chunk,
    error_chunk,
    ident_of,
    usage_chunk,
)

REFILLS_MAX: Final = 3
ATTEMPTS_MAX: Final = 3
US_PER_SECOND: Final = 1_000_000
NO_USAGE: Final = TokenUsage()


class Completion:
    """One request by a caller and its answer; hears the caller, the upstream and the clock."""

    __slots__ = (
        "_admission",
        "_attempt",
        "_attempts",
        "_body",
        "_context",
        "_country",
        "_dispatched_at",
        "_first_byte_at",
        "_index",
        "_is_over",
        "_opening",
        "_overhead_seconds",
        "_principal",
        "_reused_retries",
        "_started_at",
        "_window",
        "completion_id",
        "request_id",
        "responder",
    )

    def __init__(
        self, context: Context, request: Request, responder: Responder, request_id: str
    ) -> None:
        self._context = context
        self._body = request.body
        self._country = country_of(
            request, context.bounds.country_header, context.bounds.trusted_proxies
        )
        self._started_at = request.arrived_at
        self.responder = responder
        self.request_id = request_id
        self.completion_id = context.new_id()
        self._principal: Principal | None = None
        self._admission: Admission | None = None
        self._window: RateWindow | None = None
        self._opening: Opening | None = None
        self._attempt: PlainAttempt | StreamedAttempt | None = None
        self._attempts = 0
        self._reused_retries = 0
        self._index = 0
        self._dispatched_at = 0.0
        self._first_byte_at = -1.0
        self._overhead_seconds = 0.0
        self._is_over = False

    def begin(self, request: Request) -> None:
        """Authenticate and admit; answers by itself, now or later."""
        context = self._context
        self.responder.caller = self
        try:
            fingerprint = credential(request)
            principal = context.keys.get(fingerprint, context.loop.time())
            if principal is None:
                context.spawn(self._authenticate(fingerprint))
            else:
                self._admit(principal)
        except JusinferError as error:
            self._refuse(error)

    async def _authenticate(self, fingerprint: bytes) -> None:
        context = self._context
        try:
            principal = await context.keys.fetch(fingerprint, context.loop.time())
            if not self._is_over:
                self._admit(principal)
        except JusinferError as error:
            self._refuse(error)

    def _admit(self, principal: Principal) -> None:
        context = self._context
        now = context.loop.time()
        self._principal = principal
        admission = examine(context, principal, self._body, context.clock_us() // US_PER_SECOND)
        self._admission = admission
        window = context.rates.window(
            principal.key_id, principal.requests_per_minute, principal.tokens_per_minute, now
        )
        window.admit(admission.asked.traits.input_tokens, now)
        self._window = window
        purse = context.purses.purse(principal.tenant_id, principal.mode)
        reservation = purse.reserve(admission.bound_nano, now)
        if reservation is None:
            context.spawn(self._refill(principal, admission))
            return
        if purse.is_low:
            context.purses.top_up(purse, admission.bound_nano, now)
        self._open(principal, admission, reservation)

    async def _refill(self, principal: Principal, admission: Admission) -> None:
        """Ask for more credit until the bound is covered, is cut to fit, or is refused."""
        context = self._context
        try:
            for _ in range(REFILLS_MAX):
                purse = context.purses.purse(principal.tenant_id, principal.mode)
                reservation = purse.reserve(admission.bound_nano, context.loop.time())
                if reservation is not None:
                    if self._is_over:
                        reservation.end(0)
                    else:
                        self._open(principal, admission, reservation)
                    return
                if self._is_over:
                    return
                available_nano = await context.purses.refill(
                    purse, admission.bound_nano, context.loop.time()
                )
                if available_nano is not None:
                    clamp(admission, available_nano)
            raise Unavailable("credit is contended right now", retry_after_seconds=1)
        except JusinferError as error:
            self._refuse(error)

    def _open(self, principal: Principal, admission: Admission, reservation: Reservation) -> None:
        """Write the admitted record; only after it may money be spent elsewhere."""
        context = self._context
        record = admitted_record(
            self.completion_id,
            principal,
            admission,
            reservation.lease.lease_id,
            context.clock_us(),
        )
        try:
            segment = context.journal.admit(record)
        except JusinferError:
            reservation.end(0)
            raise
        self._opening = Opening(record, reservation, segment)
        context.active.add(self)
        self._try_route(0)

    def _try_route(self, index: int) -> None:
        context = self._context
        admission, principal = self._known()
        self._index = index
        step = admission.plan.routes[index]
        dispatch = context.snapshot.dispatch(principal.mode, step.route.upstream)
        upstream = dispatch.upstream
        asked = admission.asked
        body = encode_request(
            asked,
            upstream_model=step.route.upstream_model,
            output_tokens_max=admission.clamped_tokens,
            quirks=upstream.quirks,
        )
        now = context.loop.time()
        wall = context.clock_us() / US_PER_SECOND
        attempt: PlainAttempt | StreamedAttempt
        if asked.is_stream:
            machine = StreamAttempt(
                decode_chunk,
                self,
                wants_usage=asked.wants_usage,
                choice_count=asked.choice_count,
                deadlines=deadlines(
                    upstream.first_event_seconds,
                    upstream.between_events_seconds,
                    upstream.total_seconds,
                    context.bounds.keep_alive_seconds,
                ),
                now=now,
            )
            attempt = StreamedAttempt(
                self, machine, now + upstream.total_seconds, wall, context.loop.time
            )
        else:
            attempt = PlainAttempt(self, now + upstream.total_seconds, wall)
        self._attempt = attempt
        self._attempts += 1
        if self._dispatched_at == 0.0:
            self._overhead_seconds = now - self._started_at
        self._dispatched_at = now
        head = b"%b%d\r\n\r\n" % (dispatch.chat_head, len(body))
        attempt.exchange = context.pool.open(dispatch.target, head, body, attempt)
        if self.responder.is_paused:
            attempt.exchange.pause()

    def first_byte(self) -> None:
        """Note when the upstream began to answer."""
        if self._first_byte_at < 0:
            self._first_byte_at = self._context.loop.time()

    def attempt_failed(self, failure: UpstreamFailure, *, is_reused: bool) -> None:
        """Move on to the next route if one may still be tried, else say what happened."""
        if self._is_over:
            return
        if is_reused and self._reused_retries == 0:
            self._reused_retries = 1
            self._attempts -= 1
            self._try_route(self._index)
            return
        admission, _ = self._known()
        step = admission.plan.routes[self._index]
        counters = self._context.counters
        key = (step.route.upstream, failure.code)
        counters.attempts_failed[key] = counters.attempts_failed.get(key, 0) + 1
        following = self._index + 1
        if (
            not failure.is_callers_fault
            and following < len(admission.plan.routes)
            and self._attempts < ATTEMPTS_MAX
        ):
            self._try_route(following)
            return
        self._settle(outcome_of(failure), NO_USAGE, error_of(failure), failure)

    def answered(self, answer: Answer, body: bytes) -> None:
        """Settle a plain answer and hand it to the caller as it came."""
        if self._is_over:
            return
        arrived_at = self._context.loop.time()
        admission, _ = self._known()
        usage = answer.final_usage(admission.asked.traits.input_tokens)
        charge = self._settle(finished(answer.finish_reason), usage, None, None)
        attempt = self._attempt
        passed = passed_headers(attempt.headers) if isinstance(attempt, PlainAttempt) else ""
        overhead_us = int(
            (self._overhead_seconds + self._context.loop.time() - arrived_at) * US_PER_SECOND
        )
        block = (
            f"content-type: application/json\r\n{self._headers(admission)}{passed}"
            f"x-jusinfer-cost: {cost_text(charge)}\r\nx-jusinfer-overhead-us: {overhead_us}\r\n"
        )
        self.responder.send(200, block.encode("ascii"), body)
        self._release()

    def relay(self, data: bytes) -> None:
        """Send bytes of a stream, beginning the answer when they are the first."""
        responder = self.responder
        if not responder.is_started:
            admission, _ = self._known()
            overhead_us = int(self._overhead_seconds * US_PER_SECOND)
            block = (
                "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
                f"{self._headers(admission)}x-jusinfer-overhead-us: {overhead_us}\r\n"
            )
            responder.start(200, block.encode("ascii"))
        responder.write(data)

    def stream_ended(self) -> None:
        """Settle a stream whose machine has come to its end."""
        attempt = self._attempt
        if self._is_over or not isinstance(attempt, StreamedAttempt):
            return
        machine = attempt.machine
        failure = machine.failure
        if machine.state is AttemptState.FAILED and not machine.has_sent_content:
            exchange = attempt.exchange
            if exchange is not None:
                exchange.cancel()
            self.attempt_failed(failure or EMPTY, is_reused=False)
            return
        is_complete = machine.state is AttemptState.COMPLETED
        if attempt.exchange is not None:
            (attempt.exchange.release if is_complete else attempt.exchange.cancel)()
        usage = self._machine_usage(machine)
        if is_complete:
            self._settle(finished(machine.finish_reason), usage, None, None)
        else:
            self._settle(Outcome.UPSTREAM_CUT, usage, None, failure)
        self.responder.finish()
        self._release()

    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Build the last usage chunk, with what the completion costs."""
        usage = self._machine_usage(machine)
        cost = cost_text(charge_nano(cost_pico(self._price(), usage)))
        return usage_chunk(ident_of(machine.first_payload), usage, machine.raw_usage, cost)

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Build the one error event that ends a stream which broke after it had begun."""
        return error_chunk(ident_of(machine.first_payload), failure.code, error_of(failure).message)

    def caller_gone(self) -> None:
        """Stop the upstream and settle what was produced."""
        if self._is_over:
            return
        self._cancel()
        if self._opening is None:
            self._is_over = True
            return
        usage = NO_USAGE
        attempt = self._attempt
        if isinstance(attempt, StreamedAttempt) and attempt.machine.has_sent_content:
            usage = self._machine_usage(attempt.machine)
        self._settle(Outcome.CUT_BY_CALLER, usage, None, None)
        self._release()

    def caller_paused(self) -> None:
        """Let the upstream wait for a slow caller."""
        if self._attempt is not None and self._attempt.exchange is not None:
            self._attempt.exchange.pause()

    def caller_resumed(self) -> None:
        """Let the upstream go on."""
        if self._attempt is not None and self._attempt.exchange is not None:
            self._attempt.exchange.resume()

    def tick(self, now: float) -> None:
        """Look at the deadlines; called a few times a second for every active completion."""
        attempt = self._attempt
        if self._is_over or attempt is None:
            return
        failure = attempt.tick(now)
        if failure is None:
            return
        self._cancel()
        self._give_up(failure, Outcome.UPSTREAM_STALLED)

    def stop(self) -> None:
        """End honestly because the gateway stops: what was produced is settled."""
        if self._is_over:
            return
        self._cancel()
        if self._opening is None:
            self._refuse(Unavailable("the gateway is stopping", retry_after_seconds=1))
            return
        self._give_up(STOPPING, Outcome.GATEWAY_STOPPED)

    def _give_up(self, failure: UpstreamFailure, outcome: Outcome) -> None:
        attempt = self._attempt
        if isinstance(attempt, StreamedAttempt) and attempt.machine.has_sent_content:
            event = self.error_event(attempt.machine, failure)
            self._settle(outcome, self._machine_usage(attempt.machine), None, failure)
            self.relay(event)
            self.responder.finish()
            self._release()
        elif outcome is Outcome.GATEWAY_STOPPED:
            self._settle(outcome, NO_USAGE, error_of(failure), failure)
        else:
            self.attempt_failed(failure, is_reused=False)

    def _settle(
        self,
        outcome: Outcome,
        usage: TokenUsage,
        error: JusinferError | None,
        failure: UpstreamFailure | None,
    ) -> int:
        """End the money, once; an error is then shown to the caller. Gives the charge."""
        context = self._context
        opening = self._opening
        if opening is None or self._is_over:
            raise AssertionError("a completion that holds nothing cannot be settled")
        self._is_over = True
        context.active.discard(self)
        admission, _ = self._known()
        step = admission.plan.routes[self._index]
        cost = cost_pico(self._price(), usage)
        charge = charge_nano(cost)
        now = context.loop.time()
        first = self._first_byte_at
        admitted = opening.admitted
        record = Ended(
            admitted.completion_id,
            self.request_id,
            admitted.tenant_id,
            admitted.member_id,
            admitted.key_id,
            admitted.mode,
            admitted.lease_id,
            admitted.admitted_at_us,
            -1 if first < 0 else int((first - self._started_at) * US_PER_SECOND),
            int((now - self._started_at) * US_PER_SECOND),
            admitted.requested_model,
            step.model.model_id,
            step.route.upstream,
            ",".join(admission.plan.reasons),
            admitted.price_version,
            usage.prompt_tokens,
            usage.cached_prompt_tokens,
            usage.cache_write_tokens,
            usage.completion_tokens,
            usage.reasoning_tokens,
            usage.is_estimated,
            admission.asked.is_stream,
            cost,
            charge,
            admitted.bound_nano,
            self._attempts,
            outcome.value,
            200 if error is None else status_of(error),
            self._country,
            "" if failure is None else clean(failure.message, self._body),
        )
        settle(context, opening, record)
        if error is not None:
            self._show(error)
        self._body = b""
        return charge

    def _refuse(self, error: JusinferError) -> None:
        """Answer with an error before anything was reserved."""
        if self._is_over:
            return
        self._is_over = True
        counters = self._context.counters
        counters.refusals[error.code] = counters.refusals.get(error.code, 0) + 1
        self._body = b""
        self._show(error)

    def _release(self) -> None:
        """Let go of what points back here, so that nothing waits for the garbage collector."""
        attempt = self._attempt
        self._attempt = None
        self.responder.caller = None
        if attempt is not None:
            attempt.exchange = None

    def _show(self, error: JusinferError) -> None:
        responder = self.responder
        self._release()
        if responder.is_gone:
            return
        if responder.is_started:
            responder.write(error_chunk(ident_of(None), error.code, error.message))
            responder.finish()
            return
        status, block, body = render(error, self.request_id)
        admission = self._admission
        own = (
            self._headers(admission)
            if admission is not None
            else own_ids(self.request_id, self.completion_id)
        )
        responder.send(status, block + own.encode("ascii"), body)

    def _cancel(self) -> None:
        if self._attempt is not None and self._attempt.exchange is not None:
            self._attempt.exchange.cancel()

    def _known(self) -> tuple[Admission, Principal]:
        if self._admission is None or self._principal is None:
            raise AssertionError("the completion has not been admitted")
        return self._admission, self._principal

    def _price(self) -> Price:
        return self._known()[0].prices[self._index]

    def _machine_usage(self, machine: StreamAttempt) -> TokenUsage:
        return machine.final_usage(self._known()[0].asked.traits.input_tokens)

    def _headers(self, admission: Admission) -> str:
        return answer_headers(
            own_ids(self.request_id, self.completion_id),
            admission.plan,
            self._index,
            admission.clamped_tokens,
            self._window,
        )

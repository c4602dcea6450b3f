"""The story of one completion: admit, attempt in order, answer, end once."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Price
from jusinfer.domain.cut_points import Cause, Point, billed_pico, judge
from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.redaction import clean
from jusinfer.domain.stream import AttemptState, StreamAttempt, UpstreamFailure
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.gateway.admission import Admission
from jusinfer.gateway.arrivals import US_PER_SECOND, Arrival
from jusinfer.gateway.failures import EMPTY, STOPPING, error_of, finished, outcome_of
from jusinfer.gateway.receipt import (
    Ending,
    answer_headers,
    cap_header,
    cost_text,
    ended_record,
    own_ids,
    passed_headers,
)
from jusinfer.gateway.relay import PlainAttempt, StreamedAttempt, deadlines
from jusinfer.gateway.settlement import settle
from jusinfer.wire.chat_request import encode_request
from jusinfer.wire.errors import render, status_of
from jusinfer.wire.openai_chat import (
    Answer,
    decode_chunk,
    error_chunk,
    ident_of,
    usage_chunk,
)
from jusinfer.wire.own_records import with_cost

ATTEMPTS_MAX: Final = 3
NO_USAGE: Final = TokenUsage()


class Completion(Arrival):
    """One request by a caller and its answer; hears the caller, the upstream and the clock."""

    __slots__ = ()

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
            self._note_attempt(step.route.route_id, failure.code)
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
        if admission.asked.wants_cost:
            body = with_cost(body, cost_text(charge))
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

    def stream_ended(self, last: bytes) -> None:
        """Settle a stream whose machine has come to its end, then send its last bytes."""
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
            cause = Cause.UPSTREAM_ERROR if machine.is_error_finish else Cause.UPSTREAM_CUT
            self._settle(judge(cause, Point.MID_STREAM).outcome, usage, None, failure)
        if last:
            self.relay(last)
        self.responder.finish()
        self._release()

    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Build the last usage chunk, with what the completion costs."""
        usage = self._machine_usage(machine)
        billed = billed_pico(self._price(), usage, Outcome.COMPLETED)
        cost = cost_text(charge_nano(billed))
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
        rule = judge(Cause.CALLER_LEFT, Point.MID_STREAM)
        self._settle(rule.outcome, usage, None, None)
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
        self._give_up(failure, judge(Cause.UPSTREAM_STALLED, Point.MID_STREAM).outcome)

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
        price = self._price()
        images = admission.asked.traits.image_count
        if images and price.extras is not None:
            usage = msgspec.structs.replace(usage, image_count=images)
        cost = billed_pico(price, usage, outcome)
        charge = charge_nano(cost)
        if cost == 0 and usage.prompt_tokens:
            context.counters.unbilled_pico += cost_pico(price, usage)
        now = context.loop.time()
        first = self._first_byte_at
        self._note_attempt(step.route.route_id, outcome.value if failure is None else failure.code)
        timing = (
            -1 if first < 0 else int((first - self._started_at) * US_PER_SECOND),
            int((now - self._started_at) * US_PER_SECOND),
        )
        record = ended_record(
            opening,
            admission,
            step,
            usage,
            (cost, charge),
            timing,
            Ending(
                self.request_id,
                outcome,
                200 if error is None else status_of(error),
                self._attempts,
                self._attempt_log,
                self._country,
                "" if failure is None else clean(failure.message, self._body),
            ),
        )
        settle(context, opening, record)
        if error is not None:
            self._show(error)
        self._body = b""
        return charge

    def _note_attempt(self, route_id: str, ending: str) -> None:
        """Add an attempt to what the receipt shows of them."""
        log = self._attempt_log
        self._attempt_log = f"{log} {route_id}={ending}" if log else f"{route_id}={ending}"

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

    def _price(self) -> Price:
        return self._known()[0].prices[self._index]

    def _machine_usage(self, machine: StreamAttempt) -> TokenUsage:
        return machine.final_usage(self._known()[0].asked.traits.input_tokens)

    def _headers(self, admission: Admission) -> str:
        _, principal = self._known()
        headers = answer_headers(
            own_ids(self.request_id, self.completion_id),
            admission.plan,
            self._index,
            admission.clamped_tokens,
            self._window,
        )
        if principal.caps:
            headers += cap_header(principal.caps, self._context.clock_us() // US_PER_SECOND)
        return headers

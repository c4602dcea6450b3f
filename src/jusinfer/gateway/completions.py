"""The story of one completion: admit, attempt in order, answer, end once."""

import msgspec

from jusinfer.domain.catalog import Price
from jusinfer.domain.cut_points import Cause, Point, billed_pico, judge
from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.stream import AttemptState, ChunkMalformed, StreamAttempt, UpstreamFailure
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.gateway.admission import Admission, sent_budget
from jusinfer.gateway.arrivals import US_PER_SECOND
from jusinfer.gateway.explained import route_json
from jusinfer.gateway.failures import (
    EMPTY,
    STOPPING,
    code_of,
    finished,
    kept_error,
)
from jusinfer.gateway.receipt import (
    Ending,
    answer_headers,
    cap_header,
    cost_text,
    ended_record,
    own_ids,
    passed_headers,
)
from jusinfer.gateway.relay import PlainAttempt, StreamedAttempt
from jusinfer.gateway.settlement import settle
from jusinfer.gateway.speech import rendered, worded
from jusinfer.gateway.trying import NO_USAGE, Trying
from jusinfer.wire.chat_answer import MALFORMED
from jusinfer.wire.errors import status_of
from jusinfer.wire.generation_id import repeats
from jusinfer.wire.openai_chat import (
    Answer,
    ChunkIdent,
    error_chunk,
    named_so,
    usage_chunk,
)
from jusinfer.wire.route_shape import event_with_route, with_route


class Completion(Trying):
    """One request by a caller and its answer; hears the caller, the upstream and the clock."""

    __slots__ = ()

    def answered(self, answer: Answer, body: bytes) -> None:
        """Settle a plain answer and hand it to the caller as it came."""
        if self._is_over:
            return
        arrived_at = self._context.loop.time()
        admission, _ = self._known()
        usage = answer.final_usage(admission.asked.traits.input_tokens)
        outcome = finished(answer.finish_reason)
        cost = self._cost(usage, outcome)
        try:
            body = self._speech.whole(body, admission.asked, self._body, usage, cost, self._ident())
        except (ChunkMalformed, ValueError, RecursionError):
            # What cannot be delivered is not charged: it is as if it had not come.
            self.attempt_failed(MALFORMED, is_reused=False)
            return
        self._judge_way(None)
        charge = self._settle(outcome, usage, None, None)
        attempt = self._attempt
        passed = passed_headers(attempt.headers) if isinstance(attempt, PlainAttempt) else ""
        overhead_us = int(
            (self._overhead_seconds + self._context.loop.time() - arrived_at) * US_PER_SECOND
        )
        block = (
            f"content-type: application/json\r\n{self._headers(admission)}{passed}"
            f"x-jusinfer-cost: {cost_text(charge)}\r\nx-jusinfer-overhead-us: {overhead_us}\r\n"
        )
        if admission.asked.wants_route:
            body = with_route(body, route_json(self._context, admission.plan, self._index))
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
        self._judge_way(None if is_complete else failure or EMPTY)
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
        cost = self._cost(usage, Outcome.COMPLETED)
        if self._writer is not None:
            return self._writer.finish(usage, cost)
        event = usage_chunk(self._chunk_ident(machine), usage, machine.raw_usage, cost)
        admission, _ = self._known()
        if admission.asked.wants_route:
            return event_with_route(event, route_json(self._context, admission.plan, self._index))
        return event

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Build the one error event that ends a stream which broke after it had begun."""
        admission, _ = self._known()
        step = admission.plan.routes[self._index]
        sizes = (admission.asked.traits.input_tokens, step.model.context_tokens)
        message = worded(self._door.surface, self._error_of(failure, sizes))
        if self._writer is not None:
            return self._writer.fail(code_of(failure), message)
        return error_chunk(self._chunk_ident(machine), code_of(failure), message)

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
        if self._held_since >= 0:
            return
        if self._attempt is not None and self._attempt.exchange is not None:
            self._attempt.exchange.resume()

    def tick(self, now: float) -> None:
        """Look at the deadlines; called a few times a second for every active completion."""
        attempt = self._attempt
        if self._is_over or attempt is None:
            return
        if self._held_since >= 0:
            self._read_on(now)
        if self.responder.is_paused:
            attempt.caller_is_slow(now)
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
            self._judge_way(failure)
            event = self.error_event(attempt.machine, failure)
            self._settle(outcome, self._machine_usage(attempt.machine), None, failure)
            self.relay(event)
            self.responder.finish()
            self._release()
        elif outcome is Outcome.GATEWAY_STOPPED:
            self._settle(outcome, NO_USAGE, self._error_of(failure), failure)
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
        if self._way is not None:
            context.health.left(self._way)
            self._way = None
        admission, _ = self._known()
        step = admission.plan.routes[self._index]
        price = self._price()
        usage = self._with_images(usage)
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
                kept_error(failure, self._body, context.snapshot.secrets),
                self._generation_id(step.route.upstream, usage),
            ),
        )
        settle(context, opening, record)
        if error is not None:
            self._show(error)
        self._body = b""
        return charge

    def _generation_id(self, upstream: str, usage: TokenUsage) -> str:
        """Name the answer as its provider does, where only it can say what was used."""
        generation = None if self._attempt is None else self._attempt.generation
        named = "" if generation is None else generation.id_for(upstream, usage)
        is_told = named and (
            self._context.snapshot.secrets.has(named) or repeats(named, self._body)
        )
        return "" if is_told else named

    def _note_attempt(self, route_id: str, ending: str) -> None:
        """Add an attempt to what the receipt shows of them."""
        log = self._attempt_log
        self._attempt_log = f"{log} {route_id}={ending}" if log else f"{route_id}={ending}"

    def _release(self) -> None:
        """Let go of what points back here, so that nothing waits for the garbage collector."""
        attempt = self._attempt
        self._drop_rival()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._attempt = None
        self._writer = None
        self.responder.caller = None
        if attempt is not None:
            attempt.exchange = None

    def _show(self, error: JusinferError) -> None:
        responder = self.responder
        self._release()
        if responder.is_gone:
            return
        if responder.is_started:
            if self._writer is not None:
                responder.write(self._writer.fail(error.code, error.message))
            else:
                ident = named_so(None, self._ident())
                responder.write(error_chunk(ident, error.code, error.message))
            responder.finish()
            return
        status, block, body = rendered(self._door.surface, error, self.request_id)
        admission = self._admission
        own = (
            self._headers(admission)
            if admission is not None
            else own_ids(self.request_id, self.completion_id)
        )
        responder.send(status, block + own.encode("ascii"), body)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop_rival()
        if self._attempt is not None and self._attempt.exchange is not None:
            self._attempt.exchange.cancel()

    def _chunk_ident(self, machine: StreamAttempt) -> ChunkIdent:
        """Say how events that are made here name their stream."""
        return named_so(machine.first_payload, self._ident())

    def _with_images(self, usage: TokenUsage) -> TokenUsage:
        """Count the images that were sent, where they have a price of their own."""
        images = self._known()[0].asked.traits.image_count
        if not images or self._price().extras is None:
            return usage
        return msgspec.structs.replace(usage, image_count=images)

    def _cost(self, usage: TokenUsage, outcome: Outcome) -> str:
        """Say what a completion will be charged when it ends so, in US dollars."""
        billed = billed_pico(self._price(), self._with_images(usage), outcome)
        return cost_text(charge_nano(billed))

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
            sent_budget(admission, self._index),
            self._window,
        )
        if principal.caps:
            headers += cap_header(principal.caps, self._context.clock_us() // US_PER_SECOND)
        return headers

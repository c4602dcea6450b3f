"""A request whose money is secured: its attempts, its answer and its settlement; it ends once."""

from typing import Final

from jusinfer.domain.billing_rules import EndCause, StreamPhase, billing_rule
from jusinfer.domain.errors import JusinferError, PolicyRefused
from jusinfer.domain.identity import Mode
from jusinfer.domain.inference.effects import Attempt, Effects, Timer, WholeAnswer
from jusinfer.domain.inference.endpoint_feedback import (
    ATTEMPTS_MAX,
    note_end,
    note_loser,
    repeat_wait,
)
from jusinfer.domain.inference.failures import (
    EMPTY,
    MALFORMED,
    STOPPING,
    cause_of,
    error_of,
    finished,
)
from jusinfer.domain.inference.response_headers import US_PER_SECOND, passthrough_headers
from jusinfer.domain.inference.settlement import OK, Settlement
from jusinfer.domain.inference.stream_state import AttemptState, StreamAttempt, UpstreamFailure
from jusinfer.domain.money import charge_nano, format_usd
from jusinfer.domain.tenant_policy import NO_POLICY, closed_gate
from jusinfer.domain.usage import Outcome, TokenUsage

NO_USAGE: Final = TokenUsage()


class AdmittedRequest:
    """Tries the planned routes until one answers, or none may be tried any more.

    What happens comes in by the methods up to `stop`; what is to be done is asked of `Effects`. No
    method waits, so nothing can be cancelled half-way.
    """

    __slots__ = (
        "_attempt",
        "_effects",
        "_index",
        "_last",
        "_overhead_seconds",
        "_reused_retries",
        "_rival",
        "_settlement",
        "_timer",
        "_tries",
        "planned",
        "principal",
    )

    def __init__(self, effects: Effects, settlement: Settlement) -> None:
        self._effects = effects
        self._settlement = settlement
        self.principal = settlement.principal
        self.planned = settlement.planned
        # The attempt that is under way, the other one of two that race, and the one sent last.
        self._attempt: Attempt | None = None
        self._rival: Attempt | None = None
        self._last: Attempt | None = None
        self._timer: Timer | None = None
        self._index = 0
        # How often the present route was tried.
        self._tries = 0
        self._reused_retries = 0
        self._overhead_seconds = -1.0

    @property
    def is_over(self) -> bool:
        """Whether the request has ended."""
        return self._settlement.is_over

    # ------------------------------------------------------------------ what happens

    def begin(self) -> None:
        """Send the first attempt."""
        self._send(0)

    def attempt_sent(self, attempt: Attempt) -> None:
        """An attempt is on its way."""
        effects, settlement = self._effects, self._settlement
        self._attempt = self._last = attempt
        settlement.attempts += 1
        self._tries += 1
        now = attempt.sent_at
        if self._overhead_seconds < 0:
            self._overhead_seconds = now - settlement.started_at
        route = self.planned.plan.routes[attempt.index].route
        attempt.endpoint = effects.health.record_start(route.upstream, route.upstream_model, now)
        if effects.is_paused:
            attempt.pause()
        hedge_seconds = attempt.upstream.hedge_seconds
        if hedge_seconds and self._may_hedge(attempt.index):
            self._timer = effects.call_later(hedge_seconds, self._hedge)

    def cannot_carry(self, error: JusinferError) -> None:
        """Pass over a route that cannot carry the request; end with the reason at the last."""
        if self._rival is not None:
            return
        if self._index + 1 < len(self.planned.plan.routes):
            self._settlement.note_attempt(self._index, error.code)
            self._send(self._index + 1)
            return
        failure = UpstreamFailure(code=error.code, message="", status=400, is_clients_fault=True)
        self._settle_by_rule(EndCause.UPSTREAM_REFUSED, None, error=error, failure=failure)

    def response_started(self, attempt: Attempt) -> None:
        """A provider has begun to answer: of two attempts that race, this one goes on."""
        effects = self._effects
        now = effects.now()
        if self._rival is not None:
            loser = self._other_than(attempt)
            self._go_on_with(attempt)
            if loser is not None:
                self._drop(loser, None)
        if self._settlement.first_byte_at < 0:
            self._settlement.first_byte_at = now
        if attempt.endpoint is not None:
            effects.health.record_first_byte(attempt.endpoint, now - attempt.sent_at, now)

    def answer_received(
        self, attempt: Attempt, answer: WholeAnswer, provider_headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Settle an answer that was read whole, and send it."""
        if self.is_over:
            return
        effects, planned = self._effects, self.planned
        arrived_at = effects.now()
        usage = planned.with_images(self._index, answer.final_usage(self.input_tokens))
        cost = planned.cost_pico(self._index, usage)
        charge = format_usd(charge_nano(cost))
        body = attempt.render(usage, charge)
        if body is None:
            # What cannot be delivered is not charged: it is as if it had not come.
            self.attempt_failed(attempt, MALFORMED)
            return
        self._note_health(attempt, None)
        self._settle(finished(answer.finish_reason), usage, cost)
        spent = self._overhead_seconds + effects.now() - arrived_at
        headers = self._settlement.headers(self._index) + passthrough_headers(provider_headers)
        effects.respond(
            OK,
            f"content-type: application/json\r\n{headers}"
            f"x-jusinfer-cost: {charge}\r\n"
            f"x-jusinfer-overhead-us: {int(spent * US_PER_SECOND)}\r\n",
            body,
        )
        self._release()

    def stream_data(self, data: bytes) -> None:
        """Send bytes of a stream, beginning the answer when they are the first."""
        effects = self._effects
        if not effects.is_started:
            overhead_us = int(self._overhead_seconds * US_PER_SECOND)
            headers = self._settlement.headers(self._index)
            effects.start_stream(f"{headers}x-jusinfer-overhead-us: {overhead_us}\r\n")
        effects.write(data)

    def stream_ended(self, attempt: Attempt, last: bytes) -> None:
        """Settle a stream that has come to its end, then send its last bytes."""
        stream = attempt.stream
        if self.is_over or stream is None:
            return
        failure = stream.failure or EMPTY
        if stream.state is AttemptState.COMPLETED:
            attempt.release()
            self._note_health(attempt, None)
            usage = self.usage_of(stream)
            cost = self.planned.cost_pico(self._index, usage)
            self._settle(finished(stream.finish_reason), usage, cost)
        elif not stream.has_sent_content:
            attempt.cancel()
            self.attempt_failed(attempt, failure)
            return
        else:
            attempt.cancel()
            self._note_health(attempt, failure)
            cause = EndCause.UPSTREAM_ERROR if stream.is_error_finish else EndCause.UPSTREAM_CUT
            self._settle_by_rule(cause, attempt, failure=failure)
        if last:
            self.stream_data(last)
        self._effects.finish()
        self._release()

    def attempt_failed(
        self, attempt: Attempt, failure: UpstreamFailure, *, is_reused: bool = False
    ) -> None:
        """Go on with another attempt if one may still be made, else end.

        `is_reused` says that a kept connection had been closed before the provider could answer:
        the attempt is then repeated once, on another connection, and counts as one.
        """
        if self.is_over:
            return
        other = self._other_than(attempt)
        if other is not None:
            self._go_on_with(other)
            self._drop(attempt, failure)
            return
        self._stop_timer()
        self._note_health(attempt, failure)
        if is_reused and self._reused_retries == 0:
            self._reused_retries = 1
            self._settlement.attempts -= 1
            self._send(self._index)
            return
        upstream = self.planned.plan.routes[self._index].route.upstream
        self._effects.count_failed_attempt(upstream, failure.code)
        cause = cause_of(failure)
        rule = billing_rule(cause, StreamPhase.BEFORE_FIRST_TOKEN)
        if rule.is_tried_again and not failure.is_clients_fault and self._retry(failure):
            return
        self._settle_by_rule(cause, None, error=self.error_of(failure), failure=failure)

    def client_gone(self) -> None:
        """Stop the provider, and settle what was produced."""
        if not self.is_over:
            attempt = self._attempt
            self._cancel()
            self._settle_by_rule(EndCause.CLIENT_LEFT, attempt)
            self._release()

    def client_paused(self) -> None:
        """Let the provider wait for a slow client."""
        if self._attempt is not None:
            self._attempt.pause()

    def client_resumed(self) -> None:
        """Let the provider go on."""
        if self._attempt is not None:
            self._attempt.resume()

    def tick(self, now: float) -> None:
        """Look at the deadlines; called a few times a second. `now` is monotonic seconds."""
        for attempt in (self._rival, self._attempt):
            if self.is_over or attempt is None:
                continue
            if self._effects.is_paused:
                attempt.client_is_slow(now)
            failure = attempt.tick(now)
            if failure is not None:
                attempt.cancel()
                self._break_off(attempt, failure, EndCause.UPSTREAM_STALLED)

    def stop(self) -> None:
        """End because the gateway stops: what was produced is settled."""
        if self.is_over:
            return
        attempt = self._attempt
        self._cancel()
        if attempt is not None and attempt.stream is not None and attempt.stream.has_sent_content:
            self._break_off(attempt, STOPPING, EndCause.GATEWAY_STOPPED)
        else:
            error = self.error_of(STOPPING)
            self._settle_by_rule(EndCause.GATEWAY_STOPPED, None, error=error, failure=STOPPING)

    def fault(self, error: JusinferError) -> None:
        """End because of a fault of ours; nothing is charged."""
        if not self.is_over:
            self._cancel()
            self._settle_by_rule(EndCause.GATEWAY_STOPPED, None, error=error)

    # ------------------------------------------------------------------ what attempts ask

    @property
    def input_tokens(self) -> int:
        """Our estimate of the tokens of the input."""
        return self.planned.asked.traits.input_tokens

    def usage_of(self, stream: StreamAttempt) -> TokenUsage:
        """Return what a stream has used so far."""
        return self.planned.with_images(self._index, stream.final_usage(self.input_tokens))

    def cost_usd(self, usage: TokenUsage) -> str:
        """Return what is charged for an answer that ends well, in US dollars."""
        return format_usd(charge_nano(self.planned.cost_pico(self._index, usage)))

    def error_of(self, failure: UpstreamFailure) -> JusinferError:
        """Return a failure as the client may read it."""
        model = self.planned.plan.routes[self._index].model
        sizes = (self.input_tokens, model.context_tokens)
        return error_of(failure, sizes, self._effects.secrets)

    # ------------------------------------------------------------------ attempts

    def _send(self, index: int) -> None:
        """Send the request to a route, or to the next one that can carry it."""
        effects = self._effects
        if index != self._index:
            self._index, self._tries = index, 0
        try:
            self._check_policy(index)
            attempt = effects.send_attempt(index)
        except JusinferError as error:
            self.cannot_carry(error)
            return
        if attempt is None:
            self._attempt = None
        else:
            self.attempt_sent(attempt)

    def _check_policy(self, index: int) -> None:
        """Refuse a route that the account's policy closes; raises PolicyRefused."""
        principal = self.principal
        if principal.policy is NO_POLICY or principal.mode != Mode.LIVE:
            return
        name = self.planned.plan.routes[index].route.upstream
        if closed_gate(principal.policy, self._effects.upstream(name)):
            raise PolicyRefused("the policy of this account closes this route")

    def _retry(self, failure: UpstreamFailure) -> bool:
        """Try the next route at once, or the same one after a pause, if the budget allows it."""
        if self._settlement.attempts >= ATTEMPTS_MAX:
            return False
        effects, routes = self._effects, self.planned.plan.routes
        following = self._index + 1
        has_next = following < len(routes)
        wait: float | None = 0.0
        if not has_next:
            upstream = effects.upstream(routes[self._index].route.upstream)
            wait = repeat_wait(effects.health, upstream, failure, self._tries)
        if wait is None or not effects.health.try_consume_retry(effects.now()):
            return False
        self._settlement.note_attempt(self._index, failure.code)
        if has_next:
            self._send(following)
        else:
            self._attempt = None
            self._timer = effects.call_later(wait, self._send_again)
        return True

    def _send_again(self) -> None:
        """Try the same route once more."""
        self._timer = None
        if not self.is_over:
            self._send(self._index)

    def _may_hedge(self, index: int) -> bool:
        return (
            self._settlement.attempts == 1
            and not self._effects.is_large
            and index + 1 < len(self.planned.plan.routes)
            and not self.planned.asked.traits.tool_count
        )

    def _hedge(self) -> None:
        """Try the next route beside the first, which has not begun to answer."""
        self._timer = None
        first = self._attempt
        if self.is_over or first is None or self._settlement.first_byte_at >= 0:
            return
        if not self._effects.health.try_consume_hedge():
            return
        self._rival = first
        self._send(first.index + 1)
        if self._attempt is first:
            # The next route cannot carry this request: the first goes on alone.
            self._go_on_with(first)

    def _other_than(self, attempt: Attempt) -> Attempt | None:
        """Return the attempt that races against this one."""
        return self._attempt if attempt is self._rival else self._rival

    def _go_on_with(self, attempt: Attempt) -> None:
        self._rival = None
        self._attempt = self._last = attempt
        self._index = attempt.index

    def _drop(self, attempt: Attempt, failure: UpstreamFailure | None) -> None:
        """Stop one of two attempts; what it costs is ours."""
        attempt.cancel()
        endpoint, attempt.endpoint = attempt.endpoint, None
        if endpoint is not None:
            note_loser(self._effects.health, endpoint, failure, self._effects.now())
        self._settlement.note_attempt(attempt.index, "hedged" if failure is None else failure.code)
        attempt.detach()

    def _note_health(self, attempt: Attempt, failure: UpstreamFailure | None) -> None:
        """Tell the breaker what an attempt showed of its endpoint; once."""
        endpoint, attempt.endpoint = attempt.endpoint, None
        if endpoint is None:
            return
        effects = self._effects
        now = effects.now()
        note_end(effects.health, endpoint, attempt.upstream, failure, now)
        if failure is None and self.planned.conversation:
            warmth = self.planned.warmth(attempt.index)
            effects.remember_affinity(self.planned.conversation, warmth, now)

    def _break_off(self, attempt: Attempt, failure: UpstreamFailure, cause: EndCause) -> None:
        """End a stream that has begun with an event; before that the attempt has failed."""
        stream = attempt.stream
        if stream is None or not stream.has_sent_content:
            self.attempt_failed(attempt, failure)
            return
        self._note_health(attempt, failure)
        event = attempt.failure_event(failure)
        self._settle_by_rule(cause, attempt, failure=failure)
        self.stream_data(event)
        self._effects.finish()
        self._release()

    # ------------------------------------------------------------------ the end

    def _settle_by_rule(
        self,
        cause: EndCause,
        attempt: Attempt | None,
        *,
        error: JusinferError | None = None,
        failure: UpstreamFailure | None = None,
    ) -> None:
        """End as the table says for this cause; what an attempt has produced is what it used."""
        stream = None if attempt is None else attempt.stream
        usage, phase = NO_USAGE, StreamPhase.BEFORE_FIRST_TOKEN
        if stream is not None and stream.has_sent_content:
            is_last = stream.has_finished
            phase = StreamPhase.AFTER_LAST_TOKEN if is_last else StreamPhase.MID_STREAM
            usage = self.usage_of(stream)
        rule = billing_rule(cause, phase)
        cost = self.planned.cost_pico(self._index, usage) if rule.is_charged else 0
        self._settle(rule.outcome, usage, cost, error, failure)

    def _settle(
        self,
        outcome: Outcome,
        usage: TokenUsage,
        cost: int,
        error: JusinferError | None = None,
        failure: UpstreamFailure | None = None,
    ) -> None:
        """End the money, once; an error is then shown to the client. `cost` is pico-USD."""
        effects, attempt = self._effects, self._attempt
        for one in (attempt, self._rival):
            if one is not None and one.endpoint is not None:
                effects.health.record_neutral(one.endpoint)
                one.endpoint = None
        self._settlement.end(
            self._index,
            outcome,
            usage,
            cost,
            "" if attempt is None else attempt.generation_id(usage),
            OK if error is None else effects.status_of(error),
            failure,
        )
        if error is not None:
            effects.show_error(error, self._settlement.headers(self._index), self._last)
            self._release()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel(self) -> None:
        """Stop whatever is under way."""
        self._stop_timer()
        for attempt in (self._attempt, self._rival):
            if attempt is not None:
                attempt.cancel()

    def _release(self) -> None:
        """Let go of the attempts, so that nothing waits for the garbage collector."""
        self._stop_timer()
        for attempt in (self._attempt, self._rival, self._last):
            if attempt is not None:
                attempt.detach()
        self._attempt = self._rival = self._last = None
        self._effects.release()

"""What was secured for a request, and its end: one record, one charge, everything else returned."""

from typing import Final, Protocol

from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.effects import Effects, HeldLimits, Reservation
from jusinfer.domain.inference.failures import kept_error
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.inference.response_headers import (
    US_PER_SECOND,
    answer_headers,
    rate_headers,
    request_id_headers,
)
from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.domain.inference.usage_record import CompletionResult, ended_record
from jusinfer.domain.journal import RequestAdmitted
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.usage import Outcome, TokenUsage

OK: Final = 200


class Arrived(Protocol):
    """What is known of a request from its beginning; `started_at` is monotonic seconds."""

    request_id: str
    completion_id: str
    country: str
    started_at: float


class Settlement:
    """Holds the credit and the permits of one admitted request until they are settled, once."""

    __slots__ = (
        "_effects",
        "_hold",
        "_log",
        "_reservation",
        "attempts",
        "completion_id",
        "country",
        "first_byte_at",
        "is_over",
        "planned",
        "principal",
        "record",
        "request_id",
        "started_at",
    )

    def __init__(  # noqa: PLR0913, PLR0917 (all that was secured)
        self,
        effects: Effects,
        arrived: Arrived,
        principal: Principal,
        planned: PlannedRequest,
        record: RequestAdmitted,
        reservation: Reservation,
        hold: HeldLimits | None,
    ) -> None:
        self._effects = effects
        self._reservation = reservation
        self._hold = hold
        self._log = ""
        self.request_id = arrived.request_id
        self.completion_id = arrived.completion_id
        self.country = arrived.country
        self.started_at = arrived.started_at
        self.principal = principal
        self.planned = planned
        self.record = record
        # How many attempts were made, and when the first byte of an answer came (monotonic).
        self.attempts = 0
        self.first_byte_at = -1.0
        self.is_over = False

    def note_attempt(self, index: int, ending: str) -> None:
        """Add the end of an attempt at a route to what the record shows."""
        route_id = self.planned.plan.routes[index].route.route_id
        self._log = f"{self._log} {route_id}={ending}" if self._log else f"{route_id}={ending}"

    def headers(self, index: int) -> str:
        """Write the headers of an answer by a route."""
        return answer_headers(
            request_id_headers(self.request_id, self.completion_id),
            self.planned,
            index,
            "" if self._hold is None else rate_headers(self._hold.statuses(self._effects.now())),
            self.principal.spend_limits,
            self._effects.epoch_us,
        )

    def end(  # noqa: PLR0913, PLR0917 (what one end is made of)
        self,
        index: int,
        outcome: Outcome,
        usage: TokenUsage,
        cost: int,
        generation_id: str,
        status: int,
        failure: UpstreamFailure | None,
    ) -> None:
        """End the money: `cost` is pico-USD, `index` the route that answered or was tried last."""
        if self.is_over:
            raise AssertionError("a request was settled twice")
        self.is_over = True
        effects = self._effects
        if cost == 0 and usage.prompt_tokens:
            effects.count_unbilled(cost_pico(self.planned.prices[index], usage))
        self.note_attempt(index, outcome.value if failure is None else failure.code)
        first, began = self.first_byte_at, self.started_at
        charge = charge_nano(cost)
        ended = ended_record(
            self.record,
            self.planned,
            index,
            usage,
            CompletionResult(
                self.request_id,
                outcome,
                status,
                self.attempts,
                self._log,
                self.country,
                "" if failure is None else kept_error(failure, effects.body, effects.secrets),
                generation_id,
                cost,
                charge,
                -1 if first < 0 else int((first - began) * US_PER_SECOND),
                int((effects.now() - began) * US_PER_SECOND),
                "" if self._hold is None else self._hold.spend_limit_leases,
            ),
        )
        overrun_nano = self._reservation.end(charge)
        if self._hold is not None:
            self._hold.end(ended)
        effects.append_ended(ended, overrun_nano)

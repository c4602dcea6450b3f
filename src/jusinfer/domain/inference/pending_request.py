"""A request before it may spend money: authenticated, planned, within limits, covered by credit."""

from typing import Final, Protocol

from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.effects import Effects, HeldLimits, Reservation
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.response_headers import (
    US_PER_SECOND,
    answer_headers,
    rate_headers,
    request_id_headers,
)
from jusinfer.domain.inference.settlement import Settlement
from jusinfer.domain.inference.usage_record import admitted_record
from jusinfer.domain.journal import RequestAdmitted
from jusinfer.domain.limits import SpendLimitAction, is_reached

REFILLS_MAX: Final = 3
SLOW_SECONDS: Final = 2.0


class PendingEffects(Effects, Protocol):
    """What a request needs before it is admitted, and after.

    Where a method says so, it answers later by a method of the pending request, or by `failed`.
    """

    def read(self) -> CompletionRequest | None:
        """Read the request; None means that `request_read` comes later. Raises InvalidRequest."""
        ...

    def plan(self, principal: Principal, asked: CompletionRequest) -> PlannedRequest:
        """Plan its routes and bound its cost; raises what is wrong with it."""
        ...

    def take_limits(self, principal: Principal, tokens: int) -> HeldLimits | None:
        """Take what is lent here of all limits; None means `fetch_limits`. Raises RateLimited."""
        ...

    def fetch_limits(self, principal: Principal, tokens: int) -> None:
        """Take limits with the database's help; then `limits_acquired`."""
        ...

    def delay(self, seconds: float) -> None:
        """Wait; then `delayed`."""
        ...

    def reserve_spend_limits(self, principal: Principal, hold: HeldLimits, bound_nano: int) -> None:
        """Reserve the bound under every hard spend limit; then `spend_limits_reserved`."""
        ...

    def reserve_nothing(self) -> Reservation:
        """Return the reservation of what is free."""
        ...

    def take_credit(self, principal: Principal, bound_nano: int) -> Reservation | None:
        """Reserve the bound from the credit that is lent here; None means `fetch_credit`."""
        ...

    def fetch_credit(self, principal: Principal, bound_nano: int) -> None:
        """Borrow more credit; then `credit_fetched`."""
        ...

    def append_admitted(self, record: RequestAdmitted) -> None:
        """Write that money may be spent; raises Unavailable."""
        ...

    def admitted(self, request: AdmittedRequest) -> None:
        """Go on with an admitted request from now on."""
        ...

    def refuse(self, error: JusinferError, headers: str) -> None:
        """Answer with an error; nothing was spent."""
        ...


class PendingRequest:
    """Becomes an AdmittedRequest, or ends refused or abandoned; until then nothing is spent.

    After `client_gone` whatever arrives is returned at once.
    """

    __slots__ = (
        "_effects",
        "_hold",
        "_planned",
        "_principal",
        "_refills",
        "completion_id",
        "country",
        "is_over",
        "request_id",
        "started_at",
    )

    def __init__(
        self,
        effects: PendingEffects,
        request_id: str,
        completion_id: str,
        started_at: float,
        country: str,
    ) -> None:
        """Begin; `started_at` is monotonic seconds, `country` a code of two letters or empty."""
        self._effects = effects
        self._principal: Principal | None = None
        self._planned: PlannedRequest | None = None
        self._hold: HeldLimits | None = None
        self._refills = 0
        self.request_id = request_id
        self.completion_id = completion_id
        self.started_at = started_at
        self.country = country
        self.is_over = False

    # ------------------------------------------------------------------ what happens

    def authenticated(self, principal: Principal) -> None:
        """Read the request, and secure what it needs; raises what it is refused with."""
        if self.is_over:
            return
        self._principal = principal
        asked = self._effects.read()
        if asked is not None:
            self.request_read(asked)

    def request_read(self, asked: CompletionRequest) -> None:
        """Plan the request and secure what it needs; raises what it is refused with."""
        if self.is_over or self._principal is None:
            return
        effects, principal = self._effects, self._principal
        planned = self._planned = effects.plan(principal, asked)
        if not principal.limits and not principal.spend_limits:
            self._reserve(principal, planned)
            return
        hold = effects.take_limits(principal, planned.limited_tokens)
        if hold is None:
            effects.fetch_limits(principal, planned.limited_tokens)
        else:
            self.limits_acquired(hold)

    def limits_acquired(self, hold: HeldLimits) -> None:
        """Go on under limits: slowed down, or within hard spend limits, where these apply."""
        self._hold = hold
        if self._is_abandoned():
            return
        principal, _ = self._known()
        epoch_seconds = self._effects.epoch_us() // US_PER_SECOND
        if principal.spend_limits and is_reached(
            principal.spend_limits, SpendLimitAction.SLOW, epoch_seconds
        ):
            self._effects.delay(SLOW_SECONDS)
        else:
            self.delayed()

    def delayed(self) -> None:
        """Reserve under hard spend limits, if there are any and something can be spent."""
        if self._is_abandoned():
            return
        principal, planned = self._known()
        hold = self._hold
        has_hard = any(
            spend_limit.action == SpendLimitAction.STOP for spend_limit in principal.spend_limits
        )
        if hold is not None and has_hard and not planned.is_free:
            self._effects.reserve_spend_limits(principal, hold, planned.bound_nano)
        else:
            self.spend_limits_reserved()

    def spend_limits_reserved(self) -> None:
        """Reserve credit."""
        if not self._is_abandoned():
            self._reserve(*self._known())

    def credit_fetched(self, available_nano: int | None) -> None:
        """Try again with more credit; `available_nano` is all there is where that is too little.

        Raises InsufficientCredit.
        """
        if self._is_abandoned():
            return
        principal, planned = self._known()
        if available_nano is not None:
            planned.clamp(available_nano)
        self._reserve(principal, planned)

    def failed(self, error: JusinferError) -> None:
        """Refuse the request, and return what it holds."""
        if self._hold is not None:
            self._hold.release()
        if self.is_over:
            return
        self.is_over = True
        self._effects.refuse(error, self._headers())

    def client_gone(self) -> None:
        """Stop for a client that left; what is on its way is returned when it arrives."""
        self.is_over = True

    def detach(self) -> None:
        """Let go of what points back, once the request is over: nothing is asked of it any more."""
        if self.is_over and hasattr(self, "_effects"):
            del self._effects

    # ------------------------------------------------------------------ inside

    def _reserve(self, principal: Principal, planned: PlannedRequest) -> None:
        effects = self._effects
        reservation: Reservation | None
        if planned.is_free:
            reservation = effects.reserve_nothing()
        else:
            reservation = effects.take_credit(principal, planned.bound_nano)
        if reservation is not None:
            self._admit(principal, planned, reservation)
        elif self._refills < REFILLS_MAX:
            self._refills += 1
            effects.fetch_credit(principal, planned.bound_nano)
        else:
            raise Unavailable("credit is contended right now", retry_after_seconds=1)

    def _admit(
        self, principal: Principal, planned: PlannedRequest, reservation: Reservation
    ) -> None:
        """Write the admitted record; only after it may money be spent elsewhere."""
        effects = self._effects
        record = admitted_record(
            self.completion_id, principal, planned, reservation.lease_id, effects.epoch_us()
        )
        try:
            effects.append_admitted(record)
        except JusinferError:
            reservation.end(0)
            raise
        self.is_over = True
        settlement = Settlement(effects, self, principal, planned, record, reservation, self._hold)
        effects.admitted(AdmittedRequest(effects, settlement))

    def _is_abandoned(self) -> bool:
        """Return what is held if the client has left meanwhile."""
        if self.is_over and self._hold is not None:
            self._hold.release()
        return self.is_over

    def _known(self) -> tuple[Principal, PlannedRequest]:
        if self._principal is None or self._planned is None:
            raise AssertionError("the request has not been planned")
        return self._principal, self._planned

    def _headers(self) -> str:
        names = request_id_headers(self.request_id, self.completion_id)
        if self._principal is None or self._planned is None:
            return names
        hold, effects = self._hold, self._effects
        rates = "" if hold is None else rate_headers(hold.statuses(effects.now()))
        return answer_headers(
            names, self._planned, 0, rates, self._principal.spend_limits, effects.epoch_us
        )

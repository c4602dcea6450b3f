"""What a request holds besides credit: permits under limits, reservations under spend limits."""

from collections.abc import Callable
from typing import Final

from jusinfer.domain.errors import SpendLimitReached, Unavailable
from jusinfer.domain.identity import Principal
from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.limits import LimitKind, LimitStatus, SpendLimit, SpendLimitAction
from jusinfer.gateway.accounting.credit_leases import CreditBalances, Reservation
from jusinfer.gateway.accounting.rate_limiter import LeasedQuota, RateLimiter

TRIES_MAX: Final = 4


class RequestHold:
    """Ends once: with the record of a completion, or released when none came of it."""

    __slots__ = ("_buckets", "_is_open", "_permits", "_tokens", "spend_limits")

    def __init__(
        self, permits: RateLimiter | None, buckets: list[LeasedQuota], tokens: int
    ) -> None:
        self._permits = permits
        self._buckets = buckets
        self._tokens = tokens
        self._is_open = True
        self.spend_limits: list[Reservation] = []

    def end(self, record: RequestEnded) -> None:
        """Count what was used; a request that failed counts as a request and for no tokens."""
        if self._is_open:
            self._is_open = False
            used = record.prompt_tokens + record.completion_tokens
            if self._permits is not None:
                self._permits.give_back(self._buckets, self._tokens, used)
            for reservation in self.spend_limits:
                reservation.end(record.charge_nano)

    def release(self) -> None:
        """Let go of everything: the request was refused before it began."""
        if self._is_open:
            self._is_open = False
            if self._permits is not None:
                self._permits.give_back(self._buckets, self._tokens, None)
            for reservation in self.spend_limits:
                reservation.end(0)

    def spend(self) -> None:
        """End a question about records: it counts as a request and for no tokens."""
        if self._is_open:
            self._is_open = False
            if self._permits is not None:
                self._permits.give_back(self._buckets, self._tokens, 0)

    def statuses(self, now: float) -> list[LimitStatus]:
        """Return what is left of the tightest limit by the minute of each kind."""
        tightest: dict[str, LimitStatus] = {}
        for bucket in self._buckets:
            if bucket.limit.kind != LimitKind.CONCURRENCY:
                found = bucket.status(now)
                other = tightest.get(found.kind)
                if other is None or found.remaining < other.remaining:
                    tightest[found.kind] = found
        return list(tightest.values())

    @property
    def spend_limit_leases(self) -> str:
        """Name the leases of hard spend limits that the charge counts against."""
        return ",".join([reservation.lease.lease_id for reservation in self.spend_limits])


class RequestHolds:
    """Takes holds for requests of principals that have limits or hard spend limits."""

    def __init__(
        self, permits: RateLimiter, spend_limits: CreditBalances, clock: Callable[[], float]
    ) -> None:
        self.permits = permits
        self.spend_limits = spend_limits
        self._clock = clock

    def take(self, principal: Principal, tokens: int) -> RequestHold | None:
        """Take all permits at once if they are here; None means to `fetch`. Raises RateLimited."""
        buckets = self.permits.take(principal.limits, tokens, self._clock())
        return None if buckets is None else RequestHold(self.permits, buckets, tokens)

    async def fetch(self, principal: Principal, tokens: int) -> RequestHold:
        """Take permits with the database's help; raises RateLimited or Unavailable."""
        for _ in range(TRIES_MAX):
            hold = self.take(principal, tokens)
            if hold is not None:
                return hold
            await self.permits.fetch(principal.limits, tokens, self._clock(), self._clock)
        raise Unavailable("limits are contended right now", retry_after_seconds=1)

    async def reserve(
        self, principal: Principal, hold: RequestHold, bound_nano: int, epoch_seconds: int
    ) -> None:
        """Reserve the bound under every hard spend limit; raises CapReached with when it resets."""
        for spend_limit in principal.spend_limits:
            if spend_limit.action == SpendLimitAction.STOP:
                hold.spend_limits.append(
                    await self._reserve(spend_limit, bound_nano, epoch_seconds)
                )

    async def _reserve(
        self, spend_limit: SpendLimit, bound_nano: int, epoch_seconds: int
    ) -> Reservation:
        # A lease belongs to one period: the balance of the period before is left to be returned.
        balance = self.spend_limits.balance(spend_limit.spend_limit_id, str(spend_limit.resets_at))
        for _ in range(TRIES_MAX):
            reservation = balance.reserve(bound_nano, self._clock())
            if reservation is not None:
                return reservation
            available_nano = await self.spend_limits.refill(balance, bound_nano, self._clock())
            if available_nano is not None:
                raise SpendLimitReached(
                    f"the {spend_limit.scope}'s spend limit by {spend_limit.period}"
                    " would be exceeded",
                    bound_nano=bound_nano,
                    available_nano=available_nano,
                    resets_in_seconds=max(spend_limit.resets_at - epoch_seconds, 1),
                )
        raise Unavailable("a spend limit is contended right now", retry_after_seconds=1)

"""RateLimiter of this worker under limits by the minute and at once, leased from the database.

A worker takes as many permits as it is likely to need in the next seconds, in one call for all
limits of a request, and never more than a share of what is left; what it does not use it gives
back. So all workers together never exceed a limit, and a limit in steady use is used whole.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from jusinfer.domain.errors import RateLimited, Unavailable
from jusinfer.domain.limits import Limit, LimitKind, LimitStatus, QuotaGrant, QuotaRequest

AHEAD_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 2.0
ASK_AGAIN_SECONDS: Final = 0.25
BUCKETS_MAX: Final = 200_000
_NOUNS: Final[Mapping[str, str]] = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrency": "requests at once",
}


class QuotaSource(Protocol):
    """What permits ask of the database."""

    def take(self, asks: list[QuotaRequest]) -> Awaitable[list[QuotaGrant]]:
        """Take permits of several limits in one call."""
        ...

    def give_back(self, limit: Limit, amount: int, within_ms: int) -> Awaitable[None]:
        """Return permits within their minute."""
        ...


class LeasedQuota:
    """RateLimiter of one limit that this worker holds.

    `stock` may fall below zero by what answers took over their estimate: the next permits pay.
    `unleased` is what the database still had when it was last asked.
    """

    __slots__ = (
        "ends_at",
        "exhausted_until",
        "limit",
        "since",
        "stock",
        "unleased",
        "used",
        "used_at",
        "wait_ms",
    )

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.stock = 0
        self.unleased = 0
        self.ends_at = math.inf if limit.kind == LimitKind.CONCURRENCY else now
        self.exhausted_until = 0.0
        self.wait_ms = 1_000
        self.used = 0
        self.used_at = now
        self.since = now

    def expire(self, now: float) -> None:
        """Let go of permits whose minute is over."""
        if now >= self.ends_at:
            self.stock = min(self.stock, 0)
            self.exhausted_until = 0.0

    def use(self, amount: int, now: float) -> None:
        """Spend permits that are there."""
        self.stock -= amount
        self.used += amount
        self.used_at = now

    def status(self, now: float) -> LimitStatus:
        """Return what is left: as last heard from the database, less what was used here since."""
        amount = self.limit.amount
        if now >= self.ends_at:
            return LimitStatus(self.limit.kind, amount, amount, 0)
        left = min(max(self.stock + self.unleased, 0), amount)
        return LimitStatus(self.limit.kind, amount, left, math.ceil(self.ends_at - now))

    def ask(self, need: int, now: float) -> QuotaRequest:
        """Say what to take next: what is lacking, and a little ahead of demand."""
        seconds = max(now - self.since, ASK_AGAIN_SECONDS)
        lacking = max(need - self.stock, 1)
        return QuotaRequest(
            self.limit, lacking, max(lacking, int(self.used * AHEAD_SECONDS / seconds))
        )

    def fill(self, permit: QuotaGrant, asked_at: float, now: float) -> None:
        """Take in what was granted. Its minute is reckoned from before the asking."""
        if self.limit.kind != LimitKind.CONCURRENCY:
            self.ends_at = asked_at + permit.left_ms / 1000
        self.stock += permit.granted
        self.unleased = permit.remaining
        self.since = now
        self.used = 0
        if permit.granted == 0:
            self.exhausted_until = min(now + ASK_AGAIN_SECONDS, self.ends_at)
            is_slot = self.limit.kind == LimitKind.CONCURRENCY
            self.wait_ms = 1_000 if is_slot else max(permit.left_ms, 1)


class RateLimiter:
    """All buckets of this worker."""

    def __init__(self, source: QuotaSource, outage: type[Exception]) -> None:
        self._source = source
        self._outage = outage
        self._buckets: dict[tuple[str, str], LeasedQuota] = {}

    def take(self, limits: tuple[Limit, ...], tokens: int, now: float) -> list[LeasedQuota] | None:
        """Take one request's permits under all limits, or none; None means to `fetch` first.

        Raises RateLimited when the database has just said that there are none.
        """
        buckets = [self._bucket(limit, now) for limit in limits]
        is_lacking = False
        for bucket in buckets:
            bucket.expire(now)
            need = _need(bucket.limit, tokens)
            if bucket.stock >= need:
                continue
            if need > bucket.limit.amount:
                raise RateLimited(
                    f"this request alone is above the {bucket.limit.scope}'s "
                    f"{_NOUNS[bucket.limit.kind]}",
                    hint="Shorten it, or raise the limit.",
                )
            if bucket.exhausted_until > now:
                raise _refusal(bucket)
            is_lacking = True
        if is_lacking:
            return None
        for bucket in buckets:
            bucket.use(_need(bucket.limit, tokens), now)
        return buckets

    async def fetch(
        self, limits: tuple[Limit, ...], tokens: int, now: float, clock: Callable[[], float]
    ) -> None:
        """Take what is lacking in one call; raises Unavailable when the database is away."""
        buckets = [self._bucket(limit, now) for limit in limits]
        lacking = [b for b in buckets if b.stock < _need(b.limit, tokens)]
        asks = [bucket.ask(_need(bucket.limit, tokens), now) for bucket in lacking]
        if not asks:
            return
        try:
            granted = await self._source.take(asks)
        except self._outage as error:
            raise Unavailable(
                "limits cannot be checked right now", retry_after_seconds=2
            ) from error
        for bucket, permit in zip(lacking, granted, strict=True):
            bucket.fill(permit, now, clock())

    def give_back(
        self, buckets: list[LeasedQuota], tokens_taken: int, tokens_used: int | None
    ) -> None:
        """End a request: slots are free again, tokens are counted as they came to be.

        `tokens_used` is None when the request was not served: it then counts for nothing.
        """
        for bucket in buckets:
            kind = bucket.limit.kind
            if kind == LimitKind.CONCURRENCY:
                bucket.stock += 1
            elif kind == LimitKind.TOKENS:
                bucket.stock += _need(bucket.limit, tokens_taken) - (tokens_used or 0)
            elif tokens_used is None:
                bucket.stock += 1

    async def return_idle(self, now: float, *, is_last: bool = False) -> None:
        """Give back what has not been used for a while, or everything when the worker stops."""
        for key, bucket in list(self._buckets.items()):
            bucket.expire(now)
            if bucket.stock > 0 and (is_last or now - bucket.used_at > IDLE_SECONDS):
                amount, bucket.stock = bucket.stock, 0
                bucket.unleased += amount
                left = bucket.ends_at - now
                within_ms = 0 if math.isinf(left) else int(left * 1000)
                await self._source.give_back(bucket.limit, amount, within_ms)
            elif bucket.stock == 0 and now >= bucket.ends_at:
                del self._buckets[key]

    def _bucket(self, limit: Limit, now: float) -> LeasedQuota:
        key = (limit.scope_id, limit.kind)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                raise Unavailable("too many limits are in use", retry_after_seconds=60)
            bucket = self._buckets[key] = LeasedQuota(limit, now)
        elif bucket.limit != limit:
            bucket.limit = limit
        return bucket


def _need(limit: Limit, tokens: int) -> int:
    if limit.kind != LimitKind.TOKENS:
        return 1
    return min(tokens, limit.amount)


def _refusal(bucket: LeasedQuota) -> RateLimited:
    limit = bucket.limit
    return RateLimited(
        f"the {limit.scope}'s {_NOUNS[limit.kind]} ({limit.amount}) are used up",
        hint="Wait for the time in Retry-After, or raise the limit.",
        retry_after_seconds=max(math.ceil(bucket.wait_ms / 1000), 1),
    )

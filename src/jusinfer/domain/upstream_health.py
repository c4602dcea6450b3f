"""How well each endpoint works: breakers, latencies and a budget for retries.

Pure: the clock and the random numbers come in. An endpoint is one account at one upstream with one
model; its breaker opens after failures and lets one probe through when its time has passed. An
account whose credit is used up is shut as a whole. At most half of a model's endpoints are ever
shut for failures, so that a bad judgement cannot take a model away.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

CONSECUTIVE_MAX: Final = 5
# A fifth of at least twenty attempts within half a minute opens a breaker, too.
WINDOW_SECONDS: Final = 30.0
WINDOW_ATTEMPTS_MIN: Final = 20
FAILED_SHARE_INVERSE: Final = 5
# A failure counts as being so slow, or an upstream that fails at once would seem the fastest.
FAILED_SECONDS: Final = 10.0
OPEN_SECONDS: Final = 5.0
OPEN_SECONDS_MAX: Final = 120.0
QUOTA_SECONDS: Final = 60.0
DECAY_SECONDS: Final = 10.0
COLD_SECONDS: Final = 0.2
ENDPOINTS_MAX: Final = 4_096
# Retries may be a fifth of the requests, and a few more however little is going on.
RETRY_SHARE: Final = 0.2
RETRIES_FLOOR: Final = 10.0
RETRIES_MAX: Final = 100.0
HEDGE_SHARE: Final = 0.02
HEDGES_MAX: Final = 20.0
BACKOFF_SECONDS: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 2.0
# A wait longer than this is the client's to make, who is told of it.
WAIT_SECONDS_MAX: Final = 5.0


class UpstreamEndpoint:
    """An upstream account with one model: its breaker and its latency, which falls slowly."""

    __slots__ = (
        "counted",
        "counted_failed",
        "counted_from",
        "failed",
        "failures",
        "inflight",
        "is_probing",
        "latency_seconds",
        "open_seconds",
        "open_until",
        "seen_at",
        "served",
    )

    def __init__(self) -> None:
        self.counted = 0
        self.counted_failed = 0
        self.counted_from = 0.0
        self.failures = 0
        self.inflight = 0
        self.is_probing = False
        self.latency_seconds = COLD_SECONDS
        self.open_seconds = OPEN_SECONDS
        self.open_until = 0.0
        self.seen_at = 0.0
        self.served = 0
        self.failed = 0

    def state(self, now: float) -> str:
        """Say how the breaker stands: closed, open or half_open."""
        if self.open_until == 0.0:
            return "closed"
        return "open" if now < self.open_until or self.is_probing else "half_open"

    def latency(self, now: float) -> float:
        """Give the seconds to the first byte; what was slow is forgotten with time."""
        known = self.latency_seconds
        if known <= COLD_SECONDS:
            return known
        age = max(now - self.seen_at, 0.0)
        return COLD_SECONDS + (known - COLD_SECONDS) * math.exp(-age / DECAY_SECONDS)

    def score(self, now: float) -> float:
        """Give what is compared between endpoints; less is better."""
        return self.latency(now) * (self.inflight + 1)

    def count(self, now: float, *, is_good: bool) -> bool:
        """Count an end within the last half minute; tell whether too many of them failed."""
        if not 0.0 <= now - self.counted_from <= WINDOW_SECONDS:
            self.counted_from = now
            self.counted = self.counted_failed = 0
        self.counted += 1
        if is_good:
            return False
        self.counted_failed += 1
        return (
            self.counted >= WINDOW_ATTEMPTS_MIN
            and self.counted_failed * FAILED_SHARE_INVERSE >= self.counted
        )


class HealthSnapshot(Protocol):
    """What a decision may know of health, at one instant; nothing known excludes nothing."""

    @property
    def is_all_healthy(self) -> bool:
        """Whether no breaker is open and no account is shut."""
        ...

    @property
    def epoch_seconds(self) -> int:
        """The time, in UTC seconds since 1970."""
        ...

    def shut_seconds(self, upstream: str) -> float:
        """Give for how long an account is still shut; 0 when it is not."""
        ...

    def is_open(self, upstream: str, model: str) -> bool:
        """Tell whether a endpoint's breaker keeps requests out."""
        ...

    def score(self, upstream: str, model: str) -> float:
        """Give latency by load; less is better."""
        ...

    def latency_seconds(self, upstream: str, model: str) -> float:
        """Give the time to the first byte."""
        ...


class HealthyView:
    """A snapshot in which all is well and nothing is known yet."""

    is_all_healthy: Final = True

    def __init__(self, epoch_seconds: int = 0) -> None:
        self.epoch_seconds = epoch_seconds

    def shut_seconds(self, upstream: str) -> float:
        """No account is shut."""
        del upstream
        return 0.0

    def is_open(self, upstream: str, model: str) -> bool:
        """No breaker is open."""
        del upstream, model
        return False

    def score(self, upstream: str, model: str) -> float:
        """All do alike."""
        del upstream, model
        return COLD_SECONDS

    def latency_seconds(self, upstream: str, model: str) -> float:
        """All are as fast."""
        del upstream, model
        return COLD_SECONDS


def zero_random() -> float:
    """Draw always the same: dice order the routes of a model and never choose one."""
    return 0.0


class HealthView:
    """Health as it is at one instant; valid until something happens."""

    __slots__ = ("_health", "_now", "epoch_seconds", "is_all_healthy")

    def __init__(self, health: "Health", now: float, epoch_seconds: int) -> None:
        self._health = health
        self._now = now
        self.epoch_seconds = epoch_seconds
        self.is_all_healthy = health.is_all_healthy

    def shut_seconds(self, upstream: str) -> float:
        """Give for how long an account is still shut; 0 when it is not."""
        return self._health.account_shut_seconds(upstream, self._now)

    def is_open(self, upstream: str, model: str) -> bool:
        """Tell whether a endpoint's breaker keeps requests out."""
        return self._health.is_open(upstream, model, self._now)

    def score(self, upstream: str, model: str) -> float:
        """Give latency by load; less is better."""
        return self._health.score(upstream, model, self._now)

    def latency_seconds(self, upstream: str, model: str) -> float:
        """Give the time to the first byte."""
        return self._health.latency_seconds(upstream, model, self._now)


class Health:
    """The endpoints of one worker, and its budget of retries."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.random = random
        self._endpoints: dict[tuple[str, str], UpstreamEndpoint] = {}
        self._accounts: dict[str, float] = {}
        self._troubled: set[UpstreamEndpoint] = set()
        self._retries = RETRIES_FLOOR
        self._refilled_at = 0.0
        self._hedges = 1.0

    @property
    def is_all_healthy(self) -> bool:
        """Whether no account is shut and no breaker open, so that nothing needs a look."""
        return not self._accounts and not self._troubled

    def at(self, now: float, epoch_seconds: int) -> HealthView:
        """Give health as it is at an instant (and its time in UTC seconds since 1970)."""
        return HealthView(self, now, epoch_seconds)

    # ------------------------------------------------------------------ what is noted

    def record_start(self, upstream: str, model: str, now: float) -> UpstreamEndpoint:
        """Note that an attempt begins; the first on a half-open endpoint is its probe."""
        endpoint = self._endpoint(upstream, model)
        if endpoint.state(now) == "half_open":
            endpoint.is_probing = True
        endpoint.inflight += 1
        self._retries = min(self._retries + RETRY_SHARE, RETRIES_MAX)
        self._hedges = min(self._hedges + HEDGE_SHARE, HEDGES_MAX)
        return endpoint

    def record_first_byte(
        self, endpoint: UpstreamEndpoint, latency_seconds: float, now: float
    ) -> None:
        """Note a first byte: the peak counts at once, and fades with time."""
        age = max(now - endpoint.seen_at, 0.0)
        endpoint.seen_at = now
        if latency_seconds > endpoint.latency_seconds:
            endpoint.latency_seconds = latency_seconds
        else:
            kept = math.exp(-age / DECAY_SECONDS)
            endpoint.latency_seconds = endpoint.latency_seconds * kept + latency_seconds * (
                1 - kept
            )

    def record_result(self, endpoint: UpstreamEndpoint, now: float, *, is_good: bool) -> None:
        """Note an end that tells of the upstream: good, or its own fault."""
        endpoint.inflight = max(endpoint.inflight - 1, 0)
        is_failing = endpoint.count(now, is_good=is_good)
        if is_good:
            endpoint.served += 1
            endpoint.failures = 0
            # What began before the breaker opened does not close it: a probe does.
            if endpoint.is_probing or endpoint.open_until == 0.0:
                endpoint.is_probing = False
                endpoint.open_until = 0.0
                endpoint.open_seconds = OPEN_SECONDS
                self._troubled.discard(endpoint)
            return
        endpoint.failed += 1
        endpoint.failures += 1
        endpoint.latency_seconds = max(endpoint.latency_seconds, FAILED_SECONDS)
        endpoint.seen_at = now
        if endpoint.is_probing or is_failing or endpoint.failures >= CONSECUTIVE_MAX:
            if endpoint.is_probing:
                endpoint.open_seconds = min(endpoint.open_seconds * 2, OPEN_SECONDS_MAX)
            endpoint.is_probing = False
            endpoint.counted = endpoint.counted_failed = 0
            endpoint.open_until = now + endpoint.open_seconds * (0.75 + 0.5 * self.random())
            self._troubled.add(endpoint)

    def record_neutral(self, endpoint: UpstreamEndpoint) -> None:
        """Note an end that tells nothing of the upstream: a client that left, or its fault."""
        endpoint.inflight = max(endpoint.inflight - 1, 0)
        endpoint.is_probing = False

    def record_quota_exhausted(
        self, upstream: str, now: float, retry_after_seconds: int | None
    ) -> None:
        """Shut an account whose credit or quota is used up."""
        seconds = min(float(retry_after_seconds or QUOTA_SECONDS), QUOTA_SECONDS)
        self._accounts[upstream] = now + seconds

    # ------------------------------------------------------------------ what is asked

    def account_shut_seconds(self, upstream: str, now: float) -> float:
        """Give for how long an account is still shut; 0 when it is not."""
        if not self._accounts:
            return 0.0
        until = self._accounts.get(upstream)
        if until is None:
            return 0.0
        if until <= now:
            del self._accounts[upstream]
            return 0.0
        return until - now

    def is_open(self, upstream: str, model: str, now: float) -> bool:
        """Tell whether a endpoint's breaker keeps requests out."""
        endpoint = self._endpoints.get((upstream, model))
        return endpoint is not None and endpoint.open_until > 0.0 and endpoint.state(now) == "open"

    def state(self, upstream: str, model: str, now: float) -> str:
        """Say how a endpoint does: up, trying (one probe at a time), or down."""
        if self.account_shut_seconds(upstream, now):
            return "down"
        endpoint = self._endpoints.get((upstream, model))
        if endpoint is None:
            return "up"
        return {"closed": "up", "half_open": "trying"}.get(endpoint.state(now), "down")

    def score(self, upstream: str, model: str, now: float) -> float:
        """Give a endpoint's score; less is better."""
        endpoint = self._endpoints.get((upstream, model))
        return COLD_SECONDS if endpoint is None else endpoint.score(now)

    def latency_seconds(self, upstream: str, model: str, now: float) -> float:
        """Give a endpoint's time to the first byte."""
        endpoint = self._endpoints.get((upstream, model))
        return COLD_SECONDS if endpoint is None else endpoint.latency(now)

    def try_consume_retry(self, now: float) -> bool:
        """Take one retry from the budget, if there is one."""
        elapsed = max(now - self._refilled_at, 0.0)
        self._refilled_at = now
        self._retries = min(self._retries + elapsed * RETRIES_FLOOR, RETRIES_MAX)
        if self._retries < 1.0:
            return False
        self._retries -= 1.0
        return True

    def try_consume_hedge(self) -> bool:
        """Take a second attempt at once from its budget, if there is one."""
        if self._hedges < 1.0:
            return False
        self._hedges -= 1.0
        return True

    def wait_seconds(self, retry: int, retry_after_seconds: int | None) -> float | None:
        """Give how long to wait before a retry (counted from 0); None when it is too long.

        Full jitter over a doubling range; what the upstream asks for is the least.
        """
        most = min(BACKOFF_SECONDS * 2**retry, BACKOFF_SECONDS_MAX)
        wait = most * self.random() + (retry_after_seconds or 0)
        return None if wait > WAIT_SECONDS_MAX else wait

    def states(self, now: float) -> dict[tuple[str, str], str]:
        """Give the state of every endpoint that was used."""
        return {endpoint: self.state(*endpoint, now) for endpoint in self._endpoints}

    def _endpoint(self, upstream: str, model: str) -> UpstreamEndpoint:
        endpoint = self._endpoints.get((upstream, model))
        if endpoint is None:
            if len(self._endpoints) >= ENDPOINTS_MAX:
                idle = [key for key, known in self._endpoints.items() if not known.inflight]
                for key in idle[: ENDPOINTS_MAX // 4]:
                    self._troubled.discard(self._endpoints.pop(key))
            endpoint = self._endpoints[upstream, model] = UpstreamEndpoint()
        return endpoint

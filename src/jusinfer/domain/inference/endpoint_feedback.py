"""What an attempt tells the breakers, and whether and when another may be made."""

from typing import Final

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.inference.failures import RATE_STATUS, STOPPING
from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.domain.upstream_health import Health, UpstreamEndpoint

ATTEMPTS_MAX: Final = 3


def note_end(
    health: Health,
    endpoint: UpstreamEndpoint,
    upstream: Upstream,
    failure: UpstreamFailure | None,
    now: float,
) -> None:
    """Note the end of an attempt; `failure` is None where it was good."""
    if failure is None:
        health.record_result(endpoint, now, is_good=True)
        return
    if failure.is_clients_fault or failure.status == RATE_STATUS or failure is STOPPING:
        health.record_neutral(endpoint)
    else:
        health.record_result(endpoint, now, is_good=False)
    # The sandbox plays every account and stays open.
    if failure.is_quota and not upstream.is_sandbox:
        health.record_quota_exhausted(upstream.name, now, failure.retry_after_seconds)


def note_loser(
    health: Health, endpoint: UpstreamEndpoint, failure: UpstreamFailure | None, now: float
) -> None:
    """Note the end of one of two attempts; `failure` is None where the other was faster."""
    if failure is None or failure.is_clients_fault:
        health.record_neutral(endpoint)
    else:
        health.record_result(endpoint, now, is_good=False)


def repeat_wait(
    health: Health, upstream: Upstream, failure: UpstreamFailure, tries: int
) -> float | None:
    """Return the seconds after which the same route may be tried again; None for never.

    `tries` are those that it has had.
    """
    if failure.is_quota or not failure.is_retryable or tries >= upstream.attempts_max:
        return None
    return health.wait_seconds(tries - 1, failure.retry_after_seconds)

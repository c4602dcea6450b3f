"""From an attempt's failure to the error its caller sees and the outcome on the receipt."""

from typing import Final

from jusinfer.domain.errors import (
    JusinferError,
    RateLimited,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from jusinfer.domain.redaction import mask_secrets
from jusinfer.domain.stream import UpstreamFailure
from jusinfer.domain.usage import Outcome

TIMEOUT_STATUSES: Final = frozenset({408, 504, 524})
RATE_STATUS: Final = 429
OURS: Final = frozenset({401, 402, 403})
TEXT_CHARS_MAX: Final = 500
RETRY_SECONDS_DEFAULT: Final = 5


def error_of(failure: UpstreamFailure) -> JusinferError:
    """Say a failed attempt in our own words; only a refused request carries the upstream's.

    The upstream's text may repeat the prompt, which the caller knows already, but never a secret
    of ours: it is masked before it goes back.
    """
    if failure.is_callers_fault:
        text = mask_secrets(failure.message)[:TEXT_CHARS_MAX]
        return UpstreamRefused(
            text or "the upstream refused this request",
            status=failure.status,
            param=failure.param,
        )
    if failure.code == "gateway_stopped":
        return Unavailable("the gateway is stopping", retry_after_seconds=1)
    if failure.status == RATE_STATUS and not failure.is_quota:
        return RateLimited(
            "the upstream is limiting requests right now",
            hint="Wait for the time in Retry-After, or choose another model.",
            retry_after_seconds=failure.retry_after_seconds or RETRY_SECONDS_DEFAULT,
        )
    if failure.is_quota or failure.status in OURS:
        return Unavailable(
            "the upstream cannot serve our account right now",
            hint="Choose another model, or try again later.",
            retry_after_seconds=failure.retry_after_seconds or RETRY_SECONDS_DEFAULT,
        )
    if failure.status in TIMEOUT_STATUSES:
        return UpstreamTimeout("the upstream did not answer in time")
    return UpstreamFailed(f"the upstream failed ({failure.code})")


def outcome_of(failure: UpstreamFailure) -> Outcome:
    """Give the outcome that a receipt shows for a completion whose last attempt failed so."""
    if failure.is_callers_fault:
        return Outcome.UPSTREAM_REFUSED
    if failure.status in TIMEOUT_STATUSES:
        return Outcome.UPSTREAM_STALLED
    return Outcome.UPSTREAM_FAILED


def finished(finish_reason: str | None) -> Outcome:
    """Give the outcome of an answer that ended well."""
    return Outcome.LENGTH if finish_reason == "length" else Outcome.COMPLETED


EMPTY: Final = UpstreamFailure(
    code="empty_answer", message="the upstream produced nothing", status=502
)
STOPPING: Final = UpstreamFailure(
    code="gateway_stopped", message="the gateway is stopping", status=503
)

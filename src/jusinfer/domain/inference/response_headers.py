"""The header lines of an answer to an inference request: names, route, budget and limits."""

from collections.abc import Callable
from typing import Final

from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.limits import LimitStatus, SpendLimit, most_consumed

# Headers of a provider's answer that a client may see; all others stop here.
PASSED_HEADERS: Final = frozenset({b"openai-processing-ms"})
PASSED_BYTES_MAX: Final = 128
US_PER_SECOND: Final = 1_000_000


def request_id_headers(request_id: str, completion_id: str) -> str:
    """Write the headers that name a request and its completion."""
    return f"x-request-id: {request_id}\r\nx-jusinfer-completion-id: {completion_id}\r\n"


def answer_headers(
    names: str,
    planned: PlannedRequest,
    index: int,
    rates: str,
    spend_limits: tuple[SpendLimit, ...],
    epoch_us: Callable[[], int],
) -> str:
    """Write the headers of every answer to a request that was planned.

    `names` and `rates` are header lines: its ids, and what `rate_headers` wrote of its limits.
    """
    plan = planned.plan
    step = plan.routes[index]
    clamped = planned.sent_budget(index)
    budget = "" if clamped is None else f"x-jusinfer-output-tokens-max: {clamped}\r\n"
    spend_limit = (
        spend_limit_header(spend_limits, epoch_us() // US_PER_SECOND) if spend_limits else ""
    )
    return (
        f"{names}x-jusinfer-model: {step.model.model_id}\r\n"
        f"x-jusinfer-upstream: {step.route.upstream}\r\n"
        f"x-jusinfer-route: {plan.codes};v={plan.version}\r\n{budget}{rates}{spend_limit}"
    )


def rate_headers(statuses: list[LimitStatus]) -> str:
    """Write OpenAI-style headers of what is left of the limits by the minute."""
    return "".join(
        [
            f"x-ratelimit-limit-{one.kind}: {one.amount}\r\n"
            f"x-ratelimit-remaining-{one.kind}: {one.remaining}\r\n"
            f"x-ratelimit-reset-{one.kind}: {one.reset_seconds}s\r\n"
            for one in statuses
        ]
    )


def spend_limit_header(spend_limits: tuple[SpendLimit, ...], epoch_seconds: int) -> str:
    """Write which spend limit is nearest to its end, once a threshold has been reached."""
    spend_limit = most_consumed(spend_limits, epoch_seconds)
    if spend_limit is None:
        return ""
    return (
        f"x-jusinfer-spend-limit: {spend_limit.scope} {spend_limit.period}"
        f" {spend_limit.threshold}% {spend_limit.action};"
        f" resets={spend_limit.resets_at - epoch_seconds}s\r\n"
    )


def passthrough_headers(headers: list[tuple[bytes, bytes]]) -> str:
    """Write the few headers of a provider that may pass, bounded and printable."""
    passed = ""
    for name, value in headers:
        if name in PASSED_HEADERS and len(value) <= PASSED_BYTES_MAX and value.isalnum():
            passed += f"{name.decode()}: {value.decode()}\r\n"
    return passed

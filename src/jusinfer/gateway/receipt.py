"""What a completion leaves behind: the headers of its answer and its journal records."""

from typing import Final

import msgspec

from jusinfer.domain.identity import Principal
from jusinfer.domain.journal import Admitted, Ended
from jusinfer.domain.limits import Cap, highest
from jusinfer.domain.money import format_usd
from jusinfer.domain.route_plan import PlannedRoute, RoutePlan
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.gateway.admission import Admission
from jusinfer.gateway.rates import RateWindow
from jusinfer.gateway.server import Request
from jusinfer.gateway.settlement import Opening

# Headers of an upstream's answer that a caller may see; all others stop here.
PASSED_HEADERS: Final = frozenset({b"openai-processing-ms"})
PASSED_BYTES_MAX: Final = 128


def rate_headers(window: RateWindow) -> str:
    """Write OpenAI-style headers of what this worker knows of a key's limits."""
    requests, tokens = int(window.requests), int(window.tokens)
    requests_reset = (window.requests_limit - requests) * 60 // window.requests_limit
    tokens_reset = (window.tokens_limit - tokens) * 60 // window.tokens_limit
    return (
        f"x-ratelimit-limit-requests: {window.requests_limit}\r\n"
        f"x-ratelimit-limit-tokens: {window.tokens_limit}\r\n"
        f"x-ratelimit-remaining-requests: {requests}\r\n"
        f"x-ratelimit-remaining-tokens: {tokens}\r\n"
        f"x-ratelimit-reset-requests: {requests_reset}s\r\n"
        f"x-ratelimit-reset-tokens: {tokens_reset}s\r\n"
    )


def own_ids(request_id: str, completion_id: str) -> str:
    """Write the headers that name a request and its completion."""
    return f"x-request-id: {request_id}\r\nx-jusinfer-completion-id: {completion_id}\r\n"


def answer_headers(
    names: str, plan: RoutePlan, index: int, clamped: int | None, window: RateWindow | None
) -> str:
    """Write the headers of every answer to a completion that was planned."""
    step = plan.routes[index]
    budget = "" if clamped is None else f"x-jusinfer-output-tokens-max: {clamped}\r\n"
    rates = "" if window is None else rate_headers(window)
    return (
        f"{names}x-jusinfer-model: {step.model.model_id}\r\n"
        f"x-jusinfer-upstream: {step.route.upstream}\r\n"
        f"x-jusinfer-route: {plan.codes};v={plan.version}\r\n{budget}{rates}"
    )


def cap_header(caps: tuple[Cap, ...], epoch_seconds: int) -> str:
    """Say which cap on spending is nearest to its end, once a threshold has been reached."""
    cap = highest(caps, epoch_seconds)
    if cap is None:
        return ""
    return (
        f"x-jusinfer-cap: {cap.scope} {cap.period} {cap.threshold}% {cap.action};"
        f" resets={cap.resets_at - epoch_seconds}s\r\n"
    )


def passed_headers(headers: list[tuple[bytes, bytes]]) -> str:
    """Write the few upstream headers that may pass, bounded and printable."""
    passed = ""
    for name, value in headers:
        if name in PASSED_HEADERS and len(value) <= PASSED_BYTES_MAX and value.isalnum():
            passed += f"{name.decode()}: {value.decode()}\r\n"
    return passed


def country_of(request: Request, header: bytes, trusted: tuple[str, ...]) -> str:
    """Give the caller's country from a header that only a trusted proxy may set; else empty."""
    if not trusted or request.peer not in trusted:
        return ""
    value = request.header(header)
    if value is None or value in {b"XX", b"ZZ"}:
        return ""
    if value == b"T1":
        return "T1"
    is_country = len(value) == 2 and value.isalpha() and value.isupper()  # noqa: PLR2004
    return value.decode("ascii") if is_country else ""


def admitted_record(
    completion_id: str,
    principal: Principal,
    admission: Admission,
    lease_id: str,
    admitted_at_us: int,
) -> Admitted:
    """Build the record that is written before an upstream is called."""
    return Admitted(
        completion_id=completion_id,
        tenant_id=principal.tenant_id,
        member_id=principal.member_id,
        key_id=principal.key_id,
        mode=principal.mode.value,
        lease_id=lease_id,
        bound_nano=admission.bound_nano,
        requested_model=admission.plan.asked,
        route_id=admission.plan.routes[0].route.route_id,
        price_version=admission.price_version,
        admitted_at_us=admitted_at_us,
    )


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How a completion ended, as its record says it; `error_text` is clean.

    `generation_id` is the provider's, where it did not say what was used and can be asked.
    """

    request_id: str
    outcome: Outcome
    status: int
    attempts: int
    attempt_log: str
    country: str
    error_text: str
    generation_id: str = ""


def ended_record(  # noqa: PLR0913, PLR0917 (what one record is made of)
    opening: Opening,
    admission: Admission,
    step: PlannedRoute,
    usage: TokenUsage,
    money: tuple[int, int],
    timing: tuple[int, int],
    ending: Ending,
) -> Ended:
    """Build the record of an end; `money` is (pico cost, nano charge), `timing` microseconds."""
    admitted = opening.admitted
    return Ended(
        admitted.completion_id,
        ending.request_id,
        admitted.tenant_id,
        admitted.member_id,
        admitted.key_id,
        admitted.mode,
        admitted.lease_id,
        admitted.admitted_at_us,
        timing[0],
        timing[1],
        admitted.requested_model,
        step.model.model_id,
        step.route.upstream,
        admission.plan.codes,
        admitted.price_version,
        usage.prompt_tokens,
        usage.cached_prompt_tokens,
        usage.cache_write_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.is_estimated,
        admission.asked.is_stream,
        money[0],
        money[1],
        admitted.bound_nano,
        ending.attempts,
        ending.outcome.value,
        ending.status,
        ending.country,
        ending.error_text,
        usage.cache_write_1h_tokens,
        usage.image_count,
        usage.reported_cost_pico,
        admission.price_list,
        ending.attempt_log,
        opening.hold.cap_leases,
        admission.plan.version,
        ending.generation_id,
    )


def cost_text(charge_nano: int) -> str:
    """Write a charge for a header or a usage chunk: US dollars as a decimal text."""
    return format_usd(charge_nano)

"""The two journal records of a request: that money may be spent, and how it ended."""

import msgspec

from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.journal import RequestAdmitted, RequestEnded
from jusinfer.domain.usage import Outcome, TokenUsage


def admitted_record(
    completion_id: str,
    principal: Principal,
    planned: PlannedRequest,
    lease_id: str,
    admitted_at_us: int,
) -> RequestAdmitted:
    """Build the record that is written before a provider is called."""
    return RequestAdmitted(
        completion_id=completion_id,
        tenant_id=principal.tenant_id,
        member_id=principal.member_id,
        key_id=principal.key_id,
        mode=principal.mode.value,
        lease_id=lease_id,
        bound_nano=planned.bound_nano,
        requested_model=planned.plan.asked,
        route_id=planned.plan.routes[0].route.route_id,
        price_version=planned.price_version,
        admitted_at_us=admitted_at_us,
    )


class CompletionResult(msgspec.Struct, frozen=True, gc=False):
    """How a request ended.

    Times are microseconds since it arrived; `first_byte_us` is -1 where none came. `error_text` is
    clean. `generation_id` is the provider's, where it did not say what was used and can be asked.
    """

    request_id: str
    outcome: Outcome
    status: int
    attempts: int
    attempt_log: str
    country: str
    error_text: str
    generation_id: str
    cost_pico: int
    charge_nano: int
    first_byte_us: int
    latency_us: int
    spend_limit_leases: str


def ended_record(
    admitted: RequestAdmitted,
    planned: PlannedRequest,
    index: int,
    usage: TokenUsage,
    ending: CompletionResult,
) -> RequestEnded:
    """Build the record of an end; `index` is the route's that answered, or was tried last."""
    step = planned.plan.routes[index]
    return RequestEnded(
        admitted.completion_id,
        ending.request_id,
        admitted.tenant_id,
        admitted.member_id,
        admitted.key_id,
        admitted.mode,
        admitted.lease_id,
        admitted.admitted_at_us,
        ending.first_byte_us,
        ending.latency_us,
        admitted.requested_model,
        step.model.model_id,
        step.route.upstream,
        planned.plan.codes,
        admitted.price_version,
        usage.prompt_tokens,
        usage.cached_prompt_tokens,
        usage.cache_write_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        usage.is_estimated,
        planned.asked.is_stream,
        ending.cost_pico,
        ending.charge_nano,
        admitted.bound_nano,
        ending.attempts,
        ending.outcome.value,
        ending.status,
        ending.country,
        ending.error_text,
        usage.cache_write_1h_tokens,
        usage.image_count,
        usage.reported_cost_pico,
        planned.price_list,
        ending.attempt_log,
        ending.spend_limit_leases,
        planned.plan.version,
        ending.generation_id,
    )

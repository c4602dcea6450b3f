"""Plans shown to clients: the answer of a dry run, and the `route` object of an answer."""

import msgspec

from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.routing.plan import RoutePlan
from jusinfer.gateway.inference.admission import policy_of
from jusinfer.gateway.inference.endpoints import Endpoint
from jusinfer.gateway.state import WorkerState
from jusinfer.wire.json.route import plan_json, plan_object


def dry_run(
    context: WorkerState,
    principal: Principal,
    planned: PlannedRequest,
    epoch_seconds: int,
    endpoint: Endpoint,
) -> bytes:
    """Say which routes a request would take, at which cost and why; nothing is called."""
    asked, plan = planned.asked, planned.plan
    router = context.snapshot.router(principal.mode)
    policy = policy_of(principal, asked, epoch_seconds, endpoint)
    health = context.health.at(context.loop.time(), epoch_seconds)
    shown = router.estimated(plan, asked.traits, policy, health)
    decisive_signals = router.decisive_signals(plan, asked.traits, policy, health)
    return plan_json(shown, router.table, asked.traits, planned.bound_nano, decisive_signals)


def route_json(context: WorkerState, plan: RoutePlan, index: int) -> bytes:
    """Write the plan of an answer that the route at an index gave."""
    served = plan.routes[index]
    shown = plan_object(plan, context.snapshot.table)
    shown["served"] = {"model": served.model.model_id, "upstream": served.route.upstream}
    return msgspec.json.encode(shown)

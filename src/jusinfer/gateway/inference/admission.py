"""Reads a request, plans its routes and bounds its cost."""

import msgspec

from jusinfer.domain.catalog import Capability, Catalog, Price, price_at
from jusinfer.domain.errors import InvalidRequest, Unavailable
from jusinfer.domain.identity import Mode, Principal
from jusinfer.domain.inference.planned_request import PlannedRequest, bound_nano
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.limits import SpendLimitAction, is_reached
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import RoutePlan
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences
from jusinfer.domain.tenant_policy import NO_POLICY, policy_for_test_mode
from jusinfer.gateway.inference.endpoints import Endpoint
from jusinfer.gateway.state import WorkerState
from jusinfer.wire.inbound.body_bounds import check_count
from jusinfer.wire.inbound.openai_chat_content import conversation_prefix
from jusinfer.wire.inbound.task_hint import hinted


def read(endpoint: Endpoint, body: bytes) -> CompletionRequest:
    """Read a request as its path has it; raises InvalidRequest."""
    check_count(body)
    return endpoint.decode(body)


def examine(
    context: WorkerState,
    principal: Principal,
    asked: CompletionRequest,
    epoch_seconds: int,
    endpoint: Endpoint,
    declared_task: bytes | None = None,
) -> PlannedRequest:
    """Plan a request's routes and bound its cost; raises what is wrong with it."""
    catalog = context.snapshot.catalog(principal.mode)
    routes, conversation = _planned(
        context, principal, asked, epoch_seconds, endpoint, declared_task
    )
    steps = routes.routes
    if principal.price_list:
        prices = _listed_prices(catalog, principal.price_list, routes, epoch_seconds)
    elif len(steps) == 1:
        prices = (price_at(steps[0].route, epoch_seconds),)
    else:
        prices = tuple([price_at(step.route, epoch_seconds) for step in steps])
    # No model writes more than its limit, whatever was asked for.
    budget = asked.output_tokens_max
    output_tokens = max(
        [
            step.model.output_tokens_max if budget is None else step.model.output_tokens(budget)
            for step in steps
        ]
    )
    return PlannedRequest(
        asked,
        routes,
        prices,
        catalog.version,
        output_tokens,
        bound_nano(asked, routes, prices, output_tokens),
        None,
        principal.price_list,
        conversation,
    )


def _planned(
    context: WorkerState,
    principal: Principal,
    asked: CompletionRequest,
    epoch_seconds: int,
    endpoint: Endpoint,
    declared_task: bytes | None,
) -> tuple[RoutePlan, bytes]:
    """Plan the routes; also gives the digest by which a conversation is known, if it matters."""
    router = context.snapshot.router(principal.mode)
    routes, conversation = None, b""
    if (
        principal.policy is NO_POLICY
        and asked.preferences is NO_PREFERENCES
        and not principal.spend_limits
        and context.health.is_all_healthy
    ):
        # Most requests name a model with one route: its plan is always the same.
        routes = router.named(asked.model, asked.traits.input_tokens)
        if routes is not None and len(routes.routes) > 1:
            routes = None
    if routes is None:
        now = context.loop.time()
        traits = asked.traits
        policy = policy_of(principal, asked, epoch_seconds, endpoint)
        if policy.is_cheapest or asked.last_user is not None:
            traits = hinted(asked, declared_task, context.snapshot.scanner)
        beginning = conversation_prefix(asked.fields)
        if beginning:
            tenant_id, mode = principal.tenant_id, principal.mode
            conversation = context.affinity.digest(tenant_id, mode, beginning)
            warm = context.affinity.warm(conversation, now)
            if warm is not None:
                traits = msgspec.structs.replace(traits, warm=warm)
        asked.traits = traits
        health = context.health
        routes = router.decide(traits, policy, health.at(now, epoch_seconds), health.random)
    is_embedding = Capability.EMBEDDINGS in routes.routes[0].model.capabilities
    if is_embedding is not endpoint.is_embedding:
        raise InvalidRequest(
            f"this model {'makes embeddings only' if is_embedding else 'makes no embeddings'}",
            param="model",
            hint="See `capabilities` in GET /v1/models.",
        )
    return routes, conversation


def policy_of(
    principal: Principal, asked: CompletionRequest, epoch_seconds: int, endpoint: Endpoint
) -> RoutingPolicy:
    """Give what a decision may know of what is allowed and preferred: nobody's name."""
    tenant, preferences = principal.policy, asked.preferences
    if principal.mode == Mode.TEST:
        # The sandbox stands in for every upstream: there is nothing to keep prompts from.
        tenant = NO_POLICY if tenant is NO_POLICY else policy_for_test_mode(tenant)
        if preferences is not NO_PREFERENCES:
            preferences = Preferences(models=preferences.models)
            preferences = preferences if preferences.models else NO_PREFERENCES
    is_cheapest = (
        bool(principal.spend_limits)
        and not endpoint.is_embedding
        and is_reached(principal.spend_limits, SpendLimitAction.CHEAPEST, epoch_seconds)
    )
    return RoutingPolicy(asked.model, tenant, preferences, principal.price_list, is_cheapest)


def _listed_prices(
    catalog: Catalog, price_list: str, routes: RoutePlan, epoch_seconds: int
) -> tuple[Price, ...]:
    """Give the prices of a tenant's own list; a list that is not configured serves nobody."""
    if price_list not in catalog.price_lists:
        raise Unavailable("this account's price list is not configured here")
    return tuple(
        [price_at(catalog.listed(price_list, step.route), epoch_seconds) for step in routes.routes]
    )

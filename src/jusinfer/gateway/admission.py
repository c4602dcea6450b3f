"""Whether a completion may begin: request, plan, rates and bound, in this order."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability, Catalog, Price, price_at
from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import (
    InsufficientCredit,
    InvalidRequest,
    Unavailable,
)
from jusinfer.domain.identity import Mode, Principal
from jusinfer.domain.limits import CapAction, in_force
from jusinfer.domain.money import charge_nano
from jusinfer.domain.preferences import NO_POLICY, NO_PREFERENCES, Preferences, rehearsed
from jusinfer.domain.pricing import affordable_completion_tokens, bound_pico, is_free
from jusinfer.domain.route_plan import RoutePlan
from jusinfer.domain.routing.wishes import RoutingPolicy
from jusinfer.domain.traits import Warmth
from jusinfer.gateway.context import Context
from jusinfer.gateway.doors import Door
from jusinfer.gateway.permits import tokens_of
from jusinfer.wire.body_bounds import check_count
from jusinfer.wire.chat_content import beginning_of
from jusinfer.wire.declared_task import hinted

OUTPUT_TOKENS_MIN: Final = 16


class Admission(msgspec.Struct):
    """A request that may be served once its bound has been reserved."""

    asked: CompletionRequest
    plan: RoutePlan
    prices: tuple[Price, ...]
    price_version: str
    output_tokens: int
    bound_nano: int
    clamped_tokens: int | None = None
    price_list: str = ""
    conversation: bytes = b""

    @property
    def is_free(self) -> bool:
        """Whether no route can cost anything: it is then served without credit or lease."""
        return self.bound_nano == 0 and all(map(is_free, self.prices))


def read(door: Door, body: bytes) -> CompletionRequest:
    """Read a request as its path has it; raises InvalidRequest."""
    check_count(body)
    return door.decode(body)


def examine(
    context: Context,
    principal: Principal,
    asked: CompletionRequest,
    epoch_seconds: int,
    door: Door,
    declared_task: bytes | None = None,
) -> Admission:
    """Plan a request's routes and bound its cost; raises what is wrong with it."""
    catalog = context.snapshot.catalog(principal.mode)
    routes, conversation = _planned(context, principal, asked, epoch_seconds, door, declared_task)
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
    return Admission(
        asked,
        routes,
        prices,
        catalog.version,
        output_tokens,
        _bound_nano(asked, routes, prices, output_tokens),
        None,
        principal.price_list,
        conversation,
    )


def _planned(
    context: Context,
    principal: Principal,
    asked: CompletionRequest,
    epoch_seconds: int,
    door: Door,
    declared_task: bytes | None,
) -> tuple[RoutePlan, bytes]:
    """Plan the routes; also gives the digest by which a conversation is known, if it matters."""
    router = context.snapshot.router(principal.mode)
    routes, conversation = None, b""
    if (
        principal.policy is NO_POLICY
        and asked.preferences is NO_PREFERENCES
        and not principal.caps
        and context.health.is_calm
    ):
        # Most requests name a model with one route: its plan is always the same.
        routes = router.named(asked.model, asked.traits.input_tokens)
        if routes is not None and len(routes.routes) > 1:
            routes = None
    if routes is None:
        now = context.loop.time()
        traits = asked.traits
        policy = policy_of(principal, asked, epoch_seconds, door)
        if policy.is_cheapest or asked.last_user is not None:
            traits = hinted(asked, declared_task, context.snapshot.scanner)
        beginning = beginning_of(asked.fields)
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
    if is_embedding is not door.is_embedding:
        raise InvalidRequest(
            f"this model {'makes embeddings only' if is_embedding else 'makes no embeddings'}",
            param="model",
            hint="See `capabilities` in GET /v1/models.",
        )
    return routes, conversation


def policy_of(
    principal: Principal, asked: CompletionRequest, epoch_seconds: int, door: Door
) -> RoutingPolicy:
    """Give what a decision may know of what is allowed and preferred: nobody's name."""
    tenant, preferences = principal.policy, asked.preferences
    if principal.mode == Mode.TEST:
        # The sandbox stands in for every upstream: there is nothing to keep prompts from.
        tenant = NO_POLICY if tenant is NO_POLICY else rehearsed(tenant)
        if preferences is not NO_PREFERENCES:
            preferences = Preferences(models=preferences.models)
            preferences = preferences if preferences.models else NO_PREFERENCES
    is_cheapest = (
        bool(principal.caps)
        and not door.is_embedding
        and in_force(principal.caps, CapAction.CHEAPEST, epoch_seconds)
    )
    return RoutingPolicy(asked.model, tenant, preferences, principal.price_list, is_cheapest)


def warmth_of(admission: Admission, index: int) -> Warmth:
    """Give what is to be remembered of a conversation that a route has just served."""
    traits, step = admission.asked.traits, admission.plan.routes[index]
    score, before = admission.plan.score, traits.warm
    if before is not None and before.model_id == step.model.model_id:
        score = before.score
    return Warmth(step.route.upstream, step.model.model_id, traits.input_tokens, score)


def _listed_prices(
    catalog: Catalog, price_list: str, routes: RoutePlan, epoch_seconds: int
) -> tuple[Price, ...]:
    """Give the prices of a tenant's own list; a list that is not configured serves nobody."""
    if price_list not in catalog.price_lists:
        raise Unavailable("this account's price list is not configured here")
    return tuple(
        [price_at(catalog.listed(price_list, step.route), epoch_seconds) for step in routes.routes]
    )


def _bound_nano(
    asked: CompletionRequest, plan: RoutePlan, prices: tuple[Price, ...], output_tokens: int
) -> int:
    """Give the bound at the dearest of the routes that may be tried, each within its limit."""
    input_tokens = asked.traits.input_tokens_max
    bound = 0
    for step, price in zip(plan.routes, prices, strict=True):
        answers = step.model.output_tokens(output_tokens) * asked.choice_count
        bound = max(bound, bound_pico(price, input_tokens, answers, asked.traits.image_count))
    return charge_nano(bound)


def sent_budget(admission: Admission, index: int) -> int | None:
    """Give the output budget that a route is sent in place of the caller's; None to keep that."""
    model = admission.plan.routes[index].model
    if admission.clamped_tokens is not None:
        return model.output_tokens(admission.clamped_tokens)
    asked = admission.asked.output_tokens_max
    if asked is None or model.output_tokens(asked) == asked:
        return None
    return model.output_tokens_max


def limited_tokens(admission: Admission) -> int:
    """Estimate what a request will take of a limit on tokens; its answer corrects it."""
    asked = admission.asked
    budget = None if asked.output_tokens_max is None else admission.output_tokens
    return tokens_of(asked.traits.input_tokens, budget)


def clamp(admission: Admission, available_nano: int) -> None:
    """Cut the output budget to what the credit affords, or refuse with what is affordable.

    Only a budget that the caller did not set is cut; one that it set is refused.
    """
    asked = admission.asked
    affordable = min(
        affordable_completion_tokens(
            price, asked.traits.input_tokens_max, available_nano * 1000, asked.traits.image_count
        )
        for price in admission.prices
    )
    affordable //= asked.choice_count
    if asked.output_tokens_max is not None or affordable < OUTPUT_TOKENS_MIN:
        raise InsufficientCredit(
            "the credit does not cover the most that this completion can cost",
            bound_nano=admission.bound_nano,
            available_nano=available_nano,
            affordable_tokens=affordable,
        )
    admission.output_tokens = admission.clamped_tokens = affordable
    admission.bound_nano = _bound_nano(asked, admission.plan, admission.prices, affordable)

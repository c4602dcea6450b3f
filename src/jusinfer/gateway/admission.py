"""Whether a completion may begin: key, request, plan, rates and bound, in this order."""

from typing import Final

import msgspec

from jusinfer.domain.arrangement import arranged
from jusinfer.domain.catalog import Capability, Catalog, Price, price_at
from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import (
    ContextTooLong,
    InsufficientCredit,
    InvalidKey,
    InvalidRequest,
    JusinferError,
    ModelNotFound,
    Unavailable,
)
from jusinfer.domain.identity import Mode, Principal, fingerprint
from jusinfer.domain.limits import CapAction, in_force
from jusinfer.domain.money import charge_nano
from jusinfer.domain.preferences import NO_POLICY, NO_PREFERENCES, allowed, joined
from jusinfer.domain.pricing import affordable_completion_tokens, bound_pico
from jusinfer.domain.routing import RoutePlan, cheapest_plan
from jusinfer.gateway.context import Context
from jusinfer.gateway.doors import Door
from jusinfer.gateway.server import Request
from jusinfer.wire.chat_content import beginning_of

KEY_BYTES_MAX: Final = 256
OUTPUT_TOKENS_MIN: Final = 16
_BEARER: Final = b"bearer "


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


def credential(request: Request) -> bytes:
    """Give the fingerprint of the key a request carries; raises InvalidKey."""
    header = request.header(b"authorization")
    if header is not None:
        if header[: len(_BEARER)].lower() != _BEARER:
            raise InvalidKey("the Authorization header is not a Bearer token")
        key = header[len(_BEARER) :].strip()
    else:
        key = request.header(b"x-api-key") or b""
    if not key:
        raise InvalidKey("no API key was sent")
    if len(key) > KEY_BYTES_MAX or not key.startswith((b"ji_live_", b"ji_test_")):
        raise InvalidKey("this is not an API key of ours")
    return fingerprint(key)


def examine(
    context: Context, principal: Principal, body: bytes, epoch_seconds: int, door: Door
) -> Admission:
    """Read a request, plan its routes and bound its cost; raises what is wrong with it."""
    asked = door.decode(body)
    catalog = context.snapshot.catalog(principal.mode)
    routes = _planned(context, principal, asked, epoch_seconds, door)
    conversation = b""
    if len(routes.routes) > 1 or not context.health.is_calm:
        routes, conversation = _arranged(context, principal, asked, routes)
    steps = routes.routes
    if principal.price_list:
        prices = _listed_prices(catalog, principal.price_list, routes, epoch_seconds)
    elif len(steps) == 1:
        prices = (price_at(steps[0].route, epoch_seconds),)
    else:
        prices = tuple([price_at(step.route, epoch_seconds) for step in steps])
    output_tokens = asked.output_tokens_max
    if output_tokens is None:
        output_tokens = max([step.model.output_tokens_max for step in steps])
    return Admission(
        asked,
        routes,
        prices,
        catalog.version,
        output_tokens,
        _bound_nano(asked, prices, output_tokens),
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
) -> RoutePlan:
    """Plan the routes, and keep those that policy and preferences allow."""
    snapshot = context.snapshot
    mode = principal.mode
    catalog = snapshot.catalog(mode)
    if principal.caps and in_force(principal.caps, CapAction.CHEAPEST, epoch_seconds):
        routes = cheapest_plan(asked.traits, catalog)
    elif asked.preferences.models:
        routes = _fallbacks(context, mode, asked)
    else:
        routes = snapshot.plan(mode, asked.model, asked.traits)
    is_embedding = Capability.EMBEDDINGS in routes.routes[0].model.capabilities
    if is_embedding is not door.is_embedding:
        raise InvalidRequest(
            f"this model {'makes embeddings only' if is_embedding else 'makes no embeddings'}",
            param="model",
            hint="See `capabilities` in GET /v1/models.",
        )
    policy, preferences = principal.policy, asked.preferences
    if policy is NO_POLICY and preferences is NO_PREFERENCES:
        return routes
    if mode == Mode.TEST:
        # The sandbox stands in for every upstream: there is nothing to keep prompts from.
        policy, preferences = NO_POLICY, NO_PREFERENCES
    return allowed(routes, policy, preferences, catalog.upstreams)


def _fallbacks(context: Context, mode: Mode, asked: CompletionRequest) -> RoutePlan:
    """Plan a list of models: each that is offered, in order, the named one first."""
    names = dict.fromkeys((asked.model, *asked.preferences.models))
    plans: list[RoutePlan] = []
    refusal: JusinferError | None = None
    for name in names:
        try:
            plans.append(context.snapshot.plan(mode, name, asked.traits))
        except (ModelNotFound, ContextTooLong) as error:
            refusal = refusal or error
    if not plans and refusal is not None:
        raise refusal
    return joined(plans)


def _arranged(
    context: Context, principal: Principal, asked: CompletionRequest, routes: RoutePlan
) -> tuple[RoutePlan, bytes]:
    """Put the routes in the order of their health, where the conversation is warm first."""
    now = context.loop.time()
    conversation, warm = b"", ""
    if len(routes.routes) > 1:
        conversation = context.affinity.digest(principal.tenant_id, beginning_of(asked.fields))
        warm = context.affinity.warm(conversation, now)
    sort = asked.preferences.sort
    return arranged(routes, context.health, now, context.health.random, warm, sort), conversation


def _listed_prices(
    catalog: Catalog, price_list: str, routes: RoutePlan, epoch_seconds: int
) -> tuple[Price, ...]:
    """Give the prices of a tenant's own list; a list that is not configured serves nobody."""
    if price_list not in catalog.price_lists:
        raise Unavailable("this account's price list is not configured here")
    return tuple(
        [price_at(catalog.listed(price_list, step.route), epoch_seconds) for step in routes.routes]
    )


def _bound_nano(asked: CompletionRequest, prices: tuple[Price, ...], output_tokens: int) -> int:
    """Give the bound at the dearest of the routes that may be tried."""
    input_tokens = asked.traits.input_tokens_max
    answers = output_tokens * asked.choice_count
    bound = 0
    for price in prices:
        bound = max(bound, bound_pico(price, input_tokens, answers, asked.traits.image_count))
    return charge_nano(bound)


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
    admission.bound_nano = _bound_nano(asked, admission.prices, affordable)

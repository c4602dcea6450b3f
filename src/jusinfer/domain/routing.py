"""From traits and a catalog to an ordered plan of routes, each choice with its reason."""

from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability, Catalog, Model, Route
from jusinfer.domain.errors import ContextTooLong, InvalidRequest, ModelNotFound
from jusinfer.domain.pricing import bound_pico
from jusinfer.domain.traits import Traits

TABLE_VERSION: Final = "1"
ATTEMPTS_MAX: Final = 3
OUTPUT_TOKENS_GUESS: Final = 500
MANY_TOOLS: Final = 6
STRONG_TIER: Final = 2
EXPLICIT: Final = ("explicit",)
AUTO: Final = "jusinfer/auto"
AUTO_PREFIX: Final = "jusinfer/auto:"

SENTENCES: Final[Mapping[str, str]] = {
    "explicit": "the request named this model",
    "reasoning_hint": "the request asks for careful reasoning",
    "reasoning_effort": "the request asks for a high reasoning effort",
    "many_tools": "it offers six tools or more",
    "plain": "nothing in the request asks for a stronger model",
    "asked_cheap": "the cheapest was asked for",
    "asked_best": "the strongest was asked for",
    "asked_list": "a list of models was given",
    "no_strong": "no stronger model is offered",
    "cheapest": "it is the cheapest that fits",
    "spend_cap": "a cap on spending has been reached, which asks for the cheapest model",
    "context": "some models cannot hold an input this long",
    "output": "some models cannot write an answer this long",
    "tools": "some models cannot use tools",
    "vision": "some models cannot see images",
    "json_schema": "some models cannot keep to a JSON schema",
}


class PlannedRoute(msgspec.Struct, frozen=True):
    """One step of a plan: the model it serves and the route to it."""

    model: Model
    route: Route


class RoutePlan(msgspec.Struct, frozen=True):
    """The routes to try in order, and the ids of the reasons."""

    routes: tuple[PlannedRoute, ...]
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Say in one sentence why the first route was chosen."""
        because = ", and ".join(SENTENCES[reason] for reason in self.reasons)
        return f"{self.routes[0].model.model_id}, because {because}."


def plan(requested_model: str, traits: Traits, catalog: Catalog) -> RoutePlan:
    """Choose the routes for a request, or refuse with what is wrong."""
    model = catalog.models.get(requested_model)
    if model is None:
        if requested_model.startswith(AUTO_PREFIX):
            return _named_auto_plan(requested_model[len(AUTO_PREFIX) :], traits, catalog)
        if requested_model.startswith("sandbox/"):
            return _sandbox_plan(requested_model, catalog)
        raise ModelNotFound("the model is not offered with this key", param="model")
    if model.is_auto:
        return _auto_plan(traits, catalog)
    if traits.input_tokens > model.context_tokens:
        raise _too_large(model)
    return explicit_plan(model)


def _named_auto_plan(wish: str, traits: Traits, catalog: Catalog) -> RoutePlan:
    """Choose by a name that says how, or among models that it lists."""
    if AUTO not in catalog.models:
        raise ModelNotFound("the model is not offered with this key", param="model")
    if wish == "balanced":
        return _auto_plan(traits, catalog)
    if wish == "cheap":
        found = cheapest_plan(traits, catalog)
        return msgspec.structs.replace(found, reasons=("asked_cheap", "cheapest"))
    if wish == "best":
        return _best_plan(traits, catalog)
    names = [name.strip() for name in wish.split(",")]
    listed = {name: catalog.models[name] for name in names if name in catalog.models}
    if not listed or not all(_may_be_chosen(model) for model in listed.values()):
        raise ModelNotFound(
            "use jusinfer/auto, jusinfer/auto:cheap, :balanced or :best, or models that are "
            "offered, as in jusinfer/auto:one,other",
            param="model",
        )
    missing = [name for name in names if name not in listed]
    if missing:
        raise ModelNotFound("not every model of the list is offered", param="model")
    among = msgspec.structs.replace(catalog, models=listed)
    found = _auto_plan(traits, among)
    return msgspec.structs.replace(found, reasons=("asked_list", *found.reasons))


def _best_plan(traits: Traits, catalog: Catalog) -> RoutePlan:
    """Give the strongest models that can serve a request, the cheapest of them first."""
    eligible = [
        model
        for model in catalog.models.values()
        if _may_be_chosen(model) and _closed_gate(model, traits) is None
    ]
    if not eligible:
        raise InvalidRequest("no model on offer fits this request", param="model")
    ranked = sorted(eligible, key=lambda m: (-m.tier, _cost(m, traits), m.model_id))
    routes = [PlannedRoute(model, route) for model in ranked for route in model.routes]
    return RoutePlan(tuple(routes[:ATTEMPTS_MAX]), ("asked_best", "cheapest"))


def estimate_pico(step: PlannedRoute, traits: Traits) -> int:
    """Give what a request is expected to cost on a route; the bound that is reserved is higher."""
    output = min(traits.output_tokens_max or OUTPUT_TOKENS_GUESS, step.model.output_tokens_max)
    return bound_pico(step.route.price, traits.input_tokens, output, traits.image_count)


def excluded(traits: Traits, catalog: Catalog) -> dict[str, str]:
    """Give the models that the router may not choose for a request, each with its reason."""
    found: dict[str, str] = {}
    for model in catalog.models.values():
        gate = _closed_gate(model, traits) if _may_be_chosen(model) else None
        if gate is not None:
            found[model.model_id] = gate
    return found


def explicit_plan(model: Model) -> RoutePlan:
    """Give the plan of a model that was named: its routes, in the order they were declared."""
    routes = tuple(PlannedRoute(model, route) for route in model.routes[:ATTEMPTS_MAX])
    return RoutePlan(routes, EXPLICIT)


def cheapest_plan(traits: Traits, catalog: Catalog) -> RoutePlan:
    """Give the cheapest models that can serve a request: what a reached cap may ask for."""
    eligible = [
        model
        for model in catalog.models.values()
        if _may_be_chosen(model) and _closed_gate(model, traits) is None
    ]
    if not eligible:
        raise InvalidRequest("no model on offer fits this request", param="model")
    ranked = sorted(eligible, key=lambda model: (_cost(model, traits), model.model_id))
    routes = [PlannedRoute(model, route) for model in ranked for route in model.routes]
    return RoutePlan(tuple(routes[:ATTEMPTS_MAX]), ("spend_cap", "cheapest"))


def _sandbox_plan(requested_model: str, catalog: Catalog) -> RoutePlan:
    """Serve any scripted behaviour of the sandbox under the price of its base entry."""
    base = catalog.models.get("sandbox/echo")
    if base is None:
        raise ModelNotFound("the sandbox is offered with test keys only", param="model")
    route = msgspec.structs.replace(base.routes[0], upstream_model=requested_model)
    return RoutePlan((PlannedRoute(base, route),), EXPLICIT)


def _auto_plan(traits: Traits, catalog: Catalog) -> RoutePlan:
    reasons: list[str] = []
    eligible: list[Model] = []
    for model in catalog.models.values():
        if not _may_be_chosen(model):
            continue
        gate = _closed_gate(model, traits)
        if gate is None:
            eligible.append(model)
        elif gate not in reasons:
            reasons.append(gate)
    if not eligible:
        raise InvalidRequest(
            "no model on offer fits this request: " + ", ".join(sorted(reasons)),
            param="model",
            hint="Shorten the input, ask for less output, or leave out what no model can do.",
        )
    wanted, why = _wanted_tier(traits)
    ranked = sorted(eligible, key=lambda model: (_distance(model, wanted), _cost(model, traits)))
    if wanted >= STRONG_TIER and ranked[0].tier < wanted:
        why = (*why, "no_strong")
    routes = [PlannedRoute(model, route) for model in ranked for route in model.routes]
    return RoutePlan(tuple(routes[:ATTEMPTS_MAX]), (*why, "cheapest", *sorted(reasons)))


def _may_be_chosen(model: Model) -> bool:
    """Tell whether a model is one that the router may choose by itself."""
    return (
        not model.is_auto
        and not model.model_id.startswith("sandbox/")
        and Capability.EMBEDDINGS not in model.capabilities
    )


def _wanted_tier(traits: Traits) -> tuple[int, tuple[str, ...]]:
    if traits.has_reasoning_hint:
        return STRONG_TIER, ("reasoning_hint",)
    if traits.reasoning_effort in {"high", "xhigh", "max"}:
        return STRONG_TIER, ("reasoning_effort",)
    if traits.tool_count >= MANY_TOOLS:
        return STRONG_TIER, ("many_tools",)
    return 1, ("plain",)


def _distance(model: Model, wanted: int) -> int:
    """Rank models of the wanted tier first, then stronger ones, then weaker ones."""
    return 0 if model.tier == wanted else 1 if model.tier > wanted else 2


def _cost(model: Model, traits: Traits) -> int:
    output = min(traits.output_tokens_max or OUTPUT_TOKENS_GUESS, model.output_tokens_max)
    return min(bound_pico(route.price, traits.input_tokens, output) for route in model.routes)


def _closed_gate(model: Model, traits: Traits) -> str | None:
    """Name the first gate that keeps a model out of what the router may choose."""
    output = traits.output_tokens_max or 0
    if traits.input_tokens > model.context_tokens:
        return "context"
    if output > model.output_tokens_max:
        return "output"
    needs = (
        (Capability.TOOLS, traits.tool_count > 0),
        (Capability.VISION, traits.has_images),
        (Capability.JSON_SCHEMA, traits.needs_json_schema),
    )
    for capability, is_needed in needs:
        if is_needed and capability not in model.capabilities:
            return capability.value
    return None


def _too_large(model: Model) -> ContextTooLong:
    return ContextTooLong(
        f"the input is too long for this model, which holds {model.context_tokens} tokens",
        param="messages",
        hint="Shorten the input or choose a model with a longer context.",
    )

"""Plans of models that a request names: they are served as they are, or not at all."""

from collections.abc import Callable
from typing import Final

import msgspec

from jusinfer.domain.catalog import Catalog, Model, Route
from jusinfer.domain.errors import (
    ContextTooLong,
    JusinferError,
    ModelNotFound,
    PolicyRefused,
)
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.filters import open_routes
from jusinfer.domain.routing.load_balancing import by_health, serving
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import (
    ATTEMPTS_MAX,
    AUTO,
    AUTO_PREFIX,
    PlannedRoute,
    RoutePlan,
    reason,
)
from jusinfer.domain.routing.preferences import NO_PREFERENCES, ordered, refused
from jusinfer.domain.routing.selection import DIALS
from jusinfer.domain.sandbox_names import SANDBOX_PREFIX, sandbox_name
from jusinfer.domain.tenant_policy import NO_POLICY
from jusinfer.domain.upstream_health import HealthSnapshot

EXPLICIT: Final = (reason("explicit"),)
EXPLICIT_CODE: Final = "explicit"
SANDBOX_BASE: Final = "sandbox/echo"

Estimated = Callable[[Model, Route], PlannedRoute]


def explicit_plan(model: Model, version: str) -> RoutePlan:
    """Give the plan of a model that was named, where nothing forbids or prefers anything."""
    routes = tuple(PlannedRoute(model, route) for route in model.routes[:ATTEMPTS_MAX])
    return RoutePlan(routes, EXPLICIT, EXPLICIT_CODE, version, asked=model.model_id)


def asked_name(policy: RoutingPolicy, catalog: Catalog) -> str:
    """Give what a request names as it may be recorded: nothing of it is free text.

    Where a spend limit asks for the cheapest of a list, the first name that is known counts. Raises
    ModelNotFound, or InvalidRequest for a name that the sandbox does not know.
    """
    refusal: JusinferError | None = None
    for name in (policy.model, *policy.preferences.models):
        try:
            return _asked(name, catalog)
        except JusinferError as error:
            refusal = refusal or error
    raise refusal or ModelNotFound("no model was named", param="model")


def _asked(name: str, catalog: Catalog) -> str:
    if name in catalog.models:
        return name
    if name.startswith(SANDBOX_PREFIX) and SANDBOX_BASE in catalog.models:
        return sandbox_name(name)
    if name.startswith(AUTO_PREFIX) and AUTO in catalog.models:
        said = name[len(AUTO_PREFIX) :]
        if not said:
            return AUTO
        names = [said] if said in DIALS else [one.strip() for one in said.split(",")]
        if said in DIALS or all(one in catalog.models for one in names):
            return AUTO_PREFIX + ",".join(dict.fromkeys(names))
    raise ModelNotFound("the model is not offered with this key", param="model")


def plan_named(
    traits: RequestFeatures,
    policy: RoutingPolicy,
    catalog: Catalog,
    health: HealthSnapshot,
    random: Callable[[], float],
    estimated: Estimated,
) -> tuple[PlannedRoute, ...]:
    """Give the routes to the model that is named, in order; never another model.

    Raises ModelNotFound, ContextTooLong, or the refusal that names the gates.
    """
    model = _model(policy.model, catalog)
    if traits.input_tokens > model.context_tokens:
        raise ContextTooLong(
            f"the input is too long for this model, which holds {model.context_tokens} tokens",
            asked_tokens=traits.input_tokens,
            context_tokens=model.context_tokens,
        )
    tenant, preferences = policy.tenant, policy.preferences
    if tenant is NO_POLICY and preferences is NO_PREFERENCES:
        steps = [PlannedRoute(model, route) for route in model.routes]
    else:
        routes, closed = open_routes(model, tenant, preferences, catalog)
        if not routes:
            raise refused(closed)
        steps = [
            step
            for step in [estimated(model, route) for route in routes]
            if tenant.affords(step.estimate_pico or 0)
        ]
        if not steps:
            raise PolicyRefused(
                "this call is expected to cost more than this account allows for one: price_cap",
                param="model",
                hint="Shorten the input, set max_tokens, or choose a cheaper model.",
            )
    if preferences is not NO_PREFERENCES:
        steps = ordered(steps, preferences)
        if not preferences.has_fallbacks:
            del steps[1:]
    # What comes beyond the attempts would never be tried: health decides among the rest.
    steps = serving(steps[:ATTEMPTS_MAX], health)
    return tuple(by_health(steps, health, random, traits.warm, preferences.sorts))


def _model(name: str, catalog: Catalog) -> Model:
    model = catalog.models.get(name)
    if model is not None:
        return model
    if not name.startswith(SANDBOX_PREFIX):
        raise ModelNotFound("the model is not offered with this key", param="model")
    base = catalog.models.get(SANDBOX_BASE)
    if base is None:
        raise ModelNotFound("the sandbox is offered with test keys only", param="model")
    sandbox_name(name)
    # Any script of the sandbox is served under the price of its base entry.
    route = msgspec.structs.replace(base.routes[0], upstream_model=name)
    return msgspec.structs.replace(base, routes=(route,))

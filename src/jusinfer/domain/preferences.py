"""What a caller prefers among the routes to a model, and what its tenant allows at all.

A gate that cannot be judged is closed: an upstream that does not state a fact does not have it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Price, Upstream
from jusinfer.domain.errors import InvalidRequest, ModelNotFound, PolicyRefused
from jusinfer.domain.routing import ATTEMPTS_MAX, PlannedRoute, RoutePlan

NAMES_MAX: Final = 32
FALLBACKS_MAX: Final = 8


class Preferences(msgspec.Struct, frozen=True):
    """What one request prefers. Names are those of upstreams; prices micro-USD per million."""

    models: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    has_fallbacks: bool = True
    is_zdr: bool = False
    input_micro_max: int | None = None
    output_micro_max: int | None = None
    sort: str = ""


class TenantPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a tenant's prompts may go. Empty tuples allow all.

    `is_zdr` demands upstreams that keep nothing; `no_training` those that say they do not train
    on prompts; `may_log_payloads` lets a transport of ours keep payloads, which is off unless
    the tenant has asked for it.
    """

    is_zdr: bool = False
    no_training: bool = False
    may_log_payloads: bool = False
    upstreams: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()


NO_POLICY: Final = TenantPolicy()
NO_PREFERENCES: Final = Preferences()


def closed_gate(policy: TenantPolicy, upstream: Upstream) -> str | None:
    """Name the first gate of a tenant's policy that keeps its prompts from an upstream."""
    facts = upstream.facts
    if policy.upstreams and upstream.name not in policy.upstreams:
        return "allowed_upstreams"
    if policy.is_zdr and not facts.is_zdr:
        return "zdr"
    if policy.no_training and facts.trains_on_prompts is not False:
        return "no_training"
    if policy.regions and facts.region not in policy.regions:
        return "region"
    if policy.jurisdictions and facts.jurisdiction not in policy.jurisdictions:
        return "jurisdiction"
    return None


def allowed(
    routes: RoutePlan,
    policy: TenantPolicy,
    preferences: Preferences,
    upstreams: Mapping[str, Upstream],
) -> RoutePlan:
    """Keep the routes that policy and preferences allow, in the order that is preferred.

    Raises PolicyRefused or InvalidRequest naming the gate when none is left.
    """
    kept: list[PlannedRoute] = []
    closed: list[str] = []
    for step in routes.routes:
        upstream = upstreams[step.route.upstream]
        gate = closed_gate(policy, upstream)
        if gate is None and preferences.is_zdr and not upstream.facts.is_zdr:
            gate = "provider.zdr"
        gate = gate or _preference(preferences, step)
        if gate is None:
            kept.append(step)
        elif gate not in closed:
            closed.append(gate)
    if not kept:
        raise _refused(closed)
    if preferences is not NO_PREFERENCES:
        kept = _ordered(kept, preferences)
        if not preferences.has_fallbacks:
            del kept[1:]
    return msgspec.structs.replace(routes, routes=tuple(kept[:ATTEMPTS_MAX]))


def _preference(preferences: Preferences, step: PlannedRoute) -> str | None:
    name = step.route.upstream
    if preferences.only and name not in preferences.only:
        return "provider.only"
    if name in preferences.ignore:
        return "provider.ignore"
    if _is_dearer(step.route.price, preferences):
        return "provider.max_price"
    return None


def _is_dearer(price: Price, preferences: Preferences) -> bool:
    most_in, most_out = preferences.input_micro_max, preferences.output_micro_max
    return (most_in is not None and price.input_micro_per_mtok > most_in) or (
        most_out is not None and price.output_micro_per_mtok > most_out
    )


def _ordered(steps: list[PlannedRoute], preferences: Preferences) -> list[PlannedRoute]:
    if preferences.sort == "price":
        steps = sorted(
            steps,
            key=lambda step: (
                step.route.price.input_micro_per_mtok + step.route.price.output_micro_per_mtok
            ),
        )
    if preferences.order:
        places = {name: place for place, name in enumerate(preferences.order)}
        steps = sorted(steps, key=lambda step: places.get(step.route.upstream, len(places)))
    return steps


def _refused(closed: list[str]) -> PolicyRefused | InvalidRequest:
    asked = [gate for gate in closed if gate.startswith("provider.")]
    if len(asked) == len(closed):
        return InvalidRequest(
            f"no route to this model fits what the request prefers: {', '.join(asked)}",
            param=asked[0] if asked else "model",
            hint="Ask for less in `provider`, or choose another model.",
        )
    return PolicyRefused(
        f"the policy of this account closes every route to this model: {', '.join(closed)}",
        param="model",
        hint="Choose another model, or have the account's policy changed.",
    )


def joined(plans: list[RoutePlan]) -> RoutePlan:
    """Put the plans of a list of models one after another; the first names the reasons."""
    if not plans:
        raise ModelNotFound("none of the models is offered with this key", param="models")
    steps = tuple(step for plan in plans for step in plan.routes)
    return RoutePlan(steps[:ATTEMPTS_MAX], plans[0].reasons)

"""The order in which the routes to one model are tried, by what is known of their health.

Routes of the same model at the same price are replicas: of two drawn by lot the better comes
first. Between others their own order stands; a route whose breaker is open moves to the end,
unless that would shut more than half of them. A route whose account is used up is left out.
"""

import math
from collections.abc import Callable
from typing import Final

from jusinfer.domain.errors import Unavailable
from jusinfer.domain.routing.features import CacheAffinity
from jusinfer.domain.routing.plan import PlannedRoute
from jusinfer.domain.upstream_health import HealthSnapshot

PAIR: Final = 2
# A warm route goes first unless it costs, in money and time, so much more than the best one.
WARM_WORTH: Final = 1.25


def serving(steps: list[PlannedRoute], health: HealthSnapshot) -> list[PlannedRoute]:
    """Leave out routes whose account is used up; raises Unavailable when none is left."""
    kept = [step for step in steps if not health.shut_seconds(step.route.upstream)]
    if not kept and steps:
        raise quota_exhausted(min(health.shut_seconds(step.route.upstream) for step in steps))
    return kept


def quota_exhausted(seconds: float) -> Unavailable:
    """Give the refusal of a request whose every upstream has shut its account to us."""
    return Unavailable(
        "the upstream cannot serve our account right now",
        hint="Choose another model, or try again later.",
        is_final=True,
        retry_after_seconds=math.ceil(seconds) or 1,
    )


def by_health(
    steps: list[PlannedRoute],
    health: HealthSnapshot,
    random: Callable[[], float],
    warm: CacheAffinity | None,
    sort: str,
) -> list[PlannedRoute]:
    """Order routes, those of the first one's model first; `sort` is the request's own order."""
    if len(steps) < PAIR:
        return steps
    if sort == "latency":
        steps = sorted(steps, key=lambda step: _score(health, step))
    elif not sort:
        steps = _drawn(steps, health, random)
    if warm is not None and not sort:
        steps = _warm_first(steps, health, warm)
    if health.is_all_healthy:
        return steps
    steps = list(steps)
    failing = [step for step in steps if _is_open(health, step)]
    for step in failing[: len(steps) // 2]:
        steps.remove(step)
        steps.append(step)
    return steps


def _drawn(
    steps: list[PlannedRoute], health: HealthSnapshot, random: Callable[[], float]
) -> list[PlannedRoute]:
    """Let the better of two that are drawn lead the replicas at the head of a list."""
    head = steps[0]
    replicas = [
        step for step in steps if step.model is head.model and step.route.price == head.route.price
    ]
    if len(replicas) < PAIR:
        return steps
    one = replicas[int(random() * len(replicas)) % len(replicas)]
    rest = [step for step in replicas if step is not one]
    other = rest[int(random() * len(rest)) % len(rest)]
    lead = one if _score(health, one) <= _score(health, other) else other
    return [lead, *(step for step in steps if step is not lead)]


def _warm_first(
    steps: list[PlannedRoute], health: HealthSnapshot, warm: CacheAffinity
) -> list[PlannedRoute]:
    """Let the route that holds the conversation lead those of its model, within reason."""
    model = steps[0].model
    found = next((s for s in steps if s.route.upstream == warm.upstream and s.model is model), None)
    if found is None or found is steps[0]:
        return steps
    least = min(_burden(health, step) for step in steps if step.model is model)
    if _burden(health, found) > WARM_WORTH * least:
        return steps
    return [found, *(step for step in steps if step is not found)]


def _burden(health: HealthSnapshot, step: PlannedRoute) -> float:
    """Give cost by time; where nothing was estimated every route costs alike."""
    return ((step.estimate_pico or 0) + 1) * _score(health, step)


def _score(health: HealthSnapshot, step: PlannedRoute) -> float:
    return health.score(step.route.upstream, step.route.upstream_model)


def _is_open(health: HealthSnapshot, step: PlannedRoute) -> bool:
    return health.is_open(step.route.upstream, step.route.upstream_model)

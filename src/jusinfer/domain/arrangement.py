"""The order in which the routes of a plan are tried, by what is known of their health.

Routes of the same model at the same price are replicas: of two drawn by lot the better comes
first. Between others the plan's own order stands; a route whose breaker is open moves to the end,
unless that would shut more than half of them. A route whose account is used up is left out.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from jusinfer.domain.errors import Unavailable
from jusinfer.domain.health import Health
from jusinfer.domain.routing import PlannedRoute, RoutePlan

PAIR: Final = 2


def arranged(
    plan: RoutePlan,
    health: Health,
    now: float,
    random: Callable[[], float],
    warm: str = "",
    sort: str = "",
) -> RoutePlan:
    """Give the plan in the order to try it; `warm` is the upstream that holds the conversation."""
    steps = [
        step for step in plan.routes if health.account_shut_seconds(step.route.upstream, now) == 0.0
    ]
    if not steps:
        shut = min(health.account_shut_seconds(step.route.upstream, now) for step in plan.routes)
        raise Unavailable(
            "the upstream cannot serve our account right now",
            hint="Choose another model, or try again later.",
            retry_after_seconds=math.ceil(shut) or 1,
        )
    if len(steps) > 1:
        steps = _by_health(steps, health, now, random, warm, sort)
    if len(steps) == len(plan.routes) and all(
        one is other for one, other in zip(steps, plan.routes, strict=True)
    ):
        return plan
    return msgspec.structs.replace(plan, routes=tuple(steps))


def _by_health(
    steps: list[PlannedRoute],
    health: Health,
    now: float,
    random: Callable[[], float],
    warm: str,
    sort: str,
) -> list[PlannedRoute]:
    if sort == "latency":
        steps = sorted(steps, key=lambda step: _score(health, step))
    elif not sort:
        steps = _drawn(steps, health, random)
    if warm:
        first = steps[0]
        for place, step in enumerate(steps):
            if step.route.upstream == warm and step.model is first.model:
                steps.insert(0, steps.pop(place))
                break
    open_steps = [
        step
        for step in steps
        if health.is_open(step.route.upstream, step.route.upstream_model, now)
    ]
    for step in open_steps[: len(steps) // 2]:
        steps.remove(step)
        steps.append(step)
    return steps


def _drawn(
    steps: list[PlannedRoute], health: Health, random: Callable[[], float]
) -> list[PlannedRoute]:
    """Let the better of two that are drawn lead the replicas at the head of a plan."""
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


def _score(health: Health, step: PlannedRoute) -> float:
    return health.score(step.route.upstream, step.route.upstream_model)

"""What one rule table changes against another: rule by rule, and over made-up requests."""

import itertools
from typing import Final

import msgspec

from jusinfer.domain.catalog import Catalog
from jusinfer.domain.errors import JusinferError
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import AUTO
from jusinfer.domain.routing.router import Router
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.upstream_health import HealthyView, zero_random

SIZES: Final = (5, 20, 60, 200, 1_000, 8_000, 60_000)
BUDGETS: Final = (None, 20, 200, 2_000)
TOOLS: Final = (0, 1, 8)
TEXT_CHARS_MAX: Final = 100


class Change(msgspec.Struct, frozen=True):
    """A rule that differs; `now` or `then` is empty where it does not stand."""

    rule: str
    now: str
    then: str


class DecisionChanges(msgspec.Struct, frozen=True):
    """Of so many made-up requests, how many would go to a stronger or a weaker model."""

    requests: int
    stronger: int
    weaker: int


def changes(now: RuleTable, then: RuleTable) -> list[Change]:
    """Give the rules that differ, in the order of the tables."""
    left, right = _flat(now), _flat(then)
    return [
        Change(name, left.get(name, ""), right.get(name, ""))
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]


def flips(now: RuleTable, then: RuleTable, catalog: Catalog) -> DecisionChanges:
    """Decide requests of every size, budget and hint by both tables over a catalog."""
    one, other = Router(now, catalog), Router(then, catalog)
    requests = stronger = weaker = 0
    for traits in _made_up(now, then):
        tiers = [_tier(router, traits) for router in (one, other)]
        requests += 1
        stronger += tiers[1] > tiers[0]
        weaker += tiers[1] < tiers[0]
    return DecisionChanges(requests, stronger, weaker)


def _made_up(now: RuleTable, then: RuleTable) -> list[RequestFeatures]:
    hints = dict.fromkeys((*(hint.id for hint in now.hint), *(hint.id for hint in then.hint)))
    marks = [(), *((hint,) for hint in hints), *itertools.combinations(hints, 2)]
    return [
        RequestFeatures(size, size * 4, budget, 1, tool_count=tools, hints=found)
        for size in SIZES
        for budget in BUDGETS
        for tools in TOOLS
        for found in marks
    ]


def _tier(router: Router, traits: RequestFeatures) -> int:
    try:
        plan = router.decide(traits, RoutingPolicy(AUTO), HealthyView(), zero_random)
    except JusinferError:
        return -1
    return plan.routes[0].model.tier


def _flat(table: RuleTable) -> dict[str, str]:
    """Give a table as one text for each of its rules."""
    rows: dict[str, str] = {}
    for name in ("version", "estimate", "choose"):
        rows[name] = _text(getattr(table, name))
    for kind, found in (("hint", table.hint), ("signal", table.signal), ("gate", table.gate)):
        for row in found:
            rows[f"{kind} {row.id}"] = _text(row)
    for kind, named in (("outcome", table.outcome), ("pair", table.pair)):
        for name, value in named.items():
            rows[f"{kind} {name}"] = _text(value)
    return rows


def _text(value: object) -> str:
    """Write a rule shortly: what it says besides its defaults."""
    if isinstance(value, str):
        return value
    built = msgspec.to_builtins(value)
    said = {key: part for key, part in built.items() if part or part == 0}
    text = msgspec.json.encode(said).decode()
    return text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + "…"

"""Everything that is measured of a rule table on one part of the outcomes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.routing.fitting import Fit, Points, fired
from bench.routing.measures import (
    DRAWS,
    Measures,
    Point,
    curve,
    draws,
    measure,
    order_of,
    spread,
)
from bench.routing.neutrality import Neutral, neutrality
from bench.routing.outcomes import SETS, Outcome, load
from bench.routing.rules import (
    LiteLLM,
    Missing,
    Rule,
    TableRule,
    asked,
    cheapest_first,
    length_only,
    random_mix,
)
from bench.routing.speed import Speed, speeds
from jusinfer.domain.routing.rules import RuleTable

QUICK_DRAWS: Final = 100
OURS: Final = "our table"
LEFT_OUT: Final = "our points, fitted without this set"
CHEAPEST: Final = "cheapest upgrade first"
RANDOM: Final = "random"
ORACLE: Final = "oracle per dollar"
LITELLM: Final = "LiteLLM's heuristic"
LITELLM_DOLLAR: Final = "LiteLLM's heuristic per dollar"


class Row(msgspec.Struct, frozen=True):
    """One rule on one set; `error` is the standard error of its AIQ, `over` that of differences.

    `over` gives, for another rule, the difference in AIQ and the standard error of that.
    """

    measures: Measures
    error: float
    over: dict[str, tuple[float, float]]
    headroom: float


class Signal(msgspec.Struct, frozen=True):
    """How often a signal fires on a set, and the mean gain of the strong model where it does."""

    share: float
    gain: float


class Report(msgspec.Struct, frozen=True):
    """What was measured; all by set."""

    version: str
    part: str
    rows: dict[str, dict[str, Row]]
    curves: dict[str, dict[str, list[Point]]]
    signals: dict[str, dict[str, Signal]]
    neutral: dict[str, dict[str, Neutral]]
    speeds: list[Speed]
    fitted: dict[str, Points] = {}
    notes: list[str] = []


def measured(folder: Path, part: str, table: RuleTable, *, is_quick: bool) -> Report:
    """Measure a table on a part of the outcomes, beside every other rule that can be had."""
    ours = TableRule(table)
    named: dict[str, Rule] = {
        RANDOM: random_mix,
        "length only": length_only,
        CHEAPEST: cheapest_first,
        OURS: ours,
    }
    notes: list[str] = []
    try:
        named[LITELLM] = LiteLLM(is_per_dollar=False)
        named[LITELLM_DOLLAR] = LiteLLM(is_per_dollar=True)
    except Missing as error:
        notes.append(f"{error}; its rows are left out")
    fits = {} if is_quick else _fitted(folder, table)
    rows: dict[str, dict[str, Row]] = {}
    curves: dict[str, dict[str, list[Point]]] = {}
    signals: dict[str, dict[str, Signal]] = {}
    neutral: dict[str, dict[str, Neutral]] = {}
    for name in SETS:
        outcomes = load(folder, name, part)
        scores = {rule: _ranked(outcomes, score) for rule, score in named.items()}
        if name in fits:
            one = fired(outcomes, table)
            scores[LEFT_OUT] = Fit(table).scores(one, fits[name])
        scores[ORACLE] = [
            (row.strong - row.weak) / (row.paid_strong - row.paid_weak or 1) for row in outcomes
        ]
        orders = {rule: order_of(score) for rule, score in scores.items()}
        count = QUICK_DRAWS if is_quick else DRAWS
        rows[name] = _rows(outcomes, orders, draws(len(outcomes), count))
        shown = (OURS, CHEAPEST, RANDOM, LITELLM)
        curves[name] = {
            rule: curve(outcomes, orders[rule], None) for rule in shown if rule in orders
        }
        signals[name] = _signals(outcomes, ours)
        neutral[name] = neutrality(outcomes, name, ours)
    speed = [] if is_quick else speeds(table)
    return Report(table.version, part, rows, curves, signals, neutral, speed, fits, notes)


def _ranked(outcomes: Sequence[Outcome], rule: Rule) -> list[float]:
    return [rule(asked(row)) for row in outcomes]


def _fitted(folder: Path, table: RuleTable) -> dict[str, Points]:
    """Fit points on the `dev` parts of all sets but one, for each."""
    sets = {name: fired(load(folder, name, "dev"), table) for name in SETS}
    fit = Fit(table)
    return {held: fit.fit([one for name, one in sets.items() if name != held]) for held in SETS}


def _rows(
    outcomes: Sequence[Outcome], orders: Mapping[str, list[list[int]]], drawn: list[list[int]]
) -> dict[str, Row]:
    """Measure each rule, and its differences from others over the same draws."""
    found = {rule: measure(curve(outcomes, order, None)) for rule, order in orders.items()}
    spreads = {
        rule: [measure(curve(outcomes, order, weights)).aiq for weights in drawn]
        for rule, order in orders.items()
        if rule != ORACLE
    }
    low, high = found[RANDOM].aiq, found[ORACLE].aiq
    rows: dict[str, Row] = {}
    for rule, own in found.items():
        over: dict[str, tuple[float, float]] = {}
        for other in (CHEAPEST, LITELLM_DOLLAR, RANDOM):
            if other in spreads and rule in spreads and other != rule:
                pairs = zip(spreads[rule], spreads[other], strict=True)
                error = spread([one - two for one, two in pairs])
                over[other] = (own.aiq - found[other].aiq, error)
        error = spread(spreads[rule]) if rule in spreads else 0.0
        rows[rule] = Row(own, error, over, (own.aiq - low) / (high - low))
    return rows


def _signals(outcomes: Sequence[Outcome], rule: TableRule) -> dict[str, Signal]:
    gains: dict[str, list[float]] = {}
    for row in outcomes:
        for one in rule.points(asked(row))[1]:
            gains.setdefault(one.reason_id, []).append(row.strong - row.weak)
    return {
        name: Signal(len(found) / len(outcomes), sum(found) / len(found))
        for name, found in sorted(gains.items())
    }

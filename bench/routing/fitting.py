"""Points fitted to outcomes by a fixed procedure, so that a set can be left out of the fitting.

Points begin with what was believed before any outcome was looked at, and single ones are moved by
one as long as the mean share of the oracle's headroom over the training sets rises by enough.
Which signals there are, and what makes them fire, is not fitted: that was written by hand.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench.routing.measures import aiq
from bench.routing.outcomes import Outcome
from bench.routing.rules import TableRule, asked, extra_pico
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.routing.selection import QualityGains

RISE_LEAST: Final = 0.006
POINTS_MAX: Final = 3
# Signals of text and size that outcomes can speak of, with what was believed of them beforehand.
BELIEFS: Final[Mapping[str, int]] = {
    "careful": 2,
    "code": 3,
    "code_task": 0,
    "compare": 1,
    "factoid": -1,
    "condition": 0,
    "relation": 0,
    "clauses": 0,
    "percent": 0,
    "maths_tight": -1,
    "short": -1,
    "detailed": 0,
}

Points = dict[str, int]


class Fired(msgspec.Struct, frozen=True):
    """One set: its outcomes, the signals that fire on each, and AIQ at both ends."""

    rows: Sequence[Outcome]
    ids: tuple[tuple[str, ...], ...]
    extra: tuple[int, ...]
    random: float
    oracle: float


def fired(rows: Sequence[Outcome], table: RuleTable) -> Fired:
    """Note which signals fire on each outcome."""
    rule = TableRule(table)
    asks = [asked(row) for row in rows]
    ids = tuple(tuple(one.reason_id for one in rule.points(ask)[1]) for ask in asks)
    extra = tuple(extra_pico(ask) for ask in asks)
    best = [(row.strong - row.weak) / cost for row, cost in zip(rows, extra, strict=True)]
    return Fired(rows, ids, extra, aiq(rows, [0.0] * len(rows)), aiq(rows, best))


class Fit:
    """Fits points to sets."""

    def __init__(self, table: RuleTable) -> None:
        self._gains = QualityGains(table)

    def share(self, one: Fired, points: Points) -> float:
        """Give the share of the oracle's headroom over random that points take on a set."""
        found = aiq(one.rows, self.scores(one, points))
        return (found - one.random) / (one.oracle - one.random)

    def scores(self, one: Fired, points: Points) -> list[float]:
        """Rank a set by some points."""
        return [
            self._gains.gain(row.pair, sum([points[name] for name in ids])) / extra
            for row, ids, extra in zip(one.rows, one.ids, one.extra, strict=True)
        ]

    def fit(self, sets: Sequence[Fired]) -> Points:
        """Move single points by one as long as it helps enough."""
        points = dict(BELIEFS)
        best = self._mean(sets, points)
        while True:
            tried = [
                (self._mean(sets, points | {name: points[name] + step}), name, step)
                for name in points
                for step in (-1, 1)
                if abs(points[name] + step) <= POINTS_MAX
            ]
            found, name, step = max(tried)
            if found < best + RISE_LEAST:
                return points
            points[name] += step
            best = found

    def _mean(self, sets: Sequence[Fired], points: Points) -> float:
        return sum(self.share(one, points) for one in sets) / len(sets)

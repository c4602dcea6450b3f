"""How good a ranking of requests is: APGR, AIQ, CPT, and accuracy at a share of the strong bill.

A rule gives each request a number; requests are moved to the strong model from the highest number
down, and equal numbers move together, as one step. Between steps lies a random mix of both.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.routing.outcomes import Outcome

DRAWS: Final = 1_000
SEED: Final = 20_261_123
SHARES: Final = (0.20, 0.35, 0.50)

Weights = Sequence[int]


class Point(msgspec.Struct, frozen=True):
    """One setting of the dial: share of strong calls, US dollars a request, mean accuracy."""

    calls: float
    cost_usd: float
    quality: float


class Measures(msgspec.Struct, frozen=True):
    """What one rule reaches on one set; `at` follows SHARES."""

    apgr: float
    aiq: float
    cpt50: float
    cpt80: float
    at: tuple[float, ...]


def order_of(scores: Sequence[float]) -> list[list[int]]:
    """Group the indices of requests by score, the highest first."""
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [list(group) for _, group in itertools.groupby(ranked, key=lambda i: scores[i])]


def curve(rows: Sequence[Outcome], order: list[list[int]], weights: Weights | None) -> list[Point]:
    """Give the points from all weak to all strong; weights count rows drawn more than once."""
    counts = weights or [1] * len(rows)
    total = sum(counts)
    quality = sum(row.weak * count for row, count in zip(rows, counts, strict=True))
    cost = sum(row.paid_weak * count for row, count in zip(rows, counts, strict=True))
    calls = 0
    scale = 1e-12 / total
    points = [Point(0.0, cost * scale, quality / total)]
    for group in order:
        moved = 0
        for index in group:
            count = counts[index]
            if count:
                row = rows[index]
                moved += count
                quality += (row.strong - row.weak) * count
                cost += (row.paid_strong - row.paid_weak) * count
        if moved:
            calls += moved
            points.append(Point(calls / total, cost * scale, quality / total))
    return points


def measure(points: list[Point]) -> Measures:
    """Measure a curve."""
    first, last = points[0], points[-1]
    gap = last.quality - first.quality
    area = sum(
        (b.calls - a.calls) * (a.quality + b.quality - 2 * first.quality) / 2
        for a, b in itertools.pairwise(points)
    )
    hull = upper_hull(points)
    return Measures(
        apgr=area / gap if gap else 0.5,
        aiq=_under(hull, first.cost_usd, last.cost_usd),
        cpt50=_calls_for(points, 0.5, gap),
        cpt80=_calls_for(points, 0.8, gap),
        at=tuple(quality_at(points, share * last.cost_usd) for share in SHARES),
    )


def aiq(rows: Sequence[Outcome], scores: Sequence[float]) -> float:
    """Give the AIQ of a ranking."""
    return measure(curve(rows, order_of(scores), None)).aiq


def upper_hull(points: list[Point]) -> list[Point]:
    """Give the non-decreasing upper hull of quality over cost."""
    hull: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost_usd, p.quality)):
        while len(hull) > 1 and _is_under(hull[-2], hull[-1], point):
            hull.pop()
        if len(hull) == 1 and point.cost_usd <= hull[0].cost_usd:
            hull.pop()
        hull.append(point)
    best = max(range(len(hull)), key=lambda i: hull[i].quality)
    kept = hull[: best + 1]
    kept.append(Point(1.0, max(p.cost_usd for p in points), kept[-1].quality))
    return kept


def quality_at(points: list[Point], cost_usd: float) -> float:
    """Give the quality that a curve reaches at a cost; below its beginning, what it begins with."""
    if cost_usd <= points[0].cost_usd:
        return points[0].quality
    for a, b in itertools.pairwise(points):
        if cost_usd <= b.cost_usd and b.cost_usd > a.cost_usd:
            part = (cost_usd - a.cost_usd) / (b.cost_usd - a.cost_usd)
            return a.quality + part * (b.quality - a.quality)
    return points[-1].quality


def draws(size: int, count: int = DRAWS) -> list[list[int]]:
    """Give bootstrap draws as how often each row was drawn; always the same ones."""
    source = random.Random(SEED)  # noqa: S311 (draws for statistics)
    found: list[list[int]] = []
    for _ in range(count):
        weights = [0] * size
        for _ in range(size):
            weights[int(source.random() * size)] += 1
        found.append(weights)
    return found


def spread(values: Sequence[float]) -> float:
    """Give the standard deviation of draws, which is the standard error of what was drawn."""
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5


def _is_under(a: Point, b: Point, c: Point) -> bool:
    left = (b.quality - a.quality) * (c.cost_usd - a.cost_usd)
    return left <= (c.quality - a.quality) * (b.cost_usd - a.cost_usd)


def _under(hull: list[Point], low: float, high: float) -> float:
    if high <= low:
        return hull[-1].quality
    area = sum(
        (b.cost_usd - a.cost_usd) * (a.quality + b.quality) / 2 for a, b in itertools.pairwise(hull)
    )
    return area / (high - low)


def _calls_for(points: list[Point], share: float, gap: float) -> float:
    wanted = points[0].quality + share * gap
    for a, b in itertools.pairwise(points):
        if b.quality >= wanted > a.quality or (b.quality >= wanted and a is points[0]):
            rise = b.quality - a.quality
            part = (wanted - a.quality) / rise if rise > 0 else 1.0
            return a.calls + part * (b.calls - a.calls)
    return 1.0

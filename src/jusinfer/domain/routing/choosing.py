"""Which of the models that fit: the best gain for the extra money, against the dial."""

from typing import Final

from jusinfer.domain.catalog import Route
from jusinfer.domain.routing.gates import Candidate
from jusinfer.domain.rule_table import MILLION, RuleTable

CHEAP: Final = "cheap"
BALANCED: Final = "balanced"
BEST: Final = "best"
FAST: Final = "fast"
DIALS: Final = (CHEAP, BALANCED, BEST, FAST)


# A model that every gate lets through, as plain values so that many are compared quickly: what its
# cheapest open route costs in pico-USD, its tier below 0, microseconds to its first byte (where
# they matter), its id, itself, and that route. Their own order is from the cheapest to the dearest.
Fit = tuple[int, int, int, str, Candidate, Route]
COST: Final = 0
TIER: Final = 1
LATENCY: Final = 2
ID: Final = 3
CANDIDATE: Final = 4
ROUTE: Final = 5


class Gains:
    """What stronger models gain, by the rows of one table, in millionths of a right answer."""

    __slots__ = ("_default", "_least", "_pairs")

    def __init__(self, table: RuleTable) -> None:
        rows = {
            name: (round(pair.base_gain * MILLION), round(pair.per_point * MILLION))
            for name, pair in table.pair.items()
        }
        self._default = rows.pop("default")
        self._pairs = rows
        self._least = round(table.choose.least_gain * MILLION)

    def gain(self, pair: str, score: int) -> int:
        """Give what the stronger of a pair, `weak -> strong`, gains at a score."""
        base, point = self._pairs.get(pair, self._default)
        return max(base + point * score, self._least)

    def best(self, fits: list[Fit], score: int, worth_micro: int) -> Fit:
        """Give the model whose gain over the cheapest is worth most beyond what it costs.

        A right answer is worth so many micro-USD; a millionth of one, so many pico-USD. A row for
        two tiers counts for each step of tiers between the models. No stronger model gains less by
        a point than a weaker one does, so that no point speaks for a weaker model. `fits` are in
        their own order; of two that are equal the cheaper, which stands first, is taken.
        """
        best = base = fits[0]
        best_value, tier, steepest = -base[0], base[1], 0
        for fit in fits:
            if fit[1] >= tier:
                # It costs no less than one that is as strong: dominated.
                continue
            tier = fit[1]
            (own, point), steps = self._default, base[1] - tier
            if self._pairs:
                found = self._pairs.get(f"{base[3]} -> {fit[3]}")
                if found is not None:
                    (own, point), steps = found, 1
            steepest = max(steepest, point * steps)
            gain = max(own * steps + steepest * score, self._least * steps)
            value = gain * worth_micro - fit[0]
            if value > best_value:
                best, best_value = fit, value
        return best


def strongest(fits: list[Fit]) -> Fit:
    """Give the strongest, and of those the cheapest."""
    return min(fits, key=lambda fit: (fit[1], fit))


def fastest(fits: list[Fit]) -> Fit:
    """Give the fastest of those that no other beats on one of tier, cost and latency."""
    kept: list[Fit] = []
    for fit in fits:
        if not any(other[1] <= fit[1] and other[2] <= fit[2] for other in kept):
            kept.append(fit)
    return min(kept, key=lambda fit: (fit[2], fit))


def stand_ins(fits: list[Fit], chosen: Fit, dial: str, count: int) -> list[Fit]:
    """Give so many others, in the order in which they stand in for the chosen one.

    The cheapest first, or the fastest, where that was asked for; else those of its tier, then
    stronger ones, then weaker ones, and of each the cheapest first.
    """
    if dial == FAST:
        others = sorted(fits, key=lambda fit: (fit[2], fit))
    elif dial == CHEAP:
        others = fits
    else:
        tier = chosen[1]
        others = [fit for fit in fits if fit[1] == tier]
        if len(others) <= count:
            others += [fit for fit in fits if fit[1] < tier]
        if len(others) <= count:
            others += [fit for fit in fits if fit[1] > tier]
    return [fit for fit in others[: count + 1] if fit is not chosen][:count]

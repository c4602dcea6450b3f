"""Which of the models that fit: the best gain for the extra money, against the dial."""

from typing import Final

from jusinfer.domain.routing.filters import ID, LATENCY, TIER, Who
from jusinfer.domain.routing.rules import MILLION, RuleTable

CHEAP: Final = "cheap"
BALANCED: Final = "balanced"
BEST: Final = "best"
FAST: Final = "fast"
DIALS: Final = (CHEAP, BALANCED, BEST, FAST)


# A model that every gate lets through, as plain values so that many are compared quickly: what its
# cheapest open route costs in pico-USD, and who it is. Their own order is from the cheapest to the
# dearest, and where costs are equal from the strongest to the weakest, the fastest first.
Fit = tuple[int, Who]
COST: Final = 0
WHO: Final = 1


class QualityGains:
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
        weakest = tier = base[1][0]
        best_value, steepest = -base[0], 0
        for fit in fits:
            if fit[1][0] >= tier:
                # It costs no less than one that is as strong: dominated.
                continue
            tier = fit[1][0]
            (own, point), steps = self._default, weakest - tier
            if self._pairs:
                found = self._pairs.get(f"{base[1][ID]} -> {fit[1][ID]}")
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
    return min(fits, key=lambda fit: (fit[WHO][TIER], fit))


def fastest(fits: list[Fit]) -> Fit:
    """Give the fastest of those that no other beats on one of tier, cost and latency."""
    kept: list[Fit] = []
    for fit in fits:
        tier, latency_us = fit[WHO][TIER], fit[WHO][LATENCY]
        if not any(
            other[WHO][TIER] <= tier and other[WHO][LATENCY] <= latency_us for other in kept
        ):
            kept.append(fit)
    return min(kept, key=lambda fit: (fit[WHO][LATENCY], fit))


def fallbacks(fits: list[Fit], chosen: Fit, dial: str, count: int) -> list[Fit]:
    """Give so many others, in the order in which they stand in for the chosen one.

    The cheapest first, or the fastest, where that was asked for; else those of its tier, then
    stronger ones, then weaker ones, and of each the cheapest first.
    """
    if dial == FAST:
        others = sorted(fits, key=lambda fit: (fit[WHO][LATENCY], fit))
    elif dial == CHEAP:
        others = fits
    else:
        tier = chosen[1][0]
        others = [fit for fit in fits if fit[1][0] == tier]
        if len(others) <= count:
            others += [fit for fit in fits if fit[1][0] < tier]
        if len(others) <= count:
            others += [fit for fit in fits if fit[1][0] > tier]
    return [fit for fit in others[: count + 1] if fit is not chosen][:count]

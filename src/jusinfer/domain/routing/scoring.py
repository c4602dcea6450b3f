"""From traits to a score: the signals of a table, each with its points."""

from collections.abc import Collection
from typing import Final

from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.plan import Reason, reason
from jusinfer.domain.routing.rules import RuleTable, Signal

TOKENS_MAX: Final = 2**40


class _Rule:
    """A signal made ready: its bounds as plain numbers."""

    __slots__ = ("effort", "input", "is_bounded", "output", "reason", "task", "tools_from")

    def __init__(self, signal: Signal) -> None:
        self.reason = reason(signal.id, signal.points)
        self.task = frozenset(signal.task)
        self.effort = frozenset(signal.effort)
        self.input = (signal.input_from or 0, signal.input_below or TOKENS_MAX)
        self.output = (signal.output_from or 0, signal.output_below or TOKENS_MAX)
        self.tools_from = signal.tools_from or 0
        self.is_bounded = signal.is_bounded or bool(signal.task or signal.effort)

    def holds(self, traits: RequestFeatures, output_tokens: int) -> bool:
        """Tell whether all conditions but the hint hold."""
        low, high = self.input
        if not low <= traits.input_tokens < high:
            return False
        low, high = self.output
        if not low <= output_tokens < high or traits.tool_count < self.tools_from:
            return False
        if self.task and traits.task not in self.task:
            return False
        return not self.effort or traits.reasoning_effort in self.effort


class Scorer:
    """The signals of one table."""

    __slots__ = ("_by_effort", "_by_hint", "_by_task", "_order", "_others")

    def __init__(self, table: RuleTable) -> None:
        self._by_hint: dict[str, list[_Rule]] = {}
        self._by_task: list[_Rule] = []
        self._by_effort: list[_Rule] = []
        self._others: list[_Rule] = []
        self._order = {signal.id: place for place, signal in enumerate(table.signal)}
        for signal in table.signal:
            rule = _Rule(signal)
            if signal.hint:
                self._by_hint.setdefault(signal.hint, []).append(rule)
            elif signal.task:
                self._by_task.append(rule)
            elif signal.effort:
                self._by_effort.append(rule)
            else:
                self._others.append(rule)

    def score(
        self, traits: RequestFeatures, output_tokens: int, ignored: Collection[str] = ()
    ) -> tuple[int, tuple[Reason, ...]]:
        """Give the sum of points and the signals that count, in the table's order.

        What a client declares counts instead of what its words hint at; `ignored` are ids of
        signals that do not count, to ask what would be without them.
        """
        fired = self._fired(traits, output_tokens)
        if not fired:
            return 0, ()
        if ignored:
            fired = [one for one in fired if one.reason_id not in ignored]
        if len(fired) > 1:
            fired.sort(key=self._place)
        score = 0
        for one in fired:
            score += one.amount
        return score, tuple(fired)

    def _fired(self, traits: RequestFeatures, output_tokens: int) -> list[Reason]:
        fired: list[Reason] = []
        if traits.task:
            fired += [rule.reason for rule in self._by_task if rule.holds(traits, output_tokens)]
        else:
            for hint in traits.hints:
                for rule in self._by_hint.get(hint, ()):
                    if not rule.is_bounded or rule.holds(traits, output_tokens):
                        fired.append(rule.reason)
        for rule in self._others:
            if rule.holds(traits, output_tokens):
                fired.append(rule.reason)
        if traits.reasoning_effort:
            fired += [rule.reason for rule in self._by_effort if rule.holds(traits, output_tokens)]
        return fired

    def _place(self, one: Reason) -> int:
        return self._order[one.reason_id]

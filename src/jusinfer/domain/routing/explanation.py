"""One sentence that a person understands, made from the ids of reasons and nothing else."""

from collections.abc import Sequence
from typing import Final

from jusinfer.domain.routing.plan import Exclusion, Reason, RoutePlan
from jusinfer.domain.routing.rules import GATES, OUTCOMES, RuleTable

SAID_MAX: Final = 3
_SUFFICIENT: Final = frozenset(
    {"asked_cheap", "asked_best", "asked_fast", "spend_limit", "explicit"}
)


def sentence_of(plan: RoutePlan, table: RuleTable) -> str:
    """Say why the first route of a plan was chosen, and why others were not."""
    return sentence(plan.routes[0].model.model_id, plan.reasons, table, plan.excluded, plan.version)


def sentence(
    model_id: str,
    reasons: Sequence[Reason],
    table: RuleTable,
    excluded: Sequence[Exclusion] = (),
    version: str = "",
) -> str:
    """Say why a model was chosen; without the names of the excluded their number is told."""
    says = table.sentences()
    clauses = [says.get(one.reason_id, one.reason_id) for one in _weighty(reasons)]
    because = f", because {_joined(clauses)}" if clauses else ""
    skipped = "".join(f"; {one}" for one in _skipped(reasons, excluded, says))
    return f"{model_id}{because}{skipped}; table {version or table.version}."


def _weighty(reasons: Sequence[Reason]) -> list[Reason]:
    """Give what speaks for the choice: what was asked, the signals of its side, the outcome."""
    asked = [one for one in reasons if one.reason_id in OUTCOMES]
    if any(one.reason_id in _SUFFICIENT for one in asked):
        return asked[:1]
    outcome = asked[-1:]
    is_up = bool(outcome) and outcome[0].reason_id == "worth_it"
    is_down = bool(outcome) and outcome[0].reason_id == "not_worth_it"
    signals = [
        one
        for one in reasons
        if one.reason_id not in OUTCOMES
        and one.reason_id not in GATES
        and ((one.amount > 0 and is_up) or (one.amount < 0 and is_down))
    ]
    signals.sort(key=lambda one: -abs(one.amount))
    return [*asked[:-1], *signals[:SAID_MAX], *outcome]


def _skipped(
    reasons: Sequence[Reason], excluded: Sequence[Exclusion], says: dict[str, str]
) -> list[str]:
    found: list[str] = []
    for gate in (one for one in reasons if one.reason_id in GATES):
        names = [one.model_id for one in excluded if one.gate == gate.reason_id]
        count = len(names) or -gate.amount
        if not names or count > SAID_MAX:
            subject = "1 model" if count == 1 else f"{count} models"
        else:
            subject = _joined(names)
        verb = "was" if count == 1 else "were"
        found.append(f"{subject} {verb} skipped because {says.get(gate.reason_id)}")
    return found[:SAID_MAX]


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:  # noqa: PLR2004 (nothing to join)
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"

"""What may not change a decision: wrappings, case and whitespace."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from bench.routing.measures import aiq
from bench.routing.outcomes import CHARS_PER_TOKEN, PAIRS, Outcome, pico
from bench.routing.rules import TableRule, asked

STRONG_SHARE: Final = 0.35

# Applied to benchmark prompts only, never to a request of anybody.
_LETTERS: Final = re.compile(r"^\s*\(?[A-J][.)]\s+", re.MULTILINE)
_ENDS: Final = re.compile(r"\s*(answer|response|solution)\s*:\s*$", re.IGNORECASE)
_STARTS: Final = re.compile(r"^\s*(q|question|problem)\s*[:.]\s*", re.IGNORECASE)


class Neutral(msgspec.Struct, frozen=True):
    """What one change of the prompts does: share of flipped decisions, AIQ before and after."""

    flips: float
    before: float
    after: float


def unwrapped(prompt: str) -> str:
    """Take off what benchmarks put around a question."""
    return _LETTERS.sub("", _STARTS.sub("", _ENDS.sub("", prompt)))


CHANGES: Final[Mapping[str, Callable[[str], str]]] = {
    "wrappers stripped": unwrapped,
    "a polite request in front": lambda prompt: f"Please solve: {prompt}",
    "lower case": str.lower,
    "upper case": str.upper,
    "whitespace collapsed": lambda prompt: " ".join(prompt.split()),
    "lines doubled": lambda prompt: prompt.replace("\n", "\n\n"),
}


def neutrality(rows: Sequence[Outcome], name: str, rule: TableRule) -> dict[str, Neutral]:
    """Change the prompts of a set in every way, and decide again at the same dial."""
    asks = [asked(row) for row in rows]
    scores = [rule(one) for one in asks]
    threshold = sorted(scores, reverse=True)[int(len(scores) * STRONG_SHARE)]
    before = aiq(rows, scores)
    found: dict[str, Neutral] = {}
    for change, edit in CHANGES.items():
        changed = [_changed(row, edit(row.prompt), name) for row in rows]
        after = [rule(asked(row)) for row in changed]
        flips = sum(
            (old > threshold) is not (new > threshold)
            for old, new in zip(scores, after, strict=True)
        )
        found[change] = Neutral(flips / len(rows), before, aiq(rows, after))
    return found


def _changed(row: Outcome, prompt: str, name: str) -> Outcome:
    pair, tin = PAIRS[name], len(prompt) // CHARS_PER_TOKEN
    return msgspec.structs.replace(
        row,
        prompt=prompt,
        tin=tin,
        cost_weak=pico(pair.weak_prices, tin, row.out),
        cost_strong=pico(pair.strong_prices, tin, row.out),
    )

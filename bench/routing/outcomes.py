"""Paired outcomes of a weak and a strong model, with what each call costs, read from a folder.

Costs are integers of pico-USD. `cost_*` is what a router can know beforehand; `paid_*` is what the
call really cost. They differ only where the length of the answer is known (set B).
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

CHARS_PER_TOKEN: Final = 4
LETTER_TOKENS: Final = 1
ANSWER_TOKENS: Final = 250
SETS: Final = ("A", "B", "C")
PARTS: Final = ("dev", "check")
NAMES: Final[Mapping[str, str]] = {
    "A": "routellm_mmlu.jsonl.gz",
    "B": "routellm_gsm8k.jsonl.gz",
    "C": "llmrouter_dc.jsonl.gz",
}


class Pair(msgspec.Struct, frozen=True):
    """A weak and a strong model; prices are micro-USD per million tokens, in and out."""

    weak: str
    strong: str
    weak_prices: tuple[int, int]
    strong_prices: tuple[int, int]

    @property
    def name(self) -> str:
        """Give the name a rule table knows it by."""
        return f"{self.weak} -> {self.strong}"


MIXTRAL_GPT4: Final = Pair(
    "mixtral-8x7b", "gpt-4-1106-preview", (600_000, 600_000), (10_000_000, 30_000_000)
)
GEMMA_NEMOTRON: Final = Pair(
    "gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct", (100_000, 100_000), (900_000, 900_000)
)
PAIRS: Final[Mapping[str, Pair]] = {"A": MIXTRAL_GPT4, "B": MIXTRAL_GPT4, "C": GEMMA_NEMOTRON}


class Outcome(msgspec.Struct, frozen=True):
    """One prompt: how well each model did (0 to 1), and what each costs in pico-USD."""

    number: int
    pair: str
    prompt: str
    tin: int
    out: int
    weak: float
    strong: float
    cost_weak: int
    cost_strong: int
    paid_weak: int
    paid_strong: int
    task: str = ""


class MissingData(Exception):
    """The folder of outcomes is not there; the text says what to do."""


def load(folder: Path, name: str, part: str) -> list[Outcome]:
    """Read one part of one set, contaminated rows left out."""
    path = folder / part / NAMES[name]
    if not path.is_file():
        raise MissingData(f"{path} is not there; give the folder that holds {part}/ with --data")
    pair = PAIRS[name]
    found: list[Outcome] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not row.get("contaminated"):
                found.append(_outcome(len(found), row, name, pair))
    return found


def _outcome(number: int, row: dict[str, object], name: str, pair: Pair) -> Outcome:
    prompt = str(row["prompt"])
    tin = len(prompt) // CHARS_PER_TOKEN
    out = LETTER_TOKENS if name == "A" else ANSWER_TOKENS
    weak_out = strong_out = out
    scores = row.get("scores")
    if isinstance(scores, dict):
        weak, strong = float(scores[pair.weak]), float(scores[pair.strong])
    else:
        weak, strong = float(str(row["weak"])), float(str(row["strong"]))
    if name == "B":
        weak_out = int(str(row["weak_chars"])) // CHARS_PER_TOKEN
        strong_out = int(str(row["strong_chars"])) // CHARS_PER_TOKEN
    return Outcome(
        number=number,
        pair=pair.name,
        prompt=prompt,
        tin=tin,
        out=out,
        weak=weak,
        strong=strong,
        cost_weak=pico(pair.weak_prices, tin, out),
        cost_strong=pico(pair.strong_prices, tin, out),
        paid_weak=pico(pair.weak_prices, tin, weak_out),
        paid_strong=pico(pair.strong_prices, tin, strong_out),
        task=str(row.get("task") or row.get("domain") or ""),
    )


def pico(prices: tuple[int, int], tin: int, out: int) -> int:
    """Give pico-USD: a micro-USD per million tokens is a pico-USD per token."""
    return tin * prices[0] + out * prices[1]

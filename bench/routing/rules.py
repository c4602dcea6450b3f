"""Rules that rank requests: ours by its table, and those it is compared with.

A rule reads what `bench/routing/README.md` says of a request and gives a number: the higher, the
sooner the request goes to the strong model.
"""

import functools
import importlib
import os
import unittest.mock
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bench.routing.outcomes import Outcome
from jusinfer import rules
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.plan import Reason
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.routing.scoring import Scorer
from jusinfer.domain.routing.selection import QualityGains
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.routing_hints.windows import windows_of

# What the router's table begins with serves LiteLLM's score too, so that both are alike.
LITELLM_BASE: Final = 0.10
LITELLM_LEAST: Final = 0.005

Rule = Callable[["Asked"], float]


class Features(msgspec.Struct, frozen=True):
    """What is known of a request beforehand; costs are integers of pico-USD."""

    tin: int
    out: int
    chars: int = 0
    tools: int | list[object] | None = None
    modality: str | list[str] | None = None
    schema: object = None
    cost_weak: int = 0
    cost_strong: int = 1

    @property
    def tool_count(self) -> int:
        """Give how many tools are offered, however that was said."""
        return len(self.tools) if isinstance(self.tools, list) else self.tools or 0


class Asked(msgspec.Struct, frozen=True):
    """One request to be ranked, for a pair `weak -> strong`."""

    n: int | str
    pair: str | list[str]
    prompt: str
    features: Features

    @property
    def pair_name(self) -> str:
        """Give the pair as a rule table names it."""
        return self.pair if isinstance(self.pair, str) else " -> ".join(self.pair)


def asked(row: Outcome) -> Asked:
    """Give an outcome as a rule may see it: without the outcome."""
    features = Features(
        tin=row.tin,
        out=row.out,
        chars=len(row.prompt),
        cost_weak=row.cost_weak,
        cost_strong=row.cost_strong,
    )
    return Asked(row.number, row.pair, row.prompt, features)


class TableRule:
    """Ours: gain by the table, for each pico-USD more."""

    def __init__(self, table: RuleTable) -> None:
        self._scanner = HintScanner(table.hint)
        self._scorer = Scorer(table)
        self._gains = QualityGains(table)

    def points(self, one: Asked) -> tuple[int, tuple[Reason, ...]]:
        """Give the score and the signals that counted."""
        features = one.features
        traits = RequestFeatures(
            input_tokens=features.tin,
            input_tokens_max=features.tin,
            output_tokens_max=features.out,
            message_count=1,
            tool_count=features.tool_count,
            has_images="image" in (features.modality or ""),
            needs_json_schema=bool(features.schema),
            hints=self._scanner.scan(*windows_of(one.prompt)),
        )
        return self._scorer.score(traits, features.out)

    def decision(self, one: Asked, worth_micro: int) -> str:
        """Give `weak` or `strong` where a right answer is worth so many micro-USD."""
        gain = self._gains.gain(one.pair_name, self.points(one)[0])
        return "strong" if gain * worth_micro > extra_pico(one) else "weak"

    def __call__(self, one: Asked) -> float:
        """Give millionths of a right answer for each pico-USD that the strong model costs more."""
        return self._gains.gain(one.pair_name, self.points(one)[0]) / extra_pico(one)


@functools.cache
def _builtin() -> TableRule:
    return TableRule(rules.builtin().table)


def score(request: Mapping[str, object]) -> float:
    """Rank one request by the built-in table: the higher, the sooner to the strong model."""
    return _builtin()(msgspec.convert(request, Asked))


def extra_pico(one: Asked) -> int:
    """Give what the strong model costs more than the weak one; at least 1."""
    return max(one.features.cost_strong - one.features.cost_weak, 1)


def random_mix(one: Asked) -> float:
    """Rank all alike: what is between the ends is a random mix."""
    del one
    return 0.0


def length_only(one: Asked) -> float:
    """Send the longest to the strong model first."""
    return float(one.features.chars)


def cheapest_first(one: Asked) -> float:
    """Send those to the strong model first for which it costs the least more."""
    return -float(extra_pico(one))


class Missing(Exception):
    """A library that a comparison needs is not installed."""


class LiteLLM:
    """LiteLLM's complexity router as it is shipped; its score, or that for each pico-USD."""

    MODULE: Final = "litellm.router_strategy.complexity_router.complexity_router"

    def __init__(self, *, is_per_dollar: bool) -> None:
        self._is_per_dollar = is_per_dollar
        self._classify = _litellm()

    def __call__(self, one: Asked) -> float:
        """Give its score; for a pico-USD, with the gain that a score of nothing stands for."""
        score = self._classify(one.prompt)
        if not self._is_per_dollar:
            return score
        return max(LITELLM_BASE + score, LITELLM_LEAST) / extra_pico(one)


@functools.cache
def _litellm() -> Callable[[str], float]:
    # It would fetch a list of prices from the network while it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(LiteLLM.MODULE)
    except ImportError as error:
        raise Missing(f"litellm is not installed ({error})") from error
    # Its only use of the object it is part of is to look up models, which scoring does not need.
    router: Any = module.ComplexityRouter("auto", unittest.mock.MagicMock())

    @functools.cache
    def classify(prompt: str) -> float:
        return float(router.classify(prompt)[1])

    return classify

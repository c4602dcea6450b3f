"""How long a decision takes: hints of a text, and a choice among twelve models; no parsing."""

import gc
import random
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability, Catalog, Model, Price, Route
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import AUTO
from jusinfer.domain.routing.router import Router
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.upstream_health import Health
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.routing_hints.windows import windows_of_content

SIZES: Final = (200, 1_024, 10_240, 102_400, 1_048_576)
ROUNDS: Final = 3_000
CANDIDATES: Final = 12
TEXTS: Final[Mapping[str, str]] = {
    "English": "Tell me how the quick brown fox could have jumped over all of those lazy dogs. ",
    "French": "Dites-moi comment le renard a pu sauter par-dessus tous ces chiens fatigués. ",
    "Hindi": "मुझे बताओ कि वह लोमड़ी इन सब आलसी कुत्तों के ऊपर से कैसे कूद गई। ",
    "Chinese": "请告诉我那只狐狸怎么能够跳过所有这些懒惰的狗。",
}


class Speed(msgspec.Struct, frozen=True):
    """Microseconds of one decision for a text of some size."""

    language: str
    size_bytes: int
    p50_us: float
    p99_us: float


def catalog() -> Catalog:
    """Make twelve models of three tiers."""
    models = {AUTO: Model(AUTO, 1_000_000, 100_000, (), is_auto=True)}
    for index in range(CANDIDATES):
        micro = 100_000 * (index + 1) * (1 + index % 3)
        name = f"model-{index}"
        route = Route(
            f"upstream-{index}:{name}", f"upstream-{index}", name, Price(micro, 4 * micro)
        )
        models[name] = Model(
            name,
            2_000_000,
            32_000,
            (route,),
            tier=1 + index % 3,
            capabilities=frozenset({Capability.TOOLS, Capability.JSON_SCHEMA}),
        )
    return Catalog("bench", {}, models)


def speeds(table: RuleTable) -> list[Speed]:
    """Measure every size in every script, one decision at a time."""
    router, scanner = Router(table, catalog()), HintScanner(table.hint)
    health = Health(random.random)
    policy = RoutingPolicy(AUTO)
    found: list[Speed] = []
    for language, text in TEXTS.items():
        for size in SIZES:
            raw = (text * (size // len(text.encode()) + 1)).encode()[:size]
            content = msgspec.Raw(msgspec.json.encode(raw.decode("utf-8", "ignore")))
            traits = RequestFeatures(size // 4, size, None, 1)
            found.append(
                _measured(language, size, router, scanner, health, policy, content, traits)
            )
    return found


def _measured(  # noqa: PLR0913, PLR0917 (what one decision needs)
    language: str,
    size: int,
    router: Router,
    scanner: HintScanner,
    health: Health,
    policy: RoutingPolicy,
    content: msgspec.Raw,
    traits: RequestFeatures,
) -> Speed:
    clock = time.perf_counter_ns
    times: list[int] = []
    gc.collect()
    gc.disable()
    for _ in range(ROUNDS):
        begun = clock()
        hints = scanner.scan(*windows_of_content(content))
        own = msgspec.structs.replace(traits, hints=hints)
        router.decide(own, policy, health.at(1.0, 1), health.random)
        times.append(clock() - begun)
    gc.enable()
    times.sort()
    return Speed(language, size, times[ROUNDS // 2] / 1_000, times[ROUNDS * 99 // 100] / 1_000)

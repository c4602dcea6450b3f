"""Names that say how to choose a model."""

import pytest

from jusinfer.domain.catalog import Capability, Catalog, Model, Price, Route
from jusinfer.domain.errors import InvalidRequest, ModelNotFound
from jusinfer.domain.routing import estimate_pico, excluded, plan
from jusinfer.domain.traits import Traits

TRAITS = Traits(100, 400, 50, 1)


def model(name: str, tier: int, micro: int, *capabilities: Capability) -> Model:
    route = Route(f"u:{name}", "u", name, Price(micro, micro))
    return Model(name, 10_000, 1_000, (route,), tier=tier, capabilities=frozenset(capabilities))


CATALOG = Catalog(
    "v",
    {},
    {
        "small": model("small", 0, 10),
        "usual": model("usual", 1, 100, Capability.TOOLS),
        "strong": model("strong", 2, 900, Capability.TOOLS),
        "stronger": model("stronger", 2, 5_000),
        "vectors": model("vectors", 2, 1, Capability.EMBEDDINGS),
        "jusinfer/auto": Model("jusinfer/auto", 10_000, 1_000, (), is_auto=True),
    },
)


@pytest.mark.parametrize(
    ("name", "chosen", "reason"),
    [
        ("jusinfer/auto", "usual", "plain"),
        ("jusinfer/auto:balanced", "usual", "plain"),
        ("jusinfer/auto:cheap", "small", "asked_cheap"),
        ("jusinfer/auto:best", "strong", "asked_best"),
        ("jusinfer/auto:strong,stronger", "strong", "asked_list"),
        ("jusinfer/auto:small, usual", "usual", "asked_list"),
    ],
)
def test_a_name_says_how_to_choose(name: str, chosen: str, reason: str) -> None:
    found = plan(name, TRAITS, CATALOG)
    assert found.routes[0].model.model_id == chosen
    assert reason in found.reasons
    assert chosen in found.sentence
    assert all(step.model.model_id != "vectors" for step in found.routes)


@pytest.mark.parametrize("wish", ["", "none", "small,none", "vectors", "jusinfer/auto", "fastest"])
def test_a_name_that_cannot_be_served_is_refused(wish: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        plan(f"jusinfer/auto:{wish}", TRAITS, CATALOG)
    assert caught.value.hint


def test_gates_hold_whatever_the_name() -> None:
    tools = Traits(100, 400, 50, 1, tool_count=1)
    for wish in ("cheap", "best", "balanced"):
        found = plan(f"jusinfer/auto:{wish}", tools, CATALOG)
        assert all(Capability.TOOLS in step.model.capabilities for step in found.routes)
    with pytest.raises(InvalidRequest):
        plan("jusinfer/auto:best", Traits(50_000, 50_000, 50, 1), CATALOG)
    assert excluded(tools, CATALOG) == {"small": "tools", "stronger": "tools"}
    assert estimate_pico(plan("usual", TRAITS, CATALOG).routes[0], TRAITS) == 150 * 100

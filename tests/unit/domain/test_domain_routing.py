"""The plan of routes: named models as they are, the router's name by rule and reason."""

import pytest

from jusinfer import config
from jusinfer.domain.errors import ContextTooLong, InvalidRequest, ModelNotFound
from jusinfer.domain.routing import SENTENCES, plan
from jusinfer.domain.traits import Traits

OFFERS = config.offers(config.load(config.Overrides(), {"DEEPSEEK_API_KEY": "k"}), 1)


def traits(**changes: object) -> Traits:
    values: dict[str, object] = {
        "input_tokens": 100,
        "input_tokens_max": 400,
        "output_tokens_max": None,
        "message_count": 1,
    }
    return Traits(**(values | changes))  # type: ignore[arg-type]


def test_a_named_model_is_never_substituted() -> None:
    chosen = plan("deepseek-v4-pro", traits(has_images=True), OFFERS.live)
    assert [step.model.model_id for step in chosen.routes] == ["deepseek-v4-pro"]
    assert chosen.reasons == ("explicit",)


@pytest.mark.parametrize(
    ("changes", "reason", "tier"),
    [
        ({}, "plain", 1),
        ({"has_reasoning_hint": True}, "reasoning_hint", 2),
        ({"reasoning_effort": "max"}, "reasoning_effort", 2),
        ({"tool_count": 6}, "many_tools", 2),
    ],
)
def test_the_router_says_why(changes: dict[str, object], reason: str, tier: int) -> None:
    chosen = plan("jusinfer/auto", traits(**changes), OFFERS.test)
    assert reason in chosen.reasons
    assert chosen.routes[0].model.tier == tier
    assert SENTENCES[reason] in chosen.sentence
    assert len(chosen.routes) == 3


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"has_images": True}, "vision"),
        ({"needs_json_schema": True}, "json_schema"),
        ({"input_tokens": 300_000}, "context"),
        ({"output_tokens_max": 200_000}, "output"),
    ],
)
def test_gates_hold_on_every_route_of_a_plan(changes: dict[str, object], gate: str) -> None:
    asked = traits(**changes)
    chosen = plan("jusinfer/auto", asked, OFFERS.test)
    assert gate in chosen.reasons
    for step in chosen.routes:
        assert step.model.context_tokens >= asked.input_tokens
        assert step.model.output_tokens_max >= (asked.output_tokens_max or 0)
        if gate in {"vision", "json_schema"}:
            assert gate in step.model.capabilities


def test_what_nobody_can_do_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="context"):
        plan("jusinfer/auto", traits(input_tokens=10**8), OFFERS.test)
    with pytest.raises(ContextTooLong):
        plan("deepseek-flash", traits(input_tokens=10**8), OFFERS.live)
    for name in ("nothing", "sandbox/echo"):
        with pytest.raises(ModelNotFound):
            plan(name, traits(), OFFERS.live)


def test_any_script_of_the_sandbox_is_served_in_test_mode() -> None:
    chosen = plan("sandbox/cut?after=3", traits(), OFFERS.test)
    assert chosen.routes[0].route.upstream_model == "sandbox/cut?after=3"

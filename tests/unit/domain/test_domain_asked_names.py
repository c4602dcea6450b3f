"""What a request names is recorded in words of the catalog, or the request is refused."""

import pytest

from jusinfer import config, rules
from jusinfer.domain.errors import InvalidRequest, ModelNotFound
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import RoutePlan
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences
from jusinfer.domain.routing.router import Router
from jusinfer.domain.upstream_health import HealthyView, zero_random

OFFERS = config.offers(config.load(config.Overrides(), {"DEEPSEEK_API_KEY": "k"}), 1)
ROUTERS = {
    mode: Router(rules.builtin().table, catalog)
    for mode, catalog in (("test", OFFERS.test), ("live", OFFERS.live))
}
ONE, OTHER = [name for name, model in OFFERS.live.models.items() if not model.is_auto][:2]


def plan(
    name: str, mode: str, preferences: Preferences = NO_PREFERENCES, *, is_cheapest: bool = False
) -> RoutePlan:
    asked = RequestFeatures(
        input_tokens=100, input_tokens_max=400, output_tokens_max=500, message_count=1
    )
    policy = RoutingPolicy(name, preferences=preferences, is_cheapest=is_cheapest)
    return ROUTERS[mode].decide(asked, policy, HealthyView(), zero_random)


@pytest.mark.parametrize("is_cheapest", [False, True])
@pytest.mark.parametrize("mode", ["live", "test"])
@pytest.mark.parametrize(
    "name",
    [
        "Dear Bob, my SSN is 078-05-1120",
        "sandbox/echo My patient Jane Q Doe",
        "sandbox/echo?message=Jane",
        f"jusinfer/auto:{ONE}, Jane",
        "jusinfer/Jane",
        f"{ONE}\n\x1b[31m",
    ],
)
def test_a_name_that_nobody_knows_is_refused_whatever_a_spend_limit_says(
    name: str, mode: str, *, is_cheapest: bool
) -> None:
    with pytest.raises((ModelNotFound, InvalidRequest)):
        plan(name, mode, is_cheapest=is_cheapest)


@pytest.mark.parametrize("is_cheapest", [False, True])
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (ONE, ONE),
        ("jusinfer/auto", "jusinfer/auto"),
        ("jusinfer/auto:", "jusinfer/auto"),
        ("jusinfer/auto:best", "jusinfer/auto:best"),
        (f"jusinfer/auto: {ONE} ,{OTHER},{ONE}", f"jusinfer/auto:{ONE},{OTHER}"),
        ("sandbox/slow+cut?ms=5&after=3", "sandbox/cut+slow?after=3&ms=5"),
    ],
)
def test_a_plan_says_what_was_asked_in_words_of_the_catalog(
    name: str, asked: str, *, is_cheapest: bool
) -> None:
    mode = "test" if name.startswith("sandbox/") else "live"
    assert plan(name, mode, is_cheapest=is_cheapest).asked == asked


@pytest.mark.parametrize("is_cheapest", [False, True])
def test_of_a_list_the_first_name_that_is_known_is_recorded(*, is_cheapest: bool) -> None:
    listed = Preferences(models=("my secret", ONE))
    assert plan("another secret", "live", listed, is_cheapest=is_cheapest).asked == ONE


def test_a_plan_made_beforehand_says_it_too() -> None:
    named = ROUTERS["live"].named(ONE, 1)
    assert named is not None
    assert named.asked == ONE

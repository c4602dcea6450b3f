"""The plan of routes: named models as they are, the router's name by rule and reason."""

import msgspec
import pytest

from jusinfer import config, rules
from jusinfer.domain.catalog import (
    Capability,
    Catalog,
    DataHandling,
    Model,
    Price,
    PriceWindow,
    Route,
    Upstream,
)
from jusinfer.domain.errors import (
    ContextTooLong,
    InvalidRequest,
    ModelNotFound,
    PolicyRefused,
    Unavailable,
)
from jusinfer.domain.routing.explanation import sentence, sentence_of
from jusinfer.domain.routing.features import CacheAffinity, RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import RoutePlan, coded, read_codes
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences
from jusinfer.domain.routing.router import Router, decide
from jusinfer.domain.routing.rules import Pair, Signal
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy
from jusinfer.domain.upstream_health import CONSECUTIVE_MAX, Health, HealthyView, zero_random

TABLE = rules.builtin().table
OFFERS = config.offers(config.load(config.Overrides(), {"DEEPSEEK_API_KEY": "k"}), 1)
EVERYTHING = frozenset(Capability) - {Capability.EMBEDDINGS}


def traits(**changes: object) -> RequestFeatures:
    values: dict[str, object] = {
        "input_tokens": 100,
        "input_tokens_max": 400,
        "output_tokens_max": 500,
        "message_count": 1,
    }
    return RequestFeatures(**(values | changes))  # type: ignore[arg-type]


def model(name: str, tier: int, micro: int, *can: Capability, upstreams: str = "u") -> Model:
    routes = tuple(Route(f"{one}:{name}", one, name, Price(micro, 3 * micro)) for one in upstreams)
    return Model(name, 100_000, 4_000, routes, tier=tier, capabilities=frozenset(can))


def upstream(name: str, region: str = "") -> Upstream:
    return Upstream(name, "h", 1, is_tls=True, base_path="", facts=DataHandling(region))


AUTO = Model("jusinfer/auto", 100_000, 4_000, (), is_auto=True)
CATALOG = Catalog(
    "v",
    {"u": upstream("u"), "e": upstream("e", "eu")},
    {
        one.model_id: one
        for one in (
            model("small", 1, 100_000, Capability.TOOLS),
            model("twin", 1, 150_000, *EVERYTHING, upstreams="ue"),
            model("strong", 2, 1_000_000, *EVERYTHING),
            model("waste", 1, 5_000_000, *EVERYTHING),
            model("vectors", 3, 1, Capability.EMBEDDINGS),
            AUTO,
        )
    },
)


def plan(
    name: str = "jusinfer/auto",
    asked: RequestFeatures | None = None,
    tenant: TenantPolicy = NO_POLICY,
    preferences: Preferences = NO_PREFERENCES,
    **more: object,
) -> RoutePlan:
    policy = RoutingPolicy(name, tenant, preferences, **more)  # type: ignore[arg-type]
    return decide(asked or traits(), policy, TABLE, CATALOG, HealthyView(), zero_random)


def first(found: RoutePlan) -> str:
    return found.routes[0].model.model_id


def ids(found: RoutePlan) -> list[str]:
    return [one.reason_id for one in found.reasons]


# ---------------------------------------------------------------- named models


def test_a_named_model_is_never_substituted() -> None:
    found = plan("small", traits(has_images=True))
    assert {step.model.model_id for step in found.routes} == {"small"}
    assert found.codes == "explicit"
    assert found.version == TABLE.version
    assert "named this model" in sentence_of(found, TABLE)


def test_named_models_are_judged_by_their_window_and_by_policy() -> None:
    with pytest.raises(ContextTooLong):
        plan("small", traits(input_tokens=100_001))
    for name in ("nothing", "sandbox/echo"):
        with pytest.raises(ModelNotFound):
            plan(name)
    with pytest.raises(PolicyRefused, match="region"):
        plan("small", tenant=TenantPolicy(regions=("eu",)))
    found = plan("twin", tenant=TenantPolicy(regions=("eu",)))
    assert [step.route.upstream for step in found.routes] == ["e"]


def test_any_script_of_the_sandbox_is_served_in_test_mode() -> None:
    router = Router(TABLE, OFFERS.test)
    found = router.decide(
        traits(), RoutingPolicy("sandbox/cut?after=3"), HealthyView(), zero_random
    )
    assert found.routes[0].route.upstream_model == "sandbox/cut?after=3"


def test_a_list_of_models_is_tried_in_its_order() -> None:
    asked = Preferences(models=("strong", "nothing", "small"))
    found = plan("waste", preferences=asked)
    assert [step.model.model_id for step in found.routes] == ["waste", "strong", "small"]
    alone = plan("waste", preferences=Preferences(models=("strong",), has_fallbacks=False))
    assert [step.model.model_id for step in alone.routes] == ["waste"]
    with pytest.raises(ModelNotFound):
        plan("nothing", preferences=Preferences(models=("none",)))
    fitting = Preferences(models=("twin", "strong"), only=("e",))
    assert [step.route.route_id for step in plan("small", preferences=fitting).routes] == ["e:twin"]
    with pytest.raises(InvalidRequest, match="only"):
        plan("small", preferences=Preferences(models=("strong",), only=("e",)))


def test_a_catalog_of_nothing_serves_nothing() -> None:
    empty = msgspec.structs.replace(CATALOG, models={})
    for name, is_cheapest in (("jusinfer/auto", False), ("jusinfer/auto", True), ("x", True)):
        policy = RoutingPolicy(name, is_cheapest=is_cheapest)
        with pytest.raises(ModelNotFound):
            decide(traits(), policy, TABLE, empty, HealthyView(), zero_random)


# ---------------------------------------------------------------- names that say how


@pytest.mark.parametrize(
    ("name", "chosen", "reason"),
    [
        ("jusinfer/auto", "small", "not_worth_it"),
        ("jusinfer/auto:balanced", "small", "not_worth_it"),
        ("jusinfer/auto:cheap", "small", "asked_cheap"),
        ("jusinfer/auto:best", "strong", "asked_best"),
        ("jusinfer/auto:fast", "small", "asked_fast"),
        ("jusinfer/auto:strong,twin", "twin", "asked_list"),
        ("jusinfer/auto:waste", "waste", "asked_list"),
    ],
)
def test_a_name_says_how_to_choose(name: str, chosen: str, reason: str) -> None:
    found = plan(name)
    assert first(found) == chosen
    assert reason in ids(found)
    assert chosen in sentence_of(found, TABLE)
    assert all(step.model.model_id != "vectors" for step in found.routes)


@pytest.mark.parametrize("wish", ["none", "small,none", "vectors", "jusinfer/auto", "fastest", ","])
def test_a_name_that_cannot_be_served_is_refused(wish: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        plan(f"jusinfer/auto:{wish}")
    assert caught.value.param == "model"


def test_a_spend_limit_on_spending_takes_the_cheapest_whatever_was_named() -> None:
    found = plan("strong", is_cheapest=True)
    assert first(found) == "small"
    assert ids(found)[0] == "spend_limit"


# ---------------------------------------------------------------- score, gain and dial


def test_what_speaks_for_a_strong_model_moves_the_request() -> None:
    found = plan(asked=traits(hints=("code", "clauses")))
    assert first(found) == "strong"
    assert found.score == 5
    assert found.codes == "code+3,clauses+1,detailed+1,worth_it"
    said = sentence_of(found, TABLE)
    assert said.startswith("strong, because the message contains code")
    assert said.endswith(f"table {TABLE.version}.")


def test_rows_of_pairs_count_but_never_for_a_weaker_or_a_dominated_model() -> None:
    three = [model("m1", 1, 100_000), model("m2", 2, 200_000), model("m3", 3, 300_000)]
    catalog = msgspec.structs.replace(
        CATALOG, models={one.model_id: one for one in (*three, model("m4", 3, 301_000), AUTO)}
    )

    def chosen(score: int, **gains: tuple[float, float]) -> str:
        rows = {
            name.replace("_", " -> "): Pair(base_gain=base, per_point=point, evidence="made up")
            for name, (base, point) in gains.items()
        }
        signal = Signal(id="made_up", sentence="made up", points=score, input_from=0)
        table = msgspec.structs.replace(TABLE, pair=TABLE.pair | rows, signal=(signal,))
        policy = RoutingPolicy("jusinfer/auto", TenantPolicy(worth_micro=1_000_000))
        return first(decide(traits(), policy, table, catalog, HealthyView(), zero_random))

    assert chosen(1) == "m3"
    assert chosen(1, m1_m2=(0.9, 0.0)) == "m2"
    # The stronger gains no less by a point than the weaker, whatever its own row says.
    assert chosen(9, m1_m2=(0.0, 0.1), m1_m3=(0.05, 0.0)) == "m3"
    # m4 is as strong as m3 and dearer: its row does not save it.
    assert chosen(1, m1_m4=(1.0, 1.0)) == "m3"


def test_a_declared_task_counts_instead_of_hints() -> None:
    found = plan(asked=traits(hints=("code",), task="facts"))
    assert first(found) == "small"
    assert "task_plain" in ids(found)
    assert "code" not in ids(found)
    assert first(plan(asked=traits(task="code"))) == "strong"


def test_the_longer_the_request_the_dearer_is_the_upgrade() -> None:
    hard = {"hints": ("code",)}
    assert first(plan(asked=traits(**hard))) == "strong"
    assert first(plan(asked=traits(input_tokens=50_000, **hard))) == "small"


def test_a_tenant_says_what_a_right_answer_is_worth() -> None:
    assert first(plan(tenant=TenantPolicy(worth_micro=1_000_000))) == "strong"
    assert first(plan(tenant=TenantPolicy(worth_micro=0))) == "small"
    assert first(plan(tenant=TenantPolicy(dial="best"))) == "strong"
    assert first(plan("jusinfer/auto:cheap", tenant=TenantPolicy(dial="best"))) == "small"


def test_the_effort_and_the_tools_that_are_asked_for_count() -> None:
    assert plan(asked=traits(reasoning_effort="high")).score == 4
    assert plan(asked=traits(reasoning_effort="low")).score == -1
    assert plan(asked=traits(tool_count=6)).score == 2


# ---------------------------------------------------------------- gates


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"has_images": True}, "modality"),
        ({"has_audio": True}, "modality"),
        ({"needs_json_schema": True}, "schema"),
    ],
)
def test_gates_say_whom_they_kept_out(changes: dict[str, object], gate: str) -> None:
    found = plan("jusinfer/auto:cheap", traits(**changes))
    assert first(found) == "twin"
    assert [(one.model_id, one.gate) for one in found.excluded] == [("small", gate)]
    assert found.codes.endswith(f"{gate}-1")
    assert "small was skipped because" in sentence_of(found, TABLE)


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"input_tokens": 90_000}, "context"),
        ({"tool_count": 129}, "tools"),
    ],
)
def test_what_nobody_can_do_is_refused_by_name(changes: dict[str, object], gate: str) -> None:
    with pytest.raises(InvalidRequest, match=gate):
        plan(asked=traits(**changes))


def test_a_budget_chooses_a_model_and_is_cut_where_none_has_so_much() -> None:
    longest = max(model.output_tokens_max for model in CATALOG.models.values())
    found = plan(asked=traits(output_tokens_max=longest + 1))
    assert not {one.gate for one in found.excluded} - {"budget"}
    assert first(found) == first(plan(asked=traits(output_tokens_max=longest)))
    with pytest.raises(InvalidRequest, match="context"):
        plan(asked=traits(input_tokens=90_000, output_tokens_max=longest + 1))


def test_a_policy_closes_routes_and_models() -> None:
    eu = TenantPolicy(regions=("eu",))
    found = plan("jusinfer/auto:best", tenant=eu)
    assert [step.route.upstream for step in found.routes] == ["e"]
    assert {one.gate for one in found.excluded} == {"residency"}
    with pytest.raises(PolicyRefused):
        plan(tenant=TenantPolicy(regions=("mars",)))
    with pytest.raises(PolicyRefused):
        plan("jusinfer/auto:small", tenant=eu)


def test_a_cap_on_the_price_of_a_call_closes_what_is_dearer() -> None:
    capped = TenantPolicy(call_nano_max=300_000)
    found = plan("jusinfer/auto:best", tenant=capped)
    assert first(found) == "small"
    assert "price_cap-2" in found.codes
    with pytest.raises(PolicyRefused, match="price_cap"):
        plan("strong", tenant=capped)
    with pytest.raises(PolicyRefused, match="price_cap"):
        plan(tenant=TenantPolicy(call_nano_max=1))


def test_what_a_request_prefers_closes_routes_too() -> None:
    found = plan(preferences=Preferences(only=("e",)))
    assert [step.route.upstream for step in found.routes] == ["e"]
    with pytest.raises(InvalidRequest, match="preference"):
        plan(preferences=Preferences(only=("nobody",)))
    assert len(plan(preferences=Preferences(has_fallbacks=False)).routes) == 1


# ---------------------------------------------------------------- health


def failing(*names: tuple[str, str]) -> Health:
    health = Health(lambda: 0.5)
    for upstream_name, name in names:
        for _ in range(CONSECUTIVE_MAX):
            way = health.record_start(upstream_name, name, 0.0)
            health.record_result(way, 0.0, is_good=False)
    return health


def test_a_model_whose_routes_fail_is_left_out_unless_it_is_all_there_is() -> None:
    router = Router(TABLE, CATALOG)
    view = failing(("u", "small")).at(1.0, 0)
    found = router.decide(traits(), RoutingPolicy("jusinfer/auto:cheap"), view, zero_random)
    assert first(found) == "twin"
    assert "health-1" in found.codes
    every = [("u", "small"), ("u", "twin"), ("e", "twin"), ("u", "strong"), ("u", "waste")]
    view = failing(*every).at(1.0, 0)
    found = router.decide(traits(), RoutingPolicy("jusinfer/auto:cheap"), view, zero_random)
    assert first(found) == "small"


def test_an_account_that_is_used_up_is_not_asked() -> None:
    router, health = Router(TABLE, CATALOG), Health(lambda: 0.5)
    health.record_quota_exhausted("u", 0.0, 9)
    found = router.decide(
        traits(), RoutingPolicy("jusinfer/auto:best"), health.at(0.0, 0), zero_random
    )
    assert [step.route.upstream for step in found.routes] == ["e"]
    health.record_quota_exhausted("e", 0.0, 5)
    with pytest.raises(Unavailable) as caught:
        router.decide(traits(), RoutingPolicy("jusinfer/auto"), health.at(0.0, 0), zero_random)
    assert caught.value.retry_after_seconds == 5


def test_the_fastest_is_taken_where_that_was_asked_for() -> None:
    health = Health(lambda: 0.5)
    for name, seconds in (("small", 2.0), ("strong", 0.1), ("twin", 1.0), ("waste", 1.0)):
        way = health.record_start("u", name, 0.0)
        health.record_first_byte(way, seconds, 0.0)
        health.record_first_byte(way, seconds, 1_000.0)
    router = Router(TABLE, CATALOG)
    view = health.at(1_000.0, 0)
    found = router.decide(traits(), RoutingPolicy("jusinfer/auto:fast"), view, zero_random)
    assert first(found) == "strong"
    assert "fastest" in found.codes


# ---------------------------------------------------------------- warm conversations


def test_a_conversation_stays_with_its_model_until_the_score_rises() -> None:
    warm = CacheAffinity("u", "strong", 90, 0)
    found = plan(asked=traits(warm=warm))
    assert first(found) == "strong"
    assert "kept_warm" in found.codes
    assert "holds this conversation" in sentence_of(found, TABLE)
    small = CacheAffinity("u", "small", 90, 1)
    assert first(plan(asked=traits(warm=small, hints=("clauses",)))) == "small"
    assert first(plan(asked=traits(warm=small, hints=("code",)))) == "strong"
    assert first(plan(asked=traits(warm=CacheAffinity("u", "gone", 90, 0)))) == "small"
    assert first(plan("jusinfer/auto:cheap", traits(warm=warm))) == "small"


def test_a_model_that_no_longer_fits_is_left_however_warm() -> None:
    warm = CacheAffinity("u", "small", 90, 9)
    assert first(plan(asked=traits(warm=warm, has_images=True))) != "small"


def test_what_is_cached_is_cheaper() -> None:
    cached = Price(1_000_000, 2_000_000, cache_read_micro_per_mtok=10_000)
    route = Route("u:m", "u", "m", cached)
    one = Model("m", 100_000, 4_000, (route,), tier=2)
    router = Router(TABLE, msgspec.structs.replace(CATALOG, models={"m": one, AUTO.model_id: AUTO}))
    policy = RoutingPolicy("jusinfer/auto")

    def estimate(warm: CacheAffinity | None) -> int | None:
        asked = traits(input_tokens=1_000, warm=warm)
        return router.decide(asked, policy, HealthyView(), zero_random).routes[0].estimate_pico

    assert estimate(None) == 1_000 * 1_000_000 + 500 * 2_000_000
    assert (
        estimate(CacheAffinity("u", "m", 900)) == 100 * 1_000_000 + 900 * 10_000 + 500 * 2_000_000
    )
    assert estimate(CacheAffinity("u", "m", 9_000)) == 1_000 * 10_000 + 500 * 2_000_000
    assert estimate(CacheAffinity("x", "m", 900)) == estimate(None)


def test_prices_are_those_of_the_hour_and_of_the_price_list() -> None:
    window = PriceWindow(0, 60, Price(5_000_000, 5_000_000))
    route = Route("u:small", "u", "small", Price(100_000, 300_000), windows=(window,))
    small = msgspec.structs.replace(CATALOG.models["small"], routes=(route,))
    lists = {"dear": {"u:small": Route("u:small", "u", "small", Price(9_000_000, 9_000_000))}}
    catalog = msgspec.structs.replace(
        CATALOG, models=CATALOG.models | {"small": small}, price_lists=lists
    )
    policy = RoutingPolicy("jusinfer/auto:cheap")

    def chosen(at: int, **more: str) -> str:
        own = msgspec.structs.replace(policy, **more)
        return first(decide(traits(), own, TABLE, catalog, HealthyView(at), zero_random))

    assert chosen(7_200) == "small"
    assert chosen(60) == "twin"
    assert chosen(7_200, price_list="dear") == "twin"


# ---------------------------------------------------------------- what is said


def test_reasons_survive_their_code() -> None:
    found = plan(asked=traits(hints=("code", "factoid"), needs_json_schema=True))
    assert read_codes(found.codes) == found.reasons
    assert coded(read_codes(found.codes)) == found.codes
    assert read_codes("") == ()
    assert [one.code for one in read_codes("odd+,x-1,-,+3")] == ["odd+", "x-1", "-", "+3"]


def test_a_record_can_be_explained_without_the_names_of_the_excluded() -> None:
    said = sentence("strong", read_codes("code+3,worth_it,schema-2,made_up+1"), TABLE)
    assert "2 models were skipped because a JSON schema was required" in said
    assert "the message contains code" in said


def test_what_is_decisive_is_told_from_what_is_not() -> None:
    router = Router(TABLE, CATALOG)
    policy = RoutingPolicy("jusinfer/auto")
    asked = traits(hints=("code",))
    found = router.decide(asked, policy, HealthyView(), zero_random)
    assert router.decisive_signals(found, asked, policy, HealthyView()) == {"code"}
    both = traits(hints=("careful", "code"))
    found = router.decide(both, policy, HealthyView(), zero_random)
    assert router.decisive_signals(found, both, policy, HealthyView()) == frozenset()


def test_the_built_in_catalog_is_routed_by_the_built_in_table() -> None:
    for offers in (OFFERS.live, OFFERS.test):
        router = Router(TABLE, offers)
        for hints in ((), ("code", "careful")):
            found = router.decide(
                traits(hints=hints), RoutingPolicy("jusinfer/auto"), HealthyView(), zero_random
            )
            assert found.routes
            assert sentence_of(found, TABLE).count(TABLE.version) == 1

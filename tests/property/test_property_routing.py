"""What holds of every decision: gates, determinism, monotony, and explanations that are true."""

import itertools
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.effort import examples

from jusinfer import rules
from jusinfer.domain.catalog import (
    Capability,
    Catalog,
    DataHandling,
    Model,
    Price,
    Route,
    Upstream,
)
from jusinfer.domain.errors import InvalidRequest, JusinferError, PolicyRefused, Unavailable
from jusinfer.domain.routing.explanation import sentence_of
from jusinfer.domain.routing.features import CacheAffinity, RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import AUTO, RoutePlan, read_codes
from jusinfer.domain.routing.router import Router, decide
from jusinfer.domain.routing.rules import Pair, RuleTable, Signal, check
from jusinfer.domain.tenant_policy import TenantPolicy, closed_gate
from jusinfer.domain.upstream_health import CONSECUTIVE_MAX, Health, HealthyView, zero_random
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.routing_hints.windows import windows_of

TABLE = rules.builtin().table
HINTS = [hint.id for hint in TABLE.hint]
UPSTREAMS = {
    name: Upstream(
        name, "h", 1, is_tls=True, base_path="", facts=DataHandling(region, is_zdr=name == "a")
    )
    for name, region in (("a", "eu"), ("b", "us"), ("c", ""))
}
CAPABILITIES = (
    Capability.TOOLS,
    Capability.VISION,
    Capability.AUDIO,
    Capability.JSON_SCHEMA,
)
DIALS = st.sampled_from([AUTO, f"{AUTO}:cheap", f"{AUTO}:best", f"{AUTO}:fast"])


@st.composite
def models(draw: st.DrawFn) -> list[Model]:
    found: list[Model] = []
    for index in range(draw(st.integers(1, 7))):
        name = f"m{index}"
        price = Price(draw(st.integers(0, 20_000_000)), draw(st.integers(0, 60_000_000)))
        upstreams = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        found.append(
            Model(
                name,
                draw(st.sampled_from([1_000, 50_000, 1_000_000])),
                draw(st.sampled_from([100, 4_000, 100_000])),
                tuple(Route(f"{one}:{name}", one, name, price) for one in upstreams),
                tier=draw(st.integers(1, 4)),
                capabilities=frozenset(draw(st.sets(st.sampled_from(CAPABILITIES)))),
                tools_max=draw(st.sampled_from([4, 128])),
            )
        )
    return found


def catalog(found: list[Model]) -> Catalog:
    auto = Model(AUTO, 1, 1, (), is_auto=True)
    return Catalog("v", UPSTREAMS, {model.model_id: model for model in (*found, auto)})


TRAITS = st.builds(
    RequestFeatures,
    input_tokens=st.integers(0, 200_000),
    input_tokens_max=st.just(0),
    output_tokens_max=st.none() | st.integers(1, 20_000),
    message_count=st.just(1),
    tool_count=st.sampled_from([0, 0, 1, 6, 200]),
    has_images=st.booleans(),
    has_audio=st.sampled_from([False, False, True]),
    needs_json_schema=st.booleans(),
    reasoning_effort=st.sampled_from(["", "low", "high"]),
    hints=st.lists(st.sampled_from(HINTS), unique=True).map(
        lambda found: tuple(sorted(found, key=HINTS.index))
    ),
    task=st.sampled_from(["", "", "code", "facts", "chat"]),
    choice_count=st.sampled_from([1, 3]),
    warm=st.none()
    | st.builds(
        CacheAffinity,
        st.sampled_from("abc"),
        st.sampled_from(["m0", "m1", "m2"]),
        st.integers(0, 300_000),
        st.integers(-5, 5),
    ),
)
POLICIES = st.builds(
    TenantPolicy,
    is_zdr=st.booleans(),
    regions=st.sampled_from([(), (), ("eu",), ("us", "eu")]),
    upstreams=st.sampled_from([(), (), ("b",), ("a", "c")]),
    worth_micro=st.none() | st.integers(0, 10_000_000),
    call_nano_max=st.none() | st.integers(0, 10**10),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["good", "bad", "slow", "quota"]),
        st.sampled_from("abc"),
        st.sampled_from(["m0", "m1", "m2"]),
    ),
    max_size=30,
)


def health_after(events: list[tuple[str, str, str]]) -> Health:
    health = Health(lambda: 0.5)
    for what, upstream, model in events:
        if what == "quota":
            health.record_quota_exhausted(upstream, 0.0, 9)
            continue
        for _ in range(CONSECUTIVE_MAX if what == "bad" else 1):
            way = health.record_start(upstream, model, 0.0)
            health.record_first_byte(way, 9.0 if what == "slow" else 0.1, 0.0)
            health.record_result(way, 0.0, is_good=what != "bad")
    return health


def plan(
    traits: RequestFeatures,
    found: list[Model],
    name: str = AUTO,
    table: RuleTable = TABLE,
    **tenant: Any,
) -> RoutePlan:
    policy = RoutingPolicy(name, TenantPolicy(**tenant))
    return decide(traits, policy, table, catalog(found), HealthyView(), zero_random)


def first(found: RoutePlan) -> Model:
    return found.routes[0].model


# ---------------------------------------------------------------- gates


def may_do(model: Model, traits: RequestFeatures) -> bool:
    needs = (
        (Capability.TOOLS, traits.tool_count > 0),
        (Capability.VISION, traits.has_images),
        (Capability.AUDIO, traits.has_audio),
        (Capability.JSON_SCHEMA, traits.needs_json_schema),
    )
    has_all = all(one in model.capabilities for one, is_needed in needs if is_needed)
    return has_all and traits.tool_count <= model.tools_max


def reaches(model: Model, tenant: TenantPolicy) -> bool:
    return any(closed_gate(tenant, UPSTREAMS[route.upstream]) is None for route in model.routes)


@settings(max_examples=examples(300))
@given(TRAITS, models(), POLICIES, EVENTS, DIALS, st.floats(0, 0.999))
def test_gates_hold_under_any_health_and_draw(
    traits: RequestFeatures,
    found: list[Model],
    tenant: TenantPolicy,
    events: list[tuple[str, str, str]],
    name: str,
    draw: float,
) -> None:
    router, view = Router(TABLE, catalog(found)), health_after(events).at(1.0, 0)
    policy = RoutingPolicy(name, tenant)
    try:
        made = router.decide(traits, policy, view, lambda: draw)
    except (InvalidRequest, PolicyRefused, Unavailable):
        return
    output = router.fitting.output_tokens(traits)
    if traits.output_tokens_max is not None:
        # A budget beyond all that can do the rest is cut to the longest of theirs.
        longest = [m.output_tokens_max for m in found if may_do(m, traits) and reaches(m, tenant)]
        output = min(output, max(longest))
    assert 1 <= len(made.routes) <= 3
    assert len({step.route.route_id for step in made.routes}) == len(made.routes)
    for step in made.routes:
        model, facts = step.model, UPSTREAMS[step.route.upstream].facts
        assert traits.input_tokens * 115 + output * 100 <= model.context_tokens * 100
        assert traits.output_tokens_max is None or output <= model.output_tokens_max
        assert may_do(model, traits)
        assert facts.is_zdr or not tenant.is_zdr
        assert not tenant.regions or facts.region in tenant.regions
        assert not tenant.upstreams or step.route.upstream in tenant.upstreams
        assert not view.shut_seconds(step.route.upstream)
        estimate = step.estimate_pico
        assert estimate is not None
        assert estimate >= 0
        assert tenant.call_nano_max is None or estimate <= tenant.call_nano_max * 1_000
    kept_out = {one.model_id for one in made.excluded}
    assert kept_out.isdisjoint(step.model.model_id for step in made.routes)


@given(TRAITS, models(), POLICIES, EVENTS, st.integers(0, 6))
def test_a_named_model_is_served_or_refused_but_never_substituted(
    traits: RequestFeatures,
    found: list[Model],
    tenant: TenantPolicy,
    events: list[tuple[str, str, str]],
    index: int,
) -> None:
    named = found[index % len(found)].model_id
    router, view = Router(TABLE, catalog(found)), health_after(events).at(1.0, 0)
    try:
        made = router.decide(traits, RoutingPolicy(named, tenant), view, zero_random)
    except JusinferError:
        return
    assert {step.model.model_id for step in made.routes} == {named}
    assert made.codes == "explicit"


# ---------------------------------------------------------------- the same everywhere

SAME = """
import sys
sys.path.insert(0, {tests!r})
import hashlib, random
from tests.property.test_property_routing import sample
print(hashlib.sha256(sample().encode()).hexdigest())
"""


def sample() -> str:
    """Plan many requests from fixed dice; give all plans and sentences as one text."""
    capable = frozenset(CAPABILITIES)
    found = [
        Model(
            f"m{index}",
            1_000_000,
            100_000,
            tuple(
                Route(f"{one}:{index}", one, f"m{index}", Price(10**5 * (index + 1), 10**6))
                for one in "abc"[: 1 + index % 3]
            ),
            tier=1 + index % 3,
            capabilities=capable if index % 2 else frozenset(),
        )
        for index in range(6)
    ]
    said: list[str] = []
    router = Router(TABLE, catalog(found))
    for size, pair in itertools.product((1, 60, 9_000), itertools.combinations(HINTS, 2)):
        traits = RequestFeatures(size, 0, None, 1, tool_count=size % 2, hints=pair)
        for name in (AUTO, f"{AUTO}:best", f"{AUTO}:m1,m4"):
            made = router.decide(traits, RoutingPolicy(name), HealthyView(), lambda: 0.3)
            routes = [(step.route.route_id, step.estimate_pico) for step in made.routes]
            said.append(f"{routes} {made.codes} {made.excluded} {sentence_of(made, TABLE)}")
    return "\n".join(said)


@pytest.mark.slow
def test_another_process_decides_alike_whatever_its_hash_seed() -> None:
    root = os.getcwd()  # noqa: PTH109 (a text for the child)
    told = set()
    for seed in ("0", "1", "4242"):
        environment = {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": f"{root}/src:{root}",
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            [sys.executable, "-c", SAME.format(tests=root)],
            capture_output=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told.add(done.stdout)
    assert len(told) == 1


@given(TRAITS, models(), DIALS)
def test_the_same_values_give_the_same_plan(
    traits: RequestFeatures, found: list[Model], name: str
) -> None:
    try:
        one = plan(traits, found, name)
    except JusinferError as error:
        with pytest.raises(type(error)):
            plan(traits, found, name)
        return
    other = plan(msgspec.structs.replace(traits), [msgspec.structs.replace(m) for m in found], name)
    assert one == other
    assert sentence_of(one, TABLE) == sentence_of(other, TABLE)


def test_nothing_that_names_anybody_can_reach_the_router() -> None:
    seen = {
        field
        for kind in (RequestFeatures, RoutingPolicy, TenantPolicy, RoutePlan, CacheAffinity)
        for field in kind.__struct_fields__
    }
    for word in ("tenant_id", "member", "person", "user", "key", "country", "text", "prompt"):
        assert not [name for name in seen if word in name and name != "message_count"], word


@given(st.text(max_size=80), st.text(max_size=80))
def test_texts_with_the_same_traits_are_routed_alike(one: str, other: str) -> None:
    scanner = HintScanner(TABLE.hint)
    hints = [scanner.scan(*windows_of(text)) for text in (one, other)]
    assume(hints[0] == hints[1])
    made = [
        decide(
            RequestFeatures(40, 400, None, 1, hints=found),
            RoutingPolicy(AUTO),
            TABLE,
            catalog([_model("m0", 1, 1), _model("m1", 2, 9)]),
            HealthyView(),
            zero_random,
        )
        for found in hints
    ]
    assert made[0] == made[1]


def _model(name: str, tier: int, price: int) -> Model:
    micro = price * 100_000
    route = Route(f"a:{name}", "a", name, Price(micro, micro))
    return Model(name, 10**6, 10**5, (route,), tier=tier, capabilities=frozenset(CAPABILITIES))


@given(st.text(alphabet="qxzjkv", min_size=6, max_size=60))
def test_no_word_of_a_text_is_in_a_plan(text: str) -> None:
    hints = HintScanner(TABLE.hint).scan(*windows_of(f"{text} why {text}"))
    made = plan(
        RequestFeatures(40, 400, None, 1, hints=hints), [_model("m0", 1, 1), _model("m1", 2, 9)]
    )
    said = f"{made!r} {made.codes} {sentence_of(made, TABLE)}"
    assert text not in said
    assert "compare" in made.codes


# ---------------------------------------------------------------- monotony


def fresh(traits: RequestFeatures) -> RequestFeatures:
    """Give the same request as the beginning of a conversation."""
    return msgspec.structs.replace(traits, warm=None)


@given(TRAITS, models(), st.integers(0, 10**6), st.integers(0, 10**5))
def test_more_tokens_never_make_a_model_fit(
    traits: RequestFeatures, found: list[Model], more_input: int, more_output: int
) -> None:
    assume(traits.output_tokens_max is not None)
    larger = msgspec.structs.replace(
        traits,
        input_tokens=traits.input_tokens + more_input,
        output_tokens_max=(traits.output_tokens_max or 0) + more_output,
    )

    def kept_out(asked: RequestFeatures) -> set[str]:
        try:
            return {one.model_id for one in plan(asked, found).excluded}
        except JusinferError:
            return {model.model_id for model in found}

    assert kept_out(traits) <= kept_out(larger)


PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda two: f"m{two[0]} -> m{two[1]}"),
    st.builds(
        Pair,
        base_gain=st.floats(0, 1),
        per_point=st.floats(0, 1),
        evidence=st.just("made up"),
    ),
    max_size=4,
)


@settings(max_examples=examples(300))
@given(TRAITS, models(), PAIRS, st.integers(1, 9), st.integers(0, 10**7))
def test_a_signal_for_strength_never_lowers_the_tier(
    traits: RequestFeatures, found: list[Model], pairs: dict[str, Pair], points: int, worth: int
) -> None:
    traits = fresh(traits)
    weaker = msgspec.structs.replace(TABLE, pair=TABLE.pair | pairs)
    extra = Signal(id="made_up", sentence="made up", points=points, input_from=0)
    stronger = check(msgspec.structs.replace(weaker, signal=(*weaker.signal, extra)))
    try:
        before = plan(traits, found, table=weaker, worth_micro=worth)
    except JusinferError:
        return
    after = plan(traits, found, table=stronger, worth_micro=worth)
    assert first(after).tier >= first(before).tier
    assert after.score == before.score + points


@settings(max_examples=examples(300))
@given(TRAITS, models(), st.integers(0, 10**7), st.integers(0, 10**7))
def test_what_a_right_answer_is_worth_moves_cost_and_tier_one_way(
    traits: RequestFeatures, found: list[Model], one: int, other: int
) -> None:
    traits = fresh(traits)
    low, high = sorted((one, other))
    try:
        cheap = plan(traits, found, worth_micro=low)
    except JusinferError:
        return
    dear = plan(traits, found, worth_micro=high)
    assert (cheap.routes[0].estimate_pico or 0) <= (dear.routes[0].estimate_pico or 0)
    assert first(cheap).tier <= first(dear).tier
    nothing = plan(traits, found, worth_micro=0)
    costs = [step.estimate_pico for step in plan(traits, found, f"{AUTO}:cheap").routes]
    assert nothing.routes[0].estimate_pico == costs[0] == min(cost or 0 for cost in costs)
    most = plan(traits, found, f"{AUTO}:best")
    assert first(most).tier >= first(dear).tier


@settings(max_examples=examples(300))
@given(TRAITS, models(), st.integers(0, 100), st.integers(0, 10**7))
def test_a_cut_in_price_never_turns_requests_away(
    traits: RequestFeatures, found: list[Model], percent: int, worth: int
) -> None:
    traits = fresh(traits)
    try:
        before = plan(traits, found, worth_micro=worth)
    except JusinferError:
        return
    chosen = first(before)

    def cut(model: Model) -> Model:
        if model.model_id != chosen.model_id:
            return model
        return msgspec.structs.replace(
            model,
            routes=tuple(
                msgspec.structs.replace(
                    route,
                    price=Price(
                        route.price.input_micro_per_mtok * percent // 100,
                        route.price.output_micro_per_mtok * percent // 100,
                    ),
                )
                for route in model.routes
            ),
        )

    after = plan(traits, [cut(model) for model in found], worth_micro=worth)
    assert first(after).model_id == chosen.model_id


@settings(max_examples=examples(300))
@given(TRAITS, models(), st.integers(0, 6), st.integers(0, 10**6), st.integers(0, 10**7))
def test_a_dominated_model_changes_nothing_but_what_stands_in(
    traits: RequestFeatures, found: list[Model], index: int, dearer: int, worth: int
) -> None:
    traits = fresh(traits)
    model = found[index % len(found)]
    worse = msgspec.structs.replace(
        model,
        model_id="zz_worse",
        tier=max(model.tier - 1, 1),
        routes=tuple(
            msgspec.structs.replace(
                route,
                route_id=f"{route.upstream}:zz_worse",
                price=Price(
                    route.price.input_micro_per_mtok + dearer + 1,
                    route.price.output_micro_per_mtok + dearer + 1,
                ),
            )
            for route in model.routes
        ),
    )
    assume(traits.input_tokens > 0)
    try:
        before = plan(traits, found, worth_micro=worth)
    except JusinferError:
        return
    after = plan(traits, [*found, worse], worth_micro=worth)
    assert first(after).model_id == first(before).model_id
    own = [step.route.route_id for step in before.routes]
    rest = [step.route.route_id for step in after.routes if step.model.model_id != "zz_worse"]
    assert rest == own[: len(rest)]


# ---------------------------------------------------------------- explanations are true


@settings(max_examples=examples(300))
@given(TRAITS, models(), DIALS)
def test_replaying_only_what_is_listed_gives_the_same_choice(
    traits: RequestFeatures, found: list[Model], name: str
) -> None:
    try:
        made = plan(traits, found, name)
    except JusinferError:
        return
    listed = {one.reason_id for one in read_codes(made.codes)}
    table = msgspec.structs.replace(
        TABLE, signal=tuple(one for one in TABLE.signal if one.id in listed)
    )
    kept_out = {one.model_id for one in made.excluded}
    left = [model for model in found if model.model_id not in kept_out]
    again = plan(traits, left, name, table)
    assert first(again).model_id == first(made).model_id
    assert again.score == made.score
    gates = [one for one in made.reasons if one.amount < 0 and one.reason_id in _GATES]
    assert sum(-one.amount for one in gates) == len(made.excluded)


_GATES = {gate.id for gate in TABLE.gate}


@settings(max_examples=examples(200))
@given(TRAITS, models(), st.integers(0, 10**7))
def test_what_is_called_decisive_decides(
    traits: RequestFeatures, found: list[Model], worth: int
) -> None:
    router = Router(TABLE, catalog(found))
    policy = RoutingPolicy(AUTO, TenantPolicy(worth_micro=worth))
    try:
        made = router.decide(traits, policy, HealthyView(), zero_random)
    except JusinferError:
        return
    decisive_signals = router.decisive_signals(made, traits, policy, HealthyView())
    for signal in (one for one in made.reasons if one.reason_id not in _GATES and one.amount):
        table = msgspec.structs.replace(
            TABLE, signal=tuple(one for one in TABLE.signal if one.id != signal.reason_id)
        )
        other = decide(traits, policy, table, catalog(found), HealthyView(), zero_random)
        is_other = first(other).model_id != first(made).model_id
        assert is_other is (signal.reason_id in decisive_signals)


@given(TRAITS, models(), DIALS)
def test_a_sentence_names_the_model_its_reasons_and_the_table(
    traits: RequestFeatures, found: list[Model], name: str
) -> None:
    try:
        made = plan(traits, found, name)
    except JusinferError:
        return
    said = sentence_of(made, TABLE)
    assert said.startswith(f"{first(made).model_id}, because ")
    assert said.endswith(f"table {TABLE.version}.")
    assert len(said) < 1_000

"""Breakers, latencies, the retry budget, and the order in which routes are tried."""

import itertools
import operator
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.catalog import Catalog, DataHandling, Model, Price, Route, Upstream
from jusinfer.domain.errors import InvalidRequest, PolicyRefused, Unavailable
from jusinfer.domain.routing.explicit import plan_named
from jusinfer.domain.routing.features import CacheAffinity, RequestFeatures
from jusinfer.domain.routing.load_balancing import by_health, serving
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import PlannedRoute
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy, closed_gate
from jusinfer.domain.upstream_health import (
    COLD_SECONDS,
    CONSECUTIVE_MAX,
    FAILED_SECONDS,
    OPEN_SECONDS_MAX,
    QUOTA_SECONDS,
    RETRIES_FLOOR,
    Health,
    HealthyView,
    UpstreamEndpoint,
)

PRICE = Price(1, 2)


def health(value: float = 0.5) -> Health:
    return Health(lambda: value)


def fail(subject: Health, times: int, now: float = 0.0, upstream: str = "a") -> None:
    for _ in range(times):
        subject.record_result(subject.record_start(upstream, "m", now), now, is_good=False)


def test_a_breaker_opens_after_failures_lets_one_probe_through_and_closes() -> None:
    subject = health()
    fail(subject, CONSECUTIVE_MAX - 1)
    assert not subject.is_open("a", "m", 0.0)
    fail(subject, 1)
    assert subject.is_open("a", "m", 1.0)
    assert subject.state("a", "m", 1.0) == "down"
    assert subject.state("a", "other", 1.0) == "up"
    late = 6.0
    assert subject.state("a", "m", late) == "trying"
    probe = subject.record_start("a", "m", late)
    assert subject.is_open("a", "m", late)
    subject.record_result(probe, late, is_good=True)
    assert subject.state("a", "m", late) == "up"


def test_a_failed_probe_waits_longer_up_to_a_bound() -> None:
    subject = health()
    fail(subject, CONSECUTIVE_MAX)
    now, waits = 0.0, []
    for _ in range(8):
        begun = now
        while subject.is_open("a", "m", now):
            now += 0.5
        waits.append(now - begun)
        subject.record_result(subject.record_start("a", "m", now), now, is_good=False)
    assert waits == sorted(waits)
    assert waits[-1] <= OPEN_SECONDS_MAX * 1.25


def test_one_success_forgives_failures_in_a_row() -> None:
    subject = health()
    for _ in range(3):
        fail(subject, CONSECUTIVE_MAX - 1)
        subject.record_result(subject.record_start("a", "m", 0.0), 0.0, is_good=True)
    assert not subject.is_open("a", "m", 0.0)


def served(subject: Health, times: int, now: float) -> None:
    for _ in range(times):
        subject.record_result(subject.record_start("a", "m", now), now, is_good=True)


def test_a_fifth_of_failures_opens_a_breaker_too() -> None:
    subject = health()
    for _ in range(6):
        served(subject, 4, 0.0)
        fail(subject, 1)
    assert subject.is_open("a", "m", 0.0)
    rare = health()
    for _ in range(20):
        served(rare, 9, 0.0)
        fail(rare, 1)
    assert not rare.is_open("a", "m", 0.0)
    slow = health()
    for second in range(40):
        served(slow, 3, second * 10.0)
        fail(slow, 1, second * 10.0)
    assert not slow.is_open("a", "m", 400.0), "few attempts in half a minute prove nothing"


def test_only_a_probe_closes_a_breaker_and_a_clock_that_goes_back_does_no_harm() -> None:
    subject = health()
    old = subject.record_start("a", "m", 0.0)
    fail(subject, CONSECUTIVE_MAX, 10.0)
    subject.record_result(old, 10.0, is_good=True)
    assert subject.is_open("a", "m", 10.5)
    subject.record_first_byte(subject.record_start("a", "m", 3.0), 0.1, 3.0)
    subject.record_result(subject.record_start("a", "m", 3.0), 3.0, is_good=False)
    assert subject.state("a", "m", 3.0) == "down"
    late = 1_000.0
    probe, other = subject.record_start("a", "m", late), subject.record_start("a", "m", late)
    assert probe is other
    assert subject.state("a", "m", late) == "down", "one probe at a time"
    subject.record_result(probe, late, is_good=True)
    assert subject.state("a", "m", late) == "up"


def test_a_failure_counts_as_slow_and_is_forgotten() -> None:
    subject = health()
    fail(subject, 1, 100.0)
    assert subject.latency_seconds("a", "m", 100.0) == FAILED_SECONDS
    assert 1.0 < subject.latency_seconds("a", "m", 115.0) < 3.0
    assert subject.latency_seconds("a", "m", 200.0) < 0.21
    assert subject.latency_seconds("b", "m", 200.0) == COLD_SECONDS


def test_latency_rises_at_once_and_fades() -> None:
    subject = health()
    endpoint = subject.record_start("a", "m", 0.0)
    subject.record_first_byte(endpoint, 3.0, 0.0)
    assert endpoint.latency_seconds == 3.0
    subject.record_first_byte(endpoint, 0.1, 1.0)
    assert 2.0 < endpoint.latency_seconds < 3.0
    subject.record_first_byte(endpoint, 0.1, 100.0)
    assert endpoint.latency_seconds < 0.2


def test_retries_are_a_fifth_of_requests_and_a_floor() -> None:
    subject = health()
    taken = sum(subject.try_consume_retry(0.0) for _ in range(100))
    assert taken == RETRIES_FLOOR
    for _ in range(50):
        subject.record_start("a", "m", 0.0)
    assert sum(subject.try_consume_retry(0.0) for _ in range(100)) in {9, 10}
    assert sum(subject.try_consume_retry(0.5) for _ in range(100)) in {5, 6}


def test_second_attempts_at_once_are_one_in_fifty() -> None:
    subject = health()
    assert [subject.try_consume_hedge() for _ in range(3)] == [True, False, False]
    for _ in range(100):
        subject.record_start("a", "m", 0.0)
    assert sum(subject.try_consume_hedge() for _ in range(10)) in {1, 2}


def test_waits_are_jittered_and_no_shorter_than_asked() -> None:
    rng = random.Random(3)  # noqa: S311
    subject = Health(rng.random)
    waits = [subject.wait_seconds(1, None) for _ in range(200)]
    assert all(wait is not None and 0 <= wait <= 0.2 for wait in waits)
    assert len(set(waits)) > 150
    asked = subject.wait_seconds(0, 2)
    assert asked is not None
    assert asked >= 2
    assert subject.wait_seconds(0, 60) is None


def test_an_account_that_is_used_up_is_shut_for_a_while() -> None:
    subject = health()
    assert subject.is_all_healthy
    subject.record_quota_exhausted("a", 0.0, None)
    assert subject.account_shut_seconds("a", 1.0) == QUOTA_SECONDS - 1
    assert subject.state("a", "m", 1.0) == "down"
    assert subject.account_shut_seconds("a", QUOTA_SECONDS) == 0
    assert subject.is_all_healthy


# ---------------------------------------------------------------- orders


def model(name: str, *routes: Route) -> Model:
    return Model(name, 1000, 1000, routes)


def route(upstream: str, price: Price = PRICE) -> Route:
    return Route(f"{upstream}:m", upstream, "m", price)


def steps(*upstreams: str, seconds: int = 0) -> list[PlannedRoute]:
    made = model("m", *(route(name) for name in upstreams))
    return [PlannedRoute(made, step, seconds or None) for step in made.routes]


def order(
    asked: list[PlannedRoute], subject: Health, draw: float = 0.0, warm: str = ""
) -> list[str]:
    known = CacheAffinity(warm, "m") if warm else None
    view = subject.at(0.0, 0)
    found = by_health(serving(asked, view), view, lambda: draw, known, "")
    return [step.route.upstream for step in found]


def test_of_two_drawn_the_better_leads() -> None:
    subject = health()
    subject.record_first_byte(subject.record_start("a", "m", 0.0), 5.0, 0.0)
    draws = itertools.cycle([0.0, 0.4, 0.9])
    view = subject.at(0.0, 0)
    leads = {
        by_health(steps("a", "b", "c"), view, lambda: next(draws), None, "")[0].route.upstream
        for _ in range(30)
    }
    assert leads <= {"b", "c"}


def test_a_dearer_route_is_no_replica() -> None:
    made = model("m", route("a"), route("b", Price(5, 5)))
    asked = [PlannedRoute(made, step) for step in made.routes]
    for value in (0.0, 0.5, 0.99):
        assert order(asked, health(), value) == ["a", "b"]


def test_open_routes_go_last_but_never_more_than_half() -> None:
    subject = health()
    fail(subject, CONSECUTIVE_MAX, upstream="a")
    assert not subject.is_all_healthy
    assert order(steps("a", "b"), subject)[-1] == "a"
    fail(subject, CONSECUTIVE_MAX, upstream="b")
    assert sorted(order(steps("a", "b"), subject)) == ["a", "b"]
    assert order(steps("a"), subject) == ["a"]
    for name in "ab":
        subject.record_result(subject.record_start(name, "m", 9.0), 9.0, is_good=True)
    assert subject.is_all_healthy


def test_used_up_accounts_are_left_out_and_all_of_them_is_an_error() -> None:
    subject = health()
    subject.record_quota_exhausted("a", 0.0, None)
    assert order(steps("a", "b"), subject) == ["b"]
    subject.record_quota_exhausted("b", 0.0, 7)
    with pytest.raises(Unavailable) as caught:
        order(steps("a", "b"), subject)
    assert caught.value.retry_after_seconds == 7


def test_a_warm_conversation_stays_where_it_is() -> None:
    for value in (0.0, 0.5, 0.99):
        assert order(steps("a", "b", "c"), health(), value, "c")[0] == "c"


def test_an_order_that_was_asked_for_is_kept_but_for_what_fails() -> None:
    subject = health()
    asked, warm = steps("a", "b", "c"), CacheAffinity("c", "m")

    def found() -> list[str]:
        ordered = by_health(asked, subject.at(0.0, 0), lambda: 0.9, warm, "order")
        return [step.route.upstream for step in ordered]

    assert found() == ["a", "b", "c"]
    fail(subject, CONSECUTIVE_MAX, upstream="a")
    assert found() == ["b", "c", "a"]


def test_a_warm_route_that_is_much_slower_is_left() -> None:
    subject = health()
    subject.record_first_byte(subject.record_start("c", "m", 0.0), 5.0, 0.0)
    assert order(steps("a", "b", "c"), subject, 0.0, "c")[0] != "c"


def test_equal_routes_share_alike_and_a_slow_one_is_spared() -> None:
    dice = random.Random(7)  # noqa: S311
    subject = health()
    shares = dict.fromkeys("abc", 0)
    for _ in range(10_000):
        found = by_health(steps("a", "b", "c"), subject.at(0.0, 0), dice.random, None, "")
        shares[found[0].route.upstream] += 1
    # Two are drawn, and of two that are equal the first drawn leads: each as often.
    assert all(abs(share - 3_333) < 333 for share in shares.values()), shares
    subject.record_first_byte(subject.record_start("c", "m", 0.0), 6 * 0.2, 0.0)
    slow = sum(
        by_health(steps("a", "b", "c"), subject.at(0.0, 0), dice.random, None, "")[0].route.upstream
        == "c"
        for _ in range(3_000)
    )
    assert slow < 333


def simulated(
    seconds: float, service: dict[str, float], failing: str = "", since: float = 0.0
) -> dict[str, int]:
    """Send twenty requests a second to routes that take their time; count who served them."""
    dice = random.Random(11)  # noqa: S311
    subject = Health(dice.random)
    ends: list[tuple[float, str, UpstreamEndpoint]] = []
    shares = dict.fromkeys(service, 0)
    now = 0.0
    while now < seconds:
        now += 0.05
        for end in sorted((one for one in ends if one[0] <= now), key=operator.itemgetter(0)):
            ends.remove(end)
            is_good = end[1] != failing
            if is_good:
                subject.record_first_byte(end[2], service[end[1]], end[0])
            subject.record_result(end[2], end[0], is_good=is_good)
        found = by_health(steps(*service), subject.at(now, 0), dice.random, None, "")
        name = found[0].route.upstream
        if now >= since:
            shares[name] += 1
        took = 0.001 if name == failing else service[name]
        ends.append((now + took, name, subject.record_start(name, "m", now)))
    return shares


def test_a_route_that_is_six_times_slower_gets_less_than_a_third_of_its_share() -> None:
    shares = simulated(60.0, {"a": 0.3, "b": 0.3, "c": 1.8}, since=20.0)
    assert shares["c"] < sum(shares.values()) / 9, shares
    assert min(shares["a"], shares["b"]) > 0.8 * max(shares["a"], shares["b"]), shares


def test_a_route_that_fails_at_once_gains_nothing_by_it() -> None:
    shares = simulated(60.0, {"a": 0.3, "b": 0.3, "c": 0.3}, failing="c")
    assert shares["c"] < sum(shares.values()) / 10, shares


# ---------------------------------------------------------------- gates

FACTS = st.builds(
    DataHandling,
    region=st.sampled_from(["", "eu", "us"]),
    jurisdiction=st.sampled_from(["", "DE", "US"]),
    retention_days=st.sampled_from([None, 0, 30]),
    trains_on_prompts=st.sampled_from([None, True, False]),
    is_zdr=st.booleans(),
)
POLICIES = st.builds(
    TenantPolicy,
    is_zdr=st.booleans(),
    no_training=st.booleans(),
    upstreams=st.sampled_from([(), ("a",), ("a", "b")]),
    regions=st.sampled_from([(), ("eu",)]),
    jurisdictions=st.sampled_from([(), ("DE", "US")]),
)


def upstream(name: str, facts: DataHandling) -> Upstream:
    return Upstream(name, "h", 1, is_tls=True, base_path="", facts=facts)


def named(
    policy: TenantPolicy, preferences: Preferences, upstreams: dict[str, Upstream]
) -> tuple[PlannedRoute, ...]:
    made = model("m", *(route(name) for name in "abc"))
    return plan_named(
        RequestFeatures(1, 1, 1, 1),
        RoutingPolicy("m", policy, preferences),
        Catalog("v", upstreams, {"m": made}),
        HealthyView(),
        lambda: 0.99,
        lambda model, route: PlannedRoute(model, route, 1),
    )


@given(POLICIES, st.lists(FACTS, min_size=3, max_size=3))
def test_no_route_passes_a_gate_that_its_facts_do_not_open(
    policy: TenantPolicy, facts: list[DataHandling]
) -> None:
    upstreams = {name: upstream(name, fact) for name, fact in zip("abc", facts, strict=True)}
    try:
        found = named(policy, NO_PREFERENCES, upstreams)
    except PolicyRefused:
        assert all(closed_gate(policy, one) for one in upstreams.values())
        return
    for step in found:
        fact = upstreams[step.route.upstream].facts
        assert fact.is_zdr or not policy.is_zdr
        assert fact.trains_on_prompts is False or not policy.no_training
        assert not policy.upstreams or step.route.upstream in policy.upstreams
        assert not policy.regions or fact.region in policy.regions
        assert not policy.jurisdictions or fact.jurisdiction in policy.jurisdictions


def test_preferences_order_and_close_routes() -> None:
    upstreams = {name: upstream(name, DataHandling()) for name in "abc"}

    def chosen(**asked: object) -> list[str]:
        wishes = Preferences(**asked)  # type: ignore[arg-type]
        return [step.route.upstream for step in named(NO_POLICY, wishes, upstreams)]

    assert chosen(order=("c", "b")) == ["c", "b", "a"]
    assert chosen(only=("b",)) == ["b"]
    assert sorted(chosen(ignore=("a",))) == ["b", "c"]
    assert chosen(has_fallbacks=False) == ["a"]
    assert chosen(sort="price") == ["a", "b", "c"]
    assert sorted(chosen(input_micro_max=1, output_micro_max=2)) == ["a", "b", "c"]
    for asked in ({"only": ("x",)}, {"is_zdr": True}, {"input_micro_max": 0}):
        with pytest.raises(InvalidRequest) as caught:
            chosen(**asked)
        assert (caught.value.param or "").startswith("provider.")

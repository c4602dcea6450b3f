"""Limits and spend limits are leased: however many workers there are, no limit is ever exceeded."""

import asyncio
import datetime as dt
import hashlib
import random
import uuid

import psycopg
import pytest
from tests.money import balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in

from jusinfer.domain.errors import InvalidRequest, RateLimited, SpendLimitReached
from jusinfer.domain.identity import Mode, Principal, TenantId
from jusinfer.domain.limits import (
    KeyRates,
    Limit,
    LimitKind,
    QuotaRequest,
    SpendLimit,
    SpendLimitAction,
)
from jusinfer.gateway.accounting.credit_leases import CreditBalances
from jusinfer.gateway.accounting.rate_limiter import RateLimiter
from jusinfer.gateway.accounting.request_holds import RequestHolds
from jusinfer.gateway.worker import LimitSource, SpendLimitSource
from jusinfer.services import accounts, keys, limits
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.settler.spend_counters import count_spend_limits
from jusinfer.store.gateway_client import DatabaseUnavailable, GatewayLink

SCOPE_ID = "5" * 32


class Clock:
    """A worker's clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def limit(kind: str, amount: int) -> Limit:
    return Limit("key", SCOPE_ID, kind, amount)


def principal(*found: Limit, spend_limits: tuple[object, ...] = ()) -> Principal:
    return Principal(
        tenant_id=TenantId("1" * 32),
        member_id="2" * 32,  # type: ignore[arg-type]
        key_id="3" * 32,  # type: ignore[arg-type]
        mode=Mode.LIVE,
        limits=found,
        spend_limits=spend_limits,  # type: ignore[arg-type]
    )


def holds(link: GatewayLink, clock: Clock) -> RequestHolds:
    return RequestHolds(
        RateLimiter(LimitSource(link), DatabaseUnavailable),
        CreditBalances(
            SpendLimitSource(link), DatabaseUnavailable, lambda coroutine: coroutine.close()
        ),
        clock,
    )


async def ask(worker: RequestHolds, who: Principal, tokens: int = 10) -> bool:
    try:
        hold = worker.take(who, tokens) or await worker.fetch(who, tokens)
    except RateLimited:
        return False
    assert hold is not None
    return True


async def settle_in_one_minute(dsn: str) -> None:
    """Wait for a fresh minute if this one is nearly over: its end would begin the count anew."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT extract(second FROM clock_timestamp())").fetchone()
    assert row is not None
    if float(row[0]) > 50:
        await asyncio.sleep(61 - float(row[0]))


@pytest.mark.parametrize("amount", [1, 7, 100])
def test_workers_together_use_a_limit_whole_and_never_exceed_it(dsn: str, amount: int) -> None:
    async def run() -> None:
        await settle_in_one_minute(dsn)
        clock = Clock()
        links = [GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex) for _ in range(4)]
        workers = [holds(link, clock) for link in links]
        who = principal(limit("requests", amount))
        passed = 0
        for index in range(4 * amount + 40):
            # The clock stays within the minute, and goes on so that a refusal is asked again.
            clock.now += 0.3 if index % 8 == 0 else 0.0
            passed += await ask(workers[index % 4], who)
            if index % 40 == 39:
                clock.now += 3.0
                for worker in workers:
                    await worker.permits.return_idle(clock.now)
        assert passed <= amount
        assert passed >= amount * 95 // 100
        for link in links:
            await link.close()

    asyncio.run(run())


def test_requests_at_once_are_counted_over_all_workers_and_freed(dsn: str) -> None:
    async def run() -> None:
        clock = Clock()
        names = [uuid.uuid4().hex for _ in range(2)]
        links = [GatewayLink(sign_in(dsn, "gateway"), name) for name in names]
        workers = [holds(link, clock) for link in links]
        who = principal(limit("concurrency", 3))
        taken = [workers[0].take(who, 1) or await workers[0].fetch(who, 1) for _ in range(2)]
        taken.append(await workers[1].fetch(who, 1))
        for worker in workers:
            with pytest.raises(RateLimited) as refused:
                await worker.fetch(who, 1)
            assert "requests at once" in refused.value.message
        taken[0].release()
        assert await ask(workers[0], who)
        # The first worker dies: its slots are free once it has been reclaimed.
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT jusinfer_free_slots(%s)", (names[0],))
        clock.now += 1
        assert await ask(workers[1], who)
        for link in links:
            await link.close()

    asyncio.run(run())


def test_tokens_are_taken_by_estimate_and_counted_as_they_were(dsn: str) -> None:
    async def run() -> None:
        await settle_in_one_minute(dsn)
        clock = Clock()
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        worker = holds(link, clock)
        who = principal(limit("tokens", 1_000))
        hold = worker.take(who, 600) or await worker.fetch(who, 600)
        with pytest.raises(RateLimited) as refused:
            await worker.fetch(who, 600)
        assert 1 <= (refused.value.retry_after_seconds or 0) <= 60
        hold.release()
        clock.now += 1
        assert await ask(worker, who, 600)
        with pytest.raises(RateLimited):
            await worker.fetch(principal(limit("tokens", 500)), 501)
        await link.close()

    asyncio.run(run())


def test_random_workers_never_hold_more_slots_than_there_are(dsn: str) -> None:
    async def run() -> None:
        rng = random.Random(3)  # noqa: S311 (a shuffle, not a secret)
        clock = Clock()
        links = [GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex) for _ in range(3)]
        workers = [holds(link, clock) for link in links]
        who = principal(limit("concurrency", 5), limit("requests", 100_000))
        held: list[object] = []
        for _ in range(200):
            clock.now += rng.random()
            worker = rng.choice(workers)
            if held and rng.random() < 0.5:
                held.pop(rng.randrange(len(held))).release()  # type: ignore[attr-defined]
            else:
                try:
                    held.append(worker.take(who, 1) or await worker.fetch(who, 1))
                except RateLimited:
                    await rng.choice(workers).permits.return_idle(clock.now)
            assert len(held) <= 5
        for hold in held:
            hold.release()  # type: ignore[attr-defined]
        for worker in workers:
            await worker.permits.return_idle(clock.now, is_last=True)
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT taken FROM rate_window WHERE kind = 'concurrency'"
                " UNION ALL SELECT sum(slots) FROM rate_slot"
            ).fetchall()
        assert [int(row[0]) for row in rows] == [0, 0]
        for link in links:
            await link.close()

    asyncio.run(run())


def test_the_link_grants_all_of_a_need_or_nothing(dsn: str) -> None:
    async def run() -> None:
        await settle_in_one_minute(dsn)
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        both = [
            QuotaRequest(limit("requests", 10), 4, 100),
            QuotaRequest(limit("tokens", 50), 60, 60),
        ]
        first, second = await link.take_permits(both)
        assert (first.granted, first.remaining, second.granted) == (4, 6, 0)
        assert 0 < first.left_ms <= 60_000
        (third,) = await link.take_permits([QuotaRequest(limit("requests", 10), 7, 7)])
        assert (third.granted, third.remaining) == (0, 6)
        await link.close()

    asyncio.run(run())


def tenant_with_key(world: Services) -> tuple[str, str]:
    tenant_id = accounts.create_tenant(world, OPERATOR, "capped").tenant_id
    return tenant_id, keys.issue(world, acting(tenant_id), Mode.LIVE, "k", Rates()).key_id


def spend(dsn: str, tenant_id: str, key_id: str, charge: int, at: dt.datetime) -> None:
    class Row:
        """What counting looks at of a record."""

        mode = "live"
        member_id = "2" * 32
        spend_limit_leases = ""

    row = Row()
    row.tenant_id, row.key_id, row.charge_nano = tenant_id, key_id, charge  # type: ignore[attr-defined]
    row.admitted_at_us = int(at.timestamp() * 1_000_000)  # type: ignore[attr-defined]
    with psycopg.connect(dsn) as connection:
        count_spend_limits(connection.execute, [row])  # type: ignore[list-item, arg-type]


def periods(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), spent_nano"
            " FROM spend_period ORDER BY 1"
        ).fetchall()


def test_a_day_begins_where_the_tenant_lives_also_when_clocks_change(
    world: Services, dsn: str
) -> None:
    tenant_id, key_id = tenant_with_key(world)
    limits.set_tenant_settings(world, acting(tenant_id), None, "America/New_York")
    limits.add_spend_limit(
        world, acting(tenant_id), "key", key_id, "day", 1_000, SpendLimitAction.WARN, Mode.LIVE
    )
    for hour in (3, 5, 28, 29):
        at = dt.datetime(2026, 10, 31, tzinfo=dt.UTC) + dt.timedelta(hours=hour, days=0)
        spend(dsn, tenant_id, key_id, 1, at)
    # 1 November 2026, when clocks go back in New York, begins at 04:00 and ends at 05:00 UTC.
    for hour in (28 + 24, 28 + 25):
        at = dt.datetime(2026, 10, 31, tzinfo=dt.UTC) + dt.timedelta(hours=hour)
        spend(dsn, tenant_id, key_id, 10, at)
    assert periods(dsn) == [
        ("2026-10-30 04:00", 1),
        ("2026-10-31 04:00", 1),
        ("2026-11-01 04:00", 12),
        ("2026-11-02 05:00", 10),
    ]


def test_each_threshold_is_announced_once_a_period_and_to_the_gateways(
    world: Services, dsn: str
) -> None:
    tenant_id, key_id = tenant_with_key(world)
    limits.add_spend_limit(
        world,
        acting(tenant_id),
        "tenant",
        tenant_id,
        "month",
        100,
        SpendLimitAction.WARN,
        Mode.LIVE,
    )
    at = dt.datetime.now(tz=dt.UTC)
    told = []
    with psycopg.connect(dsn, autocommit=True) as listening:
        listening.execute("LISTEN jusinfer_keys")
        for charge in (49, 1, 1, 30, 40, 40):
            spend(dsn, tenant_id, key_id, charge, at)
            told.append(len(list(listening.notifies(timeout=0.2))))
        thresholds = listening.execute(
            "SELECT threshold FROM spend_limit_notice ORDER BY threshold"
        ).fetchall()
    assert told == [0, 1, 0, 1, 1, 0]
    assert thresholds == [(50,), (80,), (100,)]


@pytest.mark.parametrize(
    ("issued_with", "set_later", "default", "expected"),
    [
        (None, None, 0, ()),
        (None, None, 9, (9,)),
        (5, None, 9, (5,)),
        (None, 7, 9, (7,)),
        (None, 12, 9, (12,)),
        (5, 7, 0, (5,)),
        (8, 7, 9, (7,)),
    ],
)
def test_a_key_has_one_limit_of_a_kind_whichever_way_it_was_given(
    world: Services,
    dsn: str,
    issued_with: int | None,
    set_later: int | None,
    default: int,
    expected: tuple[int, ...],
) -> None:
    tenant_id, _ = tenant_with_key(world)
    issued = keys.issue(world, acting(tenant_id), Mode.LIVE, "k", Rates(None, issued_with))
    if set_later is not None:
        limits.set_limit(
            world, acting(tenant_id), "key", issued.key_id, LimitKind.TOKENS, set_later
        )

    async def run() -> Principal | None:
        link = GatewayLink(
            sign_in(dsn, "gateway"), uuid.uuid4().hex, key_rates=KeyRates(0, default)
        )
        found = await link.principal(hashlib.sha256(issued.secret.encode()).digest())
        await link.close()
        return found

    found = asyncio.run(run())
    assert found is not None
    assert found.limits == tuple(
        Limit("key", issued.key_id, "tokens", amount) for amount in expected
    )


def test_what_is_left_is_shown_of_the_tightest_limit(dsn: str) -> None:
    async def run() -> None:
        await settle_in_one_minute(dsn)
        clock = Clock()
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        worker = holds(link, clock)
        wide = Limit("tenant", "6" * 32, "requests", 100)
        who = principal(limit("requests", 10), wide, limit("concurrency", 5), limit("tokens", 500))
        for left in (9, 8):
            hold = worker.take(who, 40) or await worker.fetch(who, 40)
            shown = {one.kind: (one.amount, one.remaining) for one in hold.statuses(clock.now)}
            assert shown["requests"] == (10, left)
        assert shown == {"requests": (10, 8), "tokens": (500, 420)}
        assert all(0 < one.reset_seconds <= 60 for one in hold.statuses(clock.now))
        assert {one.remaining for one in hold.statuses(clock.now + 61)} == {10, 500}
        await link.close()

    asyncio.run(run())


def test_a_principal_carries_every_limit_and_spend_limit_that_applies(
    world: Services, dsn: str
) -> None:
    tenant_id, _ = tenant_with_key(world)
    issued = keys.issue(world, acting(tenant_id), Mode.LIVE, "other", Rates())
    limits.set_limit(world, acting(tenant_id), "tenant", tenant_id, LimitKind.REQUESTS, 50)
    limits.set_limit(world, acting(tenant_id), "key", issued.key_id, LimitKind.CONCURRENCY, 2)
    limits.add_spend_limit(
        world, acting(tenant_id), "tenant", tenant_id, "day", 100, SpendLimitAction.STOP, Mode.LIVE
    )
    limits.add_spend_limit(
        world, acting(tenant_id), "tenant", tenant_id, "day", 100, SpendLimitAction.STOP, Mode.TEST
    )
    limits.set_tenant_settings(world, acting(tenant_id), "partner", None)

    async def run() -> Principal | None:
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        found = await link.principal(hashlib.sha256(issued.secret.encode()).digest())
        await link.close()
        return found

    found = asyncio.run(run())
    assert found is not None
    assert found.limits == (
        Limit("key", issued.key_id, "concurrency", 2),
        Limit("tenant", tenant_id, "requests", 50),
    )
    assert [
        (spend_limit.scope, spend_limit.period, spend_limit.action, spend_limit.threshold)
        for spend_limit in found.spend_limits
    ] == [("tenant", "day", "stop", 0)]
    assert found.price_list == "partner"
    limits.set_limit(world, acting(tenant_id), "tenant", tenant_id, LimitKind.REQUESTS, None)
    assert [row.kind for row in limits.list_limits(world, OPERATOR)] == ["concurrency"]


def test_a_hard_spend_limit_is_leased_so_that_workers_cannot_exceed_it_together(
    world: Services, dsn: str
) -> None:
    tenant_id, key_id = tenant_with_key(world)
    limits.add_spend_limit(
        world, acting(tenant_id), "key", key_id, "day", 20_000, SpendLimitAction.STOP, Mode.LIVE
    )
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT spend_limit_id FROM spend_limit").fetchone()
    assert row is not None
    spend_limit_id = str(row[0]).replace("-", "")
    spend_limit = SpendLimit(spend_limit_id, "key", "day", "stop", 0, 2_000_000_000)
    who = principal(spend_limits=(spend_limit,))

    async def run() -> int:
        clock = Clock()
        links = [GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex) for _ in range(8)]
        workers = [holds(link, clock) for link in links]
        passed = 0
        refused = []
        for index in range(80):
            worker = workers[index % 8]
            hold = worker.take(who, 1)
            assert hold is not None
            try:
                await worker.reserve(who, hold, 1_000, 1_999_999_000)
                passed += 1
            except SpendLimitReached as error:
                refused.append((error.available_nano < 1_000, error.resets_in_seconds))
        for link in links:
            await link.close()
        assert set(refused) == {(True, 1_000)}
        return passed

    assert asyncio.run(run()) == 20
    with psycopg.connect(dsn) as connection:
        leased = connection.execute("SELECT leased_nano FROM spend_period").fetchone()
        workers = connection.execute("SELECT DISTINCT worker_id FROM spend_limit_lease").fetchall()
        assert leased == (20_000,)
        for (worker_id,) in workers:
            connection.execute("SELECT jusinfer_reclaim_spend_limits(%s)", (worker_id,))
        assert connection.execute("SELECT leased_nano FROM spend_period").fetchone() == (0,)
    assert balance(dsn, tenant_id) == (0, 0)


def test_what_cannot_be_set_is_refused(world: Services) -> None:
    tenant_id, _ = tenant_with_key(world)
    for bad in (
        lambda: limits.set_limit(world, acting(tenant_id), "tenant", "0" * 32, LimitKind.TOKENS, 5),
        lambda: limits.set_limit(world, acting(tenant_id), "town", tenant_id, LimitKind.TOKENS, 5),
        lambda: limits.set_limit(
            world, acting(tenant_id), "tenant", tenant_id, LimitKind.TOKENS, 0
        ),
        lambda: limits.add_spend_limit(
            world,
            acting(tenant_id),
            "tenant",
            tenant_id,
            "year",
            5,
            SpendLimitAction.WARN,
            Mode.LIVE,
        ),
        lambda: limits.add_spend_limit(
            world,
            acting(tenant_id),
            "tenant",
            tenant_id,
            "day",
            0,
            SpendLimitAction.WARN,
            Mode.LIVE,
        ),
        lambda: limits.set_tenant_settings(world, acting(tenant_id), None, "Middle/Earth"),
        lambda: limits.remove_spend_limit(world, acting(tenant_id), "0" * 32),
    ):
        with pytest.raises(InvalidRequest):
            bad()

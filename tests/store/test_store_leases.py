"""Leases of credit: nobody spends what is not there, however many take at once."""

import asyncio
import contextlib
import uuid

import psycopg
import pytest
from tests.money import assert_books_are_right, balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in

from jusinfer.domain.identity import Mode
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.gateway.accounting.credit_leases import CreditBalances
from jusinfer.gateway.worker import CreditSource
from jusinfer.services import accounts, billing
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.store.gateway_client import DatabaseUnavailable, GatewayLink, Shortfall, TakenLease


def tenant_with(world: Services, nano: int) -> str:
    made = accounts.create_tenant(world, OPERATOR, f"t-{uuid.uuid4().hex}")
    billing.grant(world, acting(made.tenant_id), nano, Mode.LIVE, "test", GrantTerms())
    return made.tenant_id


def test_twenty_of_eighty_reservations_pass_at_the_last_cent(world: Services, dsn: str) -> None:
    """Eight workers ask ten times each for a twentieth of the balance."""
    need = 50_000_000_000
    tenant_id = tenant_with(world, 20 * need)

    async def worker() -> list[bool]:
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        got = [await link.take_credit(tenant_id, "live", need) for _ in range(10)]
        await link.close()
        return [isinstance(taken, TakenLease) for taken in got]

    async def all_workers() -> list[list[bool]]:
        return await asyncio.gather(*[worker() for _ in range(8)])

    passed = sum(sum(row) for row in asyncio.run(all_workers()))
    assert passed == 20
    assert balance(dsn, tenant_id) == (20 * need, 20 * need)
    assert_books_are_right(dsn)


def test_a_chunk_is_never_more_than_there_is_nor_less_than_the_need(
    world: Services, dsn: str
) -> None:
    tenant_id = tenant_with(world, NANO_PER_USD)

    async def run() -> None:
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        left = NANO_PER_USD
        need = 7_000_000
        while True:
            taken = await link.take_credit(tenant_id, "live", need)
            if isinstance(taken, Shortfall):
                assert taken.available_nano == left < need
                break
            assert need <= taken.granted_nano <= left
            left -= taken.granted_nano
        await link.close()

    asyncio.run(run())
    assert_books_are_right(dsn)


def test_a_lease_gives_back_no_more_than_is_left_of_it(world: Services, dsn: str) -> None:
    tenant_id = tenant_with(world, NANO_PER_USD)

    async def run() -> None:
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        other = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        taken = await link.take_credit(tenant_id, "live", 1_000)
        assert isinstance(taken, TakenLease)
        await link.return_credit(taken.lease_id, taken.granted_nano + 1)
        await link.return_credit(taken.lease_id, -5)
        await other.return_credit(taken.lease_id, 1)
        assert balance(dsn, tenant_id)[1] == taken.granted_nano
        await link.return_credit(taken.lease_id, taken.granted_nano)
        await link.return_credit(taken.lease_id, 1)
        assert balance(dsn, tenant_id) == (NANO_PER_USD, 0)
        await link.close()
        await other.close()

    asyncio.run(run())
    assert_books_are_right(dsn)


def test_an_unknown_tenant_has_nothing(dsn: str) -> None:
    async def run() -> None:
        link = GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex)
        assert await link.take_credit(uuid.uuid4().hex, "live", 1) == Shortfall(0)
        await link.close()

    asyncio.run(run())


def test_a_database_that_is_away_is_an_outage_and_nothing_else() -> None:
    async def run() -> None:
        link = GatewayLink("postgresql://x@127.0.0.1:9/x", uuid.uuid4().hex)
        for call in (link.connect(), link.principal(b"\0" * 32), link.heartbeat()):
            with pytest.raises(DatabaseUnavailable):
                await call

    asyncio.run(run())


def test_the_gateways_login_may_do_what_it_needs_and_nothing_more(dsn: str) -> None:
    with psycopg.connect(sign_in(dsn, "gateway"), autocommit=True) as connection:
        for statement in (
            "SELECT * FROM api_key",
            "SELECT * FROM ledger_account",
            "UPDATE ledger_account SET leased_nano = 0",
            "INSERT INTO lease VALUES (gen_random_uuid())",
            "SELECT * FROM usage_record",
            "SELECT jusinfer_ensure_partition(current_date)",
            "CREATE TABLE mine (x int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_ledger_takes_no_change_and_no_deletion(world: Services, dsn: str) -> None:
    tenant_with(world, 5)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (
            "UPDATE ledger_transfer SET amount_nano = 1",
            "DELETE FROM ledger_transfer",
            "TRUNCATE ledger_transfer",
        ):
            with pytest.raises((psycopg.errors.RaiseException, psycopg.errors.FeatureNotSupported)):
                connection.execute(statement)


NO_TENANT = (psycopg.errors.UndefinedObject, psycopg.errors.InvalidTextRepresentation)


def test_a_tenant_sees_its_own_rows_and_no_others(world: Services, dsn: str) -> None:
    mine = tenant_with(world, 5)
    other = tenant_with(world, 7)
    tables = (
        "tenant",
        "member",
        "ledger_transfer",
        "lease",
        "usage_record",
        "api_key",
        "credit_grant",
        "grant_draw",
        "lease_grant",
    )
    with psycopg.connect(sign_in(dsn, "console")) as connection:
        for table in tables:
            # A table that is empty shows nothing; any other says that a tenant is missing.
            with (
                contextlib.suppress(*NO_TENANT),
                connection.transaction(),
            ):
                none = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 (own names)
                assert none == (0,), table
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (mine,))
        for table in tables:
            rows = connection.execute(
                f"SELECT count(*) FROM {table} WHERE tenant_id = %s",  # noqa: S608 (own names)
                (other,),
            ).fetchone()
            assert rows == (0,), table
        found = connection.execute("SELECT count(*) FROM tenant").fetchone()
        assert found == (1,)


def test_eight_workers_racing_for_twenty_get_exactly_twenty(world: Services, dsn: str) -> None:
    tenant_id = tenant_with(world, 20_000)

    async def run() -> int:
        links = [GatewayLink(sign_in(dsn, "gateway"), uuid.uuid4().hex) for _ in range(8)]

        async def race(link: GatewayLink) -> int:
            balances = CreditBalances(
                CreditSource(link), DatabaseUnavailable, lambda coroutine: coroutine.close()
            )
            balance = balances.balance(tenant_id, "live")
            passed = 0
            for _ in range(10):
                if balance.reserve(1_000, 0.0) is None:
                    await balances.refill(balance, 1_000, 0.0)
                    if balance.reserve(1_000, 0.0) is None:
                        continue
                passed += 1
            return passed

        passed = sum(await asyncio.gather(*(race(link) for link in links)))
        for link in links:
            await link.close()
        return passed

    assert asyncio.run(run()) == 20
    assert balance(dsn, tenant_id) == (20_000, 20_000)

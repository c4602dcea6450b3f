"""Credit grants: one draw-down order, holds that expiry cannot take, debts that are paid first."""

import datetime as dt
import random
import uuid

import psycopg
import pytest
from tests.money import assert_books_are_right, balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in

from jusinfer.domain.actor import Action
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, billing, ledger_proof
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.store import ledger
from jusinfer.store.audit_note import note
from jusinfer.store.roles import LOGINS

NOW = dt.datetime.now(tz=dt.UTC)
RANK = {"promotional": 0, "adjustment": 1, "subscription": 2, "paid": 3}
CHUNK = (8, 1, 10_000_000_000)


def tenant(world: Services, name: str = "grants") -> str:
    return accounts.create_tenant(world, OPERATOR, name).tenant_id


def give(world: Services, tenant_id: str, amount: int, **terms: object) -> str:
    grant_id = uuid.uuid4().hex
    values: dict[str, object] = {
        "transfer_id": f"grant:{grant_id}",
        "grant_id": grant_id,
        "tenant_id": tenant_id,
        "mode": "live",
        "from_kind": "promo",
        "code": "grant",
        "source": "promotional",
        "amount_nano": amount,
        "reason": "test",
    }
    values.update(terms)
    with world.database.for_tenant(acting(tenant_id), Action.CREDIT_GRANT) as tx:
        ledger.grant(tx, ledger.Grant(**values))  # type: ignore[arg-type]
        note(tx, "transfer", "a-test")
    return grant_id


def add(
    dsn: str,
    tenant_id: str,
    source: str,
    priority: int,
    begins: dt.datetime,
    expires: dt.datetime | None,
) -> str:
    """Give 100 nano-USD of any source, which no login may do."""
    grant_id = uuid.uuid4().hex
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "SELECT jusinfer_add_grant(%s, %s, %s, 'live', 'promo', 'grant', %s, 100, %s::smallint,"
            " %s, %s, 'test', sha256(''))",
            (f"grant:{grant_id}", grant_id, tenant_id, source, priority, begins, expires),
        )
        connection.execute(
            "INSERT INTO payment SELECT gen_random_uuid(), tenant_id, mode, granted_nano, 'test',"
            " grant_id::text, grant_id FROM credit_grant WHERE source = 'paid' AND grant_id = %s",
            (grant_id,),
        )
    return grant_id


def take(dsn: str, tenant_id: str, need: int, worker: str = "9" * 32) -> tuple[str | None, int]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT * FROM jusinfer_take_credit(%s, %s, 'live', %s, %s, %s, %s)",
            (worker, tenant_id, need, 1_000_000, 1, need),
        ).fetchone()
    assert row is not None
    return (None if row[0] is None else str(row[0])), int(row[1] or row[2])


def settle(dsn: str, tenant_id: str, lease_id: str, charge: int, span: str) -> tuple[int, int]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT jusinfer_ensure_partition(current_date)")
        row = connection.execute(
            "SELECT covered_nano, owed_nano FROM jusinfer_settle_usage(%s, %s::uuid[],"
            " ARRAY['live'], %s::uuid[], %s)",
            (span, [tenant_id], [lease_id], [charge]),
        ).fetchone()
        connection.execute(
            "INSERT INTO usage_record SELECT gen_random_uuid(), '', %s, %s, %s, 'live', %s, now(),"
            " NULL, 0, 'm', 'm', 'u', '', 'v', 1, 0, 0, 1, 0, false, false, %s, %s, 0, 1,"
            " 'completed', 200, NULL, NULL, %s",
            (
                tenant_id,
                tenant_id,
                tenant_id,
                lease_id,
                charge * 1000,
                charge,
                f"usage:{span}:{tenant_id}:live",
            ),
        )
    assert row is not None
    return int(row[0]), int(row[1])


def grant(dsn: str, grant_id: str) -> tuple[int, int]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT remaining_nano, held_nano FROM credit_grant WHERE grant_id = %s", (grant_id,)
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def expire(dsn: str) -> tuple[int, int]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT * FROM jusinfer_expire_grants(100)").fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def age(dsn: str, grant_id: str) -> None:
    """Let a credit grant's time be over."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE credit_grant SET effective_at = now() - interval '2 hours',"
            " expires_at = now() WHERE grant_id = %s",
            (grant_id,),
        )


def test_grants_are_drawn_in_one_order_however_they_were_given(world: Services, dsn: str) -> None:
    tenant_id = tenant(world)
    made = []
    rng = random.Random(5)  # noqa: S311 (a shuffle, not a secret)
    for index in range(24):
        source = rng.choice(sorted(RANK))
        priority = rng.choice([10, 50])
        days = rng.choice([None, 5, 9])
        expires = None if days is None else NOW + dt.timedelta(days=days)
        begins = NOW - dt.timedelta(hours=rng.choice([1, 2]))
        grant_id = add(dsn, tenant_id, source, priority, begins, expires)
        far = NOW + dt.timedelta(days=9999)
        made.append((priority, expires or far, RANK[source], begins, index, grant_id))
    order = [row[-1] for row in sorted(made)]
    lease_id, granted = take(dsn, tenant_id, 2_400)
    assert (granted, lease_id is None) == (2_400, False)
    for spent in range(1, 25):
        settle(dsn, tenant_id, str(lease_id), 100, f"j:{spent}")
        empty = [grant_id for grant_id in order if grant(dsn, grant_id)[0] == 0]
        assert empty == order[:spent]
    assert_books_are_right(dsn)
    assert ledger_proof.verify(world, OPERATOR).holds


def test_credit_that_has_not_begun_or_is_over_is_not_lent(world: Services, dsn: str) -> None:
    tenant_id = tenant(world)
    give(world, tenant_id, 500, effective_at=NOW + dt.timedelta(days=1))
    over = give(world, tenant_id, 70, expires_at=NOW + dt.timedelta(days=1))
    age(dsn, over)
    give(world, tenant_id, 30)
    assert take(dsn, tenant_id, 31) == (None, 30)
    assert take(dsn, tenant_id, 30)[1] == 30


def test_expiry_takes_what_is_free_and_never_what_is_held(world: Services, dsn: str) -> None:
    tenant_id = tenant(world)
    grant_id = give(world, tenant_id, 100, expires_at=NOW + dt.timedelta(days=1))
    worker = uuid.uuid4().hex
    lease_id, _ = take(dsn, tenant_id, 60, worker)
    age(dsn, grant_id)
    assert expire(dsn) == (1, 40)
    assert expire(dsn) == (0, 0)
    assert grant(dsn, grant_id) == (60, 60)
    settle(dsn, tenant_id, str(lease_id), 25, "j:1")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT jusinfer_return_credit(%s, %s, 35)", (worker, lease_id))
    assert grant(dsn, grant_id) == (35, 0)
    assert expire(dsn) == (1, 35)
    assert balance(dsn, tenant_id) == (0, 0)
    assert ledger_proof.verify(world, OPERATOR).holds


def test_an_overrun_takes_what_is_free_then_becomes_a_debt_that_is_paid_first(
    world: Services, dsn: str
) -> None:
    tenant_id = tenant(world)
    first = give(world, tenant_id, 100)
    lease_id, _ = take(dsn, tenant_id, 60)
    assert settle(dsn, tenant_id, str(lease_id), 130, "j:1") == (60, 30)
    assert grant(dsn, first) == (0, 0)
    assert billing.balances(world, acting(tenant_id))[0].balance_nano == -30
    assert take(dsn, tenant_id, 1) == (None, 0)
    second = give(world, tenant_id, 50)
    assert grant(dsn, second) == (20, 0)
    assert billing.balances(world, acting(tenant_id))[0].balance_nano == 20
    assert_books_are_right(dsn)
    assert ledger_proof.verify(world, OPERATOR).holds


def test_usage_of_a_lease_that_is_gone_still_posts(world: Services, dsn: str) -> None:
    tenant_id = tenant(world)
    give(world, tenant_id, 100)
    worker = uuid.uuid4().hex
    lease_id, _ = take(dsn, tenant_id, 60, worker)
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT * FROM jusinfer_reclaim(%s)", (worker,)).fetchone()
    assert row == (1, 60)
    assert settle(dsn, tenant_id, str(lease_id), 10, "late:1") == (0, 0)
    assert balance(dsn, tenant_id) == (90, 0)
    assert ledger_proof.verify(world, OPERATOR).holds


def test_the_same_grant_counts_once_and_another_under_its_id_is_refused(world: Services) -> None:
    tenant_id = tenant(world)
    given = ledger.Grant(
        transfer_id="grant:same",
        grant_id=uuid.uuid4().hex,
        tenant_id=tenant_id,
        mode="live",
        from_kind="promo",
        code="grant",
        source="promotional",
        amount_nano=5,
        reason="test",
    )
    with world.database.for_tenant(acting(tenant_id), Action.CREDIT_GRANT) as tx:
        assert ledger.grant(tx, given)
        note(tx, "transfer", given.transfer_id)
    with world.database.for_tenant(acting(tenant_id), Action.CREDIT_GRANT) as tx:
        assert not ledger.grant(tx, given)
        note(tx, "transfer", given.transfer_id)
    other = ledger.Grant(
        **{**{f: getattr(given, f) for f in given.__struct_fields__}, "amount_nano": 6}
    )
    with (
        pytest.raises(ledger.TransferConflict),
        world.database.for_tenant(acting(tenant_id), Action.CREDIT_GRANT) as tx,
    ):
        ledger.grant(tx, other)
    assert billing.balances(world, acting(tenant_id))[0].balance_nano == 5


def test_an_adjustment_needs_a_reason_and_takes_only_what_is_free(
    world: Services, dsn: str
) -> None:
    tenant_id = tenant(world)
    billing.adjust(world, acting(tenant_id), 100, Mode.LIVE, "a gift for a fault of ours")
    take(dsn, tenant_id, 70)
    with pytest.raises(InvalidRequest):
        billing.adjust(world, acting(tenant_id), -10, Mode.LIVE, "  ")
    with pytest.raises(InvalidRequest) as refused:
        billing.adjust(world, acting(tenant_id), -31, Mode.LIVE, "too much")
    assert "0.00000003 USD are free" in refused.value.message
    billing.adjust(world, acting(tenant_id), -30, Mode.LIVE, "as agreed")
    assert balance(dsn, tenant_id) == (70, 70)
    assert ledger_proof.verify(world, OPERATOR).holds


def test_terms_that_cannot_be_are_refused(world: Services) -> None:
    tenant_id = tenant(world)
    with pytest.raises(InvalidRequest):
        billing.grant(world, acting(tenant_id), 5, Mode.LIVE, "x", GrantTerms(expires_at=NOW))


@pytest.mark.parametrize(
    ("amount", "reason", "priority", "param"),
    [
        (billing.AMOUNT_NANO_MAX + 1, "x", 50, "amount"),
        (2**63, "x", 50, "amount"),
        (5, "x" * 501, 50, "reason"),
        (5, "a\0b", 50, "reason"),
        (5, "x", 101, "priority"),
        (5, "x", 2**20, "priority"),
    ],
)
def test_what_does_not_fit_is_named(
    world: Services, amount: int, reason: str, priority: int, param: str
) -> None:
    who = acting(tenant(world))
    with pytest.raises(InvalidRequest) as refused:
        billing.grant(world, who, amount, Mode.LIVE, reason, GrantTerms(priority))
    assert refused.value.param == param
    if param != "priority":
        for sign in (1, -1):
            with pytest.raises(InvalidRequest) as refused:
                billing.adjust(world, who, sign * amount, Mode.LIVE, reason)
            assert refused.value.param == param
    billing.grant(world, who, billing.AMOUNT_NANO_MAX, Mode.LIVE, "x" * 500, GrantTerms(100))
    assert ledger_proof.verify(world, OPERATOR).holds


@pytest.mark.parametrize("process", LOGINS)
def test_no_login_can_move_money_but_through_the_functions(
    world: Services, dsn: str, process: str
) -> None:
    tenant(world)
    with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
        for statement in (
            "INSERT INTO ledger_account (tenant_id, mode, kind) SELECT tenant_id, 'live', 'debt'"
            " FROM tenant"
            if process != "operator"
            else "DELETE FROM ledger_account",
            "UPDATE ledger_account SET credits_posted_nano = 1",
            "INSERT INTO ledger_transfer SELECT * FROM ledger_transfer",
            "UPDATE credit_grant SET remaining_nano = granted_nano",
            "INSERT INTO grant_draw SELECT * FROM grant_draw",
            "UPDATE lease SET returned_nano = 0",
            "DELETE FROM lease_grant",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_an_operator_who_named_one_tenant_cannot_grant_to_another(
    world: Services, dsn: str
) -> None:
    mine, other = tenant(world, "mine"), tenant(world, "other")
    with psycopg.connect(sign_in(dsn, "operator")) as connection:
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (mine,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "SELECT jusinfer_grant_credit('grant:x', gen_random_uuid(), %s, 'live', 'promo',"
                " 'grant', 'promotional', 5, 50::smallint, NULL, NULL, 'x', sha256(''))",
                (other,),
            )


BREAKAGES = {
    "spend_limits_fold": "INSERT INTO spend_limit (spend_limit_id, tenant_id, mode,"
    " scope, scope_id, period,"
    " amount_nano, action) SELECT tenant_id, tenant_id, 'live', 'tenant', tenant_id, 'day', 9,"
    " 'stop' FROM tenant; INSERT INTO spend_period (spend_limit_id, period_start, tenant_id,"
    " leased_nano)"
    " SELECT spend_limit_id, now(), tenant_id, 3 FROM spend_limit",
    "slots_fold": "INSERT INTO rate_window SELECT 'tenant', tenant_id, 'concurrency', now(), 2"
    " FROM tenant",
    "accounts_fold": "UPDATE ledger_account SET credits_posted_nano = credits_posted_nano + 1"
    " WHERE kind = 'promo'",
    "grants_fold": "UPDATE credit_grant SET remaining_nano = remaining_nano - 1",
    "grants_held": "UPDATE credit_grant SET held_nano = held_nano + 1",
    "append_only": "ALTER TABLE ledger_transfer DISABLE TRIGGER ledger_transfer_append_only",
    "rounded_once": "ALTER TABLE usage_record DROP CONSTRAINT usage_record_check2;"
    "UPDATE usage_record SET cost_pico = cost_pico + 1",
    "paid_for": "UPDATE credit_grant SET source = 'paid' WHERE mode = 'live'",
    "posted_once": "INSERT INTO usage_record SELECT * FROM usage_record",
    "usage_transfers": "UPDATE usage_record SET cost_pico = 6000, charge_nano = 6",
    "usage_named": "UPDATE usage_record SET transfer_id = 'usage:none'",
    "leases_reclaimed": "UPDATE gateway_worker SET state = 'reclaimed'",
    "leases_held": "UPDATE lease_grant SET held_nano = held_nano + 1",
    "leased_fold": "UPDATE ledger_account SET leased_nano = leased_nano - 1 WHERE leased_nano > 0",
}


@pytest.mark.parametrize("name", sorted(BREAKAGES))
def test_the_proof_finds_what_was_tampered_with(world: Services, dsn: str, name: str) -> None:
    tenant_id = tenant(world)
    give(world, tenant_id, 100)
    worker = uuid.uuid4().hex
    lease_id, _ = take(dsn, tenant_id, 60, worker)
    settle(dsn, tenant_id, str(lease_id), 5, "j:1")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT jusinfer_register(%s, 'j')", (worker,))
    assert ledger_proof.verify(world, OPERATOR).holds
    with psycopg.connect(dsn) as connection:
        connection.execute(BREAKAGES[name])
    broken = [
        found.name for found in ledger_proof.verify(world, OPERATOR).findings if not found.holds
    ]
    assert name in broken

"""Paid credit comes from a payment that exists once; months of usage are made and dropped."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.money import assert_books_are_right, balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in

from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, keys, ledger_proof
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates

RECORD = "SELECT jusinfer_record_payment(%s, %s, %s, %s, %s, %s)"
GRANT = (
    "SELECT jusinfer_grant_credit(%s, gen_random_uuid(), %s, 'live', %s, %s, %s, 5, 50::smallint,"
    " NULL, NULL, 'x', sha256(''))"
)

LIMIT = (
    "INSERT INTO rate_limit (scope, scope_id, tenant_id, kind, amount)"
    " VALUES (%s, %s, %s, 'requests', 1)"
)
SPEND_LIMIT = (
    "INSERT INTO spend_limit (spend_limit_id, scope, scope_id, tenant_id, mode, period,"
    " amount_nano, action)"
    " VALUES (gen_random_uuid(), %s, %s, %s, 'live', 'day', 1, 'stop')"
)


@pytest.fixture
def tenant_id(world: Services) -> str:
    return accounts.create_tenant(world, OPERATOR, "payer").tenant_id


def pay(  # noqa: PLR0913, PLR0917 (what a payment says)
    dsn: str,
    tenant_id: str,
    payment: str,
    ref: str = "pi_1",
    amount: int = 5_000,
    mode: str = "live",
    provider: str = "stripe",
) -> bool:
    with psycopg.connect(sign_in(dsn, "payments")) as connection:
        row = connection.execute(
            RECORD, (payment, tenant_id, mode, amount, provider, ref)
        ).fetchone()
    assert row is not None
    return bool(row[0])


def test_a_payment_gives_its_grant_once(world: Services, dsn: str, tenant_id: str) -> None:
    payment = uuid.uuid4().hex
    assert pay(dsn, tenant_id, payment)
    assert not pay(dsn, tenant_id, payment)
    assert balance(dsn, tenant_id) == (5_000, 0)
    assert_books_are_right(dsn)
    assert ledger_proof.verify(world, OPERATOR).holds
    with psycopg.connect(dsn) as connection:
        assert connection.execute(
            "SELECT l.source, l.granted_nano, a.kind, t.code FROM credit_grant l"
            " JOIN payment p USING (grant_id) JOIN ledger_transfer t USING (transfer_id)"
            " JOIN ledger_account a ON a.account_id = t.debit_account_id"
        ).fetchall() == [("paid", 5_000, "clearing", "purchase")]


def test_eight_webhooks_of_one_payment_give_it_once(
    world: Services, dsn: str, tenant_id: str
) -> None:
    payment = uuid.uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: pay(dsn, tenant_id, payment), range(8)))
    assert sorted(said) == [False] * 7 + [True]
    assert balance(dsn, tenant_id) == (5_000, 0)
    assert ledger_proof.verify(world, OPERATOR).holds


@pytest.mark.parametrize(
    "changed",
    [{"amount": 5_001}, {"mode": "test"}, {"ref": "pi_2"}, {"provider": "other"},
     {"payment": "2" * 32}, {"tenant": "another"}],
    ids=str,
)  # fmt: skip
def test_a_payment_that_is_told_otherwise_is_refused(
    world: Services, dsn: str, tenant_id: str, changed: dict[str, object]
) -> None:
    assert pay(dsn, tenant_id, "1" * 32)
    values: dict[str, object] = {"tenant_id": tenant_id, "payment": "1" * 32} | changed
    if values.pop("tenant", None):
        values["tenant_id"] = accounts.create_tenant(world, OPERATOR, "another").tenant_id
    with pytest.raises(psycopg.DatabaseError, match="other particulars") as refused:
        pay(dsn, **values)  # type: ignore[arg-type]
    assert refused.value.sqlstate == "JI001"
    assert balance(dsn, tenant_id) == (5_000, 0)


@pytest.mark.parametrize("amount", [0, -5])
def test_a_payment_of_nothing_is_refused(dsn: str, tenant_id: str, amount: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        pay(dsn, tenant_id, uuid.uuid4().hex, amount=amount)


def test_a_payment_for_nobody_is_refused(dsn: str) -> None:
    with pytest.raises(psycopg.errors.IntegrityError):
        pay(dsn, uuid.uuid4().hex, uuid.uuid4().hex)


@pytest.mark.parametrize(
    ("kind", "code", "source"),
    [("promo", "grant", "paid"), ("clearing", "grant", "promotional"),
     ("promo", "purchase", "promotional"), ("promo", "grant", "subscription"),
     ("revenue", "grant", "promotional")],
)  # fmt: skip
def test_an_operator_grants_nothing_that_was_paid_for(
    dsn: str, tenant_id: str, kind: str, code: str, source: str
) -> None:
    with psycopg.connect(sign_in(dsn, "operator")) as connection:
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (tenant_id,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="promotional credit"):
            connection.execute(GRANT, ("grant:x", tenant_id, kind, code, source))


def test_a_grant_without_a_tenant_is_refused(dsn: str, tenant_id: str) -> None:
    with (
        psycopg.connect(sign_in(dsn, "operator")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="names no tenant"),
    ):
        connection.execute(GRANT, ("grant:x", tenant_id, "promo", "grant", "promotional"))


def test_what_gives_rights_names_the_tenant_that_it_belongs_to(
    world: Services, dsn: str, tenant_id: str
) -> None:
    other = accounts.create_tenant(world, OPERATOR, "other").tenant_id
    theirs = keys.issue(world, acting(other), Mode.TEST, "theirs", Rates()).key_id
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT member_id FROM member WHERE tenant_id = %s", (other,)
        ).fetchone()
        assert row is not None
        key = (
            "INSERT INTO api_key (key_id, tenant_id, member_id, mode, fingerprint, key_prefix)"
            " VALUES (gen_random_uuid(), %s, %s, 'live', sha256('x'), 'x')"
        )
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(key, (tenant_id, row[0]))
        for scope, scope_id in (("key", theirs), ("member", row[0]), ("tenant", other)):
            for statement in (LIMIT, SPEND_LIMIT):
                with pytest.raises(psycopg.errors.IntegrityError):
                    connection.execute(statement, (scope, scope_id, tenant_id))


def test_months_are_made_ahead_and_old_ones_dropped(dsn: str) -> None:
    with psycopg.connect(sign_in(dsn, "operator"), autocommit=True) as operator:
        assert operator.execute("SELECT jusinfer_months_ahead()").fetchone() == (None,)
        operator.execute("SELECT jusinfer_ensure_months(2)")
        assert operator.execute("SELECT jusinfer_months_ahead()").fetchone() == (2,)
        operator.execute("SELECT jusinfer_ensure_partition('2020-02-14')")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("DROP TABLE usage_record_" + next_month(admin))
    with psycopg.connect(sign_in(dsn, "operator")) as operator:
        assert operator.execute("SELECT jusinfer_months_ahead()").fetchone() == (0,)
    with psycopg.connect(sign_in(dsn, "privacy"), autocommit=True) as privacy:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot be dropped yet"):
            privacy.execute("SELECT jusinfer_drop_month(current_date - 200)")
        assert privacy.execute("SELECT jusinfer_drop_month('2020-02-01')").fetchone() == (True,)
        assert privacy.execute("SELECT jusinfer_drop_month('2020-02-01')").fetchone() == (False,)


def next_month(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    row = connection.execute(
        "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month',"
        " 'YYYY_MM')"
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_what_people_wrote_is_not_in_the_planners_statistics(
    world: Services, dsn: str, tenant_id: str
) -> None:
    mark = "a name that nobody else has"
    accounts.create_tenant(world, OPERATOR, mark)
    keys.issue(world, acting(tenant_id), Mode.TEST, mark, Rates())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT jusinfer_ensure_partition(current_date)")
        connection.execute(
            "INSERT INTO usage_record SELECT gen_random_uuid(), '', %s, %s, %s, 'live', %s, now(),"
            " 0, 0, %s, 'm', 'u', '', 'v', 0, 0, 0, 0, 0, true, true, 0, 0, 0, 1, 'x', 200, NULL,"
            " %s, NULL FROM generate_series(1, 50)",
            (*[tenant_id] * 4, mark, mark),
        )
        connection.execute("ANALYZE")
        found = connection.execute(
            "SELECT starelid::regclass FROM pg_statistic WHERE pg_statistic::text LIKE %s",
            (f"%{mark}%",),
        ).fetchall()
    assert found == []

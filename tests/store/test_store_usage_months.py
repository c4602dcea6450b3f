"""The tables of months of usage: the settler writes into them, and nobody else has a right there.

COPY does not go through row-level security, so that they have none of their own.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from tests.postgres import sign_in

from jusinfer.bootstrap.managed_database import RIGHTS_TO_MONTHS
from jusinfer.store.roles import LOGINS
from jusinfer.store.usage import COLUMNS

# All that the settler may do with tables itself; money it moves by functions.
SETTLERS = {
    "credit_grant": {"SELECT"},
    "gateway_worker": {"SELECT", "UPDATE"},
    "journal_cursor": {"SELECT", "INSERT", "UPDATE"},
    "lease": {"SELECT"},
    "lease_grant": {"SELECT"},
    "ledger_account": {"SELECT"},
    "ledger_transfer": {"SELECT"},
    "grant_draw": {"SELECT"},
    "tenant": {"SELECT"},
}
MONTH = "usage_record_2026_11"
READ = "SELECT * FROM usage_record_2026_11"
NOT_THE_SETTLERS = (
    READ,
    "SELECT count(*) FROM usage_record",
    "COPY usage_record_2026_11 TO STDOUT",
    "INSERT INTO usage_record_2026_11 SELECT * FROM usage_record_2026_11",
    "UPDATE usage_record_2026_11 SET charge_nano = 0",
    "DELETE FROM usage_record_2026_11",
    "TRUNCATE usage_record_2026_11",
    "DROP TABLE usage_record_2026_11",
    "ALTER TABLE usage_record_2026_11 DISABLE TRIGGER ALL",
    "ALTER TABLE usage_record DETACH PARTITION usage_record_2026_11",
)
RIGHTS = """
SELECT c.relname::text, g.privilege_type, g.grantee::regrole::text
FROM pg_class c, aclexplode(c.relacl) g
WHERE c.relnamespace = 'public'::regnamespace AND g.grantee <> c.relowner
"""
VALUES = {
    "completion_id": str(uuid.UUID(int=1)),
    "request_id": str(uuid.UUID(int=2)),
    "tenant_id": str(uuid.UUID(int=3)),
    "member_id": str(uuid.UUID(int=4)),
    "key_id": str(uuid.UUID(int=5)),
    "lease_id": str(uuid.UUID(int=6)),
    "mode": "live",
    "admitted_at": "2026-11-05 00:00:00+00",
}


@pytest.fixture
def months(dsn: str) -> str:
    """Give a database in which each of those who may make months has made one."""
    with psycopg.connect(sign_in(dsn, "settler"), autocommit=True) as settler:
        settler.execute("SELECT jusinfer_ensure_partition('2026-11-01')")
        settler.execute("SELECT jusinfer_ensure_months(2)")
    with psycopg.connect(sign_in(dsn, "operator"), autocommit=True) as operator:
        operator.execute("SELECT jusinfer_ensure_partition('2020-01-01')")
    return dsn


@pytest.fixture
def settler(months: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(sign_in(months, "settler"), autocommit=True) as connection:
        yield connection


def rights(dsn: str) -> list[tuple[str, str, str]]:
    """Give every right that somebody but the owner has to a table: table, right, and whose."""
    with psycopg.connect(dsn) as admin:
        return admin.execute(RIGHTS).fetchall()


def line(**changes: str) -> bytes:
    """Write a row for COPY; what is not said is 0, false or empty, or null where it may be."""
    numbers = {"is_estimated": "f", "is_stream": "f"}
    nulls = {"country", "error_text", "transfer_id", "provider_generation_id"}
    texts = ("model", "upstream", "reasons", "version", "outcome", "list", "log")
    found = []
    for name in COLUMNS:
        known = VALUES | numbers | changes
        if name in known:
            found.append(known[name])
        elif name in nulls or name.endswith("_cost_pico") or name.startswith("first_"):
            found.append("\\N")
        else:
            found.append("x" if name.endswith(texts) else "0")
    return ("\t".join(found) + "\n").encode()


def copied(connection: psycopg.Connection, table: str, *lines: bytes) -> None:
    statement = f"COPY {table} ({', '.join(COLUMNS)}) FROM STDIN".encode()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for one in lines:
            copy.write(one)


def test_every_month_is_the_settlers_to_insert_into_and_nobody_elses(months: str) -> None:
    found = [one for one in rights(months) if one[0].startswith("usage_record_")]
    assert {(right, who) for _, right, who in found} == {("INSERT", "jusinfer_settler")}
    assert len({table for table, _, _ in found}) >= 4


def test_the_settler_has_no_other_right_to_any_table(months: str) -> None:
    found: dict[str, set[str]] = {}
    for table, right, who in rights(months):
        if who == "jusinfer_settler" and not table.startswith("usage_record_"):
            found.setdefault(table, set()).add(right)
    assert found == SETTLERS


def test_the_settler_copies_into_a_month_and_reads_nothing_back(
    settler: psycopg.Connection, months: str
) -> None:
    copied(settler, MONTH, line())
    with psycopg.connect(months) as admin:
        assert admin.execute("SELECT count(*) FROM usage_record").fetchone() == (1,)
    for statement in NOT_THE_SETTLERS:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            settler.execute(statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        copied(settler, "usage_record", line())


@pytest.mark.parametrize(
    "wrong",
    [
        {"admitted_at": "2026-12-05 00:00:00+00"},
        {"charge_nano": "5", "cost_pico": "5000"},
        {"charge_nano": "5", "cost_pico": "1", "transfer_id": "t"},
        {"prompt_tokens": "-1"},
        {"error_text": "x" * 501},
    ],
    ids=["another month", "no transfer", "another price", "no count", "a long text"],
)
def test_a_row_that_cannot_be_is_refused(
    settler: psycopg.Connection, wrong: dict[str, str]
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        copied(settler, MONTH, line(**wrong))


@pytest.mark.parametrize("process", sorted({*LOGINS} - {"settler"}))
def test_no_other_login_meets_a_month(months: str, process: str) -> None:
    with psycopg.connect(sign_in(months, process), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            copied(connection, MONTH, line())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(READ)


def test_a_right_that_was_given_past_row_security_is_seen(months: str) -> None:
    with psycopg.connect(sign_in(months, "operator"), autocommit=True) as operator:
        assert operator.execute(RIGHTS_TO_MONTHS).fetchall() == []
        with psycopg.connect(months, autocommit=True) as admin:
            admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO jusinfer_mail")
            admin.execute(f"GRANT INSERT ON {MONTH} TO PUBLIC".encode())
            admin.execute(f"GRANT SELECT ON {MONTH} TO jusinfer_settler".encode())
        found = operator.execute(RIGHTS_TO_MONTHS).fetchall()
    assert ("PUBLIC", "INSERT", 1) in found
    assert ("jusinfer_settler", "SELECT", 1) in found
    assert [(role, right) for role, right, _ in found] == [
        ("PUBLIC", "INSERT"),
        ("jusinfer_mail", "SELECT"),
        ("jusinfer_settler", "SELECT"),
    ]

"""What guards the audit log, and what `verify` sees when it guards otherwise; its clock."""

import datetime as dt

import psycopg
import pytest
from tests.people import OPERATOR

from jusinfer.domain.audit_chain import Entry, StepBack, digest_of
from jusinfer.services import accounts, audit_log
from jusinfer.services.dependencies import Services
from jusinfer.store.database import migrate

REFUSE = "jusinfer_refuse_audit_change"
APPEND_ONLY, BY_ONE = "audit_entry_append_only", "audit_head_by_one"
OTHERWISE = [
    (APPEND_ONLY, "audit_entry", "BEFORE INSERT ON audit_entry FOR EACH ROW", REFUSE),
    (APPEND_ONLY, "audit_entry", "BEFORE UPDATE ON audit_entry FOR EACH ROW", REFUSE),
    (APPEND_ONLY, "audit_entry", "AFTER UPDATE OR DELETE ON audit_entry FOR EACH ROW", REFUSE),
    (
        APPEND_ONLY,
        "audit_entry",
        "BEFORE UPDATE OF seq OR DELETE ON audit_entry FOR EACH ROW",
        REFUSE,
    ),
    (
        APPEND_ONLY,
        "audit_entry",
        "BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW WHEN (false)",
        REFUSE,
    ),
    (
        APPEND_ONLY,
        "audit_entry",
        "BEFORE UPDATE OR DELETE ON audit_entry FOR EACH STATEMENT",
        REFUSE,
    ),
    (APPEND_ONLY, "audit_entry", "BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW", "pass_on"),
    (APPEND_ONLY, "audit_entry", "BEFORE UPDATE OR DELETE ON tenant FOR EACH ROW", REFUSE),
    ("audit_entry_no_truncate", "audit_entry", "BEFORE TRUNCATE ON tenant", REFUSE),
    (BY_ONE, "audit_head", "BEFORE UPDATE ON audit_head FOR EACH ROW", "pass_on"),
    (BY_ONE, "audit_head", "BEFORE UPDATE ON audit_head FOR EACH ROW", "jusinfer_refuse_change"),
    ("audit_head_stays", "audit_head", "BEFORE INSERT ON audit_head FOR EACH ROW", REFUSE),
]
PASS_ON = """
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$
"""


@pytest.mark.parametrize(("name", "table", "when", "function"), OTHERWISE)
def test_a_guard_of_the_right_name_that_guards_otherwise_is_named(
    world: Services, dsn: str, name: str, table: str, when: str, function: str
) -> None:
    assert audit_log.verify(world, OPERATOR, None).fault is None
    with psycopg.connect(dsn) as connection:
        connection.execute(PASS_ON)
        connection.execute(f"DROP TRIGGER {name} ON {table}".encode())
        made = f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {function}()"
        connection.execute(made.encode())
        now_on = when.partition(" ON ")[2].split()[0]
        connection.execute(f"ALTER TABLE {now_on} ENABLE ALWAYS TRIGGER {name}".encode())
    assert_named(world, name)


def assert_named(world: Services, name: str) -> None:
    fault = audit_log.verify(world, OPERATOR, None).fault
    assert fault is not None
    assert name in fault.what


def test_a_guard_that_is_not_in_force_for_replication_is_named(world: Services, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"ALTER TABLE audit_entry ENABLE TRIGGER {APPEND_ONLY}".encode())
    assert_named(world, APPEND_ONLY)


@pytest.mark.parametrize("function", [REFUSE, "jusinfer_advance_audit_head"])
def test_a_guard_whose_function_was_replaced_is_named(
    world: Services, dsn: str, function: str
) -> None:
    with psycopg.connect(dsn) as connection:
        text = PASS_ON.replace("CREATE", "CREATE OR REPLACE").replace("pass_on", function)
        connection.execute(text.encode())
    assert_named(world, function)
    # As the documentation says that it is mended.
    migrate_anew(dsn)
    assert audit_log.verify(world, OPERATOR, None).fault is None


def migrate_anew(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM schema_text")
    migrate(dsn)


HOUR_US = 3_600 * 1_000_000


def written_at(dsn: str, *offsets_us: int) -> None:
    """Append entries as a database does whose clock is so far from the last entry's time."""
    with psycopg.connect(dsn) as connection:
        for offset in offsets_us:
            row = connection.execute(
                "SELECT h.seq, h.digest, (extract(epoch FROM e.at) * 1000000)::bigint"
                " FROM audit_head h JOIN audit_entry e ON e.seq = h.seq"
            ).fetchone()
            assert row is not None
            seq, before, at_us = row
            entry = Entry(
                seq + 1, at_us + offset, "operator", "tester", "cli", "cli", None, None,
                "key.list", "done", "key", f"seq{seq + 1}", b"",
            )  # fmt: skip
            digest = digest_of(entry, before)
            connection.execute(
                "INSERT INTO audit_entry VALUES (%s, to_timestamp(0) + %s * interval '1 us',"
                " 'operator', 'tester', 'cli', 'cli', NULL, NULL, 'key.list', 'done', 'key', %s,"
                " %s)",
                (entry.seq, entry.at_us, entry.object_id, digest),
            )
            connection.execute("UPDATE audit_head SET seq = %s, digest = %s", (entry.seq, digest))


def test_a_clock_that_was_set_back_is_remarked_and_hides_no_entry(
    world: Services, dsn: str
) -> None:
    accounts.create_tenant(world, OPERATOR, "one")
    start = audit_log.list_entries(world, OPERATOR, None, 10)[-1]
    written_at(dsn, HOUR_US, HOUR_US, -5 * HOUR_US, 1, -7)
    verdict = audit_log.verify(world, OPERATOR, None)
    assert verdict.fault is None
    first = start.seq + 1
    assert verdict.steps_back == (StepBack(first + 2, 5 * HOUR_US), StepBack(first + 4, 7))
    since = dt.datetime.fromtimestamp(start.at_us // 1_000_000, dt.UTC) + dt.timedelta(minutes=90)
    found = audit_log.list_entries(world, OPERATOR, since, 10)
    # From the second hour on, with all that came after it; the reading itself is the last.
    assert [one.seq for one in found] == [*range(first + 1, first + 6)]
    later = since + dt.timedelta(days=3)
    assert audit_log.list_entries(world, OPERATOR, later, 10) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE audit_entry RENAME TO hidden",
        "DROP TABLE audit_head CASCADE",
        "ALTER TABLE audit_entry RENAME TO hidden; CREATE VIEW audit_entry AS TABLE hidden",
    ],
)
def test_a_table_that_was_taken_away_is_said_to_be(world: Services, dsn: str, change: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
    fault = audit_log.verify(world, OPERATOR, None).fault
    assert fault is not None
    assert "is missing: audit_" in fault.what

"""The audit log on a real PostgreSQL: what is written, and what is found when it is changed."""

import os
import signal
import subprocess
import sys
import threading

import psycopg
import pytest
from tests.people import OPERATOR, acting, member
from tests.postgres import sign_in

from jusinfer.adapters import system
from jusinfer.domain.actor import Action, How, Operator, Role, coarse
from jusinfer.domain.audit_chain import Head, read_head
from jusinfer.domain.errors import InvalidRequest, RoleForbids
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import LimitKind, SpendLimitAction
from jusinfer.domain.tenant_policy import NO_POLICY
from jusinfer.services import accounts, audit_log, billing, keys, limits, usage
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.store.audit_log import GUARDS
from jusinfer.store.audit_note import NothingNoted, note
from jusinfer.store.database import Database, migrate

GIFT = 1_000
NAME = "Maria Gonzalez <maria@example.org>"


def told(world: Services) -> list[tuple[str, str, str]]:
    """Give (action, object kind, outcome) of every entry since the schema was made."""
    found = audit_log.list_entries(world, OPERATOR, None, 10_000)
    return [(one.action, one.object_kind, one.outcome) for one in found][1:]


def test_each_change_leaves_its_entry_and_no_name(world: Services, dsn: str) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, NAME).tenant_id
    on = acting(tenant_id)
    key = keys.issue(world, on, Mode.TEST, NAME, Rates())
    billing.grant(world, on, GIFT, Mode.LIVE, NAME, GrantTerms())
    billing.adjust(world, on, 5, Mode.LIVE, NAME)
    billing.adjust(world, on, -5, Mode.LIVE, NAME)
    limits.set_limit(world, on, "key", key.key_id, LimitKind.REQUESTS, 5)
    spend_limit_id = limits.add_spend_limit(
        world, on, "tenant", tenant_id, "day", 5, SpendLimitAction.WARN, Mode.LIVE
    )
    limits.remove_spend_limit(world, on, spend_limit_id)
    limits.set_tenant_settings(world, on, None, "Europe/Paris")
    limits.set_policy(world, on, NO_POLICY)
    keys.revoke(world, on, key.key_prefix)
    audit_log.note_rules(world, OPERATOR, "mine.1")
    changes = [
        ("tenant.create", "tenant", "done"),
        ("key.issue", "key", "done"),
        ("credit.grant", "transfer", "done"),
        ("credit.adjust", "transfer", "done"),
        ("credit.adjust", "transfer", "done"),
        ("limit.set", "limit", "done"),
        ("spend_limit.add", "spend_limit", "done"),
        ("spend_limit.remove", "spend_limit", "done"),
        ("tenant.terms", "tenant", "done"),
        ("tenant.policy", "tenant", "done"),
        ("key.revoke", "key", "done"),
        ("rules.activate", "rules", "done"),
    ]
    assert told(world) == [*changes, ("audit.read", "tenant", "done")]
    with psycopg.connect(dsn) as connection:
        text = str(connection.execute("SELECT * FROM audit_entry").fetchall())
    for word in ("Maria", "example.org"):
        assert word not in text
    assert audit_log.verify(world, OPERATOR, None).fault is None


def test_what_an_operator_reads_of_people_is_told_and_what_a_member_reads_is_not(
    world: Services, people: Services, dsn: str
) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "read").tenant_id
    owner = member(dsn, tenant_id, Role.OWNER)
    before = len(told(world))
    keys.list_keys(people, owner)
    billing.grants(people, owner)
    usage.totals(people, owner, 30)
    assert len(told(world)) == before + 1  # the reading of the log just before
    keys.list_keys(world, OPERATOR)
    billing.balances(world, acting(tenant_id))
    limits.list_spend_limits(world, OPERATOR)
    found = audit_log.list_entries(world, OPERATOR, None, 10)[-4:]
    assert [one.action for one in found] == [
        "key.list",
        "credit.read",
        "spend_limit.read",
        "audit.read",
    ]
    assert [one.tenant_id for one in found] == [None, tenant_id, None, None]


def test_a_failed_change_leaves_neither_change_nor_entry(world: Services) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "failing").tenant_id
    before = told(world)
    for fails in (
        lambda: keys.revoke(world, acting(tenant_id), "ji_live_none"),
        lambda: billing.adjust(world, acting(tenant_id), -5, Mode.LIVE, "too much"),
        lambda: limits.remove_spend_limit(world, acting(tenant_id), "0" * 32),
        lambda: accounts.create_tenant(world, OPERATOR, "failing"),
    ):
        with pytest.raises(InvalidRequest):
            fails()
    assert [one for one in told(world) if one[0] != "audit.read"] == [
        one for one in before if one[0] != "audit.read"
    ]


def test_a_transaction_that_changes_and_tells_nothing_is_rolled_back(
    world: Services, dsn: str
) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "silent").tenant_id
    with pytest.raises(NothingNoted):
        change_silently(world, tenant_id)
    with psycopg.connect(dsn) as connection:
        lists = connection.execute("SELECT price_list FROM tenant").fetchall()
    assert lists == [("",)]


def change_silently(world: Services, tenant_id: str) -> None:
    with world.database.for_tenant(acting(tenant_id), Action.TENANT_TERMS) as tx:
        tx.exec_driver_sql("UPDATE tenant SET price_list = 'partner'")


def test_a_denied_wish_is_told_with_who_and_from_where(
    world: Services, people: Services, dsn: str
) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "denied").tenant_id
    viewer = member(dsn, tenant_id, Role.VIEWER, coarse("203.0.113.77"))
    with pytest.raises(RoleForbids):
        keys.issue(people, viewer, Mode.LIVE, "k", Rates())
    entry = audit_log.list_entries(world, OPERATOR, None, 10)[-2]
    assert (entry.action, entry.outcome, entry.tenant_id) == ("key.issue", "denied", tenant_id)
    assert (entry.actor_kind, entry.actor_id) == ("member", viewer.member_id)
    assert entry.network == "203.0.113.0/24"
    assert audit_log.verify(world, OPERATOR, None).fault is None


def test_owners_see_the_entries_of_their_tenant_alone(
    world: Services, people: Services, dsn: str
) -> None:
    own, other = (
        accounts.create_tenant(world, OPERATOR, name).tenant_id for name in ("own", "other")
    )
    keys.issue(world, acting(other), Mode.TEST, "k", Rates())
    found = audit_log.list_entries(people, member(dsn, own, Role.OWNER), None, 100)
    assert {one.tenant_id for one in found} == {own}
    assert [one.action for one in found] == ["tenant.create"]


# ------------------------------------------------------------------ the chain


def filled(world: Services, count: int = 6) -> None:
    for index in range(count):
        accounts.create_tenant(world, OPERATOR, f"t{index}")


def forced(dsn: str, *statements: str) -> None:
    """Do as a superuser who takes the guards off, and puts them on again."""
    with psycopg.connect(dsn) as connection:
        guard(connection, "DISABLE")
        for statement in statements:
            connection.execute(statement)
        guard(connection, "ENABLE ALWAYS")


def guard(connection: psycopg.Connection, how: str) -> None:
    for name in GUARDS:
        table = "audit_head" if name.startswith("audit_head") else "audit_entry"
        connection.execute(f"ALTER TABLE {table} {how} TRIGGER {name}")


def as_role(dsn: str, role: str, statement: str, *values: str, tenant_id: str = "") -> None:
    """Do one thing in a role."""
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SET ROLE jusinfer_{role}")
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (tenant_id,))
        connection.execute(statement, values)


SWAP = """
CREATE TEMP TABLE swapped AS SELECT * FROM audit_entry WHERE seq IN (3, 4);
DELETE FROM audit_entry WHERE seq IN (3, 4);
UPDATE swapped SET seq = 7 - seq;
INSERT INTO audit_entry SELECT * FROM swapped
"""
CHANGES = [
    ("UPDATE audit_entry SET actor_id = 'nobody' WHERE seq = 3", 3),
    ("UPDATE audit_entry SET at = at + interval '1 microsecond' WHERE seq = 3", 3),
    ("UPDATE audit_entry SET tenant_id = NULL WHERE seq = 3", 3),
    ("UPDATE audit_entry SET network = '192.0.2.0/24' WHERE seq = 3", 3),
    ("UPDATE audit_entry SET outcome = 'denied' WHERE seq = 3", 3),
    ("UPDATE audit_entry SET object_id = '' WHERE seq = 3", 3),
    ("UPDATE audit_entry SET digest = sha256('x') WHERE seq = 3", 3),
    ("DELETE FROM audit_entry WHERE seq = 4", 4),
    ("DELETE FROM audit_entry WHERE seq = 1", 1),
    ("DELETE FROM audit_entry WHERE seq = 7", 7),
    ("DELETE FROM audit_entry", 1),
    ("TRUNCATE audit_entry", 1),
    ("UPDATE audit_head SET seq = 9", 8),
    ("UPDATE audit_head SET seq = 5", 7),
    ("DELETE FROM audit_head", 7),
    (SWAP, 3),
]


@pytest.mark.parametrize(("change", "seq"), CHANGES)
def test_a_change_is_found_and_named(world: Services, dsn: str, change: str, seq: int) -> None:
    filled(world)
    assert audit_log.verify(world, OPERATOR, None).entries == 7
    forced(dsn, change)
    fault = audit_log.verify(world, OPERATOR, None).fault
    assert fault is not None
    assert fault.seq == seq


def test_a_tail_cut_off_with_its_head_is_found_by_a_head_that_was_kept(
    world: Services, dsn: str
) -> None:
    filled(world)
    kept = read_head(str(audit_log.head(world, OPERATOR)))
    forced(
        dsn,
        "DELETE FROM audit_entry WHERE seq > 5",
        "UPDATE audit_head SET seq = 5, digest = (SELECT digest FROM audit_entry WHERE seq = 5)",
    )
    assert audit_log.verify(world, OPERATOR, None).fault is None
    fault = audit_log.verify(world, OPERATOR, kept).fault
    assert fault is not None
    assert fault.seq == 6
    filled_again = [accounts.create_tenant(world, OPERATOR, f"again{n}") for n in range(3)]
    assert len(filled_again) == 3
    fault = audit_log.verify(world, OPERATOR, kept).fault
    assert fault is not None
    assert fault.seq == 7


def test_a_database_that_lies_about_digests_is_found(world: Services, dsn: str) -> None:
    filled(world, 1)
    forced(
        dsn,
        "CREATE OR REPLACE FUNCTION jusinfer_audit_text(e audit_entry, before bytea)"
        " RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'same' $$",
    )
    filled_again = accounts.create_tenant(world, OPERATOR, "after")
    assert filled_again.name == "after"
    fault = audit_log.verify(world, OPERATOR, None).fault
    assert fault is not None
    assert fault.seq == 3


def test_a_guard_that_is_off_is_named(world: Services, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER audit_entry_append_only")
    fault = audit_log.verify(world, OPERATOR, None).fault
    assert fault is not None
    assert "audit_entry_append_only" in fault.what


ATTEMPTS = (
    "UPDATE audit_entry SET actor_id = 'x'",
    "DELETE FROM audit_entry",
    "TRUNCATE audit_entry",
    "UPDATE audit_head SET seq = 1",
    "DELETE FROM audit_head",
    "TRUNCATE audit_head",
    "INSERT INTO audit_entry SELECT * FROM audit_entry",
    "SELECT jusinfer_append_audit('member','x','cli','cli',NULL,NULL,'key.list','done','key','')",
)
ROLES = ("gateway", "settler", "web", "operator", "reconciler")


@pytest.mark.parametrize("statement", ATTEMPTS)
@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_touch_the_log(world: Services, dsn: str, role: str, statement: str) -> None:
    filled(world, 1)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_role(dsn, role, statement)


@pytest.mark.parametrize("statement", ATTEMPTS[:6])
def test_not_even_a_superuser_does_it_by_accident(
    world: Services, dsn: str, statement: str
) -> None:
    filled(world, 1)
    for mode in ("origin", "replica"):
        with psycopg.connect(dsn) as connection:
            connection.execute(f"SET session_replication_role = {mode}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_member_of_another_tenant_cannot_be_named(world: Services, dsn: str) -> None:
    own, other = (
        accounts.create_tenant(world, OPERATOR, name).tenant_id for name in ("own", "other")
    )
    foreign = member(dsn, other, Role.OWNER).member_id
    statement = (
        "SELECT jusinfer_audit_member(%s, 'session', 'console', NULL, 'key.list', 'done',"
        " 'key', '')"
    )
    as_role(dsn, "web", statement, foreign, tenant_id=other)
    for tenant_id in (own, ""):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(dsn, "web", statement, foreign, tenant_id=tenant_id)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("action", "key.made up"),
        ("action", "key.unknown"),
        ("outcome", "perhaps"),
        ("object_id", "Maria Gonzalez"),
        ("object_id", "a\x1b[31m"),
        ("object_kind", "Key"),
        ("actor", "Maria Gonzalez"),
        ("how", "dream"),
    ],
)
def test_free_text_does_not_fit(dsn: str, column: str, value: str) -> None:
    given = {
        "actor": "a",
        "how": "cli",
        "origin": "cli",
        "action": "key.list",
        "outcome": "done",
        "object_kind": "key",
        "object_id": "",
    }
    statement = (
        "SELECT jusinfer_audit_operator(false, %(actor)s, %(how)s, %(origin)s, %(action)s,"
        " %(outcome)s, %(object_kind)s, %(object_id)s)"
    )
    with psycopg.connect(dsn) as connection:
        connection.execute(statement, given)
    refused = (
        psycopg.errors.CheckViolation,
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.InsufficientPrivilege,
    )
    with psycopg.connect(dsn) as connection, pytest.raises(refused):
        connection.execute(statement, given | {column: value})


def test_the_database_knows_every_action(dsn: str) -> None:
    statement = (
        "SELECT jusinfer_audit_operator(true, 'p', 'process', 'process', %s, 'done', 'key', '')"
    )
    with psycopg.connect(dsn) as connection:
        for action in Action:
            connection.execute(statement, (action.value,))


def test_many_writers_make_one_chain(world: Services, dsn: str) -> None:
    writers, each = 8, 12
    faults: list[BaseException] = []

    def write(number: int) -> None:
        own = Services(Database(sign_in(dsn, "operator")), system.new_id, system.new_secret)
        try:
            operator = Operator(f"writer-{number}", How.PROCESS)
            for index in range(each):
                accounts.create_tenant(own, operator, f"{number}-{index}")
        except BaseException as error:
            faults.append(error)
            raise
        finally:
            own.database.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not faults
    verdict = audit_log.verify(world, OPERATOR, None)
    assert verdict.fault is None
    assert verdict.entries == writers * each + 1


KILLED = """
import sys, time
import psycopg
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("SET ROLE jusinfer_operator")
    connection.execute("SELECT jusinfer_audit_operator(false, 'killed', 'cli', 'cli',"
        " 'key.list', 'done', 'key', '')")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_writer_killed_before_its_commit_leaves_no_hole_and_no_lock(
    world: Services, dsn: str
) -> None:
    filled(world, 1)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, dsn], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    accounts.create_tenant(world, OPERATOR, "after")
    verdict = audit_log.verify(world, OPERATOR, None)
    assert verdict.fault is None
    assert verdict.entries == 3


def test_a_migration_is_an_entry_and_doing_nothing_is_none(world: Services, dsn: str) -> None:
    migrate(dsn)
    first, *others = audit_log.list_entries(world, OPERATOR, None, 10)
    assert (first.seq, first.actor_kind, first.actor_id) == (1, "process", "migrate")
    assert (first.action, first.object_kind) == ("schema.migrate", "schema")
    assert [one.action for one in others] == ["audit.read"]


def test_a_head_is_written_and_read() -> None:
    head = Head(12, bytes(range(32)))
    assert read_head(f" {head}\n") == head
    for text in ("", "12", "12:ab", f"-1:{'0' * 64}", f"1:{'g' * 64}"):
        with pytest.raises(ValueError, match="a head is"):
            read_head(text)


def test_notes_of_one_transaction_are_not_those_of_the_next(world: Services) -> None:
    refused = RuntimeError("after the note")
    with pytest.raises(RuntimeError):
        note_and_fail(world, refused)
    audit_log.note_rules(world, OPERATOR, "kept")
    found = audit_log.list_entries(world, OPERATOR, None, 10)
    assert [one.object_id for one in found if one.object_kind == "rules"] == ["kept"]


def note_and_fail(world: Services, error: Exception) -> None:
    with world.database.as_operator(OPERATOR, Action.RULES_ACTIVATE) as tx:
        note(tx, "rules", "lost")
        raise error

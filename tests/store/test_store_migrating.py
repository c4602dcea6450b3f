"""A migration that others are in the way of: it waits so long and no longer, and says for whom."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from jusinfer.store import database, logins
from jusinfer.store.database import MIGRATION_LOCK, migrate
from jusinfer.store.errors import StoreError
from jusinfer.store.lock_waits import Blocker

SECONDS = 2


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (database, logins):
        monkeypatch.setattr(module, "MIGRATION_LOCK_SECONDS", SECONDS)


@pytest.fixture
def old(dsn: str) -> str:
    """Give a database whose functions and triggers are to be made anew."""
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM schema_text")
    return dsn


@pytest.fixture
def reader(old: str) -> Iterator[psycopg.Connection]:
    """Hold a transaction open that reads what a migration must change."""
    with psycopg.connect(old, application_name="a long report") as connection:
        connection.execute("SELECT count(*) FROM ledger_transfer")
        yield connection
        connection.rollback()


def pid_of(connection: psycopg.Connection) -> int:
    return connection.info.backend_pid


def test_it_says_who_is_in_the_way_and_changes_nothing(
    old: str, reader: psycopg.Connection
) -> None:
    with pytest.raises(StoreError) as refused:
        migrate(old)
    said = str(refused.value)
    assert f"server process {pid_of(reader)} (postgres, a long report, in a transaction for" in said
    assert "pg_terminate_backend" in said
    assert "SELECT count" not in said
    assert not database.is_current(old)
    reader.rollback()
    migrate(old)
    assert database.is_current(old)


def test_what_is_let_go_in_time_is_waited_for(old: str, reader: psycopg.Connection) -> None:
    timer = threading.Timer(SECONDS / 4, reader.rollback)
    timer.start()
    migrate(old)
    timer.join()
    assert database.is_current(old)


@pytest.fixture
def first(dsn: str) -> Iterator[psycopg.Connection]:
    """Be in the middle of another migration."""
    with psycopg.connect(dsn, application_name="jusinfer migrate") as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        yield connection
        connection.rollback()


def test_a_second_one_waits_for_the_first_and_then_says_so(
    dsn: str, first: psycopg.Connection
) -> None:
    who = f"server process {pid_of(first)} \\(postgres, jusinfer migrate"
    with pytest.raises(StoreError, match=who):
        migrate(dsn)
    first.rollback()
    migrate(dsn)


def test_passwords_wait_for_a_migration_and_then_say_so(
    dsn: str, first: psycopg.Connection
) -> None:
    assert first.info.backend_pid
    with pytest.raises(StoreError, match="another `jusinfer` is changing"):
        logins.set_passwords(dsn, logins.Logins(dsn, b"never set"))


def test_two_at_once_take_turns(old: str) -> None:
    faults: list[StoreError] = []

    def run() -> None:
        try:
            migrate(old)
        except StoreError as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert database.is_current(old)


def test_a_step_that_takes_too_long_is_said_to(
    old: str, monkeypatch: pytest.MonkeyPatch, reader: psycopg.Connection
) -> None:
    assert reader.info.backend_pid
    monkeypatch.setattr(database, "MIGRATION_STATEMENT_SECONDS", 1)
    with pytest.raises(StoreError, match="took longer than 1 s"):
        migrate(old)


def test_a_role_that_sees_little_of_others_names_what_it_sees() -> None:
    assert str(Blocker(7, "jusinfer_gateway", None, None)) == "server process 7 (jusinfer_gateway)"
    assert "pg_prepared_xacts" in str(Blocker(0, None, None, None))

"""A PostgreSQL of the operator's own: what migrating takes, and what it does without."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.postgres import SECRET

from jusinfer.store import logins, roles
from jusinfer.store.database import is_current, migrate
from jusinfer.store.embedded import EmbeddedPostgres
from jusinfer.store.errors import StoreError
from jusinfer.store.privileges import script, verifier


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Run a server that has none of our roles yet."""
    server = EmbeddedPostgres(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def made(own: EmbeddedPostgres, *, attribute: str, is_owner: bool) -> str:
    """Make a role and a database for it; gives what DATABASE_URL would be."""
    with psycopg.connect(own.admin_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE dba LOGIN {attribute} PASSWORD 'x'".encode())
        admin.execute(f"CREATE DATABASE mine OWNER {'dba' if is_owner else 'postgres'}".encode())
    return logins.signed_in(own.dsn, "dba", "x").replace("/jusinfer?", "/mine?")


def assert_works(dsn: str, found: logins.Logins) -> None:
    for process, role in roles.LOGINS.items():
        with psycopg.connect(found.dsn_of(process)) as connection:
            row = connection.execute("SELECT session_user::text").fetchone()
        assert row == (role,)
    assert is_current(found.dsn_of("operator"))
    with psycopg.connect(dsn) as connection:
        assert connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == (False,)


def test_a_role_with_createrole_that_owns_the_database_is_enough(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    dsn = made(own, attribute="CREATEROLE", is_owner=True)
    migrate(dsn)
    found = logins.keep(dsn, tmp_path, may_replace=True)
    assert_works(dsn, found)
    migrate(dsn)
    # Another start changes no password, as another machine may be signed in.
    again = logins.keep(dsn, tmp_path, may_replace=True)
    assert again.dsn_of("gateway") == found.dsn_of("gateway")
    assert_works(dsn, found)


def test_what_is_printed_for_an_administrator_is_enough(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    dsn = made(own, attribute="", is_owner=False)
    with pytest.raises(StoreError, match="--print-privileges"):
        migrate(dsn)
    chosen = logins.choose(dsn, tmp_path)
    with psycopg.connect(own.admin_dsn.replace("/jusinfer?", "/mine?")) as admin:
        for _ in range(2):
            admin.execute(script(chosen, "mine", "dba").encode())
    migrate(dsn)
    assert_works(dsn, logins.keep(dsn, tmp_path, may_replace=True))


def test_what_is_printed_lets_nobody_in(tmp_path: Path) -> None:
    chosen = logins.Logins("postgresql:///x", SECRET)
    text = script(chosen, 'a"b', "dba")
    assert 'DATABASE "a""b"' in text
    for process in roles.LOGINS:
        assert chosen.password(process) not in text
    assert SECRET.hex() not in text
    assert verifier("x") == verifier("x") != verifier("y")
    assert list(tmp_path.iterdir()) == []

"""A real PostgreSQL for tests: one server for a test process, one fresh database for a test."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from jusinfer.store import logins, roles
from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres

SECRET = b"the secret of every login of a test's own server"
_numbers = itertools.count()


def sign_in(dsn: str, process: str) -> str:
    """Give the address by which a process signs in to a database of these."""
    return logins.Logins(dsn, SECRET).dsn_of(process)


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """Run a server in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ji-pg-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        try:
            migrate(postgres.start())
            logins.set_passwords(postgres.admin_dsn, logins.Logins(postgres.dsn, SECRET))
            yield postgres
        finally:
            postgres.stop()


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Copy the migrated database; gives the superuser's dsn of the copy."""
    name = f"copy_{next(_numbers)}"
    mine = postgres.admin_dsn.replace("/jusinfer?", f"/{name}?")
    admin = postgres.admin_dsn.replace("/jusinfer?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE jusinfer")
    # A copy does not take over who may connect.
    with psycopg.connect(mine) as connection:
        roles.confine(connection)
    try:
        yield mine
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

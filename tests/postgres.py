"""A real PostgreSQL for tests: one server for a test process, one fresh database for a test."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres

_numbers = itertools.count()


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """Run a server in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ji-pg-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        try:
            migrate(postgres.start())
            yield postgres
        finally:
            postgres.stop()


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Copy the migrated database; gives the dsn of the copy."""
    name = f"copy_{next(_numbers)}"
    admin = postgres.dsn.replace("/jusinfer?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE jusinfer")
    try:
        yield postgres.dsn.replace("/jusinfer?", f"/{name}?")
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

"""Fixtures of the tests that need a real PostgreSQL."""

from collections.abc import Iterator

import pytest
from tests.postgres import fresh_database, server, sign_in

from jusinfer.adapters import system
from jusinfer.services.dependencies import Services
from jusinfer.store.database import Database
from jusinfer.store.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with server() as running:
        yield running


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    with fresh_database(postgres) as found:
        yield found


@pytest.fixture
def world(dsn: str) -> Iterator[Services]:
    made = Services(Database(sign_in(dsn, "operator")), system.new_id, system.new_secret)
    yield made
    made.database.close()


@pytest.fixture
def people(dsn: str) -> Iterator[Services]:
    """Give the services as the console has them, which signs in as itself."""
    made = Services(Database(sign_in(dsn, "console")), system.new_id, system.new_secret)
    yield made
    made.database.close()

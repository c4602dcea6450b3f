"""Fixtures of the tests that need a real PostgreSQL."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.postgres import fresh_database, server, sign_in

from jusinfer.adapters import system
from jusinfer.services.dependencies import Services
from jusinfer.store.database import Database
from jusinfer.store.embedded import EmbeddedPostgres

# Registered here, where pytest finds them before it looks for the profile that it is asked for.
settings.register_profile("money-short", max_examples=12, stateful_step_count=30)
settings.register_profile("money-long", max_examples=400, stateful_step_count=60)


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

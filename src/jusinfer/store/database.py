"""The engine, transactions with their tenant and role, and migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NewType

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from jusinfer.store.errors import StoreError

__all__ = ["Database", "Reader", "StoreError", "Writer", "is_current", "migrate", "sqlalchemy_url"]

STATEMENT_MS_MAX: Final = 10_000
LOCK_MS_MAX: Final = 3_000
SNAPSHOT_MS_MAX: Final = 600_000
CONNECT_SECONDS: Final = 5
MIGRATION_LOCK: Final = 7_219_417_001
HERE: Final = Path(__file__).parent

# The same connection at run time, but a reader handed to a writer is a type error.
Reader = NewType("Reader", sa.Connection)
Writer = NewType("Writer", sa.Connection)


def sqlalchemy_url(dsn: str) -> str:
    """Turn a PostgreSQL URL into one for psycopg 3."""
    for scheme in ("postgresql://", "postgres://"):
        if dsn.startswith(scheme):
            return "postgresql+psycopg://" + dsn.removeprefix(scheme)
    raise StoreError("DATABASE_URL must begin with postgresql://")


class Database:
    """Opens transactions for use cases; nothing else may commit."""

    def __init__(self, dsn: str) -> None:
        self._engine = sa.create_engine(
            sqlalchemy_url(dsn),
            hide_parameters=True,
            pool_size=4,
            max_overflow=8,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS},
        )

    @contextmanager
    def write(self, tenant_id: str | None = None) -> Iterator[Writer]:
        """Open a transaction for a tenant, or as the operator when none is named."""
        with self._transaction(tenant_id, is_read_only=False) as connection:
            yield Writer(connection)

    @contextmanager
    def read(self, tenant_id: str | None = None) -> Iterator[Reader]:
        """Open a read-only transaction for a tenant, or as the operator when none is named."""
        with self._transaction(tenant_id, is_read_only=True) as connection:
            yield Reader(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """Open a long read of one moment, as the operator."""
        with self._transaction(None, is_read_only=True, is_snapshot=True) as connection:
            yield Reader(connection)

    @contextmanager
    def _transaction(
        self, tenant_id: str | None, *, is_read_only: bool, is_snapshot: bool = False
    ) -> Iterator[sa.Connection]:
        role = "jusinfer_operator" if tenant_id is None else "jusinfer_control"
        try:
            with self._engine.begin() as connection:
                if is_snapshot:
                    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                if is_read_only:
                    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
                statement_ms = SNAPSHOT_MS_MAX if is_snapshot else STATEMENT_MS_MAX
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {statement_ms}")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}")
                connection.execute(
                    sa.text("SELECT set_config('jusinfer.tenant_id', :tenant, true)"),
                    {"tenant": tenant_id or ""},
                )
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise StoreError(
                f"the database does not answer ({type(error.orig).__name__}); see `jusinfer doctor`"
            ) from error

    def close(self) -> None:
        """Let every connection go."""
        self._engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    return config


def migrate(dsn: str) -> None:
    """Bring the schema up to date; two at once wait for each other."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS) as lock:
            lock.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            engine = sa.create_engine(
                sqlalchemy_url(dsn), poolclass=sa.NullPool, hide_parameters=True
            )
            with engine.begin() as connection:
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            engine.dispose()
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        raise StoreError(
            f"the database cannot be reached ({type(error).__name__});"
            " check DATABASE_URL and that the server is up"
        ) from error


def is_current(dsn: str) -> bool:
    """Tell whether the schema is the one that this version needs."""
    engine = sa.create_engine(sqlalchemy_url(dsn), poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except sa.exc.OperationalError as error:
        raise StoreError("the database cannot be reached; check that it is up") from error
    finally:
        engine.dispose()
    return found == ScriptDirectory.from_config(_config()).get_current_head()

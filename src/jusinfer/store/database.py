"""The engine, transactions with their tenant, and migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NewType

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from jusinfer.store import roles, schema_text
from jusinfer.store.errors import StoreError

__all__ = [
    "Database",
    "Reader",
    "StoreError",
    "Writer",
    "is_current",
    "migrate",
    "name_tenant",
    "sqlalchemy_url",
]

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
        try:
            with self._engine.begin() as connection:
                if is_snapshot:
                    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                if is_read_only:
                    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                statement_ms = SNAPSHOT_MS_MAX if is_snapshot else STATEMENT_MS_MAX
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {statement_ms}")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}")
                name_tenant(connection, tenant_id)
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise StoreError(
                f"the database does not answer ({type(error.orig).__name__}); see `jusinfer doctor`"
            ) from error

    def close(self) -> None:
        """Let every connection go."""
        self._engine.dispose()


def name_tenant(tx: sa.Connection, tenant_id: str | None) -> None:
    """Let the rest of the transaction see and change this tenant's rows only, if one is named."""
    tx.execute(
        sa.text("SELECT set_config('jusinfer.tenant_id', :tenant, true)"),
        {"tenant": tenant_id or ""},
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    return config


def migrate(dsn: str) -> None:
    """Bring tables, functions and rights up to date, all or nothing; two at once take turns.

    The role of `dsn` makes roles where they lack; the rest is done as the owner. Raises StoreError.
    """
    engine = sa.create_engine(sqlalchemy_url(dsn), poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
            # Ends with the transaction, so it holds through a pooler too.
            raw.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            roles.prepare(raw)
            raw.execute(f"SET LOCAL ROLE {roles.OWNER}")
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            schema_text.apply(raw)
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        raise StoreError(
            f"the database cannot be reached ({type(error).__name__});"
            " check DATABASE_URL and that the server is up"
        ) from error
    finally:
        engine.dispose()


def is_current(dsn: str) -> bool:
    """Tell whether tables and functions are those that this version needs."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            head = ScriptDirectory.from_config(_config()).get_current_head()
            return found == [(head,)] and schema_text.is_applied(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return False
    except psycopg.OperationalError as error:
        raise StoreError("the database cannot be reached; check that it is up") from error

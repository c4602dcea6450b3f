"""The engine, transactions with their tenant, and migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, NewType

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from jusinfer.domain.actor import (
    NOTED_READS,
    Action,
    Actor,
    Anyone,
    How,
    Operator,
    Origin,
    TenantActor,
    require,
)
from jusinfer.domain.errors import RoleForbids
from jusinfer.store import roles, schema_text
from jusinfer.store.audit_note import DENIED, DONE, Object, append, begin, write_notes
from jusinfer.store.errors import StoreError
from jusinfer.store.lock_waits import Blocker, Watch

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
MIGRATION_LOCK_SECONDS: Final = 30
MIGRATION_STATEMENT_SECONDS: Final = 1_800
MIGRATING: Final = Operator("migrate", How.PROCESS, Origin.PROCESS)
HERE: Final = Path(__file__).parent

# The same connection at run time, but a reader handed to a writer is a type error.
Reader = NewType("Reader", sa.Connection)
Writer = NewType("Writer", sa.Connection)


class _Form(NamedTuple):
    """What a transaction may do and for how long a statement of it may run."""

    name: str
    statement_ms_max: int


_WRITE: Final = _Form("write", STATEMENT_MS_MAX)
_READ: Final = _Form("read", STATEMENT_MS_MAX)
_SNAPSHOT: Final = _Form("snapshot", SNAPSHOT_MS_MAX)


def sqlalchemy_url(dsn: str) -> str:
    """Turn a PostgreSQL URL into one for psycopg 3."""
    for scheme in ("postgresql://", "postgres://"):
        if dsn.startswith(scheme):
            return "postgresql+psycopg://" + dsn.removeprefix(scheme)
    raise StoreError("DATABASE_URL must begin with postgresql://")


class Database:
    """Opens transactions for use cases; nothing else may commit.

    Every transaction is somebody's, for an action; what a role may not do is refused here.
    """

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
    def for_tenant(self, actor: TenantActor, action: Action) -> Iterator[Writer]:
        """Open a transaction that changes one tenant; raises RoleForbids."""
        with self._transaction(actor, action, _WRITE) as connection:
            yield Writer(connection)

    @contextmanager
    def read_for_tenant(self, actor: TenantActor, action: Action) -> Iterator[Reader]:
        """Open a read-only transaction on one tenant; raises RoleForbids."""
        self._note_reading(actor, action, None)
        with self._transaction(actor, action, _READ) as connection:
            yield Reader(connection)

    @contextmanager
    def as_operator(self, operator: Operator, action: Action) -> Iterator[Writer]:
        """Open a transaction across tenants; the action is the operator's reason."""
        with self._transaction(operator, action, _WRITE) as connection:
            yield Writer(connection)

    @contextmanager
    def read_as_operator(
        self, operator: Operator, action: Action, seen: Object | None = None
    ) -> Iterator[Reader]:
        """Open a read-only transaction across tenants; the action is the operator's reason.

        `seen` is the kind and id of the one thing that is looked at.
        """
        self._note_reading(operator, action, seen)
        with self._transaction(operator, action, _READ) as connection:
            yield Reader(connection)

    @contextmanager
    def snapshot(self, operator: Operator, action: Action) -> Iterator[Reader]:
        """Open a long read of one moment across tenants."""
        self._note_reading(operator, action, None)
        with self._transaction(operator, action, _SNAPSHOT) as connection:
            yield Reader(connection)

    @contextmanager
    def _transaction(self, who: Anyone, action: Action, form: _Form) -> Iterator[sa.Connection]:
        self._require(who, action)
        with self._opened(who, form) as connection:
            if form is not _WRITE:
                yield connection
                return
            begin(connection)
            yield connection
            write_notes(connection, who, action)

    def _require(self, who: Anyone, action: Action) -> None:
        """Refuse what a role may not do, and note that it was tried."""
        try:
            require(who, action)
        except RoleForbids:
            with self._opened(who, _WRITE) as connection:
                append(connection, who, action, DENIED, ("tenant", _tenant_of(who)))
            raise

    def _note_reading(self, who: Anyone, action: Action, seen: Object | None) -> None:
        """Note what an operator looks at, before it is shown."""
        if action in NOTED_READS and not isinstance(who, Actor):
            with self._opened(who, _WRITE) as connection:
                append(connection, who, action, DONE, seen or ("tenant", _tenant_of(who)))

    @contextmanager
    def _opened(self, who: Anyone, form: _Form) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                if form is _SNAPSHOT:
                    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                if form is not _WRITE:
                    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {form.statement_ms_max}")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}")
                name_tenant(connection, _tenant_of(who))
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            if isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise StoreError(
                    "another transaction holds what this one must change; nothing was changed: try"
                    " again, and if it stays so, end the session that holds it"
                ) from error
            raise StoreError(
                f"the database does not answer ({type(error.orig).__name__}); see `jusinfer doctor`"
            ) from error

    def close(self) -> None:
        """Let every connection go."""
        self._engine.dispose()


def name_tenant(tx: sa.Connection, tenant_id: str) -> None:
    """Let the rest of the transaction see and change this tenant's rows only.

    Empty is no tenant: an operator then sees all rows, and everyone else is refused.
    """
    tx.execute(
        sa.text("SELECT set_config('jusinfer.tenant_id', :tenant, true)"),
        {"tenant": tenant_id},
    )


def _tenant_of(who: Anyone) -> str:
    """Give the tenant of a transaction; empty for an operator's across tenants."""
    return "" if isinstance(who, Operator) else who.tenant_id


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    return config


def migrate(dsn: str) -> None:
    """Bring tables, functions and rights up to date, all or nothing; two at once take turns.

    The role of `dsn` makes roles where they lack; the rest is done as the owner. No lock is waited
    for longer than `MIGRATION_LOCK_SECONDS`. Raises StoreError.
    """
    engine = sa.create_engine(
        sqlalchemy_url(dsn),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "jusinfer migrate"},
    )
    blockers: list[Blocker] = []
    try:
        with engine.begin() as connection:
            raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
            with Watch(dsn, raw.info.backend_pid) as watch:
                try:
                    _migrate(connection, raw)
                finally:
                    blockers = watch.blockers()
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        raise StoreError(_why_not(error, blockers)) from error
    finally:
        engine.dispose()


def _migrate(connection: sa.Connection, raw: psycopg.Connection[Any]) -> None:
    raw.execute(f"SET LOCAL statement_timeout = '{MIGRATION_STATEMENT_SECONDS}s'")
    raw.execute(f"SET LOCAL lock_timeout = '{MIGRATION_LOCK_SECONDS}s'")
    # Ends with the transaction, so it holds through a pooler too.
    raw.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
    roles.prepare(raw)
    raw.execute(f"SET LOCAL ROLE {roles.OWNER}")
    config = _config()
    config.attributes["connection"] = connection
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config, "head")
    schema_text.apply(raw)
    after = ScriptDirectory.from_config(config).get_current_head()
    if before != after:
        name_tenant(connection, "")
        append(connection, MIGRATING, Action.SCHEMA_MIGRATE, DONE, ("schema", str(after)))


def _why_not(
    error: psycopg.OperationalError | sa.exc.OperationalError, blockers: list[Blocker]
) -> str:
    """Say why a migration failed, and how that is mended."""
    cause = error.orig if isinstance(error, sa.exc.OperationalError) else error
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        who = "; ".join(str(one) for one in blockers) or "another session"
        return (
            f"the schema was not changed: it waited {MIGRATION_LOCK_SECONDS} s for what is held by"
            f" {who}. Wait until that is done, or end it with SELECT pg_terminate_backend(<server"
            " process>), and run `jusinfer migrate`"
        )
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return (
            "the schema was not changed: one step was cancelled, or took longer than"
            f" {MIGRATION_STATEMENT_SECONDS} s; run `jusinfer migrate` when less is done there"
        )
    if isinstance(cause, psycopg.errors.DeadlockDetected):
        return "the schema was not changed: another session was in the way; run `jusinfer migrate`"
    return (
        f"the database cannot be reached ({type(error).__name__});"
        " check DATABASE_URL and that the server is up"
    )


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

"""Builds the control plane: database, services, console; the only room that sees adapters."""

import contextlib
import time
from pathlib import Path
from typing import Final

import psycopg

from jusinfer import config
from jusinfer.adapters import system
from jusinfer.domain.actor import How, Operator, Origin
from jusinfer.domain.identity import Mode
from jusinfer.observability import Events
from jusinfer.services import accounts, keys
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.store import logins
from jusinfer.store.addresses import require_privacy
from jusinfer.store.database import Database, is_current, migrate
from jusinfer.store.embedded import EmbeddedPostgres
from jusinfer.store.errors import StoreError
from jusinfer.store.privileges import script

DEFAULT_TENANT: Final = "default"
SUPERVISOR: Final = Operator("supervisor", How.PROCESS, Origin.PROCESS)
RESTART_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 2
MONTHS_AHEAD: Final = "SELECT COALESCE(jusinfer_months_ahead(), -1)"
# COPY does not go through row security, so that the months have none: nobody but the settler may
# have rights there.
RIGHTS_TO_MONTHS: Final = """
SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, g.privilege_type,
  count(*)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, aclexplode(c.relacl) g
WHERE i.inhparent = 'usage_record'::regclass AND g.grantee <> c.relowner
  AND (g.grantee, g.privilege_type) <> ('jusinfer_settler'::regrole, 'INSERT')
GROUP BY 1, 2 ORDER BY 1, 2
"""
REPORTS: Final = """
SELECT s.state, count(r.completion_id)
FROM unnest(ARRAY['reported', 'waiting', 'given_up']) AS s (state)
LEFT JOIN provider_report r ON s.state = CASE
  WHEN r.reported_at IS NOT NULL THEN 'reported' WHEN r.next_at IS NOT NULL THEN 'waiting'
  ELSE 'given_up' END
GROUP BY s.state
"""


class ManagedDatabase:
    """The database of a supervisor: the operator's own, or the embedded one that it watches."""

    def __init__(self, settings: config.Settings, events: Events) -> None:
        self._events = events
        self._embedded: EmbeddedPostgres | None = None
        self._journal_dir = settings.journal_dir
        self._next_start = 0.0
        data_dir = Path(settings.data_dir)
        if not settings.database_url:
            self._embedded = EmbeddedPostgres(data_dir)
            self._embedded.start()
            events.emit("database_started", database="embedded")
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            if self._embedded is None:
                require_privacy(settings.database_url)
                migrate(settings.database_url)
                self.logins = logins.keep(settings.database_url, data_dir, may_replace=True)
            else:
                migrate(self._embedded.admin_dsn)
                self.logins = logins.renew(self._embedded.admin_dsn, data_dir)
            undo.pop_all()
        self.dsn = self.logins.dsn_of("operator")

    def watch(self, now: float) -> None:
        """Start the embedded server again when it has died."""
        embedded = self._embedded
        if embedded is None or not embedded.has_died or now < self._next_start:
            return
        self._next_start = now + RESTART_SECONDS
        self._events.emit("process_died", name="postgres")
        try:
            embedded.start()
        except StoreError as error:
            # What an old server's processes still hold keeps a new one out until they have gone:
            # that is tried again, as nothing else of the product needs to end for it.
            self._events.emit("database_away", error=type(error).__name__)

    def answers(self) -> bool:
        """Whether the database answers now."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=CONNECT_SECONDS) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def settler_lag(self) -> int | None:
        """Give the bytes of journal that have not been posted; None when that cannot be told."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=CONNECT_SECONDS) as connection:
                rows = connection.execute("SELECT journal, offset_bytes FROM journal_cursor")
                posted = {str(name): int(offset) for name, offset in rows}
        except psycopg.Error:
            return None
        lag = 0
        for path in self._journal_dir.glob("*.journal"):
            try:
                lag += max(path.stat().st_size - posted.get(path.name, 0), 0)
            except FileNotFoundError:
                continue
        return lag

    def months_ahead(self) -> int | None:
        """Count the months of usage that are made after this one, at most 12; -1 without this.

        None when that cannot be told.
        """
        try:
            with psycopg.connect(self.dsn, connect_timeout=CONNECT_SECONDS) as connection:
                row = connection.execute(MONTHS_AHEAD).fetchone()
        except psycopg.Error:
            return None
        return None if row is None else int(row[0])

    def provider_reports(self) -> dict[str, int]:
        """Count what providers were asked later, by state; empty when that cannot be told."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=CONNECT_SECONDS) as connection:
                return {str(state): int(count) for state, count in connection.execute(REPORTS)}
        except psycopg.Error:
            return {}

    def close(self) -> None:
        """Stop the embedded server; the operator's own is left alone."""
        if self._embedded is not None:
            self._embedded.stop()


class TemporaryDatabase:
    """The database for one command: started for its duration if nobody serves it now."""

    def __init__(self, settings: config.Settings, *, needs_migration: bool = True) -> None:
        self._embedded: EmbeddedPostgres | None = None
        data_dir = Path(settings.data_dir)
        dsn = settings.database_url
        if dsn:
            require_privacy(dsn)
            known = logins.known(dsn, data_dir)
        else:
            found = EmbeddedPostgres(data_dir)
            known = logins.known(found.dsn, data_dir)
            if not found.is_running:
                self._embedded = found
                found.start()
            elif known is None:
                raise StoreError(
                    f"{data_dir}: an earlier version of the product runs here;"
                    " stop it, then start this one or run the command again"
                )
            dsn = found.admin_dsn
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            if needs_migration and (known is None or not _lets_work(known)):
                migrate(dsn)
                known = logins.keep(dsn, data_dir, may_replace=self._embedded is not None)
            undo.pop_all()
        self.dsn = dsn if known is None else known.dsn_of("operator")

    def close(self) -> None:
        """Leave everything as it was found."""
        if self._embedded is not None:
            self._embedded.stop()


def privileges(settings: config.Settings) -> str:
    """Give what a superuser runs once in a database of the operator's own; raises StoreError."""
    dsn = settings.database_url
    if not dsn:
        raise StoreError("the embedded PostgreSQL needs no preparation; set DATABASE_URL first")
    data_dir = Path(settings.data_dir)
    named = psycopg.conninfo.conninfo_to_dict(dsn)
    user, database = named.get("user"), named.get("dbname")
    if not user or not database:
        raise StoreError("DATABASE_URL must name a role and a database: postgresql://role@host/db")
    found = logins.known(dsn, data_dir) or logins.choose(dsn, data_dir)
    return script(found, str(database), str(user))


def _lets_work(known: logins.Logins) -> bool:
    """Tell whether the operator may sign in and finds the schema that this version needs."""
    try:
        return is_current(known.dsn_of("operator"))
    except StoreError:
        return False


def world(dsn: str) -> Services:
    """Give the services their outside."""
    return Services(Database(dsn), system.new_id, system.new_secret)


def first_run(dsn: str) -> str | None:
    """Make a first tenant with a test key if there is none; gives the key, this once."""
    outside = world(dsn)
    try:
        if accounts.list_tenants(outside, SUPERVISOR):
            return None
        tenant = accounts.create_tenant(outside, SUPERVISOR, DEFAULT_TENANT)
        acting = SUPERVISOR.on_behalf(tenant.tenant_id)
        issued = keys.issue(outside, acting, Mode.TEST, "first test key", Rates())
        return issued.secret
    finally:
        outside.database.close()


def now_seconds() -> int:
    """Give the system's clock, in whole seconds since 1970."""
    return int(time.time())

"""The audit log read: its entries, its head, and whether what guards it is in force."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from jusinfer.domain.audit_chain import Entry, Head
from jusinfer.store import schema_text
from jusinfer.store.audit_tables import audit_entry, audit_head
from jusinfer.store.database import Reader
from jusinfer.store.scope import TenantScope, within

CHUNK_ROWS: Final = 5_000
REFUSE: Final = "jusinfer_refuse_audit_change"
ADVANCE: Final = "jusinfer_advance_audit_head"
# As PostgreSQL counts them (`pg_trigger.tgtype`).
_ROW: Final = 1
_BEFORE: Final = 2
_DELETE: Final = 8
_UPDATE: Final = 16
_TRUNCATE: Final = 32


class Guard(NamedTuple):
    """A trigger that forbids change: of which table, what it calls, and when."""

    table: str
    function: str
    kind: int


# Each must be in force also for a session that replicates.
GUARDS: Final[Mapping[str, Guard]] = {
    "audit_entry_append_only": Guard("audit_entry", REFUSE, _ROW | _BEFORE | _UPDATE | _DELETE),
    "audit_entry_no_truncate": Guard("audit_entry", REFUSE, _BEFORE | _TRUNCATE),
    "audit_head_by_one": Guard("audit_head", ADVANCE, _ROW | _BEFORE | _UPDATE),
    "audit_head_stays": Guard("audit_head", REFUSE, _ROW | _BEFORE | _DELETE),
    "audit_head_no_truncate": Guard("audit_head", REFUSE, _BEFORE | _TRUNCATE),
}
TABLES: Final = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
# With a condition, or for some columns only, a trigger of the same name forbids less.
TRIGGERS: Final = """
SELECT t.tgname, c.relname, p.proname, t.tgtype FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE c.relnamespace = 'public'::regnamespace AND p.pronamespace = 'public'::regnamespace
  AND t.tgenabled = 'A' AND t.tgqual IS NULL AND t.tgattr = ''::int2vector
"""
FUNCTIONS: Final = """
SELECT proname, prosrc FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname = ANY (:names)
"""


def entries(tx: Reader) -> Iterator[Entry]:
    """Read every entry in order, a bounded number at a time."""
    query = _query().order_by(audit_entry.c.seq).limit(CHUNK_ROWS)
    rows = tx.execute(query).all()
    while rows:
        for row in rows:
            yield _entry(row)
        rows = tx.execute(query.where(audit_entry.c.seq > rows[-1].seq)).all()


def latest(tx: Reader, scope: TenantScope, since: dt.datetime | None, rows_max: int) -> list[Entry]:
    """Give the last entries from the first of an instant or later on, in the order of the chain."""
    query = within(_query(), audit_entry.c.tenant_id, scope)
    if since is not None:
        first = sa.select(sa.func.min(audit_entry.c.seq)).where(audit_entry.c.at >= since)
        query = query.where(audit_entry.c.seq >= first.scalar_subquery())
    rows = tx.execute(query.order_by(audit_entry.c.seq.desc()).limit(rows_max)).all()
    return [_entry(row) for row in reversed(rows)]


def missing_tables(tx: Reader) -> list[str]:
    """Give the log's tables that somebody took away, or put something else in the place of."""
    found = set(tx.execute(sa.text(TABLES)).scalars())
    return sorted({audit_entry.name, audit_head.name} - found)


def head(tx: Reader) -> Head | None:
    """Give the stored head; None when somebody took it away."""
    row = tx.execute(sa.select(audit_head.c.seq, audit_head.c.digest)).one_or_none()
    return None if row is None else Head(row.seq, bytes(row.digest))


def missing_guards(tx: Reader) -> list[str]:
    """Give the log's triggers and functions that are not in force as this version made them."""
    found = {
        name: Guard(table, function, kind)
        for name, table, function, kind in tx.execute(sa.text(TRIGGERS))
    }
    bodies = schema_text.bodies("audit.sql")
    there = {(name, body) for name, body in tx.execute(sa.text(FUNCTIONS), {"names": list(bodies)})}
    return [
        *sorted(name for name, guard in GUARDS.items() if found.get(name) != guard),
        *sorted(name for name, body in bodies.items() if (name, body) not in there),
    ]


def _query() -> sa.Select[Any]:
    at_us = sa.cast(sa.extract("epoch", audit_entry.c.at) * 1_000_000, sa.BigInteger)
    network = sa.cast(audit_entry.c.network, sa.Text).label("network_text")
    return sa.select(audit_entry, at_us.label("at_us"), network)


def _entry(row: sa.Row[Any]) -> Entry:
    values = {name: getattr(row, name) for name in Entry.__struct_fields__ if name != "network"}
    values["digest"] = bytes(row.digest)
    values["network"] = row.network_text
    if row.tenant_id is not None:
        values["tenant_id"] = str(row.tenant_id).replace("-", "")
    return Entry(**values)

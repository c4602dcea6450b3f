"""The audit log read: its entries, its head, and whether what guards it is in force."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from jusinfer.domain.audit_chain import Entry, Head
from jusinfer.store.audit_tables import audit_entry, audit_head
from jusinfer.store.database import Reader
from jusinfer.store.scope import TenantScope, within

CHUNK_ROWS: Final = 5_000
# Where each guard of the log must be in force also for a session that replicates.
GUARDS: Final = (
    "audit_entry_append_only",
    "audit_entry_no_truncate",
    "audit_head_by_one",
    "audit_head_stays",
    "audit_head_no_truncate",
)


def entries(tx: Reader) -> Iterator[Entry]:
    """Read every entry in order, a bounded number at a time."""
    query = _query().order_by(audit_entry.c.seq).limit(CHUNK_ROWS)
    rows = tx.execute(query).all()
    while rows:
        for row in rows:
            yield _entry(row)
        rows = tx.execute(query.where(audit_entry.c.seq > rows[-1].seq)).all()


def latest(tx: Reader, scope: TenantScope, since: dt.datetime | None, rows_max: int) -> list[Entry]:
    """Give the last entries since an instant, oldest first."""
    query = within(_query(), audit_entry.c.tenant_id, scope)
    if since is not None:
        query = query.where(audit_entry.c.at >= since)
    rows = tx.execute(query.order_by(audit_entry.c.seq.desc()).limit(rows_max)).all()
    return [_entry(row) for row in reversed(rows)]


def head(tx: Reader) -> Head | None:
    """Give the stored head; None when somebody took it away."""
    row = tx.execute(sa.select(audit_head.c.seq, audit_head.c.digest)).one_or_none()
    return None if row is None else Head(row.seq, bytes(row.digest))


def missing_guards(tx: Reader) -> list[str]:
    """Give the triggers that forbid change and are not in force."""
    found = tx.execute(
        sa.text("SELECT tgname FROM pg_trigger WHERE tgname = ANY (:names) AND tgenabled = 'A'"),
        {"names": list(GUARDS)},
    ).scalars()
    return sorted(set(GUARDS) - set(found))


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

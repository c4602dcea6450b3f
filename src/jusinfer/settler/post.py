"""Posts one batch in one transaction: usage rows, one transfer per tenant, leases, cursor."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
import psycopg

from jusinfer.domain.journal import Ended
from jusinfer.settler.reader import Batch, JournalReader
from jusinfer.store.usage import copy_line, copy_statement, month_of

ROLE: Final = "SET LOCAL ROLE jusinfer_settler"

CURSOR_ADVANCE: Final = """
UPDATE journal_cursor SET offset_bytes = %s, is_closed = %s, updated_at = now()
WHERE journal = %s AND offset_bytes = %s AND NOT is_closed
"""
LOCK_ACCOUNTS: Final = """
SELECT account_id, tenant_id::text, mode, kind FROM ledger_account
WHERE (kind = 'credits' AND (tenant_id, mode) IN (SELECT * FROM unnest(%s::uuid[], %s::text[])))
   OR (kind IN ('revenue', 'suspense') AND mode = ANY(%s))
ORDER BY account_id FOR UPDATE
"""
SPEND_LEASES: Final = """
WITH spent AS (
  SELECT * FROM unnest(%s::uuid[], %s::bigint[]) AS s (lease_id, charge_nano)
), locked AS (
  SELECT l.lease_id, l.tenant_id, l.mode, LEAST(s.charge_nano,
         l.granted_nano - l.posted_nano - l.returned_nano) AS covered_nano
  FROM lease l JOIN spent s USING (lease_id)
  WHERE l.state = 'open' ORDER BY l.lease_id FOR UPDATE OF l
), moved AS (
  UPDATE lease l SET posted_nano = l.posted_nano + locked.covered_nano,
    state = CASE WHEN l.posted_nano + l.returned_nano + locked.covered_nano = l.granted_nano
                 THEN 'closed' ELSE 'open' END
  FROM locked WHERE l.lease_id = locked.lease_id
)
SELECT tenant_id::text, mode, sum(covered_nano)::bigint FROM locked GROUP BY tenant_id, mode
"""
MOVE_CREDITS: Final = """
UPDATE ledger_account a SET debits_posted_nano = debits_posted_nano + s.charge_nano,
  leased_nano = leased_nano - s.covered_nano
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS s (account_id, charge_nano, covered_nano)
WHERE a.account_id = s.account_id
"""
MOVE_REVENUE: Final = """
UPDATE ledger_account a SET credits_posted_nano = credits_posted_nano + s.charge_nano
FROM unnest(%s::bigint[], %s::bigint[]) AS s (account_id, charge_nano)
WHERE a.account_id = s.account_id
"""
TRANSFERS: Final = """
INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id, tenant_id,
  amount_nano, code, payload_digest)
SELECT s.transfer_id, s.mode, s.debit_id, s.credit_id, s.tenant_id, s.amount_nano, 'usage',
  s.digest
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::uuid[], %s::bigint[],
  %s::bytea[]) AS s (transfer_id, mode, debit_id, credit_id, tenant_id, amount_nano, digest)
"""

Owner = tuple[str, str]
Connection = psycopg.Connection[tuple[object, ...]]


class CursorMoved(Exception):
    """Someone else has posted this part of the journal."""


class Posted(msgspec.Struct, frozen=True):
    """What a batch came to."""

    rows: int = 0
    charge_nano: int = 0
    overrun_nano: int = 0
    unknown_tenants: int = 0


def post_batch(
    connection: Connection,
    reader: JournalReader,
    batch: Batch,
    *,
    is_last: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> Posted:
    """Post a batch and move the journal's cursor with it, or do nothing at all.

    `step` is told of each statement, so that a test can stop between any two.
    """
    with connection.transaction():
        connection.execute(ROLE)
        moved = connection.execute(CURSOR_ADVANCE, (batch.end, is_last, reader.name, batch.start))
        if moved.rowcount != 1:
            raise CursorMoved(reader.name)
        step("cursor")
        posted = Posted()
        if batch.rows:
            posted = _post_rows(connection, reader.name, batch, step)
        step("commit")
    return posted


def _post_rows(
    connection: Connection, journal: str, batch: Batch, step: Callable[[str], None]
) -> Posted:
    rows = batch.rows
    charges: dict[Owner, int] = {}
    leases: dict[str, int] = {}
    for row in rows:
        if row.charge_nano:
            owner = (row.tenant_id, row.mode)
            charges[owner] = charges.get(owner, 0) + row.charge_nano
            leases[row.lease_id] = leases.get(row.lease_id, 0) + row.charge_nano
    months = _by_month(rows)
    for year, month in months:
        connection.execute("SELECT jusinfer_ensure_partition(make_date(%s, %s, 1))", (year, month))
    step("partitions")
    accounts = _lock_accounts(connection, charges)
    step("accounts")
    covered = _spend_leases(connection, leases)
    step("leases")
    transfers = _transfers(journal, batch, charges)
    unknown = _move_money(connection, charges, covered, accounts)
    step("balances")
    _write_transfers(connection, charges, transfers, accounts)
    step("transfers")
    _copy_rows(connection, months, transfers)
    step("usage")
    total = sum(charges.values())
    return Posted(
        rows=len(rows),
        charge_nano=total,
        overrun_nano=total - sum(covered.values()),
        unknown_tenants=unknown,
    )


def _by_month(rows: list[Ended]) -> dict[tuple[int, int], list[Ended]]:
    months: dict[tuple[int, int], list[Ended]] = {}
    for row in rows:
        months.setdefault(month_of(row), []).append(row)
    return dict(sorted(months.items()))


def _copy_rows(
    connection: Connection,
    months: dict[tuple[int, int], list[Ended]],
    transfers: dict[Owner, str],
) -> None:
    for (year, month), rows in months.items():
        lines = [copy_line(row, transfers.get((row.tenant_id, row.mode), "")) for row in rows]
        statement = copy_statement(year, month)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write("".join(lines))


def _lock_accounts(
    connection: Connection, charges: dict[Owner, int]
) -> dict[tuple[str, str, str], int]:
    """Lock every account that will move, in one order, and give its id by (owner, mode, kind)."""
    owners = sorted(charges)
    found = connection.execute(
        LOCK_ACCOUNTS,
        (
            [tenant_id for tenant_id, _ in owners],
            [mode for _, mode in owners],
            sorted({mode for _, mode in owners}),
        ),
    )
    return {
        (str(tenant_id or "").replace("-", ""), str(mode), str(kind)): int(str(account_id))
        for account_id, tenant_id, mode, kind in found
    }


def _spend_leases(connection: Connection, leases: dict[str, int]) -> dict[Owner, int]:
    if not leases:
        return {}
    names = sorted(leases)
    found = connection.execute(SPEND_LEASES, (names, [leases[name] for name in names]))
    return {
        (str(tenant_id).replace("-", ""), str(mode)): int(str(covered))
        for tenant_id, mode, covered in found
    }


def _move_money(
    connection: Connection,
    charges: dict[Owner, int],
    covered: dict[Owner, int],
    accounts: dict[tuple[str, str, str], int],
) -> int:
    """Move the accounts' cached sums; gives how many owners have no account of their own."""
    debits: list[tuple[int, int, int]] = []
    revenue: dict[int, int] = {}
    unknown = 0
    for (tenant_id, mode), charge in sorted(charges.items()):
        account_id = accounts.get((tenant_id, mode, "credits"))
        if account_id is None:
            unknown += 1
            account_id = accounts["", mode, "suspense"]
        debits.append((account_id, charge, covered.get((tenant_id, mode), 0)))
        revenue_id = accounts["", mode, "revenue"]
        revenue[revenue_id] = revenue.get(revenue_id, 0) + charge
    merged: dict[int, tuple[int, int]] = {}
    for account_id, charge, part in debits:
        before = merged.get(account_id, (0, 0))
        merged[account_id] = (before[0] + charge, before[1] + part)
    ids = sorted(merged)
    connection.execute(
        MOVE_CREDITS, (ids, [merged[i][0] for i in ids], [merged[i][1] for i in ids])
    )
    connection.execute(MOVE_REVENUE, (list(revenue), list(revenue.values())))
    return unknown


def _transfers(journal: str, batch: Batch, charges: dict[Owner, int]) -> dict[Owner, str]:
    span = f"{batch.start}-{batch.end}"
    return {
        (tenant_id, mode): f"usage:{journal}:{span}:{tenant_id}:{mode}"
        for tenant_id, mode in charges
    }


def _write_transfers(
    connection: Connection,
    charges: dict[Owner, int],
    transfers: dict[Owner, str],
    accounts: dict[tuple[str, str, str], int],
) -> None:
    owners = sorted(charges)
    if not owners:
        return
    debits = [
        accounts.get((tenant_id, mode, "credits")) or accounts["", mode, "suspense"]
        for tenant_id, mode in owners
    ]
    known = [
        tenant_id if (tenant_id, mode, "credits") in accounts else None
        for tenant_id, mode in owners
    ]
    digests = [
        hashlib.sha256(f"{transfers[owner]}={charges[owner]}".encode()).digest() for owner in owners
    ]
    connection.execute(
        TRANSFERS,
        (
            [transfers[owner] for owner in owners],
            [mode for _, mode in owners],
            debits,
            [accounts["", mode, "revenue"] for _, mode in owners],
            known,
            [charges[owner] for owner in owners],
            digests,
        ),
    )

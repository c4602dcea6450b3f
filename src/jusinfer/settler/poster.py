"""Posts one batch in one transaction: usage rows, one transfer per tenant, leases, cursor."""

from collections.abc import Callable
from typing import Final

import msgspec
import psycopg

from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.provider_report import DELAYS_SECONDS
from jusinfer.settler.journal_reader import Batch, JournalReader
from jusinfer.settler.spend_counters import count_spend_limits
from jusinfer.store.usage import copy_line, copy_statement, has_generation, month_of

CURSOR_ADVANCE: Final = """
UPDATE journal_cursor SET offset_bytes = %s, is_closed = %s, updated_at = now()
WHERE journal = %s AND offset_bytes = %s AND NOT is_closed
"""
SETTLE: Final = """
SELECT tenant_id, mode, charge_nano, covered_nano, owed_nano, is_known
FROM jusinfer_settle_usage(%s, %s::uuid[], %s::text[], %s::uuid[], %s::bigint[])
"""

EXPECT_REPORTS: Final = """
SELECT jusinfer_expect_reports(%s::uuid[], %s::bigint[], %s::uuid[], %s::text[], %s)
"""

Connection = psycopg.Connection[tuple[object, ...]]


class CursorMoved(Exception):
    """Someone else has posted this part of the journal."""


class Posted(msgspec.Struct, frozen=True):
    """What a batch came to."""

    rows: int = 0
    charge_nano: int = 0
    overrun_nano: int = 0
    owed_nano: int = 0
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
    months = _by_month(rows)
    for year, month in months:
        connection.execute("SELECT jusinfer_ensure_partition(make_date(%s, %s, 1))", (year, month))
    step("partitions")
    span = f"{journal}:{batch.start}-{batch.end}"
    posted = _settle(connection, span, rows)
    step("money")
    count_spend_limits(connection.execute, rows)
    step("spend_limits")
    _copy_rows(connection, months, f"usage:{span}:")
    _expect_reports(connection, rows)
    step("usage")
    return posted


def _settle(connection: Connection, span: str, rows: list[RequestEnded]) -> Posted:
    """Move the money of all rows: leases, credit grants, debts and one transfer for each tenant."""
    charges: dict[tuple[str, str, str], int] = {}
    for row in rows:
        if row.charge_nano:
            owner = (row.tenant_id, row.mode, row.lease_id)
            charges[owner] = charges.get(owner, 0) + row.charge_nano
    posted = Posted(rows=len(rows))
    if not charges:
        return posted
    owners = sorted(charges)
    tenants, modes, leases = zip(*owners, strict=True)
    found = connection.execute(
        SETTLE, (span, list(tenants), list(modes), list(leases), [charges[o] for o in owners])
    )
    charge_nano = overrun_nano = owed_nano = unknown = 0
    for _, _, charge, covered, owed, is_known in found:
        charge_nano += int(str(charge))
        overrun_nano += int(str(charge)) - int(str(covered))
        owed_nano += int(str(owed))
        unknown += not is_known
    if charge_nano != sum(charges.values()):
        raise AssertionError("the settlement does not come to the charges of its rows")
    return Posted(
        rows=len(rows),
        charge_nano=charge_nano,
        overrun_nano=overrun_nano,
        owed_nano=owed_nano,
        unknown_tenants=unknown,
    )


def _expect_reports(connection: Connection, rows: list[RequestEnded]) -> None:
    """Note which providers are to be asked later what a completion cost us."""
    asked = [row for row in rows if has_generation(row)]
    if asked:
        values: tuple[list[object], ...] = (
            [row.completion_id for row in asked],
            [row.admitted_at_us for row in asked],
            [row.tenant_id for row in asked],
            [row.upstream for row in asked],
        )
        connection.execute(EXPECT_REPORTS, (*values, DELAYS_SECONDS[0]))


def _by_month(rows: list[RequestEnded]) -> dict[tuple[int, int], list[RequestEnded]]:
    months: dict[tuple[int, int], list[RequestEnded]] = {}
    for row in rows:
        months.setdefault(month_of(row), []).append(row)
    return dict(sorted(months.items()))


def _copy_rows(
    connection: Connection,
    months: dict[tuple[int, int], list[RequestEnded]],
    prefix: str,
) -> None:
    for (year, month), rows in months.items():
        lines = [copy_line(row, f"{prefix}{row.tenant_id}:{row.mode}") for row in rows]
        statement = copy_statement(year, month)
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write("".join(lines))

"""Usage rows with the prices they were charged at: receipts, re-rating, drift."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from jusinfer.store.database import Reader
from jusinfer.store.tables import (
    credit_grant,
    grant_draw,
    ledger_transfer,
    price_catalog,
    provider_report,
    tenant,
    usage_record,
)

CHUNK_ROWS: Final = 5_000


class Usage(msgspec.Struct, frozen=True):
    """One usage row; times are UTC seconds since 1970 and microseconds."""

    completion_id: str
    tenant_id: str
    key_id: str
    tenant: str
    mode: str
    admitted_at: float
    first_byte_us: int | None
    latency_us: int
    requested_model: str
    served_model: str
    upstream: str
    reasons: str
    rules_version: str
    price_version: str
    price_list: str
    prompt_tokens: int
    cached_prompt_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    image_count: int
    is_estimated: bool
    is_stream: bool
    cost_pico: int
    charge_nano: int
    bound_nano: int
    reported_cost_pico: int | None
    attempts: int
    attempt_log: str
    outcome: str
    status: int
    transfer_id: str | None


class Draw(msgspec.Struct, frozen=True):
    """What a transfer took from one credit grant."""

    grant_id: str
    source: str
    amount_nano: int
    is_beyond_lease: bool


class TransferRow(msgspec.Struct, frozen=True):
    """A transfer as it stands."""

    transfer_id: str
    code: str
    amount_nano: int
    created_at: str


class Reports(msgspec.Struct, frozen=True):
    """What one upstream told later of completions that broke off, beside what we charged."""

    upstream: str
    mode: str
    reported: int
    waiting: int
    given_up: int
    ours_pico: int
    reported_pico: int


def find(tx: Reader, completion_id: str, tenant_id: str | None = None) -> Usage | None:
    """Find the usage row of a completion."""
    query = _query().where(
        usage_record.c.completion_id == sa.cast(completion_id, usage_record.c.completion_id.type)
    )
    if tenant_id is not None:
        query = query.where(usage_record.c.tenant_id == tenant_id)
    row = tx.execute(query).first()
    return None if row is None else _usage(row)


def transfers_of(tx: Reader, transfer_id: str) -> list[TransferRow]:
    """Give a usage transfer and the overrun that goes with it."""
    names = [transfer_id, "overrun:" + transfer_id.removeprefix("usage:")]
    rows = tx.execute(
        sa.select(ledger_transfer)
        .where(ledger_transfer.c.transfer_id.in_(names))
        .order_by(ledger_transfer.c.code.desc())
    )
    return [
        TransferRow(
            transfer_id=row.transfer_id,
            code=row.code,
            amount_nano=row.amount_nano,
            created_at=row.created_at.isoformat(timespec="seconds"),
        )
        for row in rows
    ]


def draws_of(tx: Reader, transfer_id: str) -> list[Draw]:
    """Give what a transfer drew from credit grants."""
    rows = tx.execute(
        sa.select(grant_draw, credit_grant.c.source)
        .join(credit_grant, credit_grant.c.grant_id == grant_draw.c.grant_id)
        .where(grant_draw.c.transfer_id == transfer_id)
        .order_by(grant_draw.c.is_beyond_lease, grant_draw.c.amount_nano.desc())
    )
    return [
        Draw(
            grant_id=str(row.grant_id).replace("-", ""),
            source=row.source,
            amount_nano=row.amount_nano,
            is_beyond_lease=row.is_beyond_lease,
        )
        for row in rows
    ]


def tariffs(tx: Reader, version: str, mode: str) -> Any:
    """Give the prices of a version as JSON; None when no worker ever served them."""
    return tx.execute(
        sa.select(price_catalog.c.tariffs).where(
            price_catalog.c.version == version, price_catalog.c.mode == mode
        )
    ).scalar_one_or_none()


def between(tx: Reader, days: int) -> Iterator[Usage]:
    """Read the rows of the last days, a bounded number at a time."""
    query = (
        _query()
        .where(usage_record.c.admitted_at > sa.func.now() - sa.func.make_interval(0, 0, 0, days))
        .execution_options(yield_per=CHUNK_ROWS)
    )
    for row in tx.execute(query):
        yield _usage(row)


def reports(tx: Reader, days: int) -> list[Reports]:
    """Add up by upstream and mode what was reported later; ours are the same completions' costs."""
    report, usage = provider_report.c, usage_record.c
    is_reported = report.reported_at.is_not(None)
    is_waiting = report.next_at.is_not(None)
    ours = sa.func.sum(usage.cost_pico).filter(is_reported)
    said = sa.func.sum(report.reported_cost_pico)
    query = (
        sa.select(
            report.upstream,
            usage.mode,
            sa.func.count().filter(is_reported).label("reported"),
            sa.func.count().filter(is_waiting).label("waiting"),
            sa.func.count().filter(~is_reported, ~is_waiting).label("given_up"),
            sa.func.coalesce(ours, 0).label("ours_pico"),
            sa.func.coalesce(said, 0).label("reported_pico"),
        )
        .join(
            usage_record,
            sa.and_(
                usage.completion_id == report.completion_id,
                usage.admitted_at == report.admitted_at,
            ),
        )
        .where(report.admitted_at > sa.func.now() - sa.func.make_interval(0, 0, 0, days))
        .group_by(report.upstream, usage.mode)
        .order_by(report.upstream, usage.mode)
    )
    return [
        Reports(
            upstream=row.upstream,
            mode=row.mode,
            reported=row.reported,
            waiting=row.waiting,
            given_up=row.given_up,
            ours_pico=int(row.ours_pico),
            reported_pico=int(row.reported_pico),
        )
        for row in tx.execute(query)
    ]


def _query() -> sa.Select[Any]:
    return sa.select(usage_record, tenant.c.name.label("tenant")).join(
        tenant, tenant.c.tenant_id == usage_record.c.tenant_id
    )


def _usage(row: sa.Row[Any]) -> Usage:
    values = {name: getattr(row, name) for name in Usage.__struct_fields__}
    values["admitted_at"] = row.admitted_at.timestamp()
    for name in ("completion_id", "tenant_id", "key_id"):
        values[name] = str(values[name]).replace("-", "")
    return Usage(**values)

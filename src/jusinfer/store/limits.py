"""Limits and spend limits as rows: set by an operator, told to every gateway worker at once."""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from jusinfer.store.accounts import KEYS_CHANNEL
from jusinfer.store.database import Reader, Writer
from jusinfer.store.limit_tables import rate_limit, spend_limit, spend_period
from jusinfer.store.scope import TenantScope, hex_of, within
from jusinfer.store.tables import tenant

ROWS_MAX: Final = 10_000


class SpendLimitRow(msgspec.Struct, frozen=True):
    """A spend limit with what was spent in its latest period."""

    spend_limit_id: str
    tenant: str
    mode: str
    scope: str
    scope_id: str
    period: str
    amount_nano: int
    action: str
    spent_nano: int
    leased_nano: int
    period_start: str | None


class LimitRow(msgspec.Struct, frozen=True):
    """A limit."""

    tenant: str
    scope: str
    scope_id: str
    kind: str
    amount: int


class NewSpendLimit(msgspec.Struct, frozen=True):
    """A spend limit to be set."""

    spend_limit_id: str
    tenant_id: str
    mode: str
    scope: str
    scope_id: str
    period: str
    amount_nano: int
    action: str


def set_limit(
    tx: Writer, tenant_id: str, scope: str, scope_id: str, kind: str, amount: int | None
) -> None:
    """Set a limit, or lift it when the amount is None."""
    if amount is None:
        tx.execute(
            sa.delete(rate_limit).where(
                rate_limit.c.tenant_id == tenant_id,
                rate_limit.c.scope == scope,
                rate_limit.c.scope_id == scope_id,
                rate_limit.c.kind == kind,
            )
        )
    else:
        row = {"scope": scope, "scope_id": scope_id, "tenant_id": tenant_id, "kind": kind}
        tx.execute(
            insert(rate_limit)
            .values(**row, amount=amount)
            .on_conflict_do_update(
                index_elements=["scope", "scope_id", "kind"], set_={"amount": amount}
            )
        )
    notify_gateways(tx)


def list_limits(tx: Reader, scope: TenantScope) -> list[LimitRow]:
    """List limits."""
    query = (
        sa.select(rate_limit, tenant.c.name.label("tenant_name"))
        .join(tenant, tenant.c.tenant_id == rate_limit.c.tenant_id)
        .order_by(tenant.c.name, rate_limit.c.scope, rate_limit.c.kind)
        .limit(ROWS_MAX)
    )
    rows = tx.execute(within(query, rate_limit.c.tenant_id, scope))
    return [
        LimitRow(
            tenant=row.tenant_name,
            scope=row.scope,
            scope_id=str(row.scope_id).replace("-", ""),
            kind=row.kind,
            amount=row.amount,
        )
        for row in rows
    ]


def add_spend_limit(tx: Writer, new: NewSpendLimit) -> None:
    """Write a spend limit."""
    tx.execute(sa.insert(spend_limit).values(**msgspec.structs.asdict(new)))
    notify_gateways(tx)


def remove_spend_limit(tx: Writer, tenant_id: str, spend_limit_id: str) -> bool:
    """Lift a spend limit; false when there is none."""
    found = tx.execute(
        sa.update(spend_limit)
        .where(
            spend_limit.c.tenant_id == tenant_id,
            hex_of(spend_limit.c.spend_limit_id) == spend_limit_id,
            spend_limit.c.removed_at.is_(None),
        )
        .values(removed_at=sa.func.now())
        .returning(spend_limit.c.spend_limit_id)
    ).one_or_none()
    notify_gateways(tx)
    return found is not None


def list_spend_limits(tx: Reader, scope: TenantScope) -> list[SpendLimitRow]:
    """List spend limits that are in force, with their latest period."""
    latest = (
        sa.select(spend_period)
        .where(spend_period.c.spend_limit_id == spend_limit.c.spend_limit_id)
        .order_by(spend_period.c.period_start.desc())
        .limit(1)
        .lateral()
    )
    query = (
        sa.select(
            spend_limit,
            tenant.c.name.label("tenant_name"),
            latest.c.spent_nano,
            latest.c.leased_nano,
            latest.c.period_start,
        )
        .join(tenant, tenant.c.tenant_id == spend_limit.c.tenant_id)
        .outerjoin(latest, sa.true())
        .where(spend_limit.c.removed_at.is_(None))
        .order_by(tenant.c.name, spend_limit.c.created_at)
        .limit(ROWS_MAX)
    )
    rows = tx.execute(within(query, spend_limit.c.tenant_id, scope))
    return [
        SpendLimitRow(
            spend_limit_id=str(row.spend_limit_id).replace("-", ""),
            tenant=row.tenant_name,
            mode=row.mode,
            scope=row.scope,
            scope_id=str(row.scope_id).replace("-", ""),
            period=row.period,
            amount_nano=row.amount_nano,
            action=row.action,
            spent_nano=row.spent_nano or 0,
            leased_nano=row.leased_nano or 0,
            period_start=row.period_start and row.period_start.isoformat(timespec="seconds"),
        )
        for row in rows
    ]


def set_price_list(tx: Writer, tenant_id: str, name: str) -> bool:
    """Put a tenant on a price list; an empty name is everyone's prices. False without a tenant."""
    return _set(tx, tenant_id, price_list=name)


def set_policy(tx: Writer, tenant_id: str, policy: dict[str, object]) -> bool:
    """Say where a tenant's prompts may go; false when there is no such tenant."""
    return _set(tx, tenant_id, routing_policy=policy)


def is_time_zone(tx: Reader | Writer, name: str) -> bool:
    """Tell whether the database knows a time zone."""
    statement = sa.text("SELECT 1 FROM pg_timezone_names WHERE name = :name")
    return tx.execute(statement, {"name": name}).one_or_none() is not None


def set_time_zone(tx: Writer, tenant_id: str, name: str) -> bool:
    """Set the zone in which a tenant's periods begin; false when there is no such tenant."""
    return _set(tx, tenant_id, time_zone=name)


def _set(tx: Writer, tenant_id: str, **values: object) -> bool:
    changed = tx.execute(
        sa.update(tenant)
        .where(tenant.c.tenant_id == tenant_id)
        .values(**values)
        .returning(tenant.c.tenant_id)
    ).one_or_none()
    notify_gateways(tx)
    return changed is not None


def notify_gateways(tx: Writer) -> None:
    """Tell every gateway worker that what it knows of keys may have changed."""
    tx.execute(sa.select(sa.func.pg_notify(KEYS_CHANNEL, "limits")))

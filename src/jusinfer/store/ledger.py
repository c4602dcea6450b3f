"""The double-entry book: accounts, credit grants, and what is given and taken away.

Rows change through functions of the database alone: they hold the rules against any program.
"""

import datetime as dt
import hashlib
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID, insert

from jusinfer.store.database import Reader, Writer
from jusinfer.store.scope import TenantScope, within
from jusinfer.store.tables import credit_grant, ledger_account, tenant

TENANT_KINDS: Final = ("credits", "debt")
HOUSE_KINDS: Final = (
    "clearing",
    "revenue",
    "promo",
    "adjustment",
    "suspense",
    "breakage",
    "refunds",
    "disputes",
    "rounding",
)
MODES: Final = ("live", "test")
ROWS_MAX: Final = 10_000
CONFLICT_STATE: Final = "JI001"


class TransferConflict(Exception):
    """The same idempotency key came with other contents."""


class TermsImpossible(Exception):
    """A credit grant cannot have these terms: it would be over before it began."""


class Balance(msgspec.Struct, frozen=True):
    """What a tenant has in one mode, in nano-USD: its credit less what it owes."""

    tenant: str
    mode: str
    balance_nano: int
    leased_nano: int


class Grant(msgspec.Struct, frozen=True):
    """Credit to be given as one credit grant; the amount is in nano-USD and above zero.

    `from_kind` is our own account that it comes from. Credit grants are drawn by priority (0
    first), soonest expiry, source, and age.
    """

    transfer_id: str
    grant_id: str
    tenant_id: str
    mode: str
    from_kind: str
    code: str
    source: str
    amount_nano: int
    reason: str
    priority: int = 50
    effective_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None


class CreditGrant(msgspec.Struct, frozen=True):
    """A credit grant as it stands; times are ISO 8601 in UTC."""

    grant_id: str
    tenant: str
    mode: str
    source: str
    granted_nano: int
    remaining_nano: int
    held_nano: int
    priority: int
    effective_at: str
    expires_at: str | None


def open_accounts(tx: Writer, tenant_id: str) -> None:
    """Open a tenant's accounts in both modes, and our own if they are missing."""
    rows = [
        {"tenant_id": None, "mode": mode, "kind": kind} for mode in MODES for kind in HOUSE_KINDS
    ] + [
        {"tenant_id": tenant_id, "mode": mode, "kind": kind}
        for mode in MODES
        for kind in TENANT_KINDS
    ]
    tx.execute(insert(ledger_account).values(rows).on_conflict_do_nothing())


def grant(tx: Writer, given: Grant) -> bool:
    """Give credit once; false when the very same grant stands already.

    Raises TransferConflict when the id was used for another grant, TermsImpossible when the
    credit grant would never be in force.
    """
    parts = msgspec.structs.astuple(msgspec.structs.replace(given, grant_id=""))
    digest = hashlib.sha256(msgspec.json.encode(parts)).digest()
    statement = sa.select(
        sa.func.jusinfer_grant_credit(
            given.transfer_id,
            sa.cast(given.grant_id, UUID),
            sa.cast(given.tenant_id, UUID),
            given.mode,
            given.from_kind,
            given.code,
            given.source,
            given.amount_nano,
            sa.cast(given.priority, sa.SmallInteger),
            sa.cast(given.effective_at, sa.DateTime(timezone=True)),
            sa.cast(given.expires_at, sa.DateTime(timezone=True)),
            given.reason,
            digest,
        )
    )
    try:
        return bool(tx.execute(statement).scalar_one())
    except sa.exc.IntegrityError as error:
        raise TermsImpossible(given.transfer_id) from error
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") == CONFLICT_STATE:
            raise TransferConflict(f"{given.transfer_id} was used for another transfer") from error
        raise


def revoke_credit(
    tx: Writer, transfer_id: str, tenant_id: str, mode: str, amount_nano: int, reason: str
) -> int:
    """Take free credit away; gives the amount, or what is free when that is less (not taken)."""
    digest = hashlib.sha256(f"{transfer_id}={amount_nano}:{reason}".encode()).digest()
    statement = sa.select(
        sa.func.jusinfer_take_away(
            transfer_id, sa.cast(tenant_id, UUID), mode, amount_nano, reason, digest
        )
    )
    return int(tx.execute(statement).scalar_one())


def grants(tx: Reader, scope: TenantScope) -> list[CreditGrant]:
    """List credit grants that still hold something, in draw-down order."""
    grant = credit_grant.c
    query = (
        sa.select(credit_grant, tenant.c.name.label("tenant_name"))
        .join(tenant, tenant.c.tenant_id == grant.tenant_id)
        .where(grant.remaining_nano > 0)
        .order_by(
            tenant.c.name,
            grant.mode,
            grant.priority,
            grant.expires_at.nulls_last(),
            grant.source_rank,
            grant.effective_at,
            grant.created_at,
            grant.grant_id,
        )
        .limit(ROWS_MAX)
    )
    query = within(query, grant.tenant_id, scope)
    return [
        CreditGrant(
            grant_id=str(row.grant_id).replace("-", ""),
            tenant=row.tenant_name,
            mode=row.mode,
            source=row.source,
            granted_nano=row.granted_nano,
            remaining_nano=row.remaining_nano,
            held_nano=row.held_nano,
            priority=row.priority,
            effective_at=row.effective_at.isoformat(timespec="seconds"),
            expires_at=row.expires_at and row.expires_at.isoformat(timespec="seconds"),
        )
        for row in tx.execute(query)
    ]


def balances(tx: Reader, scope: TenantScope) -> list[Balance]:
    """Give what each tenant has, in both modes."""
    account = ledger_account.c
    net = account.credits_posted_nano - account.debits_posted_nano
    query = (
        sa.select(tenant.c.name, account.mode)
        .add_columns(
            sa.func.sum(net).label("balance"),
            sa.func.sum(account.leased_nano).label("leased"),
        )
        .join(tenant, tenant.c.tenant_id == account.tenant_id)
        .where(account.kind.in_(TENANT_KINDS))
        .group_by(tenant.c.name, account.mode)
        .order_by(tenant.c.name, account.mode)
    )
    query = within(query, account.tenant_id, scope)
    return [
        Balance(
            tenant=row.name,
            mode=row.mode,
            balance_nano=int(row.balance),
            leased_nano=int(row.leased),
        )
        for row in tx.execute(query)
    ]

"""The double-entry book: accounts, transfers that are only ever added, and their sums."""

import hashlib
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from jusinfer.store.database import Reader, Writer
from jusinfer.store.tables import ledger_account, ledger_transfer, tenant

TENANT_KINDS: Final = ("credits", "debt")
HOUSE_KINDS: Final = ("clearing", "revenue", "promo", "adjustment", "suspense")
MODES: Final = ("live", "test")


class TransferConflict(Exception):
    """The same idempotency key came with other contents."""


class Balance(msgspec.Struct, frozen=True):
    """What a tenant has in one mode, in nano-USD."""

    tenant: str
    mode: str
    balance_nano: int
    leased_nano: int


class Transfer(msgspec.Struct, frozen=True):
    """A transfer to be written; the amount is in nano-USD and above zero."""

    transfer_id: str
    mode: str
    tenant_id: str
    debit_kind: str
    credit_kind: str
    amount_nano: int
    code: str
    reason: str


def open_accounts(tx: Writer, tenant_id: str) -> None:
    """Open a tenant's accounts in both modes, and the house's if they are missing."""
    rows = [
        {"tenant_id": None, "mode": mode, "kind": kind} for mode in MODES for kind in HOUSE_KINDS
    ] + [
        {"tenant_id": tenant_id, "mode": mode, "kind": kind}
        for mode in MODES
        for kind in TENANT_KINDS
    ]
    tx.execute(insert(ledger_account).values(rows).on_conflict_do_nothing())


def post(tx: Writer, transfer: Transfer) -> bool:
    """Write a transfer once; false when the very same one stands already."""
    digest = hashlib.sha256(msgspec.json.encode(transfer)).digest()
    debit_id = _account(tx, transfer, transfer.debit_kind)
    credit_id = _account(tx, transfer, transfer.credit_kind)
    written = tx.execute(
        insert(ledger_transfer)
        .values(
            transfer_id=transfer.transfer_id,
            mode=transfer.mode,
            debit_account_id=debit_id,
            credit_account_id=credit_id,
            tenant_id=transfer.tenant_id,
            amount_nano=transfer.amount_nano,
            code=transfer.code,
            reason=transfer.reason,
            payload_digest=digest,
        )
        .on_conflict_do_nothing()
        .returning(ledger_transfer.c.transfer_id)
    ).one_or_none()
    if written is None:
        _check_same(tx, transfer.transfer_id, digest)
        return False
    for account_id, name in sorted(
        ((debit_id, "debits_posted_nano"), (credit_id, "credits_posted_nano"))
    ):
        column = ledger_account.c[name]
        tx.execute(
            sa.update(ledger_account)
            .where(ledger_account.c.account_id == account_id)
            .values({name: column + transfer.amount_nano})
        )
    return True


def _account(tx: Writer, transfer: Transfer, kind: str) -> int:
    owner = transfer.tenant_id if kind in TENANT_KINDS else None
    query = sa.select(ledger_account.c.account_id).where(
        ledger_account.c.tenant_id.is_not_distinct_from(owner),
        ledger_account.c.mode == transfer.mode,
        ledger_account.c.kind == kind,
    )
    return int(str(tx.execute(query).scalar_one()))


def _check_same(tx: Writer, transfer_id: str, digest: bytes) -> None:
    found = tx.execute(
        sa.select(ledger_transfer.c.payload_digest).where(
            ledger_transfer.c.transfer_id == transfer_id
        )
    ).scalar_one()
    if bytes(found) != digest:
        raise TransferConflict(f"{transfer_id} was used for another transfer")


def balances(tx: Reader, tenant_id: str | None) -> list[Balance]:
    """Give what each tenant has, in both modes."""
    account = ledger_account.c
    query = (
        sa.select(tenant.c.name, account.mode, account.leased_nano)
        .add_columns((account.credits_posted_nano - account.debits_posted_nano).label("balance"))
        .join(tenant, tenant.c.tenant_id == account.tenant_id)
        .where(account.kind == "credits")
        .order_by(tenant.c.name, account.mode)
    )
    if tenant_id is not None:
        query = query.where(account.tenant_id == tenant_id)
    return [
        Balance(
            tenant=row.name, mode=row.mode, balance_nano=row.balance, leased_nano=row.leased_nano
        )
        for row in tx.execute(query)
    ]

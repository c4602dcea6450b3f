"""Credit: granted and adjusted with a reason, in lots, and what is left of it."""

import datetime as dt

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import format_usd
from jusinfer.services.world import World
from jusinfer.store import ledger
from jusinfer.store.ledger import Balance, Grant, Lot


class Terms(msgspec.Struct, frozen=True):
    """How a lot is drawn and when it may be: times are aware of their zone; None is no end."""

    priority: int = 50
    effective_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None


def grant(
    world: World, tenant_id: str, amount_nano: int, mode: Mode, reason: str, terms: Terms
) -> str:
    """Give promotional credit to a tenant; gives the transfer's id."""
    if amount_nano <= 0:
        raise InvalidRequest("a grant must be above zero", param="amount")
    _need_reason(reason)
    transfer_id = f"grant:{world.new_id()}"
    given = Grant(
        transfer_id=transfer_id,
        lot_id=world.new_id(),
        tenant_id=tenant_id,
        mode=mode.value,
        from_kind="promo",
        code="grant",
        source="promotional",
        amount_nano=amount_nano,
        reason=reason,
        priority=terms.priority,
        effective_at=terms.effective_at,
        expires_at=terms.expires_at,
    )
    try:
        with world.database.write(tenant_id) as tx:
            ledger.grant(tx, given)
    except ledger.TermsImpossible as error:
        raise InvalidRequest(
            "credit cannot expire before it begins", param="expires", hint="Choose a later time."
        ) from error
    return transfer_id


def adjust(world: World, tenant_id: str, amount_nano: int, mode: Mode, reason: str) -> str:
    """Correct a tenant's credit upward or downward; gives the transfer's id.

    Downward only what is free can be taken: neither what leases hold nor what is not there.
    """
    if amount_nano == 0:
        raise InvalidRequest("an adjustment of zero changes nothing", param="amount")
    _need_reason(reason)
    transfer_id = f"adjustment:{world.new_id()}"
    with world.database.write(tenant_id) as tx:
        if amount_nano > 0:
            given = Grant(
                transfer_id=transfer_id,
                lot_id=world.new_id(),
                tenant_id=tenant_id,
                mode=mode.value,
                from_kind="adjustment",
                code="adjustment",
                source="adjustment",
                amount_nano=amount_nano,
                reason=reason,
            )
            ledger.grant(tx, given)
            return transfer_id
        taken = ledger.take_away(tx, transfer_id, tenant_id, mode.value, -amount_nano, reason)
    if taken != -amount_nano:
        raise InvalidRequest(
            f"only {format_usd(taken)} USD are free to be taken",
            param="amount",
            hint="What gateway workers hold comes back within a minute of rest.",
        )
    return transfer_id


def balances(world: World, tenant_id: str | None) -> list[Balance]:
    """Give what tenants have."""
    with world.database.read(tenant_id) as tx:
        return ledger.balances(tx, tenant_id)


def lots(world: World, tenant_id: str | None) -> list[Lot]:
    """Give the lots that tenants have, in the order in which they are drawn."""
    with world.database.read(tenant_id) as tx:
        return ledger.lots(tx, tenant_id)


def _need_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidRequest("say why, in a reason", param="reason", hint="Say why, with --reason.")

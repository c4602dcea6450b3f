"""Credit: granted and adjusted with a reason, in credit grants, and what is left of it."""

import datetime as dt
from typing import Final

import msgspec

from jusinfer.domain.actor import Action, Anyone, TenantActor
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import NANO_PER_USD, format_usd
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import ledger
from jusinfer.store.audit_note import note
from jusinfer.store.ledger import Balance, CreditGrant, Grant

# What one grant or adjustment may move, either way: sums of many still fit into a bigint.
AMOUNT_NANO_MAX: Final = 10_000_000 * NANO_PER_USD
REASON_CHARS_MAX: Final = 500
PRIORITY_MAX: Final = 100


class GrantTerms(msgspec.Struct, frozen=True):
    """How a credit grant is drawn and when: times are aware of their zone; None is no end."""

    priority: int = 50
    effective_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None


def grant(
    world: Services, who: TenantActor, amount_nano: int, mode: Mode, reason: str, terms: GrantTerms
) -> str:
    """Give promotional credit to a tenant; gives the transfer's id."""
    if amount_nano <= 0:
        raise InvalidRequest("a grant must be above zero", param="amount")
    _judge(amount_nano, reason)
    if not 0 <= terms.priority <= PRIORITY_MAX:
        raise InvalidRequest(f"a priority is 0 to {PRIORITY_MAX}", param="priority")
    transfer_id = f"grant:{world.new_id()}"
    given = Grant(
        transfer_id=transfer_id,
        grant_id=world.new_id(),
        tenant_id=who.tenant_id,
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
        with world.database.for_tenant(who, Action.CREDIT_GRANT) as tx:
            ledger.grant(tx, given)
            note(tx, "transfer", transfer_id)
    except ledger.TermsImpossible as error:
        raise InvalidRequest(
            "credit cannot expire before it begins", param="expires", hint="Choose a later time."
        ) from error
    return transfer_id


def adjust(world: Services, who: TenantActor, amount_nano: int, mode: Mode, reason: str) -> str:
    """Correct a tenant's credit upward or downward; gives the transfer's id.

    Downward only what is free can be taken: neither what leases hold nor what is not there.
    """
    if amount_nano == 0:
        raise InvalidRequest("an adjustment of zero changes nothing", param="amount")
    _judge(amount_nano, reason)
    transfer_id = f"adjustment:{world.new_id()}"
    with world.database.for_tenant(who, Action.CREDIT_ADJUST) as tx:
        if amount_nano > 0:
            given = Grant(
                transfer_id=transfer_id,
                grant_id=world.new_id(),
                tenant_id=who.tenant_id,
                mode=mode.value,
                from_kind="adjustment",
                code="adjustment",
                source="adjustment",
                amount_nano=amount_nano,
                reason=reason,
            )
            ledger.grant(tx, given)
            note(tx, "transfer", transfer_id)
            return transfer_id
        taken = ledger.revoke_credit(
            tx, transfer_id, who.tenant_id, mode.value, -amount_nano, reason
        )
        if taken != -amount_nano:
            raise InvalidRequest(
                f"only {format_usd(taken)} USD are free to be taken",
                param="amount",
                hint="What gateway workers hold comes back within a minute of rest.",
            )
        note(tx, "transfer", transfer_id)
    return transfer_id


def balances(world: Services, who: Anyone) -> list[Balance]:
    """Give what a tenant has, or to an operator what all have."""
    with reading(world, who, Action.CREDIT_READ) as (tx, scope):
        return ledger.balances(tx, scope)


def grants(world: Services, who: Anyone) -> list[CreditGrant]:
    """Return the credit grants of a tenant, or of all, in the order in which they are drawn."""
    with reading(world, who, Action.CREDIT_READ) as (tx, scope):
        return ledger.grants(tx, scope)


def _judge(amount_nano: int, reason: str) -> None:
    if abs(amount_nano) > AMOUNT_NANO_MAX:
        raise InvalidRequest(
            f"at most {format_usd(AMOUNT_NANO_MAX)} USD are moved at once",
            param="amount",
            hint="Amounts are in USD; look for a digit too many.",
        )
    if not reason.strip():
        raise InvalidRequest("say why, in a reason", param="reason", hint="Say why, with --reason.")
    if len(reason) > REASON_CHARS_MAX or "\0" in reason:
        raise InvalidRequest(
            f"a reason has at most {REASON_CHARS_MAX} characters, and no NUL",
            param="reason",
            hint="Say it in fewer words.",
        )

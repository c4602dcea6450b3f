"""Credit: granted with a reason, and what is left of it."""

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.services.world import World
from jusinfer.store import ledger
from jusinfer.store.ledger import Balance, Transfer


def grant(world: World, tenant_id: str, amount_nano: int, mode: Mode, reason: str) -> str:
    """Give credit to a tenant; gives the transfer's id."""
    if amount_nano <= 0:
        raise InvalidRequest("a grant must be above zero", param="amount")
    if not reason.strip():
        raise InvalidRequest(
            "a grant needs a reason", param="reason", hint="Say why, with --reason."
        )
    transfer_id = f"grant:{world.new_id()}"
    with world.database.write(tenant_id) as tx:
        ledger.post(
            tx,
            Transfer(
                transfer_id=transfer_id,
                mode=mode.value,
                tenant_id=tenant_id,
                debit_kind="promo",
                credit_kind="credits",
                amount_nano=amount_nano,
                code="grant",
                reason=reason,
            ),
        )
    return transfer_id


def balances(world: World, tenant_id: str | None) -> list[Balance]:
    """Give what tenants have."""
    with world.database.read(tenant_id) as tx:
        return ledger.balances(tx, tenant_id)

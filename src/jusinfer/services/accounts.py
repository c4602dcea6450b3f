"""Tenants: create them with everything they need, and find them."""

from typing import Final

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.services.world import World
from jusinfer.store import accounts, ledger
from jusinfer.store.accounts import TenantRow
from jusinfer.store.database import name_tenant

TEST_GRANT_NANO: Final = 1_000 * NANO_PER_USD
NAME_CHARS_MAX: Final = 200


def create_tenant(world: World, name: str) -> TenantRow:
    """Create a tenant with its owner, its accounts, and free credit for test mode."""
    if not name.strip() or len(name) > NAME_CHARS_MAX:
        raise InvalidRequest(f"a tenant's name has 1 to {NAME_CHARS_MAX} characters", param="name")
    tenant_id = world.new_id()
    with world.database.write() as tx:
        if accounts.find_tenant(tx, name) is not None:
            raise InvalidRequest(
                f"there is a tenant named {name!r} already", param="name", hint="Choose another."
            )
        accounts.insert_tenant(tx, tenant_id, name, world.new_id())
        ledger.open_accounts(tx, tenant_id)
        name_tenant(tx, tenant_id)
        ledger.grant(
            tx,
            ledger.Grant(
                transfer_id=f"grant:test:{tenant_id}",
                lot_id=world.new_id(),
                tenant_id=tenant_id,
                mode="test",
                from_kind="promo",
                code="grant",
                source="promotional",
                amount_nano=TEST_GRANT_NANO,
                reason="test credit, which is free",
            ),
        )
        found = accounts.find_tenant(tx, name)
    if found is None:
        raise AssertionError("the tenant that was just written is not there")
    return found


def find_tenant(world: World, name_or_id: str) -> TenantRow:
    """Find a tenant, or say that there is none."""
    with world.database.read() as tx:
        found = accounts.find_tenant(tx, name_or_id)
    if found is None:
        raise InvalidRequest(
            f"there is no tenant {name_or_id!r}",
            param="tenant",
            hint="`jusinfer tenants list` shows them.",
        )
    return found


def list_tenants(world: World) -> list[TenantRow]:
    """List all tenants."""
    with world.database.read() as tx:
        return accounts.list_tenants(tx)

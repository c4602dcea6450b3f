"""Tenants: create them with everything they need, and find them."""

from typing import Final

from jusinfer.domain.actor import Action, Operator
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.services.dependencies import Services
from jusinfer.store import accounts, ledger
from jusinfer.store.accounts import TenantRow
from jusinfer.store.audit_note import note
from jusinfer.store.database import name_tenant

TEST_GRANT_NANO: Final = 1_000 * NANO_PER_USD
NAME_CHARS_MAX: Final = 200
KINDS: Final = ("tenant", "member", "key", "spend_limit")


def create_tenant(world: Services, operator: Operator, name: str) -> TenantRow:
    """Create a tenant with its owner, its accounts, and free credit for test mode."""
    if not name.strip() or len(name) > NAME_CHARS_MAX:
        raise InvalidRequest(f"a tenant's name has 1 to {NAME_CHARS_MAX} characters", param="name")
    tenant_id = world.new_id()
    with world.database.as_operator(operator, Action.TENANT_CREATE) as tx:
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
                grant_id=world.new_id(),
                tenant_id=tenant_id,
                mode="test",
                from_kind="promo",
                code="grant",
                source="promotional",
                amount_nano=TEST_GRANT_NANO,
                reason="test credit, which is free",
            ),
        )
        note(tx, "tenant", tenant_id)
        found = accounts.find_tenant(tx, name)
    if found is None:
        raise AssertionError("the tenant that was just written is not there")
    return found


def find_tenant(world: Services, operator: Operator, name_or_id: str) -> TenantRow:
    """Find a tenant, or say that there is none."""
    with world.database.read_as_operator(operator, Action.TENANT_FIND) as tx:
        found = accounts.find_tenant(tx, name_or_id)
    if found is None:
        raise InvalidRequest(
            f"there is no tenant {name_or_id!r}",
            param="tenant",
            hint="`jusinfer tenants list` shows them.",
        )
    return found


def tenant_of(world: Services, operator: Operator, kind: str, object_id: str) -> str:
    """Give the tenant that a tenant, member, key or spend limit belongs to, by its whole id.

    Raises InvalidRequest when there is none. What is then done to it is done for that tenant.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"a kind is one of {', '.join(KINDS)}", param="scope")
    with world.database.read_as_operator(operator, Action.TENANT_FIND) as tx:
        found = accounts.tenant_of(tx, kind, object_id)
    if found is None:
        raise InvalidRequest(f"there is no {kind} {object_id!r}", param="id")
    return found


def list_tenants(world: Services, operator: Operator) -> list[TenantRow]:
    """List all tenants."""
    with world.database.read_as_operator(operator, Action.TENANT_LIST) as tx:
        return accounts.list_tenants(tx)

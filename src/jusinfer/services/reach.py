"""How far somebody sees: an operator across tenants, everyone else in a tenant of theirs."""

from collections.abc import Iterator
from contextlib import contextmanager

from jusinfer.domain.actor import Action, Anyone, Operator
from jusinfer.services.dependencies import Services
from jusinfer.store.database import Reader
from jusinfer.store.scope import EVERY_TENANT, TenantScope


@contextmanager
def reading(world: Services, who: Anyone, action: Action) -> Iterator[tuple[Reader, TenantScope]]:
    """Open a read-only transaction, with the tenants that its queries may touch."""
    if isinstance(who, Operator):
        with world.database.read_as_operator(who, action) as tx:
            yield tx, EVERY_TENANT
    else:
        with world.database.read_for_tenant(who, action) as tx:
            yield tx, who.tenant_id

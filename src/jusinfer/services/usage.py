"""Usage reports."""

from jusinfer.services.world import World
from jusinfer.store import usage
from jusinfer.store.usage import UsageTotal


def totals(world: World, tenant_id: str | None, days: int) -> list[UsageTotal]:
    """Add up usage of the last days by tenant, mode and model."""
    with world.database.read(tenant_id) as tx:
        return usage.totals(tx, tenant_id, days)

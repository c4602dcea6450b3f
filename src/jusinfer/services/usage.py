"""Usage reports."""

from jusinfer.domain.actor import Action, Anyone, own_member_id
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import usage
from jusinfer.store.usage import UsageTotal


def totals(world: Services, who: Anyone, days: int) -> list[UsageTotal]:
    """Add up usage of the last days by tenant, mode and model."""
    with reading(world, who, Action.USAGE_READ) as (tx, scope):
        return usage.totals(tx, scope, days, own_member_id(who))

"""Limits, caps on spending, price lists and time zones of tenants."""

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import CapAction, LimitKind
from jusinfer.domain.preferences import TenantPolicy
from jusinfer.services.world import World
from jusinfer.store import limits
from jusinfer.store.database import Writer
from jusinfer.store.limits import CapRow, LimitRow, NewCap

SCOPES = ("tenant", "member", "key")
PERIODS = ("day", "week", "month")


def set_limit(world: World, scope: str, scope_id: str, kind: LimitKind, amount: int | None) -> None:
    """Set a limit of a tenant, member or key; None lifts it."""
    if amount is not None and amount < 1:
        raise InvalidRequest("a limit is at least 1", param="amount", hint="0 would stop all.")
    with world.database.write() as tx:
        tenant_id = _owner(tx, scope, scope_id)
        limits.set_limit(tx, tenant_id, scope, scope_id, kind.value, amount)


def list_limits(world: World) -> list[LimitRow]:
    """List all limits."""
    with world.database.read() as tx:
        return limits.list_limits(tx)


def add_cap(  # noqa: PLR0913, PLR0917 (what a cap is)
    world: World,
    scope: str,
    scope_id: str,
    period: str,
    amount_nano: int,
    action: CapAction,
    mode: Mode,
) -> str:
    """Set a cap on spending; gives its id."""
    if period not in PERIODS:
        raise InvalidRequest(f"a period is one of {', '.join(PERIODS)}", param="period")
    if amount_nano <= 0:
        raise InvalidRequest("a cap must be above zero", param="amount")
    cap_id = world.new_id()
    with world.database.write() as tx:
        tenant_id = _owner(tx, scope, scope_id)
        cap = NewCap(
            cap_id=cap_id,
            tenant_id=tenant_id,
            mode=mode.value,
            scope=scope,
            scope_id=scope_id,
            period=period,
            amount_nano=amount_nano,
            action=action.value,
        )
        limits.add_cap(tx, cap)
    return cap_id


def remove_cap(world: World, cap_id: str) -> None:
    """Lift a cap."""
    with world.database.write() as tx:
        if not limits.remove_cap(tx, cap_id):
            raise InvalidRequest(f"there is no cap {cap_id!r}", hint="`jusinfer caps list`.")


def list_caps(world: World) -> list[CapRow]:
    """List caps that are in force."""
    with world.database.read() as tx:
        return limits.list_caps(tx)


def set_terms(world: World, tenant_id: str, price_list: str | None, time_zone: str | None) -> None:
    """Put a tenant on a price list, or set the zone in which its periods begin."""
    with world.database.write() as tx:
        if price_list is not None:
            limits.set_price_list(tx, tenant_id, price_list)
        if time_zone is not None and not limits.set_time_zone(tx, tenant_id, time_zone):
            raise InvalidRequest(
                f"{time_zone!r} is no time zone", param="time_zone", hint="Such as Europe/Paris."
            )


def set_policy(world: World, tenant_id: str, policy: TenantPolicy) -> None:
    """Say where a tenant's prompts may go; it holds for the next request of each of its keys."""
    with world.database.write() as tx:
        limits.set_policy(tx, tenant_id, msgspec.to_builtins(policy))


def _owner(tx: Writer, scope: str, scope_id: str) -> str:
    if scope not in SCOPES:
        raise InvalidRequest(f"a scope is one of {', '.join(SCOPES)}", param="scope")
    found = limits.owner_of_scope(tx, scope, scope_id)
    if found is None:
        raise InvalidRequest(f"there is no {scope} {scope_id!r}", param="id")
    return found

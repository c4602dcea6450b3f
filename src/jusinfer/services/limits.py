"""Limits, caps on spending, price lists and time zones of tenants."""

import msgspec

from jusinfer.domain.actor import Action, Anyone, TenantActor
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import CapAction, LimitKind
from jusinfer.domain.tenant_policy import TenantPolicy
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import accounts, limits
from jusinfer.store.audit_note import note
from jusinfer.store.database import Writer
from jusinfer.store.limits import CapRow, LimitRow, NewCap

SCOPES = ("tenant", "member", "key")
PERIODS = ("day", "week", "month")


def set_limit(
    world: Services,
    who: TenantActor,
    scope: str,
    scope_id: str,
    kind: LimitKind,
    amount: int | None,
) -> None:
    """Set a limit of a tenant, or of a member or key of it; None lifts it."""
    if amount is not None and amount < 1:
        raise InvalidRequest("a limit is at least 1", param="amount", hint="0 would stop all.")
    with world.database.for_tenant(who, Action.LIMIT_SET) as tx:
        _need_own(tx, who.tenant_id, scope, scope_id)
        limits.set_limit(tx, who.tenant_id, scope, scope_id, kind.value, amount)
        note(tx, "limit", f"{scope}:{scope_id}:{kind.value}")


def list_limits(world: Services, who: Anyone) -> list[LimitRow]:
    """List the limits of a tenant, or of all."""
    with reading(world, who, Action.LIMIT_READ) as (tx, found):
        return limits.list_limits(tx, found)


def add_cap(  # noqa: PLR0913, PLR0917 (what a cap is)
    world: Services,
    who: TenantActor,
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
    with world.database.for_tenant(who, Action.CAP_ADD) as tx:
        _need_own(tx, who.tenant_id, scope, scope_id)
        cap = NewCap(
            cap_id=cap_id,
            tenant_id=who.tenant_id,
            mode=mode.value,
            scope=scope,
            scope_id=scope_id,
            period=period,
            amount_nano=amount_nano,
            action=action.value,
        )
        limits.add_cap(tx, cap)
        note(tx, "cap", cap_id)
    return cap_id


def remove_cap(world: Services, who: TenantActor, cap_id: str) -> None:
    """Lift a cap of a tenant."""
    with world.database.for_tenant(who, Action.CAP_REMOVE) as tx:
        if not limits.remove_cap(tx, who.tenant_id, cap_id):
            raise InvalidRequest(f"there is no cap {cap_id!r}", hint="`jusinfer caps list`.")
        note(tx, "cap", cap_id)


def list_caps(world: Services, who: Anyone) -> list[CapRow]:
    """List the caps of a tenant, or of all, that are in force."""
    with reading(world, who, Action.CAP_READ) as (tx, found):
        return limits.list_caps(tx, found)


def set_tenant_settings(
    world: Services, who: TenantActor, price_list: str | None, time_zone: str | None
) -> None:
    """Put a tenant on a price list, or set the zone in which its periods begin."""
    with world.database.for_tenant(who, Action.TENANT_TERMS) as tx:
        if time_zone is not None and not limits.is_time_zone(tx, time_zone):
            raise InvalidRequest(
                f"{time_zone!r} is no time zone", param="time_zone", hint="Such as Europe/Paris."
            )
        if price_list is not None and not limits.set_price_list(tx, who.tenant_id, price_list):
            raise _no_tenant(who)
        if time_zone is not None and not limits.set_time_zone(tx, who.tenant_id, time_zone):
            raise _no_tenant(who)
        note(tx, "tenant", who.tenant_id)


def set_policy(world: Services, who: TenantActor, policy: TenantPolicy) -> None:
    """Say where a tenant's prompts may go; it holds for the next request of each of its keys."""
    with world.database.for_tenant(who, Action.TENANT_POLICY) as tx:
        if not limits.set_policy(tx, who.tenant_id, msgspec.to_builtins(policy)):
            raise _no_tenant(who)
        note(tx, "tenant", who.tenant_id)


def _no_tenant(who: TenantActor) -> InvalidRequest:
    return InvalidRequest(f"there is no tenant {who.tenant_id!r}", param="tenant")


def _need_own(tx: Writer, tenant_id: str, scope: str, scope_id: str) -> None:
    """Refuse what belongs to another tenant exactly as what is not there at all."""
    if scope not in SCOPES:
        raise InvalidRequest(f"a scope is one of {', '.join(SCOPES)}", param="scope")
    if accounts.tenant_of(tx, scope, scope_id) != tenant_id:
        raise InvalidRequest(f"there is no {scope} {scope_id!r}", param="id")

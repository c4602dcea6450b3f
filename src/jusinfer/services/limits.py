"""Limits, spend limits, price lists and time zones of tenants."""

import msgspec

from jusinfer.domain.actor import Action, Anyone, TenantActor
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import LimitKind, SpendLimitAction
from jusinfer.domain.tenant_policy import TenantPolicy
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import accounts, limits
from jusinfer.store.audit_note import note
from jusinfer.store.database import Writer
from jusinfer.store.limits import LimitRow, NewSpendLimit, SpendLimitRow

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


def add_spend_limit(  # noqa: PLR0913, PLR0917 (what a spend limit is)
    world: Services,
    who: TenantActor,
    scope: str,
    scope_id: str,
    period: str,
    amount_nano: int,
    action: SpendLimitAction,
    mode: Mode,
) -> str:
    """Set a spend limit; gives its id."""
    if period not in PERIODS:
        raise InvalidRequest(f"a period is one of {', '.join(PERIODS)}", param="period")
    if amount_nano <= 0:
        raise InvalidRequest("a spend limit must be above zero", param="amount")
    spend_limit_id = world.new_id()
    with world.database.for_tenant(who, Action.SPEND_LIMIT_ADD) as tx:
        _need_own(tx, who.tenant_id, scope, scope_id)
        spend_limit = NewSpendLimit(
            spend_limit_id=spend_limit_id,
            tenant_id=who.tenant_id,
            mode=mode.value,
            scope=scope,
            scope_id=scope_id,
            period=period,
            amount_nano=amount_nano,
            action=action.value,
        )
        limits.add_spend_limit(tx, spend_limit)
        note(tx, "spend_limit", spend_limit_id)
    return spend_limit_id


def remove_spend_limit(world: Services, who: TenantActor, spend_limit_id: str) -> None:
    """Lift a spend limit of a tenant."""
    with world.database.for_tenant(who, Action.SPEND_LIMIT_REMOVE) as tx:
        if not limits.remove_spend_limit(tx, who.tenant_id, spend_limit_id):
            raise InvalidRequest(
                f"there is no spend limit {spend_limit_id!r}", hint="`jusinfer spend-limits list`."
            )
        note(tx, "spend_limit", spend_limit_id)


def list_spend_limits(world: Services, who: Anyone) -> list[SpendLimitRow]:
    """List the spend limits of a tenant, or of all, that are in force."""
    with reading(world, who, Action.SPEND_LIMIT_READ) as (tx, found):
        return limits.list_spend_limits(tx, found)


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

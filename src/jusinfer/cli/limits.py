"""Rate limits, spend limits and settings of tenants, from the command line."""

from typing import Annotated

import msgspec
import typer

from jusinfer.cli import output
from jusinfer.cli.opening import Opened, opened
from jusinfer.cli.operate import ConfigFile, DataDir, Json, ModeOption, tenants_app
from jusinfer.domain.actor import OnBehalf
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import LimitKind, SpendLimitAction
from jusinfer.domain.money import format_usd, parse_price, parse_usd
from jusinfer.domain.routing.selection import DIALS
from jusinfer.domain.tenant_policy import TenantPolicy
from jusinfer.services import limits

Scope = Annotated[str, typer.Argument(help="tenant, member or key.")]
ScopeId = Annotated[str, typer.Argument(help="Its id (for a tenant, its name will do).")]

limits_app = typer.Typer(
    help="Limits by the minute and at once; all that apply to a key apply together.",
    no_args_is_help=True,
)
spend_limits_app = typer.Typer(
    help="Spend limits by day, week or month; all that apply to a key apply together.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(limits_app, name="limits")
    app.add_typer(spend_limits_app, name="spend-limits")
    tenants_app.command("terms")(terms)
    tenants_app.command("policy")(policy)


def owner_of(at: Opened, scope: str, scope_id: str) -> tuple[OnBehalf, str]:
    """Give who acts for what a rate or spend limit is of, and its id; a tenant may be named."""
    if scope == "tenant":
        owner = at.tenant(scope_id)
        return owner, owner.tenant_id
    return at.owner_of(scope, scope_id), scope_id


@limits_app.command("set")
def limits_set(  # noqa: PLR0913 (one for each option)
    scope: Scope,
    scope_id: ScopeId,
    kind: Annotated[LimitKind, typer.Argument(help="What is counted.")],
    amount: Annotated[int, typer.Argument(min=0, help="How many; 0 lifts the limit.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Set a limit of a tenant, member or key."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        owner, own = owner_of(at, scope, scope_id)
        limits.set_limit(at.world, owner, scope, own, kind, amount or None)
    if as_json:
        output.show_json({"scope": scope, "id": own, "kind": kind.value, "amount": amount})
    else:
        output.say(f"{kind.value} of {scope} {scope_id}: {amount or 'no limit'}.")


@limits_app.command("list")
def limits_list(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """List limits."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = limits.list_limits(at.world, at.operator)
    shown = [msgspec.structs.asdict(row) for row in rows]
    output.show(shown, as_json=as_json, empty="There are no limits.")


@spend_limits_app.command("add")
def spend_limits_add(  # noqa: PLR0913, PLR0917 (one for each option)
    scope: Scope,
    scope_id: ScopeId,
    amount: Annotated[str, typer.Argument(help="US dollars by period, such as 20.")],
    period: Annotated[str, typer.Option(help="day, week or month.")] = "month",
    action: Annotated[
        SpendLimitAction, typer.Option(help="What then happens.")
    ] = SpendLimitAction.WARN,
    mode: ModeOption = Mode.LIVE,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Set a spend limit on what a tenant, member or key spends."""
    with output.faults(as_json=as_json):
        amount_nano = parse_usd(amount)
        with opened(config_file, data_dir, as_json=as_json) as at:
            owner, own = owner_of(at, scope, scope_id)
            spend_limit_id = limits.add_spend_limit(
                at.world, owner, scope, own, period, amount_nano, action, mode
            )
    if as_json:
        output.show_json({"spend_limit_id": spend_limit_id})
    else:
        output.say(
            f"{format_usd(amount_nano)} USD a {period}, then {action.value}: "
            f"spend limit {spend_limit_id}."
        )


@spend_limits_app.command("remove")
def spend_limits_remove(
    spend_limit_id: Annotated[str, typer.Argument(help="The spend limit's id.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Lift a spend limit."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        limits.remove_spend_limit(
            at.world, at.owner_of("spend_limit", spend_limit_id), spend_limit_id
        )
    if as_json:
        output.show_json({"removed": spend_limit_id})
    else:
        output.say("The spend limit is lifted.")


@spend_limits_app.command("list")
def spend_limits_list(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """List spend limits with what was spent in their latest period."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = limits.list_spend_limits(at.world, at.operator)
    shown: list[dict[str, output.Cell]] = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "scope": row.scope,
            "period": row.period,
            "limit_usd": format_usd(row.amount_nano),
            "spent_usd": format_usd(row.spent_nano),
            "action": row.action,
            "since": row.period_start,
            "spend_limit_id": row.spend_limit_id,
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="There are no spend limits.")


def terms(
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    price_list: Annotated[
        str | None, typer.Option(help='A price list of jusinfer.toml; "" is everyone\'s prices.')
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Where its days begin, such as Europe/Paris.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Set a tenant's price list or time zone."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        owner = at.tenant(tenant)
        limits.set_tenant_settings(at.world, owner, price_list, time_zone)
    if as_json:
        output.show_json({"tenant_id": owner.tenant_id})
    else:
        output.say(f"The terms of {tenant} are set.")


Names = Annotated[list[str] | None, typer.Option(help="May stand several times; none allows all.")]


def policy(  # noqa: PLR0913, PLR0917 (one option for each gate)
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    upstream: Names = None,
    region: Names = None,
    jurisdiction: Names = None,
    dial: Annotated[
        str, typer.Option(help="How jusinfer/auto chooses: cheap, balanced, best or fast.")
    ] = "",
    worth: Annotated[
        str | None,
        typer.Option(help="US dollars that one more right answer is worth at the dial balanced."),
    ] = None,
    call_usd_max: Annotated[
        str | None, typer.Option(help="The most that one call may be expected to cost.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    zdr: Annotated[bool, typer.Option(help="Only upstreams that keep nothing.")] = False,
    no_training: Annotated[
        bool, typer.Option(help="Only upstreams that say they do not train on prompts.")
    ] = False,
    log_payloads: Annotated[
        bool, typer.Option(help="Let Cloudflare AI Gateway keep prompts and answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say where a tenant's prompts may go and how to choose; replaces what was said before."""
    with output.faults(as_json=as_json):
        if dial and dial not in DIALS:
            raise output.OperatorError(f"--dial: {dial} is not one of {', '.join(DIALS)}")
        chosen = TenantPolicy(
            is_zdr=zdr,
            no_training=no_training,
            may_log_payloads=log_payloads,
            upstreams=tuple(upstream or ()),
            regions=tuple(region or ()),
            jurisdictions=tuple(jurisdiction or ()),
            dial=dial,
            worth_micro=None if worth is None else parse_price(worth),
            call_nano_max=None if call_usd_max is None else parse_usd(call_usd_max),
        )
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        owner = at.tenant(tenant)
        limits.set_policy(at.world, owner, chosen)
    if as_json:
        output.show_json({"tenant_id": owner.tenant_id})
    else:
        output.say(f"The policy of {tenant} is set.")

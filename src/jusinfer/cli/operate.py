"""What an operator types: serve, migrate, keys, tenants, grant, usage, models."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from jusinfer import config, confine
from jusinfer.bootstrap import managed_database
from jusinfer.cli import output
from jusinfer.cli.opening import opened
from jusinfer.config import Overrides
from jusinfer.domain.catalog import Catalog, Price
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import format_usd, parse_usd
from jusinfer.observability import Events
from jusinfer.rules import RulesStore
from jusinfer.services import accounts, billing, keys, usage
from jusinfer.services.billing import GrantTerms
from jusinfer.services.keys import Rates
from jusinfer.supervisor.supervisor import Supervisor

Json = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
ConfigFile = Annotated[str | None, typer.Option("--config", help="The configuration file.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", help="Where data lives.")]
Tenant = Annotated[str, typer.Option("--tenant", help="A tenant's name or id.")]
OneOrAll = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]
ModeOption = Annotated[Mode, typer.Option("--mode", help="live or test.")]
MICRO_DIGITS = 1_000_000

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
tenants_app = typer.Typer(help="Create and list tenants.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(migrate)
    app.command()(grant)
    app.command("usage")(usage_report)
    app.command()(models)
    app.add_typer(keys_app, name="keys")
    app.add_typer(tenants_app, name="tenants")


def serve(
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 takes any.")] = None,
    operator_port: Annotated[int | None, typer.Option(help="The operator's port.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway workers; 0 is one a core.")] = None,
) -> None:
    """Start the whole product and keep it running."""
    with output.faults():
        settings = config.load(
            Overrides(
                config_file=config_file,
                data_dir=data_dir,
                host=host,
                port=port,
                operator_port=operator_port,
                workers=workers,
            )
        )
        # All is read: what is left of the environment is what any process may see.
        confine.scrub_environment()
        # Every price and upstream is judged before anything is started.
        config.require_variables(settings)
        config.require_safe_listener(settings)
        config.require_private_file(settings)
        config.offers(settings, sandbox_port=1)
        RulesStore(settings.rules_dir).active()
        Supervisor(settings, Events("supervisor")).run()


def migrate(
    print_privileges: Annotated[  # noqa: FBT002 (an option)
        bool,
        typer.Option(
            "--print-privileges",
            help="Only print SQL that a superuser runs once in your own PostgreSQL.",
        ),
    ] = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Bring the database's schema up to date."""
    if print_privileges:
        with output.faults(as_json=as_json):
            settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
            output.say(*managed_database.privileges(settings).removesuffix("\n").split("\n"))
        return
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json):
        if as_json:
            output.show_json({"schema": "current"})
        else:
            output.say("The schema is current.")


@keys_app.command("create")
def keys_create(  # noqa: PLR0913, PLR0917 (one for each option)
    tenant: Tenant = managed_database.DEFAULT_TENANT,
    mode: ModeOption = Mode.TEST,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Make an API key; it is shown this once."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rates = Rates(requests_per_minute, tokens_per_minute)
        issued = keys.issue(at.world, at.tenant(tenant), mode, name, rates)
    if as_json:
        output.show_json({"key": issued.secret, "key_id": issued.key_id, "mode": issued.mode})
    else:
        output.say(issued.secret, "", f"It is shown only now. Id: {issued.key_id}")


@keys_app.command("list")
def keys_list(
    tenant: OneOrAll = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """List API keys, without their secrets."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = keys.list_keys(at.world, at.one_or_all(tenant))
    shown = [msgspec.structs.asdict(row) for row in rows]
    output.show(shown, as_json=as_json, empty="There are no keys yet.")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="A key's id; with --tenant, its prefix will do.")],
    tenant: OneOrAll = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Revoke a key; every gateway refuses it within a second."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        owner = at.owner_of("key", key) if tenant is None else at.tenant(tenant)
        revoked = keys.revoke(at.world, owner, key)
    if as_json:
        output.show_json({"revoked": revoked})
    else:
        output.say(f"Revoked: {', '.join(revoked)}")


@tenants_app.command("create")
def tenants_create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Create a tenant."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        made = accounts.create_tenant(at.world, at.operator, name)
    output.show([msgspec.structs.asdict(made)], as_json=as_json, empty="")


@tenants_app.command("list")
def tenants_list(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """List tenants and what they have."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = billing.balances(at.world, at.operator)
    shown = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "balance_usd": format_usd(row.balance_nano),
            "leased_usd": format_usd(row.leased_nano),
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="There are no tenants yet.")


def grant(  # noqa: PLR0913, PLR0917 (one for each option)
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    amount: Annotated[str, typer.Argument(help="US dollars, such as 12.50.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
    mode: ModeOption = Mode.LIVE,
    expires: Annotated[
        datetime | None, typer.Option(help="When what is left lapses, in UTC.")
    ] = None,
    priority: Annotated[
        int, typer.Option(min=0, max=100, help="Credit grants of a lower number are drawn first.")
    ] = 50,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Give credit to a tenant."""
    with output.faults(as_json=as_json):
        amount_nano = parse_usd(amount)
        with opened(config_file, data_dir, as_json=as_json) as at:
            transfer_id = billing.grant(
                at.world,
                at.tenant(tenant),
                amount_nano,
                mode,
                reason,
                GrantTerms(priority, None, in_utc(expires)),
            )
        if as_json:
            output.show_json({"transfer_id": transfer_id, "amount_usd": format_usd(amount_nano)})
        else:
            output.say(f"Granted {format_usd(amount_nano)} USD to {tenant} ({mode}).")


def in_utc(moment: datetime | None) -> datetime | None:
    """Read a time that was typed without a zone as UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def usage_report(
    tenant: OneOrAll = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 30,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what was used, by tenant and model."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = usage.totals(at.world, at.one_or_all(tenant), days)
    shown: list[dict[str, output.Cell]] = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "model": row.model,
            "completions": row.completions,
            "prompt_tokens": row.prompt_tokens,
            "completion_tokens": row.completion_tokens,
            "charge_usd": format_usd(row.charge_nano),
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="Nothing was used.")


def models(
    config_file: ConfigFile = None, mode: ModeOption = Mode.TEST, *, as_json: Json = False
) -> None:
    """List the models on offer, with prices in US dollars per million tokens."""
    with output.faults(as_json=as_json):
        catalog = catalog_of(config_file, mode)
    shown: list[dict[str, output.Cell]] = [
        {
            "model": model.model_id,
            "upstreams": ",".join(route.upstream for route in model.routes) or "(the router)",
            "context": model.context_tokens,
            "input": _dollars(model.routes[0].price, "input") if model.routes else None,
            "output": _dollars(model.routes[0].price, "output") if model.routes else None,
        }
        for model in catalog.models.values()
    ]
    empty = "Nothing is on offer: set an upstream's key, such as DEEPSEEK_API_KEY."
    output.show(shown, as_json=as_json, empty=empty)


def catalog_of(config_file: str | None, mode: Mode) -> Catalog:
    """Give what is offered in a mode."""
    settings = config.load(Overrides(config_file=config_file))
    offers = config.offers(settings, sandbox_port=1)
    return offers.live if mode == Mode.LIVE else offers.test


def _dollars(price: Price, kind: str) -> str:
    micro = price.input_micro_per_mtok if kind == "input" else price.output_micro_per_mtok
    whole, part = divmod(micro, MICRO_DIGITS)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")

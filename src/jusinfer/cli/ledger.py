"""What an operator asks of the ledger: prove it, explain one completion, show and adjust credit."""

from typing import Annotated, Final

import typer

from jusinfer.cli import output
from jusinfer.cli.operate import ConfigFile, DataDir, Json, ModeOption, OneOrAll, opened, tenant_id
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import format_usd, parse_usd
from jusinfer.services import accounts, audit, billing

BROKEN_EXIT: Final = 1

ledger_app = typer.Typer(help="Prove and explain what was charged.", no_args_is_help=True)
credits_app = typer.Typer(help="Show and adjust credit.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(ledger_app, name="ledger")
    app.add_typer(credits_app, name="credits")


@ledger_app.command("verify")
def verify(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """Prove every invariant of the ledger on the live database."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as world:
        report = audit.verify(world)
    if as_json:
        output.show_json(report)
    else:
        rows: list[dict[str, output.Cell]] = [
            {
                "invariant": finding.name,
                "state": "holds" if finding.holds else "BROKEN",
                "what_it_says": finding.says,
            }
            for finding in report.findings
        ]
        output.show(rows, as_json=False, empty="")
        for finding in report.findings:
            for offender in finding.offenders:
                typer.echo(f"{finding.name}: {offender}")
        totals = report.totals
        typer.echo(
            f"{totals.transfers} transfers, {totals.usage_rows} usage rows, {totals.lots} lots, "
            f"{totals.open_leases} open leases."
        )
    if not report.holds:
        raise typer.Exit(BROKEN_EXIT)


@credits_app.command("lots")
def lots(
    tenant: OneOrAll = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """List lots of credit in the order in which they are drawn."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as world:
        rows = billing.lots(world, tenant_id(world, tenant))
    shown: list[dict[str, output.Cell]] = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "source": row.source,
            "remaining_usd": format_usd(row.remaining_nano),
            "held_usd": format_usd(row.held_nano),
            "priority": row.priority,
            "expires": row.expires_at or "never",
            "lot_id": row.lot_id,
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="There is no credit.")


@credits_app.command("adjust", context_settings={"ignore_unknown_options": True})
def adjust(  # noqa: PLR0913 (one for each option)
    tenant: Annotated[str, typer.Argument(help="A tenant's name or id.")],
    amount: Annotated[str, typer.Argument(help="US dollars, such as 2.50 or -2.50.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
    mode: ModeOption = Mode.LIVE,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Correct a tenant's credit, upward or downward."""
    with output.faults(as_json=as_json):
        sign = -1 if amount.startswith("-") else 1
        amount_nano = sign * parse_usd(amount.removeprefix("-"))
        with opened(config_file, data_dir, as_json=as_json) as world:
            found = accounts.find_tenant(world, tenant)
            transfer_id = billing.adjust(world, found.tenant_id, amount_nano, mode, reason)
        if as_json:
            output.show_json({"transfer_id": transfer_id, "amount_usd": format_usd(amount_nano)})
        else:
            typer.echo(f"Adjusted {found.name} by {format_usd(amount_nano)} USD ({mode}).")

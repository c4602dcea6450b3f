"""What an operator asks of the ledger: prove it, explain one completion, show and adjust credit."""

from typing import Annotated, Final

import typer

from jusinfer.cli import output
from jusinfer.cli.opening import opened
from jusinfer.cli.operate import ConfigFile, DataDir, Json, ModeOption, OneOrAll
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import format_pico, format_usd, parse_usd
from jusinfer.services import billing, charge_audit, ledger_proof

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
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        report = ledger_proof.verify(at.world, at.operator)
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
                output.say(f"{finding.name}: {offender}")
        totals = report.totals
        output.say(
            f"{totals.transfers} transfers, {totals.usage_rows} usage rows, "
            f"{totals.grants} credit grants, "
            f"{totals.open_leases} open leases."
        )
    if not report.holds:
        raise typer.Exit(BROKEN_EXIT)


@ledger_app.command("explain")
def explain(
    completion_id: Annotated[str, typer.Argument(help="The id in x-jusinfer-completion-id.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one receipt: tokens, prices, arithmetic, credit grants drawn, attempts."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        receipt = charge_audit.explain(at.world, at.operator, completion_id)
    if as_json:
        output.show_json(receipt)
        return
    usage = receipt.usage
    price_list = f", list {usage.price_list}" if usage.price_list else ""
    output.say(
        f"{usage.tenant} ({usage.mode}), {usage.requested_model} served as {usage.served_model} "
        f"by {usage.upstream}: {usage.outcome}"
    )
    output.say(f"routes tried: {usage.attempt_log or 'none'}; chosen because: {usage.reasons}")
    output.say(f"prices: version {usage.price_version}{price_list}")
    output.show(
        [
            {
                "what": line.what,
                "count": line.count,
                "usd_per_million": format_usd(line.price_micro * 1000),
                "usd": format_pico(line.cost_pico),
            }
            for line in receipt.lines
        ],
        as_json=False,
        empty="Nothing was used, or its prices are not kept.",
    )
    kind = "counted by us, the upstream reported none" if usage.is_estimated else "as reported"
    output.say(
        f"cost {format_pico(usage.cost_pico)} USD, charged {format_usd(usage.charge_nano)} USD "
        f"(rounded up to a nano-dollar); tokens {kind}"
    )
    if usage.charge_nano and not receipt.is_exact:
        output.say("The prices kept for this version do not come to this cost.")
    for transfer in receipt.transfers:
        output.say(
            f"{transfer.code} {format_usd(transfer.amount_nano)} USD: {transfer.transfer_id}"
        )
    for draw in receipt.draws:
        beyond = ", beyond its lease" if draw.is_beyond_lease else ""
        output.say(
            f"  of it {format_usd(draw.amount_nano)} USD from {draw.source} credit grant "
            f"{draw.grant_id}{beyond}"
        )


@ledger_app.command("rerate")
def rerate(
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 30,
    version: Annotated[
        str | None, typer.Option(help="Rate at this version of the prices instead.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Rate what was used again, and show where charges would differ; nothing is changed."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = charge_audit.rerate(at.world, at.operator, days, version)
    shown: list[dict[str, output.Cell]] = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "model": row.model,
            "upstream": row.upstream,
            "completions": row.completions,
            "charged_usd": format_usd(row.charged_nano),
            "rated_usd": format_usd(row.rated_nano),
            "difference_usd": format_usd(row.rated_nano - row.charged_nano),
            "without_prices": row.unknown,
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="Nothing was used.")


@ledger_app.command("drift")
def drift(
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 30,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Compare what upstreams say they charged us with our own prices."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = charge_audit.drift(at.world, at.operator, days)
    shown: list[dict[str, output.Cell]] = [
        {
            "upstream": row.upstream,
            "model": row.model,
            "completions": row.completions,
            "charged_usd": format_pico(row.ours_pico),
            "reported_usd": format_pico(row.reported_pico),
            "difference_usd": format_pico(row.ours_pico - row.reported_pico),
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="No upstream reported a cost.")


@ledger_app.command("reports")
def reports(
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 30,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what providers told later of answers that broke off, beside what we charged."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = charge_audit.reports(at.world, at.operator, days)
    shown: list[dict[str, output.Cell]] = [
        {
            "upstream": row.upstream,
            "mode": row.mode,
            "reported": row.reported,
            "waiting": row.waiting,
            "given_up": row.given_up,
            "charged_usd": format_pico(row.ours_pico),
            "reported_usd": format_pico(row.reported_pico),
            "difference_usd": format_pico(row.ours_pico - row.reported_pico),
        }
        for row in rows
    ]
    output.show(shown, as_json=as_json, empty="No provider had to be asked later.")


@credits_app.command("grants")
def grants(
    tenant: OneOrAll = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """List credit grants in the order in which they are drawn."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        rows = billing.grants(at.world, at.one_or_all(tenant))
    shown: list[dict[str, output.Cell]] = [
        {
            "tenant": row.tenant,
            "mode": row.mode,
            "source": row.source,
            "remaining_usd": format_usd(row.remaining_nano),
            "held_usd": format_usd(row.held_nano),
            "priority": row.priority,
            "expires": row.expires_at or "never",
            "grant_id": row.grant_id,
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
        with opened(config_file, data_dir, as_json=as_json) as at:
            transfer_id = billing.adjust(at.world, at.tenant(tenant), amount_nano, mode, reason)
        if as_json:
            output.show_json({"transfer_id": transfer_id, "amount_usd": format_usd(amount_nano)})
        else:
            output.say(f"Adjusted {tenant} by {format_usd(amount_nano)} USD ({mode}).")

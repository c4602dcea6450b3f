"""The audit log from the command line: list it, prove it whole, and give the head to keep."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from jusinfer import config
from jusinfer.cli import output
from jusinfer.cli.opening import opened
from jusinfer.cli.operate import ConfigFile, DataDir, Json, OneOrAll, in_utc
from jusinfer.cli.output import OperatorError
from jusinfer.config import Overrides
from jusinfer.domain.audit_chain import Entry, Head, Verdict, read_head
from jusinfer.services import audit_log
from jusinfer.store.secret_files import write_secret

BROKEN_EXIT: Final = 1
US_PER_SECOND: Final = 1_000_000
# Of the data directory: another place than a database of the operator's own.
KEPT_FILE: Final = "audit-head"

audit_app = typer.Typer(help="Who did what to whose: list it, and prove it.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(audit_app, name="audit")


@audit_app.command("list")
def list_entries(
    tenant: OneOrAll = None,
    since: Annotated[datetime | None, typer.Option(help="From this time on, in UTC.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=audit_log.ROWS_MAX, help="The last so many.")
    ] = 1_000,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """List entries, oldest first; this reading is an entry too."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        found = audit_log.list_entries(at.world, at.one_or_all(tenant), in_utc(since), limit)
    output.show([_row(entry) for entry in found], as_json=as_json, empty="There are no entries.")


@audit_app.command("verify")
def verify(
    head: Annotated[
        str | None, typer.Option(help="What `jusinfer audit head` printed earlier.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Follow the whole chain, and name the first entry that is not what it was.

    The head that holds is kept in the data directory, and compared the next time where --head
    gives none.
    """
    with output.faults(as_json=as_json):
        settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
        place = Path(settings.data_dir) / KEPT_FILE
        kept = _kept(head) if head is not None else _remembered(place)
        with opened(config_file, data_dir, as_json=as_json) as at:
            verdict = audit_log.verify(at.world, at.operator, kept)
        if verdict.fault is None:
            _remember(place, verdict.head, as_json=as_json)
    _tell(verdict, kept, None if head is not None else place, as_json=as_json)
    if verdict.fault is not None:
        raise typer.Exit(BROKEN_EXIT)


def _tell(verdict: Verdict, kept: Head | None, place: Path | None, *, as_json: bool) -> None:
    fault = verdict.fault
    compared = None if kept is None else str(kept)
    if as_json:
        output.show_json(
            {
                "holds": fault is None,
                "entries": verdict.entries,
                "head": str(verdict.head),
                "compared_with": compared,
                "first_broken": None if fault is None else fault.seq,
                "what": None if fault is None else fault.what,
                "steps_back": verdict.steps_back,
            }
        )
        return
    for step in verdict.steps_back:
        output.say(
            f"Remark: entry {step.seq} has a time {step.by_us / US_PER_SECOND:.6f} s before that of"
            " the entry before it: a clock was set back"
        )
    if fault is None:
        output.say(f"The chain holds: {verdict.entries} entries, head {verdict.head}")
    else:
        output.say(
            f"BROKEN at entry {fault.seq}: {fault.what}",
            f"Up to there it holds: {verdict.entries} entries, head {verdict.head}",
        )
    if compared is None:
        output.say("It was compared with no head that was kept elsewhere: see --head.")
    else:
        output.say(f"It was compared with the head {compared} of {place or '--head'}")
        if fault is not None and place is not None:
            output.say(f"Where an older backup was restored on purpose, delete {place}.")


@audit_app.command("head")
def head(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """Print the head; keep it where nobody who can write to the database can write."""
    with output.faults(as_json=as_json), opened(config_file, data_dir, as_json=as_json) as at:
        found = audit_log.head(at.world, at.operator)
    if as_json:
        output.show_json({"head": str(found)})
    else:
        output.say(str(found))


def _kept(text: str) -> Head:
    try:
        return read_head(text)
    except ValueError as error:
        raise OperatorError(f"--head: {error}, as `jusinfer audit head` prints it") from error


def _remember(place: Path, head: Head, *, as_json: bool) -> None:
    """Keep a head for the next time, where there is a data directory that may be written to."""
    try:
        write_secret(place, f"{head}\n".encode())
    except OSError as error:
        if not as_json:
            output.say(f"This head is not kept in {place} ({error.strerror}): keep it yourself.")


def _remembered(place: Path) -> Head | None:
    """Give the head that held the last time; None where none was kept. Raises OperatorError."""
    try:
        return read_head(place.read_text("ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OperatorError(f"{place}: holds no head; delete it, or give one by --head") from error


def _row(entry: Entry) -> dict[str, output.Cell]:
    seconds, micros = divmod(entry.at_us, US_PER_SECOND)
    at = datetime.fromtimestamp(seconds, UTC)
    return {
        "seq": entry.seq,
        "at": f"{at:%Y-%m-%dT%H:%M:%S}.{micros:06d}Z",
        "who": f"{entry.actor_kind}:{entry.actor_id}",
        "how": entry.how,
        "origin": entry.origin,
        "network": entry.network,
        "tenant": entry.tenant_id,
        "action": entry.action,
        "outcome": entry.outcome,
        "object": f"{entry.object_kind}:{entry.object_id}",
    }

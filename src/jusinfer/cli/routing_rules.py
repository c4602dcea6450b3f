"""The rule table of the router: check, compare, put in force, go back; and explain a route."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from jusinfer import config
from jusinfer.bootstrap import data_directory
from jusinfer.cli import output
from jusinfer.cli.opening import opened
from jusinfer.cli.operate import ConfigFile, DataDir, Json, catalog_of
from jusinfer.config import Overrides
from jusinfer.domain.identity import Mode
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.routing.rules_diff import changes, flips
from jusinfer.rules import BUILTIN, LoadedRules, RulesStore, builtin, read_file
from jusinfer.services import audit_log

rules_app = typer.Typer(help="Check, compare and put in force rule tables.", no_args_is_help=True)
FileArgument = Annotated[
    str | None, typer.Argument(help="A table's file, or `builtin`; none is the one in force.")
]
SHOWN_MAX: Final = 200


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(rules_app, name="rules")


def files_of(config_file: str | None, data_dir: str | None) -> RulesStore:
    """Give the folder of tables of an installation."""
    settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
    return RulesStore(settings.rules_dir)


def made_files(config_file: str | None, data_dir: str | None) -> RulesStore:
    """Give the folder of tables to be written to; the data directory is made, and made private."""
    settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
    data_directory.prepare(settings)
    return RulesStore(settings.rules_dir)


def found_in(files: RulesStore, name: str | None) -> LoadedRules:
    """Read the table that a command means: a file, the built-in one, or the one in force."""
    if name is None:
        return files.active()
    return builtin() if name == BUILTIN else read_file(Path(name))


@rules_app.command("check")
def check(
    file: FileArgument = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Judge a table; a fault is told with its line."""
    with output.faults(as_json=as_json):
        table = found_in(files_of(config_file, data_dir), file).table
    row = _summary(table)
    if as_json:
        output.show_json({"is_sound": True, **row})
    else:
        output.say(
            f"The table is sound: version {table.version}, {row['signals']} signals, "
            f"{row['hints']} hints, {row['gates']} gates."
        )


@rules_app.command("diff")
def diff(
    file: Annotated[str, typer.Argument(help="A table's file, or `builtin`.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Say what a table changes against the one in force, and how many requests it would move."""
    with output.faults(as_json=as_json):
        files = files_of(config_file, data_dir)
        now, then = files.active().table, found_in(files, file).table
        moved = flips(now, then, catalog_of(config_file, Mode.TEST))
    found = changes(now, then)
    if as_json:
        output.show_json({"changes": found, "moved": moved})
        return
    output.say(f"{now.version} (in force) -> {then.version}", "")
    rows = [msgspec.structs.asdict(one) for one in found[:SHOWN_MAX]]
    output.show(rows, as_json=False, empty="No rule differs.")
    output.say(
        f"\nOf {moved.requests} made-up requests of every size and hint, {moved.stronger} would go "
        f"to a stronger model and {moved.weaker} to a weaker one."
    )


@rules_app.command("activate")
def activate(
    file: Annotated[str, typer.Argument(help="A table's file, or `builtin`.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Put a table in force; every gateway on this data directory takes it within a second."""
    with output.faults(as_json=as_json):
        files = made_files(config_file, data_dir)
        found = found_in(files, file)
        put_in_force(files, found, config_file, data_dir, as_json=as_json)
    _say(found.table.version, as_json=as_json)


@rules_app.command("rollback")
def rollback(
    version: Annotated[
        str | None, typer.Argument(help="A version that was in force; none is the one before.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Put the table in force that was before, or any that ever was."""
    with output.faults(as_json=as_json):
        files = made_files(config_file, data_dir)
        found = files.kept(version or files.before())
        put_in_force(files, found, config_file, data_dir, as_json=as_json)
    _say(found.table.version, as_json=as_json)


@rules_app.command("list")
def list_versions(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """List the versions in the order in which they were put in force."""
    with output.faults(as_json=as_json):
        files = files_of(config_file, data_dir)
        now = files.active().table.version
        history = files.history() or [now]
    rows: list[dict[str, output.Cell]] = [
        {"version": version, "is_in_force": version == now and place == len(history)}
        for place, version in enumerate(history, 1)
    ]
    output.show(rows, as_json=as_json, empty="")


@rules_app.command("show")
def show(
    version: Annotated[
        str | None, typer.Argument(help="A version, or `builtin`; none is the one in force.")
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print a table as it was written."""
    with output.faults():
        files = files_of(config_file, data_dir)
        found = files.active() if version is None else files.kept(version)
    output.say(*found.text.removesuffix("\n").split("\n"))


def put_in_force(
    files: RulesStore,
    found: LoadedRules,
    config_file: str | None,
    data_dir: str | None,
    *,
    as_json: bool,
) -> None:
    """Put a table in force once the audit log has said so: none is in force that it lacks."""
    files.refuse_other(found)
    with opened(config_file, data_dir, as_json=as_json) as at:
        audit_log.note_rules(at.world, at.operator, found.table.version)
    files.activate(found)


def _summary(table: RuleTable) -> dict[str, str | int]:
    return {
        "version": table.version,
        "signals": len(table.signal),
        "hints": len(table.hint),
        "gates": len(table.gate),
    }


def _say(version: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"version": version})
    else:
        output.say(f"Version {version} is in force.")

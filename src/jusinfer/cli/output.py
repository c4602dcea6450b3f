"""How commands speak: tables for people, JSON for programs, one line for a fault, exit codes."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
import typer

from jusinfer.cli.serve import StartFailed
from jusinfer.config import ConfigError
from jusinfer.domain.errors import JusinferError
from jusinfer.domain.money import MoneyError
from jusinfer.domain.rule_file import RuleFileError
from jusinfer.store.database import StoreError

FAILURE: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3

Cell = str | int | bool | None


class OperatorError(Exception):
    """Something an operator asked for cannot be done; the text says how to mend it."""


def show(rows: Sequence[Mapping[str, Cell]], *, as_json: bool, empty: str) -> None:
    """Print rows as a JSON array or as an aligned table."""
    if as_json:
        show_json(list(rows))
        return
    if not rows:
        typer.echo(empty)
        return
    names = list(rows[0])
    cells = [[_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    for line in [[name.replace("_", " ") for name in names], *cells]:
        typer.echo(
            "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        )


def show_json(value: object) -> None:
    """Print one JSON value on one line."""
    typer.echo(msgspec.json.encode(value).decode())


@contextmanager
def faults(*, as_json: bool = False) -> Iterator[None]:
    """Turn a fault that an operator can mend into one line and an exit code."""
    try:
        yield
    except (ConfigError, MoneyError, RuleFileError) as error:
        _fault(str(error), USAGE, as_json=as_json)
    except StoreError as error:
        _fault(str(error), UNREACHABLE, as_json=as_json)
    except (OperatorError, StartFailed) as error:
        _fault(str(error), FAILURE, as_json=as_json)
    except JusinferError as error:
        _fault(f"{error.message} {error.hint}".strip(), FAILURE, as_json=as_json)


def progress(text: str, *, as_json: bool) -> None:
    """Say on a terminal what takes a while."""
    if not as_json and sys.stderr.isatty():
        typer.echo(text, err=True)


def _fault(text: str, code: int, *, as_json: bool) -> None:
    if as_json:
        show_json({"error": text})
    else:
        typer.echo(f"jusinfer: {text}", err=True)
    raise typer.Exit(code)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)

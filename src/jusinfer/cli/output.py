"""How commands speak: tables for people, JSON for programs, one line for a fault, exit codes."""

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Final

import msgspec
import typer

from jusinfer.config import ConfigError
from jusinfer.domain.errors import JusinferError
from jusinfer.domain.money import MoneyError
from jusinfer.domain.printable import printable, printable_json
from jusinfer.domain.routing.rules_parser import RuleFileError
from jusinfer.store.database import StoreError
from jusinfer.supervisor.supervisor import StartFailed

FAILURE: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3

Cell = str | int | bool | None


class OperatorError(Exception):
    """Something an operator asked for cannot be done; the text says how to mend it."""


def say(*lines: str, is_error: bool = False) -> None:
    """Print lines. Whatever stands in them is data: no control character of it gets out."""
    for line in lines:
        typer.echo(printable(line), err=is_error)


def unexpected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say where a fault of ours was and of which class; its text may hold what was stored."""
    del error
    frames = traceback.extract_tb(trace)
    say(*(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames), is_error=True)
    say(f"jusinfer: unexpected {kind.__name__}", is_error=True)


def show(rows: Sequence[Mapping[str, Cell]], *, as_json: bool, empty: str) -> None:
    """Print rows as a JSON array or as an aligned table."""
    if as_json:
        show_json(list(rows))
        return
    if not rows:
        say(empty)
        return
    names = list(rows[0])
    cells = [[printable(_text(row[name])) for name in names] for row in rows]
    widths = [max(len(line[i]) for line in [names, *cells]) for i in range(len(names))]
    for line in [[name.replace("_", " ") for name in names], *cells]:
        say("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def show_json(value: object) -> None:
    """Print one JSON value on one line."""
    typer.echo(printable_json(msgspec.json.encode(value).decode()))


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
        say(text, is_error=True)


def _fault(text: str, code: int, *, as_json: bool) -> None:
    if as_json:
        show_json({"error": text})
    else:
        say(*f"jusinfer: {text}".split("\n"), is_error=True)
    raise typer.Exit(code)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return str(cell)

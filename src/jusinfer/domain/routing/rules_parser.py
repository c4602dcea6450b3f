"""Reads a rule table from its text: TOML, with the line of whatever cannot stand."""

import re
import tomllib
from typing import Final

import msgspec

from jusinfer.domain.routing.rules import Pair, RuleTable, Sentence, TableError, check

TEXT_BYTES_MAX: Final = 256 * 1024
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\")\s*(?:\.|=)")
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_BARE: Final = re.compile(r'"([^"]*)"|([A-Za-z0-9_-]+)')

Path = tuple[str | int, ...]


class RuleFileError(ValueError):
    """A table that cannot be used; the text says where (file:line) and how to mend it."""


def read_table(text: str, name: str) -> RuleTable:
    """Read and judge a table; `name` stands for the file in what is said of a fault."""
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise RuleFileError(f"{name}: larger than {TEXT_BYTES_MAX} bytes")
    try:
        raw = tomllib.loads(text)
        _check_named(raw)
        return check(msgspec.convert(raw, RuleTable))
    except tomllib.TOMLDecodeError as error:
        raise RuleFileError(_syntax(str(error), name)) from None
    except TableError as error:
        raise RuleFileError(f"{_place(text, name, error.path)}: {error}") from None
    except msgspec.ValidationError as error:
        path, said = _said(str(error))
        raise RuleFileError(f"{_place(text, name, path)}: {said}") from None


def _check_named(raw: dict[str, object]) -> None:
    """Judge what stands under names of its own, of which a misfit would not tell the name."""
    for group, kind in (("pair", Pair), ("outcome", Sentence)):
        rows = raw.get(group)
        for name, row in rows.items() if isinstance(rows, dict) else ():
            try:
                msgspec.convert(row, kind)
            except msgspec.ValidationError as error:
                path, said = _said(str(error))
                raise TableError(said, (group, name, *path)) from None


def _syntax(message: str, name: str) -> str:
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    line = f":{found[1]}" if found else ""
    return f"{name}{line}: {re.sub(r' *[(]at .*[)]', '', message)}; mend that line"


def _said(message: str) -> tuple[Path, str]:
    """Give the path and the sentence of a misfit."""
    text, _, where = message.partition(" - at `$")
    path: list[str | int] = []
    for key, index in _STEP.findall(where.rstrip("`")):
        path.append(key or (int(index) if index.isdecimal() else index))
    unknown = re.search(r"unknown field `([^`]+)`", text)
    if unknown:
        return (*path, unknown[1]), f"the key `{unknown[1]}` is not known here; remove it"
    missing = re.search(r"missing required field `([^`]+)`", text)
    if missing:
        return tuple(path), f"the key `{missing[1]}` is missing; add it"
    return tuple(path), f"{text.replace('Object', 'table')}; mend that line"


def _place(text: str, name: str, path: Path) -> str:
    """Give file and line of a path, or of the nearest thing above it."""
    lines = _lines(text)
    known = tuple(part for part in path if part != "...")
    while known and known not in lines:
        known = known[:-1]
    key = ".".join(str(part) for part in path if isinstance(part, str) and part != "...")
    line = lines.get(known, 1)
    return f"{name}:{line}" + (f" ({key})" if key else "")


def _lines(text: str) -> dict[Path, int]:
    """Give the line where each table and each of its keys begins."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    here: Path = ()
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line) if depth == 0 else None
        if header is not None:
            names = tuple(a or b for a, b in _BARE.findall(header[2]))
            here = _within(names, counts)
            if header[1] == "[[":
                found.setdefault(here, number)
                counts[names] = counts.get(names, -1) + 1
                here = (*here, counts[names])
            found.setdefault(here, number)
            continue
        key = _KEY.match(line) if depth == 0 else None
        if key is not None:
            found.setdefault((*here, key[1].strip('"')), number)
        bare = re.sub(r'"(?:\\.|[^"\\])*"|\'[^\']*\'', "", line).partition("#")[0]
        depth = max(depth + bare.count("[") - bare.count("]"), 0)
    return found


def _within(names: tuple[str, ...], counts: dict[Path, int]) -> Path:
    """Put the index of the array of tables that a table is part of into its path."""
    if len(names) > 1 and names[:1] in counts:
        return (names[0], counts[names[:1]], *names[1:])
    return names

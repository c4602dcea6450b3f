"""Rounds: every subject of a row is measured in each round, and ratios are taken within a round."""

import statistics
import subprocess
from collections.abc import Callable
from typing import Final

import msgspec

from bench.subjects import NoFigure, Subject

FLOOR: Final = "nginx"
DIRECT: Final = "direct"
WARM_SECONDS: Final = 1.0
# After so many failures in a row a subject is left out of a row: its reason is known by then.
FAILURES_MAX: Final = 2
FAULTS: Final = (OSError, RuntimeError, ValueError, subprocess.SubprocessError, ExceptionGroup)


class Cell(msgspec.Struct):
    """What one subject did in one round of one row.

    Times are for each unit of the row (a request, an event); `cpu_us` is 0 where it is not
    counted. Latencies are of whole answers, or of the first content; 0 where they are not known.
    """

    cpu_us: float = 0.0
    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    beside_us: dict[str, float] = {}
    note: str = ""


class Fault(msgspec.Struct):
    """Why there is no figure."""

    reason: str


class Row(msgspec.Struct):
    """What is measured in the same way for several subjects."""

    name: str
    unit: str
    subjects: list[Subject]
    measure: Callable[[Subject, float], Cell]
    latency: str = "to the end of the answer"
    warm_seconds: float = WARM_SECONDS


class Spread(msgspec.Struct):
    """A median with the least and the greatest."""

    median: float
    low: float
    high: float


class Figures(msgspec.Struct):
    """What all rounds of one subject in one row come to; None where nothing was measured."""

    cpu_us: Spread | None
    ratio: Spread | None
    per_second: Spread | None
    p50_ms: Spread | None
    p99_ms: Spread | None
    added_p50_ms: Spread | None
    added_p99_ms: Spread | None
    beside_us: dict[str, Spread]
    notes: list[str]


Cells = dict[str, list[Cell | Fault]]


def play(
    rows: list[Row], rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Cells]:
    """Warm every subject up for every row, then measure so many rounds; gives cells by row.

    A subject that fails has the reason in its cell; the others go on.
    """
    cells: dict[str, Cells] = {row.name: {one.name: [] for one in row.subjects} for row in rows}
    failures: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], Fault] = {}
    for number in range(rounds + 1):
        for row in rows:
            # Each round another subject begins, and every second one goes the other way round, so
            # that none always follows the same one.
            turn = number % len(row.subjects)
            order = row.subjects[turn:] + row.subjects[:turn]
            for subject in order[:: -1 if number % 2 else 1]:
                place = (row.name, subject.name)
                cell: Cell | Fault
                if failures.get(place, 0) >= FAILURES_MAX:
                    cell = last[place]
                else:
                    cell = attempt(row, subject, seconds if number else row.warm_seconds)
                if isinstance(cell, Fault):
                    failures[place] = failures.get(place, 0) + 1
                    last[place] = cell
                else:
                    failures[place] = 0
                if number:
                    cells[row.name][subject.name].append(cell)
                step = f"round {number}" if number else "warm-up"
                told = cell.reason if isinstance(cell, Fault) else f"{cell.cpu_us:.1f} µs"
                say(f"{step}: {row.name}: {subject.name}: {told}")
    return cells


def attempt(row: Row, subject: Subject, seconds: float) -> Cell | Fault:
    """Measure once; whatever goes wrong outside of this program becomes the cell's reason."""
    try:
        return row.measure(subject, seconds)
    except FAULTS as error:
        return Fault(reason(error))


def reason(error: BaseException) -> str:
    """Say in one line what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    if isinstance(error, NoFigure):
        return text
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__


def spread(values: list[float]) -> Spread | None:
    """Give the median of values with their ends; None of none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def within_round(
    own: list[Cell | Fault],
    other: list[Cell | Fault],
    compare: Callable[[Cell, Cell], float | None],
) -> Spread | None:
    """Compare two subjects round by round; rounds in which either has no figure are left out."""
    found = []
    for one, two in zip(own, other, strict=False):
        if isinstance(one, Cell) and isinstance(two, Cell):
            value = compare(one, two)
            if value is not None:
                found.append(value)
    return spread(found)


def times(one: Cell, two: Cell) -> float | None:
    """Give how many times the CPU of another cell is spent; None where it is not counted."""
    return one.cpu_us / two.cpu_us if one.cpu_us and two.cpu_us else None


def _added(own_ms: float, direct_ms: float) -> float | None:
    return own_ms - direct_ms if own_ms and direct_ms else None


def figures(name: str, cells: Cells) -> Figures:
    """Sum up all rounds of one subject of a row."""
    own, floor = cells[name], cells.get(FLOOR, [])
    direct = [] if name == DIRECT else cells.get(DIRECT, [])
    good = [cell for cell in own if isinstance(cell, Cell)]
    parts = {part for cell in good for part in cell.beside_us}
    beside = {
        part: spread([cell.beside_us[part] for cell in good if part in cell.beside_us])
        for part in sorted(parts, reverse=True)
    }
    notes = [cell.reason if isinstance(cell, Fault) else cell.note for cell in own]
    return Figures(
        cpu_us=spread([cell.cpu_us for cell in good if cell.cpu_us]),
        ratio=within_round(own, floor, times),
        per_second=spread([cell.per_second for cell in good]),
        p50_ms=spread([cell.p50_ms for cell in good if cell.p50_ms]),
        p99_ms=spread([cell.p99_ms for cell in good if cell.p99_ms]),
        added_p50_ms=within_round(own, direct, lambda one, two: _added(one.p50_ms, two.p50_ms)),
        added_p99_ms=within_round(own, direct, lambda one, two: _added(one.p99_ms, two.p99_ms)),
        beside_us={part: found for part, found in beside.items() if found is not None},
        notes=list(dict.fromkeys(note for note in notes if note)),
    )

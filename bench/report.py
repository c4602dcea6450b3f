"""The tables: medians with the least and the greatest of all rounds."""

from collections.abc import Iterator
from typing import Final

from bench.memory import Memory
from bench.rounds import (
    FLOOR,
    Cell,
    Cells,
    Figures,
    Row,
    Spread,
    figures,
    spread,
    times,
    within_round,
)

PRODUCT: Final = "jusinfer"
PLAIN_RATIO_MAX: Final = 4.5
EVENT_RATIO_MAX: Final = 1.8
TRANSLATION_US_MAX: Final = 15.0
POSTING_PER_SECOND_MIN: Final = 30_000
SETTLING_US_MAX: Final = 40
IDLE_MB_MAX: Final = 55
STREAM_KB_MAX: Final = 20


def machine_lines(facts: dict[str, str | int | float]) -> Iterator[str]:
    """Say what was measured where."""
    yield (
        f"{facts['cpu']}, {facts['cores']} cores, Linux {facts['kernel']};"
        f" {facts['interpreter']}; jusInfer {facts['revision']}"
    )
    yield (
        f"load average at begin {facts['load_at_begin']}, at end {facts['load_at_end']};"
        f" {facts['open_files']} open files allowed; {facts['rounds']} round(s) of"
        f" {facts['seconds']} s for each subject in each row"
    )


def row_lines(row: Row, cells: Cells) -> Iterator[str]:
    """Give the table of one row of the bench."""
    yield ""
    yield (
        f"{row.name}: CPU for each {row.unit}, latency {row.latency}\n"
        f"  {'':24}{'CPU µs':>26}{'x nginx':>26}{'x jusinfer':>26}{'a second':>10}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'+p50':>8}{'+p99':>8}"
    )
    for subject in row.subjects:
        found = figures(subject.name, cells)
        against = None
        if subject.name not in (PRODUCT, FLOOR):
            against = within_round(cells[subject.name], cells.get(PRODUCT, []), times)
        yield f"  {subject.name:24}{_cells(found, against)}"
        for part, used in found.beside_us.items():
            yield f"    {part:22}{_ranged(used):>26}"


def _cells(found: Figures, against: Spread | None) -> str:
    notes = "; ".join(found.notes)
    if found.per_second is None:
        return f"  no figure: {notes}"
    return (
        f"{_ranged(found.cpu_us):>26}{_ranged(found.ratio, 2):>26}{_ranged(against, 2):>26}"
        f"{found.per_second.median:>10,.0f}"
        f"{_median(found.p50_ms, 9)}{_median(found.p99_ms, 9)}"
        f"{_median(found.added_p50_ms, 8)}{_median(found.added_p99_ms, 8)}"
    ) + (f"  {notes}" if notes else "")


def _median(found: Spread | None, width: int) -> str:
    return f"{'-':>{width}}" if found is None else f"{found.median:>{width}.2f}"


def _ranged(found: Spread | None, digits: int = 1) -> str:
    if found is None:
        return "-"
    if found.low == found.high:
        return f"{found.median:,.{digits}f}"
    return f"{found.median:,.{digits}f} ({found.low:,.{digits}f}..{found.high:,.{digits}f})"


def judgements(plain: Cells | None, paced: Cells | None, surfaces: Cells | None) -> Iterator[str]:
    """Say which aims are met."""
    yield ""
    for name, cells, most in (
        ("plain answers", plain, PLAIN_RATIO_MAX),
        ("events of streams", paced, EVENT_RATIO_MAX),
    ):
        ratio = None if cells is None else figures(PRODUCT, cells).ratio
        told = f"{name}: expected at most {most} x nginx"
        yield f"{told}: {_judged(ratio, most)}"
    if surfaces is not None:
        for name in ("chat over messages", "messages over chat"):
            more = within_round(surfaces[name], surfaces["chat over chat"], _difference)
            told = f"{name}: expected at most {TRANSLATION_US_MAX:.0f} µs more for each event"
            yield f"{told}: {_judged(more, TRANSLATION_US_MAX)}"


def _difference(one: Cell, two: Cell) -> float:
    return one.cpu_us - two.cpu_us


def _judged(found: Spread | None, most: float) -> str:
    if found is None:
        return "no figure"
    return f"{'met' if found.median <= most else 'not met'}, {_ranged(found, 2)}"


def idle_lines(found: dict[str, float]) -> Iterator[str]:
    """Say what each process costs while nobody calls."""
    yield ""
    yield "idle: CPU in ms for each second"
    yield "  " + ", ".join(f"{name} {used:.1f}" for name, used in found.items())
    yield f"  together {sum(found.values()):.1f}"


def memory_lines(found: dict[str, list[Memory]]) -> Iterator[str]:
    """Say what open streams hold."""
    yield ""
    yield (
        f"memory of open streams\n  {'':24}{'streams':>9}{'idle MB':>11}{'open MB':>9}"
        f"{'KB each':>9}{'after MB':>10}"
    )
    for name, rows in found.items():
        for one in rows:
            if not one.streams:
                yield f"  {name:24}{one.wanted:>9,}  no figure: {one.note}"
                continue
            later = f"{one.after_mb:.1f}" if one.after_mb else "-"
            yield (
                f"  {name:24}{one.streams:>9,}{one.idle_mb:>11.1f}{one.open_mb:>9.1f}"
                f"{one.kb_each:>9.1f}{later:>10}  after {one.after_seconds:.0f} s"
            ) + (f"; {one.note}" if one.note else "")
    ours = [one for one in found.get(PRODUCT, []) if one.streams]
    if ours:
        idle_mb = ours[0].idle_mb
        yield (
            f"idle gateway worker: {idle_mb:.0f} MB (expected at most {IDLE_MB_MAX}:"
            f" {_judged(spread([idle_mb]), IDLE_MB_MAX)}); an open stream, expected at most"
            f" {STREAM_KB_MAX} KB: {_judged(spread([ours[-1].kb_each]), STREAM_KB_MAX)}"
        )


def posting_lines(row: dict[str, float]) -> Iterator[str]:
    """Say how fast the settler posts."""
    yield ""
    yield (
        f"posting alone, one tenant: {row['per_second']:.0f} records/s (expected"
        f" {POSTING_PER_SECOND_MIN}); CPU for each completion: settler {row['settler_us']:.1f} µs,"
        f" PostgreSQL {row['postgres_us']:.1f} µs (expected {SETTLING_US_MAX} together)"
    )

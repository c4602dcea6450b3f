"""How the benchmark takes rounds and ratios, and what a failure leaves of a table."""

from collections.abc import Callable

import pytest
from bench import report
from bench.rounds import Cell, Fault, Row, figures, play, spread, times, within_round
from bench.subjects import NoFigure, Subject


def _subject(name: str) -> Subject:
    return Subject(name, 1, "bench/model", [])


def _row(measure: Callable[[Subject, float], Cell], *names: str) -> Row:
    return Row("a row", "request", [_subject(name) for name in names], measure)


def _quietly(line: str) -> None:
    del line


def test_a_ratio_is_taken_within_its_round_and_the_median_told() -> None:
    # The machine is twice as slow in one round, ten times in another: nginx sees it too.
    nginx = [Cell(cpu_us=10), Cell(cpu_us=20), Cell(cpu_us=100)]
    ours = [Cell(cpu_us=70), Cell(cpu_us=120), Cell(cpu_us=500)]
    found = figures("jusinfer", {"nginx": list(nginx), "jusinfer": list(ours)}).ratio
    assert found is not None
    assert (found.low, found.median, found.high) == (5, 6, 7)


def test_a_round_without_a_figure_of_either_has_no_ratio() -> None:
    one = [Cell(cpu_us=8), Fault("away"), Cell(cpu_us=30), Cell(cpu_us=9)]
    two = [Cell(cpu_us=4), Cell(cpu_us=1), Fault("away"), Cell(cpu_us=0)]
    found = within_round(one, two, times)
    assert found == spread([2.0])


def test_latency_is_added_to_that_of_the_provider_in_the_same_round() -> None:
    cells = {
        "direct": [Cell(p50_ms=1, p99_ms=2), Cell(p50_ms=3, p99_ms=9)],
        "jusinfer": [Cell(p50_ms=2, p99_ms=5), Cell(p50_ms=4, p99_ms=10)],
    }
    found = figures("jusinfer", {name: list(row) for name, row in cells.items()})
    assert found.added_p50_ms == spread([1.0, 1.0])
    assert found.added_p99_ms == spread([3.0, 1.0])


def test_a_latency_that_is_not_known_is_no_latency_of_zero() -> None:
    cells: dict[str, list[Cell | Fault]] = {
        "direct": [Cell(p50_ms=1, p99_ms=1), Cell(p50_ms=1)],
        "jusinfer": [Cell(cpu_us=1, p50_ms=2), Cell(cpu_us=1, p50_ms=4, p99_ms=9)],
    }
    found = figures("jusinfer", cells)
    assert found.p99_ms == spread([9.0])
    assert found.added_p99_ms is None
    assert found.added_p50_ms == spread([1.0, 3.0])
    lines = list(report.row_lines(_row(lambda *_: Cell(), "direct", "jusinfer"), cells))
    assert lines[-1].split()[-4:] == ["3.00", "9.00", "2.00", "-"]


def test_all_are_warmed_up_and_take_turns_at_being_first() -> None:
    seen: list[tuple[str, float]] = []

    def measure(subject: Subject, seconds: float) -> Cell:
        seen.append((subject.name, seconds))
        return Cell(cpu_us=len(seen))

    cells = play([_row(measure, "nginx", "a", "b")], 2, 4.0, _quietly)
    assert [name for name, _ in seen] == ["nginx", "a", "b", "nginx", "b", "a", "b", "nginx", "a"]
    assert [seconds for _, seconds in seen] == [1.0] * 3 + [4.0] * 6
    # The warm-up is in no figure.
    assert cells["a row"]["nginx"] == [Cell(cpu_us=4), Cell(cpu_us=8)]


@pytest.mark.parametrize(
    "error",
    [
        NoFigure("it is not here"),
        OSError("it is not here"),
        ValueError("it is not here"),
        TimeoutError("it is not here"),
        ExceptionGroup("tasks", [ConnectionRefusedError("it is not here")]),
    ],
)
def test_one_that_fails_has_its_reason_in_the_table_and_ends_nothing(error: Exception) -> None:
    tried: list[str] = []

    def measure(subject: Subject, _: float) -> Cell:
        tried.append(subject.name)
        if subject.name == "broken":
            raise error
        return Cell(cpu_us=10, per_second=5, p50_ms=1, p99_ms=2)

    rows = [_row(measure, "nginx", "broken", "jusinfer")]
    cells = play(rows, 3, 1.0, _quietly)
    lines = list(report.row_lines(rows[0], cells["a row"]))
    broken = next(line for line in lines if "broken" in line)
    assert "no figure" in broken
    assert "it is not here" in broken
    assert "1.00" in next(line for line in lines if "jusinfer " in line and "row" not in line)
    # Twice in a row is enough to know.
    assert tried.count("broken") == 2
    assert tried.count("jusinfer") == 4


def test_one_that_fails_once_is_tried_again() -> None:
    tried: list[str] = []

    def measure(_: Subject, seconds: float) -> Cell:
        tried.append("x")
        if len(tried) == 2:
            raise OSError("once")
        return Cell(cpu_us=seconds)

    cells = play([_row(measure, "nginx")], 3, 4.0, _quietly)["a row"]["nginx"]
    assert cells == [Fault("OSError: once"), Cell(cpu_us=4), Cell(cpu_us=4)]


def test_aims_without_figures_are_neither_met_nor_missed() -> None:
    faults: dict[str, list[Cell | Fault]] = {"nginx": [Cell(cpu_us=5)], "jusinfer": [Fault("x")]}
    lines = list(report.judgements(faults, None, None))
    assert [line.rpartition(": ")[2] for line in lines if line] == ["no figure", "no figure"]
    met: dict[str, list[Cell | Fault]] = {"nginx": [Cell(cpu_us=5)], "jusinfer": [Cell(cpu_us=20)]}
    lines = list(report.judgements(met, met, None))
    assert [line.rpartition(": ")[2] for line in lines if line] == ["met, 4.00", "not met, 4.00"]

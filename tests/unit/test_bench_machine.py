"""What the benchmark counts: every process once."""

import platform
import sysconfig
from pathlib import Path

import pytest
from bench import machine

# A postmaster (10) whose name its backends bear too, beside a gateway (20).
BELOW = {1: [10, 11, 12, 20], 10: [11, 12], 11: [], 12: [], 20: []}


@pytest.fixture(autouse=True)
def _process_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "children", BELOW.__getitem__)


@pytest.mark.parametrize(
    ("pids", "counted"),
    [
        ([10, 11, 12], [10, 11, 12]),
        ([11, 10], [10, 11, 12]),
        ([10, 10], [10, 11, 12]),
        ([10], [10, 11, 12]),
        ([1, 20], [1, 10, 11, 12, 20]),
        ([], []),
    ],
)
def test_each_process_is_counted_once(pids: list[int], counted: list[int]) -> None:
    assert sorted(machine.family(pids)) == counted


def test_a_process_that_ended_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def children(pid: int) -> list[int]:
        if pid == 10:
            raise ProcessLookupError
        return BELOW[pid]

    monkeypatch.setattr(machine, "children", children)
    assert sorted(machine.family([10, 20])) == [10, 20]


def _process(proc: Path, pid: int, times: str, *threads_ns: int) -> None:
    folder = proc / str(pid)
    for number, spent in enumerate(threads_ns):
        (folder / "task" / str(pid + number)).mkdir(parents=True)
        (folder / "task" / str(pid + number) / "schedstat").write_text(f"{spent} 5 6\n")
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"{pid} (a (strange) name) S 1 1 1 0 -1 4 9 9 9 9 {times} 20 0\n")


def test_the_scheduler_s_clock_of_all_threads_is_finer_than_ticks(tmp_path: Path) -> None:
    _process(tmp_path, 10, "100 50 0 0", 1_000_000_000, 503_000_000)
    assert machine.cpu_seconds([10], tmp_path) == pytest.approx(1.503)


def test_threads_and_children_that_have_ended_count(tmp_path: Path) -> None:
    _process(tmp_path, 10, "100 50 30 20", 7_000_000)
    _process(tmp_path, 11, "1 2 0 0")
    assert machine.cpu_seconds([10, 11, 12], tmp_path) == pytest.approx(1.5 + 0.5 + 0.03)


@pytest.mark.parametrize(("files", "streams"), [(20_000, 9_500), (65_536, 32_268), (200, 1)])
def test_a_stream_takes_a_file_on_both_sides(files: int, streams: int) -> None:
    assert machine.streams_possible(files) == streams


def test_the_interpreter_is_named_with_how_it_was_built() -> None:
    named = machine.interpreter()
    assert platform.python_version() in named
    built = sysconfig.get_config_var("CONFIG_ARGS") or ""
    assert ("PGO: yes" in named) == ("--enable-optimizations" in built)

"""What the benchmark counts: every process once."""

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

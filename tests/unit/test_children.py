"""Children: one that cannot be started leaves nothing open; all end within one bound."""

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jusinfer.observability import Events
from jusinfer.supervisor.child_process import HURRIED_SECONDS, Child, ProcessSpec, stop_all


def test_a_program_that_is_missing_leaves_no_pipe_open() -> None:
    child = Child(
        ProcessSpec("x", lambda: ["/nowhere/program"], lambda: b"part"),
        Events("serve", io.StringIO()),
    )
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        child.start(0.0)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    child.end()


DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(int(os.environ["JUSINFER_READY_FD"]), b"1")
time.sleep(60)
"""
HEARING = """
import os, signal, time
os.write(int(os.environ["JUSINFER_READY_FD"]), b"1")
time.sleep(60)
"""


class Heard(Events):
    """Notes which children were killed, and who ran still when the first of them was."""

    def __init__(self) -> None:
        super().__init__("supervisor", io.StringIO())
        self.killed: list[str] = []
        self.children: list[Child] = []
        self.running: list[str] = []

    def emit(self, event: str, **fields: Any) -> None:
        if event == "process_killed":
            if not self.killed:
                self.running = [one.recipe.name for one in self.children if one.is_running]
            self.killed.append(fields["name"])


@contextlib.contextmanager
def started(heard: Heard, **programs: str) -> Iterator[list[Child]]:
    def recipe(name: str, program: str) -> ProcessSpec:
        return ProcessSpec(name, lambda: [sys.executable, "-c", program])

    with contextlib.ExitStack() as ends:
        for name, program in programs.items():
            child = Child(recipe(name, program), heard)
            child.start(0.0)
            ends.callback(child.end)
            heard.children.append(child)
        deadline = time.monotonic() + 20
        while not all(child.poll_ready() for child in heard.children):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield heard.children


def test_all_are_asked_to_end_before_any_is_killed() -> None:
    heard = Heard()
    with started(heard, first=DEAF, second=HEARING) as children:
        stop_all(((child, 3.0) for child in children), lambda: False)
        assert heard.killed == heard.running == ["first"]
        assert not any(child.is_running for child in children)


class Clock:
    """Goes on by a tenth of a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def test_children_that_do_not_end_take_together_no_longer_than_one() -> None:
    heard, clock = Heard(), Clock()
    with started(heard, a=DEAF, b=DEAF, c=DEAF) as children:
        stop_all(((child, 2.0) for child in children), lambda: False, clock)
    assert sorted(heard.killed) == ["a", "b", "c"]
    assert clock.now < 2.0 + 1.0


def test_a_second_signal_shortens_a_wait_that_has_begun() -> None:
    heard, clock = Heard(), Clock()
    with started(heard, a=DEAF, b=DEAF) as children:
        stop_all(((child, 600.0) for child in children), lambda: clock.now > 1, clock)
    assert clock.now < 1 + HURRIED_SECONDS + 1

"""Child processes: each told its own part only, watched, restarted, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from jusinfer import confine
from jusinfer.bootstrap import parts
from jusinfer.observability import Events

BACKOFF_SECONDS_MIN: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 10.0
# One that served for a while and then died is not one that cannot start.
HEALTHY_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.05
KILLED_SECONDS: Final = 5.0
# What is left to children once the operator has asked twice.
HURRIED_SECONDS: Final = 2.0


class ProcessSpec(msgspec.Struct, frozen=True):
    """How to start a child: its arguments and its part, made anew at each start.

    `part` gives the message that the child reads from a pipe; without one it gets no pipe.
    """

    name: str
    arguments: Callable[[], list[str]]
    part: Callable[[], bytes] | None = None
    drain_seconds: float = 5.0


class Child:
    """One child process and its back-off."""

    def __init__(self, recipe: ProcessSpec, events: Events) -> None:
        self.recipe = recipe
        self._life_write: int | None = None
        self._part_write: int | None = None
        self._unsent = memoryview(b"")
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_read: int | None = None
        self._started_at = 0.0
        self._backoff_seconds = BACKOFF_SECONDS_MIN
        self._restart_at: float | None = None
        self.is_ready = False
        self.said = b""
        self.restart_count = 0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs right now."""
        return self._process is not None and self._process.poll() is None

    def start(self, now: float) -> None:
        """Start the process; its part goes through a pipe, nothing of it is in its environment."""
        arguments = self.recipe.arguments()
        unsent = b"" if self.recipe.part is None else self.recipe.part()
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            read, write = os.pipe()
            undo.callback(os.close, read)
            theirs.callback(os.close, write)
            # Nothing is ever written to this pipe: its end tells the child that we are gone.
            life_read, life_write = os.pipe()
            undo.callback(os.close, life_write)
            theirs.callback(os.close, life_read)
            os.set_blocking(read, False)
            env = confine.allowed(os.environ)
            env |= {parts.READY_FD: str(write), parts.PARENT_FD: str(life_read)}
            passed = [write, life_read]
            part_write = None
            if unsent:
                part_read, part_write = os.pipe()
                undo.callback(os.close, part_write)
                theirs.callback(os.close, part_read)
                os.set_blocking(part_write, False)
                env[parts.PART_FD] = str(part_read)
                passed.append(part_read)
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                arguments,
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                start_new_session=True,
            )
            undo.pop_all()
        self._close_pipes()
        self._life_write, self._ready_read, self._part_write = life_write, read, part_write
        self._unsent = memoryview(unsent)
        self.is_ready = False
        self.said = b""
        self._started_at = now
        self._restart_at = None
        self._tell()

    def _tell(self) -> None:
        """Write what the pipe takes of the child's part; never waits."""
        if self._part_write is None:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._part_write, self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # The child has ended: its own death is seen, and it is told anew.
            self._unsent = memoryview(b"")
        os.close(self._part_write)
        self._part_write = None

    def poll_ready(self) -> bool:
        """Tell the child on, and read what it says of its readiness; true once it is ready."""
        self._tell()
        if self.is_ready or self._ready_read is None:
            return self.is_ready
        try:
            data = os.read(self._ready_read, 4096)
        except BlockingIOError:
            return False
        self.said += data
        if self.said.endswith((b"1", b"\n")):
            self.is_ready = True
            self._close_ready()
        elif not data:
            self._close_ready()
        return self.is_ready

    def watch(self, now: float) -> None:
        """Restart the process when it has died, after a pause that grows with each failure."""
        self.poll_ready()
        if self._restart_at is not None:
            if now >= self._restart_at:
                self.restart_count += 1
                self.start(now)
            return
        if self._process is None:
            return
        code = self._process.poll()
        if code is None:
            return
        if now - self._started_at > HEALTHY_SECONDS:
            self._backoff_seconds = BACKOFF_SECONDS_MIN
        self._events.emit(
            "process_died",
            name=self.recipe.name,
            pid=self._process.pid,
            exit_code=code,
            delay_seconds=self._backoff_seconds,
        )
        self.is_ready = False
        self._process = None
        self._restart_at = now + self._backoff_seconds
        self._backoff_seconds = min(self._backoff_seconds * 2, BACKOFF_SECONDS_MAX)

    def signal(self, number: int) -> None:
        """Send a signal to the process if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def ask_to_end(self) -> None:
        """Tell the process to end, and start it no more."""
        self._restart_at = None
        self.signal(signal.SIGTERM)

    def end(self) -> None:
        """Note that the process has ended; one that still runs is killed."""
        self._restart_at = None
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._events.emit("process_killed", name=self.recipe.name, pid=process.pid)
            process.kill()
            process.wait(KILLED_SECONDS)
        self._process = None
        self.is_ready = False
        self._close_pipes()

    def _close_pipes(self) -> None:
        self._close_ready()
        self._close_life()
        if self._part_write is not None:
            os.close(self._part_write)
            self._part_write = None

    def _close_life(self) -> None:
        if self._life_write is not None:
            os.close(self._life_write)
            self._life_write = None

    def _close_ready(self) -> None:
        if self._ready_read is not None:
            os.close(self._ready_read)
            self._ready_read = None


def stop_all(
    bounds: Iterable[tuple[Child, float]],
    is_hurried: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Ask children to end, all at once, and kill each that has not ended in its seconds from now.

    However many there are, this takes no longer than the slowest of them may.
    """
    stopping = [(child, clock() + seconds) for child, seconds in bounds]
    for child, _ in stopping:
        child.ask_to_end()
    latest = float("inf")
    for child, deadline in sorted(stopping, key=lambda pair: pair[1]):
        while child.is_running and clock() < min(deadline, latest):
            if is_hurried():
                latest = min(latest, clock() + HURRIED_SECONDS)
            time.sleep(POLL_SECONDS)
        child.end()

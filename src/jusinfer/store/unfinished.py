"""Directories in which a database is being made, and what is left of one that was interrupted.

Whoever makes one holds a lock on it, and so do the programs that it starts for that: those may go
on for a while after it was killed.
"""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from jusinfer.store.errors import StoreError

# There once a server was started on a directory, which then may hold what somebody wrote.
_STARTED: Final = ("postmaster.opts", "server.log")
_PROCESSES: Final = Path("/proc")


class Begun(NamedTuple):
    """A new directory, and the open descriptor that holds its lock."""

    path: Path
    lock: int


@contextlib.contextmanager
def begun(parent: Path, name: str) -> Iterator[Begun]:
    """Make a directory beside the place of `name`, and hold it; raises OSError."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}.new.", dir=parent))
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Begun(path, lock)
    except BlockingIOError as error:
        raise StoreError(f"{parent}: another command tidies here; run this one again") from error
    finally:
        os.close(lock)


def remove(parent: Path, name: str) -> None:
    """Remove what interrupted first runs left: ours, never served from, and in nobody's use."""
    pattern = re.compile(rf"{re.escape(name)}\.new\.[a-z0-9_]{{8}}")
    for path in parent.glob(f"{name}.new.*"):
        if not pattern.fullmatch(path.name) or not _is_ours(path) or _was_started(path):
            continue
        if not _is_named_by_a_process(path):
            _remove_unless_held(path)


def _is_ours(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _was_started(path: Path) -> bool:
    return any(os.path.lexists(path / name) for name in _STARTED)


def _is_named_by_a_process(path: Path) -> bool:
    """Tell whether a program was started on it, as far as this system shows."""
    wanted = os.fsencode(path)
    for arguments in _PROCESSES.glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if wanted in arguments.read_bytes():
                return True
    return False


def _remove_unless_held(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        # What cannot be removed now is tried again at the next start.
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)

"""Directories that hold sockets and data: made by us, or looked at before they are trusted.

Whoever may put something into such a directory may take the place of the process behind a socket.
"""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o700
OTHERS: Final = 0o077


class NotPrivateError(Exception):
    """A directory that cannot be trusted; the text names it and says what to do."""


def make(path: Path) -> None:
    """Make a directory that only its owner may use, or accept one; raises NotPrivateError."""
    try:
        path.mkdir(mode=PRIVATE)
    except FileExistsError:
        pass
    except OSError as error:
        raise NotPrivateError(f"{path}: cannot be made ({error.strerror})") from error
    check(path)


def check(path: Path) -> None:
    """Refuse a link, a file, and what belongs to or is open to others; raises NotPrivateError."""
    check_owner(path)
    mode = stat.S_IMODE(path.lstat().st_mode)
    if mode & OTHERS:
        raise NotPrivateError(
            f"{path}: others may look in ({mode:o}); see that nothing in it is theirs, then"
            f" `chmod 700 {path}`"
        )


def check_owner(path: Path) -> None:
    """Refuse a link, a file, and what belongs to another user; raises NotPrivateError."""
    try:
        found = path.lstat()
    except OSError as error:
        raise NotPrivateError(f"{path}: cannot be looked at ({error.strerror})") from error
    if stat.S_ISLNK(found.st_mode):
        raise NotPrivateError(
            f"{path}: is a symbolic link; remove it, or name the directory it leads to"
        )
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivateError(f"{path}: is not a directory; remove it or choose another")
    if found.st_uid != os.geteuid():
        raise NotPrivateError(f"{path}: belongs to another user; remove it or choose another")


def short_parent() -> Path:
    """Give where a directory with a short path can be: the user's own place, else the common one.

    The first is `XDG_RUNTIME_DIR`, where it is private; the second may hold what others made,
    which `make` refuses.
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if own.startswith("/"):
        try:
            check(Path(own))
        except NotPrivateError:
            return Path(tempfile.gettempdir())
        return Path(own)
    return Path(tempfile.gettempdir())

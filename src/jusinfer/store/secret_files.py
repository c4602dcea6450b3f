"""Files that hold one secret each, for their owner alone."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from jusinfer.domain.file_modes import is_exposed
from jusinfer.store.errors import StoreError


def write_secret(path: Path, secret: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    # Of a name of its own: two commands may write the same file.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.new.", dir=path.parent)
    new = Path(name)
    with contextlib.ExitStack() as undo:
        undo.callback(new.unlink)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
        undo.pop_all()


def read_secret(path: Path) -> bytes:
    """Read such a file; raises OSError, or StoreError when others may read it too."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        mode = stat.S_IMODE(found.st_mode)
        if is_exposed(mode, found.st_uid, os.geteuid()):
            raise StoreError(
                f"{path}: holds a secret, and others may read or change it ({mode:o}); `chmod 600"
                f" {path}`, or, if others have read it, stop, delete the file, and start"
            )
        return file.read()

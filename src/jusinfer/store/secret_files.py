"""Files that hold one secret each, for their owner alone."""

import contextlib
import os
import tempfile
from pathlib import Path


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

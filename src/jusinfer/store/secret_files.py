"""Files that hold one secret each, for their owner alone."""

import os
from pathlib import Path


def write_secret(path: Path, secret: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, secret)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)

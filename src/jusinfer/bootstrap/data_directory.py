"""The data directory and the places in it, made safe before anything is started."""

import fcntl
import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from jusinfer import private_dirs
from jusinfer.config import ConfigError, Settings
from jusinfer.private_dirs import PRIVATE

# A Unix socket's path may have 104 bytes on macOS and 108 on Linux, with a NUL at its end.
SOCKET_PATH_BYTES_MAX: Final = 100
LONGEST_SOCKET_NAME: Final = "gateway-255.sock"


class DataDirLock:
    """Holds the data directory for one supervisor; let go when the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._file = (data_dir / "serve.lock").open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConfigError(
                f"{data_dir}: another `jusinfer serve` uses this data directory;"
                " stop it, or choose another with --data-dir"
            ) from error

    def close(self) -> None:
        """Let the directory go."""
        self._file.close()


def is_served(data_dir: Path) -> bool:
    """Tell whether a supervisor holds the data directory right now."""
    try:
        DataDirLock(data_dir).close()
    except ConfigError:
        return True
    except OSError:
        return False
    return False


def prepare(settings: Settings) -> Path:
    """Make the data directory and what is in it, private to their owner; gives the run directory.

    Raises ConfigError when one of them is a link, belongs to another user, or is open to others.
    """
    data_dir = Path(settings.data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        private_dirs.check_owner(data_dir)
        mode = stat.S_IMODE(data_dir.stat().st_mode)
        if mode & stat.S_IWOTH:
            raise ConfigError(
                f"{data_dir}: anybody may write here ({mode:o}); see that nothing in it is"
                f" another's, then `chmod 700 {data_dir}`"
            )
        if mode != PRIVATE:
            data_dir.chmod(PRIVATE)
        settings.journal_dir.mkdir(exist_ok=True, mode=PRIVATE)
        run_dir = _run_dir(settings)
        private_dirs.make(run_dir)
        probe = data_dir / ".writable"
        probe.write_bytes(b"")
        # Another command may look at the same moment.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{data_dir}: the data directory cannot be used ({error.strerror});"
            " make it writable, or choose another with --data-dir or JUSINFER_DATA_DIR"
        ) from error
    except private_dirs.NotPrivateError as error:
        raise ConfigError(f"{error}; --data-dir names another place") from error
    return run_dir


def _run_dir(settings: Settings) -> Path:
    run_dir = settings.run_dir
    if len(os.fsencode(run_dir / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
        return run_dir
    digest = hashlib.sha256(os.fsencode(settings.data_dir)).hexdigest()[:16]
    return private_dirs.short_parent() / f"jusinfer-{os.geteuid()}-{digest}"

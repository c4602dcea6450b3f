"""How a child process says that it is ready, and learns that its supervisor is gone."""

import os
import signal
import threading


def watch_parent(descriptor: int | None) -> None:
    """End this process when the supervisor's end of the pipe closes, however it died."""
    if descriptor is None:
        return

    def wait() -> None:
        while os.read(descriptor, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def say_ready(descriptor: int | None) -> None:
    """Tell the supervisor that this process is ready."""
    if descriptor is not None:
        os.write(descriptor, b"1")
        os.close(descriptor)

"""Builds the settler from its part; this process loads nothing of the control plane."""

import signal
import threading
from pathlib import Path

from jusinfer.bootstrap import parts
from jusinfer.bootstrap.process_lifecycle import say_ready, watch_parent
from jusinfer.observability import Events
from jusinfer.settler.main_loop import Settler


def main() -> None:
    """Run the settler until it is told to stop; then it posts what is left."""
    part, pipes = parts.receive(parts.SettlerPart)
    watch_parent(pipes.parent)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    events = Events("settler")
    settler = Settler(part.dsn, Path(part.journal_dir), events)
    say_ready(pipes.ready)
    events.emit("settler_ready")
    settler.run(stop)
    events.emit("settler_stopped", rows=settler.posted_rows)


if __name__ == "__main__":
    main()

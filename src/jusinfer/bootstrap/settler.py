"""Builds the settler from its settings; this process loads nothing of the control plane."""

import signal
import threading

from jusinfer import config
from jusinfer.bootstrap.lifeline import say_ready, watch_parent
from jusinfer.observability import Events
from jusinfer.settler.process import Settler


def main() -> None:
    """Run the settler until it is told to stop; then it posts what is left."""
    settings = config.load(config.Overrides())
    child = config.child_descriptors()
    watch_parent(child.parent_descriptor)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    events = Events("settler")
    settler = Settler(settings.database_url, settings.journal_dir, events)
    say_ready(child.ready_descriptor)
    events.emit("settler_ready")
    settler.run(stop)
    events.emit("settler_stopped", rows=settler.posted_rows)


if __name__ == "__main__":
    main()

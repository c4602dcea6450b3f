"""Builds the settler from its settings; this process loads nothing of the control plane."""

import signal
import threading
from collections.abc import Callable

from jusinfer.config import Settings
from jusinfer.observability import Events
from jusinfer.settler.process import Settler


def run(settings: Settings, say_ready: Callable[[], None]) -> None:
    """Run the settler until it is told to stop; then it posts what is left."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    events = Events("settler")
    settler = Settler(settings.database_url, settings.journal_dir, events)
    say_ready()
    events.emit("settler_ready")
    settler.run(stop)
    events.emit("settler_stopped", rows=settler.posted_rows)

"""Builds the console and serves it on its Unix socket."""

import asyncio
import logging
import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvicorn

from jusinfer.bootstrap import parts
from jusinfer.bootstrap.process_lifecycle import say_ready, watch_parent
from jusinfer.console import app as console_app
from jusinfer.observability import Events

GRACE_SECONDS: Final = 3


def main() -> None:
    """Serve the console until told to stop."""
    part, pipes = parts.receive(parts.ConsolePart)
    watch_parent(pipes.parent)
    socket_path = Path(part.socket_path)
    events = Events("console")

    def begin() -> None:
        asyncio.get_running_loop().set_exception_handler(events.loop_failed)
        say_ready(pipes.ready)

    app = console_app.build(
        version("jusinfer"),
        list(part.models),
        on_start=begin,
        report=lambda kind, place: events.emit("request_failed", error=kind, file=place),
    )
    # Libraries log requests and the texts of errors; what is to be known goes through events.
    logging.disable(logging.CRITICAL)
    events.emit("console_starting")
    uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    ).run(sockets=[private_socket(socket_path)])
    events.emit("console_stopped")


def private_socket(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may connect to, in place of an earlier one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


if __name__ == "__main__":
    main()

"""The sandbox as a process: one loopback port, ready when it says so, gone on SIGTERM."""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jusinfer import confine
from jusinfer.sandbox.server import Server
from jusinfer.sandbox.upstream import Upstream

try:
    from uvloop import new_event_loop
except ImportError:  # the standard loop is slower and does the same
    from asyncio import new_event_loop  # type: ignore[assignment]

BACKLOG: Final = 4_096
FILES_MAX: Final = 65_536


async def run(host: str, port: int, unix: Path | None, ready_fd: int | None) -> None:
    """Serve until a signal says to stop; says one line when it listens."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(loop, Upstream())
    listeners = [await loop.create_server(server.connect, host, port, backlog=BACKLOG)]
    if unix is not None:
        _remove_socket(unix)
        listeners.append(await loop.create_unix_server(server.connect, str(unix), backlog=BACKLOG))
    own_port = listeners[0].sockets[0].getsockname()[1]
    _say(json.dumps({"event": "sandbox_ready", "port": own_port}), ready_fd)
    await stop.wait()
    for listener in listeners:
        listener.close()
    server.close()
    if unix is not None:
        _remove_socket(unix)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sandbox from the command line."""
    confine.forbid_dumps()
    options = argparse.ArgumentParser(prog="jusinfer-sandbox", description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0, help="0 finds a free one")
    options.add_argument("--unix", type=Path, default=None, help="listen on this socket too")
    options.add_argument("--ready-fd", type=int, default=None, help="say that it is ready there")
    chosen = options.parse_args(arguments)
    ready_fd = chosen.ready_fd
    if ready_fd is None and "JUSINFER_READY_FD" in os.environ:
        ready_fd = int(os.environ["JUSINFER_READY_FD"])
    if "JUSINFER_PARENT_FD" in os.environ:
        _watch_parent(int(os.environ["JUSINFER_PARENT_FD"]))
    _raise_file_limit()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(chosen.host, chosen.port, chosen.unix, ready_fd))


def _say(line: str, ready_fd: int | None) -> None:
    if ready_fd is None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    else:
        os.write(ready_fd, f"{line}\n".encode())
        os.close(ready_fd)


def _raise_file_limit() -> None:
    """Ask for as many open files as thousands of streams need, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _remove_socket(path: Path) -> None:
    """Remove a socket that an earlier run left behind, and nothing that is not a socket."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _watch_parent(descriptor: int) -> None:
    def wait() -> None:
        while os.read(descriptor, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()

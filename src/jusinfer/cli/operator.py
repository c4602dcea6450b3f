"""The operator's listener on loopback: `/healthz`, `/readyz` and `/metrics`."""

import http.client
import http.server
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from jusinfer.observability import Metric, exposition

SCRAPE_SECONDS: Final = 2.0
SCRAPE_BYTES_MAX: Final = 4 * 1024 * 1024
REQUEST_SECONDS: Final = 5.0


class State(msgspec.Struct, frozen=True):
    """What the supervisor knows at an instant."""

    is_ready: bool
    detail: dict[str, object]
    metrics: tuple[Metric, ...]
    sockets: tuple[str, ...]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, with a deadline."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SCRAPE_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SCRAPE_SECONDS)
        self.sock.connect(self._path)


def scrape(path: str, target: str) -> tuple[int, str]:
    """Ask a worker's private socket; status 0 when it does not answer."""
    if not Path(path).exists():
        return 0, ""
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read(SCRAPE_BYTES_MAX).decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def listen(host: str, port: int, state: Callable[[], State]) -> http.server.ThreadingHTTPServer:
    """Serve the operator's pages in the background; `port` 0 takes a free one."""

    class Pages(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            """Answer one of three pages."""
            status, kind, body = page(self.path, state())
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Keep no access log."""

    server = http.server.ThreadingHTTPServer((host, port), Pages)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="operator", daemon=True).start()
    return server


def page(path: str, state: State) -> tuple[int, str, bytes]:
    """Give status, content type and body of an operator's page."""
    if path == "/healthz":
        return 200, "application/json", b'{"status":"ok"}'
    if path == "/readyz":
        status = 200 if state.is_ready else 503
        return status, "application/json", msgspec.json.encode(state.detail)
    if path == "/metrics":
        return 200, "text/plain; version=0.0.4; charset=utf-8", _metrics(state).encode()
    return 404, "text/plain", b"try /healthz, /readyz or /metrics\n"


def _metrics(state: State) -> str:
    own = exposition(state.metrics)
    texts = [
        text for status, text in (scrape(path, "/metrics") for path in state.sockets) if status
    ]
    return _merged([own, *texts])


def _merged(texts: list[str]) -> str:
    """Put the families of several expositions together, each with its head once."""
    families: dict[str, list[str]] = {}
    name = ""
    for text in texts:
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            lines = families.setdefault(name, [])
            if not line.startswith("#") or line not in lines:
                lines.append(line)
    return "\n".join(line for lines in families.values() for line in lines) + "\n"

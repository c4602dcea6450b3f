"""The operator's listener on loopback: `/healthz`, `/readyz` and `/metrics`."""

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from jusinfer.gateway.request_origin import LOOPBACK_HOSTS, name_of
from jusinfer.observability import Metric, exposition

SCRAPE_SECONDS: Final = 2.0
SCRAPE_BYTES_MAX: Final = 4 * 1024 * 1024
REQUEST_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 16


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


class Pages(http.server.HTTPServer):
    """A listener with a bound on its threads: one connection too many ends the oldest."""

    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[http.server.BaseHTTPRequestHandler],
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread of its own."""
        connection = cast("socket.socket", request)
        with self._lock:
            self._open[connection] = None
            oldest = next(iter(self._open)) if len(self._open) > CONNECTIONS_MAX else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        threading.Thread(
            target=self._answer, args=(connection, client_address), name="operator", daemon=True
        ).start()

    def _answer(self, connection: socket.socket, client_address: object) -> None:
        # However slowly it is sent, a request ends at this time.
        end = threading.Timer(REQUEST_SECONDS, self._cut, (connection,))
        end.daemon = True
        end.start()
        try:
            self.finish_request(connection, client_address)
        except OSError:
            return
        finally:
            end.cancel()
            with self._lock:
                self._open.pop(connection, None)
            self.shutdown_request(connection)

    @staticmethod
    def _cut(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def listen(host: str, port: int, state: Callable[[], State]) -> Pages:
    """Serve the operator's pages in the background; `port` 0 takes a free one."""
    names = LOOPBACK_HOSTS | {f"[{host}]" if ":" in host else host}

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            """Answer one of three pages, under a name of this machine's own only."""
            hosts = self.headers.get_all("host", [])
            if len(hosts) > 1 or any(name_of(text) not in names for text in hosts):
                # A page of elsewhere whose name was made to lead here must not read this.
                self._answer(403, "text/plain", b"ask by 127.0.0.1 or localhost\n")
                return
            self._answer(*page(self.path, state()))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("cache-control", "no-store")
            self.send_header("x-content-type-options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def send_response(self, code: int, message: str | None = None) -> None:
            """Begin an answer without the name and version of a server."""
            self.send_response_only(code, message)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Keep no access log."""

    server = Pages((host, port), Handler)
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

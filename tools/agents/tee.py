"""A plain HTTP relay that keeps the requests it passes on, to record what agents send."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self

RELAYED: Final = frozenset({"content-type", "retry-after", "x-request-id"})
PIECE_BYTES: Final = 65_536


class Heard(NamedTuple):
    """One request: its path with the query, its headers in order, its body as JSON."""

    path: str
    headers: list[tuple[str, str]]
    body: dict[str, Any]


class Tee:
    """Relays to a port of this machine and keeps every request that has a JSON object."""

    def __init__(self, target_port: int) -> None:
        self.heard: list[Heard] = []
        self._server = _Server(("127.0.0.1", 0), _Relay)
        self._server.heard, self._server.target_port = self.heard, target_port
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    heard: list[Heard]
    target_port: int


class _Relay(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        self._pass_on(self.rfile.read(size))

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_HEAD(self) -> None:
        self._pass_on(b"")

    def _pass_on(self, body: bytes) -> None:
        if body.startswith(b"{"):
            heard = Heard(self.path, list(self.headers.items()), json.loads(body))
            self.server.heard.append(heard)
        there = http.client.HTTPConnection("127.0.0.1", self.server.target_port)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            there.request(self.command, self.path, body or None, headers)
            self._give_back(there.getresponse())
        except (http.client.HTTPException, OSError):
            self.close_connection = True
        finally:
            there.close()

    def _give_back(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in RELAYED:
                self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        while piece := answer.read1(PIECE_BYTES):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
        del format, args

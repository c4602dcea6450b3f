"""One request and the way to answer it; repr shows sizes only."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol

from jusinfer.gateway.http.request_parser import HttpError, RequestHead

REASONS: Final[Mapping[int, bytes]] = {
    status.value: status.phrase.encode("ascii") for status in HTTPStatus
}
NO_BODY: Final = frozenset({204, 304})
JOIN_BYTES_MAX: Final = 65_536


class ClientEvents(Protocol):
    """Whoever answers a request and wants to hear about its connection."""

    def client_disconnected(self) -> None:
        """The connection is lost; nothing more can be sent."""
        ...

    def write_paused(self) -> None:
        """The client reads too slowly; write no more until it has caught up."""
        ...

    def write_resumed(self) -> None:
        """The client has caught up."""
        ...


class Line(Protocol):
    """What a responder needs of its connection."""

    def put(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def date_line(self) -> bytes:
        """Give the Date header of this second."""
        ...

    def response_complete(self, *, keep: bool) -> None:
        """The answer is whole; `keep` tells whether the connection may serve another."""
        ...

    def abort_incomplete(self, *, is_ended_by_close: bool) -> None:
        """Close so that the client can tell that the answer is not whole."""
        ...


class Request:
    """A whole request; `peer` is an address held in memory only, and never shown."""

    __slots__ = (
        "arrived_at",
        "body",
        "head",
        "headers",
        "http_minor",
        "keep_alive",
        "method",
        "path",
        "peer",
        "query",
        "target",
    )

    def __init__(self, head: RequestHead, body: bytes, arrived_at: float, peer: str | None) -> None:
        self.head = head
        self.method = head.method
        self.target = head.target
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.http_minor = head.http_minor
        self.keep_alive = head.keep_alive
        self.body = body
        self.arrived_at = arrived_at
        self.peer = peer

    def header(self, name: bytes) -> bytes | None:
        """Give the first value of a header by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def __repr__(self) -> str:
        """Show the shape, never a path, a header or a body."""
        return f"Request({self.method}, {len(self.headers)} headers, {len(self.body)} bytes)"


class Responder:
    """Answers one request: whole with `send`, or in pieces with `start`, `write`, `finish`."""

    __slots__ = (
        "_extra",
        "_is_chunked",
        "_is_head",
        "_keep",
        "_line",
        "_minor",
        "client",
        "is_finished",
        "is_gone",
        "is_paused",
        "is_started",
    )

    def __init__(self, line: Line, *, minor: int, keep: bool, is_head: bool) -> None:
        self._line = line
        self._minor = minor
        self._keep = keep
        self._is_head = is_head
        self._is_chunked = False
        self._extra = b""
        self.client: ClientEvents | None = None
        self.is_started = False
        self.is_finished = False
        self.is_gone = False
        self.is_paused = False

    def add_headers(self, block: bytes) -> None:
        """Add header lines to whatever the answer will be."""
        self._extra += block

    def close_after(self) -> None:
        """Let this answer be the last on its connection, and say so if it has not begun."""
        self._keep = False

    def send(self, status: int, header_block: bytes, body: bytes) -> None:
        """Send a whole answer; `header_block` is lines that each end with CRLF."""
        if self.is_gone:
            return
        if self.is_started:
            raise AssertionError("the answer has begun already")
        self.is_started = True
        length = b"" if status in NO_BODY else b"content-length: %d\r\n" % len(body)
        head = self._head(status, header_block, length)
        if self._is_head or status in NO_BODY:
            self._line.put(head)
        elif len(body) <= JOIN_BYTES_MAX:
            self._line.put(head + body)
        else:
            self._line.put(head)
            self._line.put(body)
        self._end()

    def start(self, status: int, header_block: bytes) -> None:
        """Begin an answer in pieces: chunked in HTTP/1.1, ended by closing in HTTP/1.0."""
        if self.is_gone:
            return
        if self.is_started:
            raise AssertionError("the answer has begun already")
        self.is_started = True
        framing = b""
        if status in NO_BODY:
            self._is_head = True
        elif self._minor == 1:
            self._is_chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._keep = False
        self._line.put(self._head(status, header_block, framing))

    def write(self, data: bytes) -> None:
        """Send one piece; an empty one is nothing."""
        if not data or self.is_gone or self._is_head:
            return
        if not self.is_started or self.is_finished:
            raise AssertionError("the answer is not under way")
        if self._is_chunked:
            self._line.put(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._line.put(data)

    def finish(self) -> None:
        """End an answer in pieces."""
        if self.is_gone or self.is_finished:
            return
        if not self.is_started:
            raise AssertionError("the answer has not begun")
        if self._is_chunked and not self._is_head:
            self._line.put(b"0\r\n\r\n")
        self._end()

    def abort(self) -> None:
        """Cut the answer off after what was written: the client sees that it is not whole."""
        if not self.is_gone and not self.is_finished:
            self.is_finished = True
            self.is_gone = True
            is_ended_by_close = self.is_started and not self._is_chunked
            self._line.abort_incomplete(is_ended_by_close=is_ended_by_close)

    def _end(self) -> None:
        self.is_finished = True
        self._line.response_complete(keep=self._keep)

    def _head(self, status: int, block: bytes, framing: bytes) -> bytes:
        if not self._keep:
            connection = b"connection: close\r\n"
        elif self._minor == 0:
            connection = b"connection: keep-alive\r\n"
        else:
            connection = b""
        return b"HTTP/1.1 %d %b\r\n%b%b%b%b%b\r\n" % (
            status,
            REASONS.get(status, b"Unknown"),
            block,
            self._extra,
            framing,
            connection,
            self._line.date_line(),
        )


class Visitor(Protocol):
    """Where the body of a request is awaited; what no longer concerns it is passed over."""

    def admit(self, request: Request, bytes_max: int, owner: str = "") -> None:
        """Read the body, within these bytes; `owner` names the key that sends it."""
        ...

    def turn_away(self, request: Request, status: int, block: bytes, body: bytes) -> None:
        """Answer at once, and read no more."""
        ...


class Application(Protocol):
    """What a server serves."""

    def greet(self, request: Request, visitor: Visitor) -> None:
        """Judge a head whose body is still to come: admit it or turn it away, now or later.

        Until then only a little of the body is read; if that is all of it, it is served.
        """
        ...

    def handle(self, request: Request, responder: Responder) -> None:
        """Answer a whole request, now or later; must not block."""
        ...

    def refuse(self, refusal: HttpError, path: str) -> tuple[int, bytes, bytes]:
        """Give status, header lines and body for what the server itself refuses.

        The path is empty where none has been read.
        """
        ...

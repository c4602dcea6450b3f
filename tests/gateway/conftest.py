"""A real server on a loop of its own thread, and clients that speak raw bytes to it."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import uvloop

from jusinfer.gateway.http.server import (
    HttpError,
    HttpServer,
    Request,
    Responder,
    ServerLimits,
    Visitor,
)

WAIT_SECONDS = 5.0
PIECE = b"p" * 16_384


class Answer(msgspec.Struct):
    """One answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True

    @property
    def cause(self) -> str:
        return str(json.loads(self.body)["cause"])


class Held:
    """A request whose answer the test gives; hears about its connection."""

    def __init__(self, request: Request, responder: Responder) -> None:
        self.request = request
        self.responder = responder
        self.written_bytes = 0
        self.gone = threading.Event()
        self.paused = threading.Event()
        self.resumed = threading.Event()
        responder.client = self

    def client_disconnected(self) -> None:
        self.gone.set()

    def write_paused(self) -> None:
        self.paused.set()

    def write_resumed(self) -> None:
        self.resumed.set()


class Flood(Held):
    """Writes pieces as long as the client takes them, and counts what it wrote."""

    def __init__(self, request: Request, responder: Responder, pieces: int) -> None:
        super().__init__(request, responder)
        self.left = pieces
        responder.start(200, b"")
        self.pour()

    def pour(self) -> None:
        while self.left and not self.responder.is_paused and not self.responder.is_gone:
            self.left -= 1
            self.written_bytes += len(PIECE)
            self.responder.write(PIECE)
        if not self.left:
            self.responder.finish()

    def write_resumed(self) -> None:
        super().write_resumed()
        self.pour()


class App:
    """Answers at once, except where a path asks for something else."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.greeted: list[tuple[Request, Visitor]] = []
        self.held: list[Held] = []
        self.has_held = threading.Condition()

    def handle(self, request: Request, responder: Responder) -> None:
        self.requests.append(request)
        if request.path == "/hold":
            self.keep(Held(request, responder))
        elif request.path == "/flood":
            self.keep(Flood(request, responder, int(request.query)))
        elif request.path == "/stream":
            responder.start(200, b"content-type: text/plain\r\n")
            for piece in (b"one", b"", b"two"):
                responder.write(piece)
            responder.finish()
        elif request.path == "/status":
            responder.send(int(request.query), b"", b"")
        elif request.path == "/big":
            responder.send(200, b"", b"b" * int(request.query))
        elif request.path == "/fault":
            raise KeyError("words of a client")
        elif request.path == "/late_fault":
            responder.start(200, b"")
            responder.write(b"begun")
            raise KeyError("words of a client")
        else:
            body = b"%b %b %b" % (request.method.encode(), request.target, request.body)
            responder.send(200, b"content-type: text/plain\r\n", body)

    def keep(self, held: Held) -> None:
        with self.has_held:
            self.held.append(held)
            self.has_held.notify_all()

    def wait_held(self, count: int = 1) -> Held:
        """Wait until so many requests are held, and give the last of them."""
        with self.has_held:
            assert self.has_held.wait_for(lambda: len(self.held) >= count, WAIT_SECONDS)
            return self.held[count - 1]

    def greet(self, request: Request, visitor: Visitor) -> None:
        if request.path == "/stranger":
            visitor.turn_away(request, 401, b"", b"who are you?")
        elif request.path == "/pending":
            self.greeted.append((request, visitor))
        else:
            most = int(request.query or 10**9) if request.path == "/bound" else 10**9
            visitor.admit(request, most, request.query if request.path == "/key" else "")

    def refuse(self, refusal: HttpError, path: str) -> tuple[int, bytes, bytes]:
        body = json.dumps(
            {"cause": refusal.cause, "path": path, "message": refusal.message}
        ).encode()
        block = b"content-type: application/json\r\n"
        if refusal.status == 503:
            block += b"retry-after: 1\r\n"
        return refusal.status, block, body


class Wire:
    """A client's socket: raw bytes out, answers in."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.line.settimeout(WAIT_SECONDS)
        self.rest = bytearray()

    def send(self, data: bytes) -> "Wire":
        self.line.sendall(data)
        return self

    def send_bytewise(self, data: bytes) -> "Wire":
        for index in range(len(data)):
            self.line.sendall(data[index : index + 1])
        return self

    def shut(self) -> "Wire":
        """Send no more."""
        self.line.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Vanish with a reset."""
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.line.close()

    def until_close(self) -> bytes:
        """Read all that comes until the server closes."""
        while self._more():
            pass
        got = bytes(self.rest)
        self.rest.clear()
        return got

    def interim(self) -> bytes:
        """Read one head of an interim answer."""
        return self._until(b"\r\n\r\n")

    def answer(self, *, is_head: bool = False) -> Answer:
        """Read exactly one answer, in whatever framing it has."""
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, value = line.split(": ", 1)
            assert name not in headers, f"{name} twice"
            headers[name] = value
        answer = Answer(int(status), headers, b"")
        if is_head or answer.status in {204, 304}:
            return answer
        if "content-length" in headers:
            answer.body = self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            answer.body, answer.is_whole = self._chunks()
        else:
            answer.body = self.until_close()
        return answer

    def _chunks(self) -> tuple[bytes, bool]:
        body = bytearray()
        try:
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                assert self._exactly(2) == b"\r\n"
            assert self._exactly(2) == b"\r\n"
        except EOFError:
            return bytes(body), False
        return bytes(body), True

    def _until(self, mark: bytes) -> bytes:
        while (end := self.rest.find(mark)) < 0:
            if not self._more():
                raise EOFError(f"closed after {bytes(self.rest)!r}")
        return self._exactly(end + len(mark))

    def _exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            if not self._more():
                raise EOFError(f"closed after {len(self.rest)} of {size} bytes")
        got = bytes(self.rest[:size])
        del self.rest[:size]
        return got

    def _more(self) -> int:
        piece = self.line.recv(65_536)
        self.rest += piece
        return len(piece)


class Running:
    """One server in a thread."""

    def __init__(self, limits: ServerLimits, tls: ssl.SSLContext | None) -> None:
        self.app = App()
        self.faults: list[str] = []
        self.loop: Any = uvloop.new_event_loop()
        self.loop.set_exception_handler(self._heard)
        self.loop_faults: list[str] = []
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.wires: list[Wire] = []
        self.server: HttpServer
        self.listener: asyncio.Server
        self.port = self.call(lambda: self._listen(limits, tls))

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        self.loop_faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def _listen(self, limits: ServerLimits, tls: ssl.SSLContext | None) -> int:
        self.server = HttpServer(self.app, limits, self.loop, self.faults.append)
        self.listener = await self.loop.create_server(
            self.server.protocol_factory, "127.0.0.1", 0, ssl=tls
        )
        return int(self.listener.sockets[0].getsockname()[1])

    def call(self, deed: Callable[[], Any]) -> Any:
        """Do something on the server's loop, and wait for its result."""

        async def run() -> Any:
            result = deed()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(WAIT_SECONDS)

    def dial(self, receive_bytes: int | None = None) -> Wire:
        line = socket.socket()
        if receive_bytes is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        line.settimeout(WAIT_SECONDS)
        line.connect(("127.0.0.1", self.port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(line)
        self.wires.append(wire)
        return wire

    def connections(self) -> int:
        return int(self.call(lambda: self.server.connections))

    def stop(self) -> None:
        for wire in self.wires:
            with contextlib.suppress(OSError):
                wire.line.close()
        self.call(self._close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT_SECONDS)
        self.loop.close()
        assert not self.loop_faults

    async def _close(self) -> None:
        self.listener.close()
        self.server.close()
        assert await self.server.drained(WAIT_SECONDS / 2)


Serve = Callable[..., Running]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a function that starts a server with the bounds it is told."""
    running: list[Running] = []

    def start(*, tls: ssl.SSLContext | None = None, **bounds: float) -> Running:
        limits = msgspec.structs.replace(ServerLimits(), **bounds)
        running.append(Running(limits, tls))
        return running[-1]

    yield start
    for server in running:
        server.stop()

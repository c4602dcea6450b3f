"""The sandbox's side of HTTP/1.1: h11 reads requests, scripts are written as they stand."""

import asyncio
import contextlib
import json
import socket
import struct
from typing import Final, cast

import h11

from jusinfer.sandbox.counters import Count
from jusinfer.sandbox.script_steps import Close, Script, Token, Wait
from jusinfer.sandbox.upstream import SandboxRequest, Upstream

BODY_BYTES_MAX: Final = 64 << 20
BODY_TOO_LARGE: Final = f"a body has at most {BODY_BYTES_MAX} bytes"
HEAD_BYTES_MAX: Final = 1 << 20
PENDING_BYTES_MAX: Final = 1 << 20
WRITE_BYTES: Final = 64 << 10
WRITE_BYTES_HIGH: Final = 256 << 10
CONNECTIONS_MAX: Final = 20_000
IDLE_SECONDS: Final = 600.0
SWEEP_SECONDS: Final = 30.0
# So many steps are done in one go before others get their turn.
STEPS_AT_ONCE: Final = 64
LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Server:
    """What all connections share; closes those that say nothing for too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Upstream) -> None:
        self.loop = loop
        self.upstream = upstream
        self.connections: set[Connection] = set()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def connect(self) -> "Connection":
        """Make the protocol of one more connection."""
        return Connection(self)

    def close(self) -> None:
        """End every connection at once."""
        self._sweeper.cancel()
        for connection in tuple(self.connections):
            connection.close()

    def _sweep(self) -> None:
        oldest = self.loop.time() - IDLE_SECONDS
        for connection in tuple(self.connections):
            if connection.is_idle_since(oldest):
                connection.close()
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)


class Connection(asyncio.Protocol):
    """One connection: one request at a time, each answered by a script."""

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._parser = _parser()
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._pending = b""
        self._script: Script | None = None
        self._count: Count | None = None
        self._is_kept = True
        self._is_deaf = False
        self._is_paused = False
        self._next: asyncio.Handle | None = None
        self._heard_at = server.loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(WRITE_BYTES_HIGH)
        self._server.connections.add(self)
        if len(self._server.connections) > CONNECTIONS_MAX:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop: the caller is gone, or we are done."""
        del exc
        self._server.connections.discard(self)
        self._end_script(is_finished=False)

    def data_received(self, data: bytes) -> None:
        """Read on, or keep what came while an answer is under way."""
        self._heard_at = self._loop.time()
        if self._script is None and not self._pending:
            self._feed(data)
            return
        self._pending += data
        if len(self._pending) > PENDING_BYTES_MAX and not self._is_deaf:
            self._is_deaf = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Hold the script while the caller reads slowly."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on with the script."""
        self._is_paused = False
        if self._script is not None and self._next is None:
            self._play()

    def close(self) -> None:
        """End the connection without waiting for anything."""
        self._transport.abort()

    def is_idle_since(self, instant: float) -> bool:
        """Tell whether nothing was heard since an instant and nothing is being said."""
        return self._script is None and self._heard_at < instant

    def _feed(self, data: bytes) -> None:
        try:
            if data:
                self._parser.receive_data(data)
            while self._script is None and not self._transport.is_closing():
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    break
                self._take(event)
            if self._parser.they_are_waiting_for_100_continue and not self._body:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except h11.RemoteProtocolError as fault:
            self._refuse(fault.error_status_hint, str(fault))

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._request = event
            if _declared_bytes(event) > BODY_BYTES_MAX:
                self._refuse(413, BODY_TOO_LARGE)
        elif isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > BODY_BYTES_MAX:
                self._refuse(413, BODY_TOO_LARGE)
        elif isinstance(event, h11.EndOfMessage):
            self._begin(cast("h11.Request", self._request))
        else:
            self._transport.close()

    def _begin(self, request: h11.Request) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        is_old = request.http_version == b"1.0"
        self._is_kept = not is_old and "close" not in headers.get("connection", "").lower()
        path, _, query = request.target.decode("latin-1").partition("?")
        # What came after this request waits in the old parser; each request has one of its own.
        self._pending = self._parser.trailing_data[0]
        told = self._server.upstream.answer(
            SandboxRequest(request.method.decode(), path, headers, bytes(self._body), is_old, query)
        )
        self._request = None
        self._body = bytearray()
        self._parser = _parser()
        self._script, self._count = told
        self._play()

    def _play(self) -> None:
        self._next = None
        script = self._script
        if script is None or self._is_paused:
            return
        try:
            stop = self._say(script)
        except BaseException:
            # A fault of our own must not leave a caller waiting; the loop reports it.
            self._transport.abort()
            raise
        if stop is None:
            self._finish()
        elif isinstance(stop, Close):
            self._end(stop)
        elif stop.seconds or not self._is_paused:
            self._wait(stop.seconds)

    def _say(self, script: Script) -> Wait | Close | None:
        """Write the bytes up to the next wait or end, all at once: a write is dear."""
        said: list[bytes] = []
        size_bytes = 0
        stop: Wait | Close | None = None
        for step in script:
            if isinstance(step, Wait | Close):
                stop = step
                break
            if isinstance(step, Token) and self._count is not None:
                self._count.tokens += step.tokens
            data = step.data if isinstance(step, Token) else step
            said.append(data)
            size_bytes += len(data)
            if size_bytes > WRITE_BYTES or len(said) >= STEPS_AT_ONCE:
                stop = Wait(0)
                break
        if said:
            self._transport.write(b"".join(said))
        return stop

    def _wait(self, seconds: float) -> None:
        if seconds:
            self._next = self._loop.call_later(seconds, self._play)
        else:
            self._next = self._loop.call_soon(self._play)

    def _finish(self) -> None:
        self._end_script(is_finished=True)
        if not self._is_kept:
            self._transport.close()
            return
        if self._pending:
            # Not from within: a thousand requests in one packet are no deeper than one.
            self._loop.call_soon(self._feed_pending)

    def _feed_pending(self) -> None:
        pending, self._pending = self._pending, b""
        if self._is_deaf:
            self._is_deaf = False
            self._transport.resume_reading()
        self._feed(pending)

    def _end(self, close: Close) -> None:
        self._end_script(is_finished=True)
        if close is Close.CLEAN:
            self._transport.close()
            return
        connection = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()

    def _end_script(self, *, is_finished: bool) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._script is None:
            return
        self._script = None
        if self._count is not None:
            if is_finished:
                self._count.finished += 1
            else:
                self._count.cancelled += 1
            self._count = None

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n"
        tail = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._transport.write(f"{head}{tail}".encode() + body)
        self._transport.close()


def _declared_bytes(request: h11.Request) -> int:
    # h11 has judged the header: there is one at most, and it is a number.
    declared = [value for name, value in request.headers if name == b"content-length"]
    return int(declared[0]) if declared else 0


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)

"""An upstream that streams tokens at a given pace to thousands of callers. One process, one loop.

Run as `python -m bench.stream_upstream`; the first line that it prints is its port. How many
tokens come and how far apart is told by the model that a request names, such as `bench/s100x10`.
"""

import asyncio
import re
import sys
from typing import Final

import uvloop

from bench.bodies import PATH, stream_events, stream_shape

REQUEST_BYTES_MAX: Final = 1024 * 1024
LIFE_SECONDS_MAX: Final = 6 * 3600.0
BACKLOG: Final = 8_192
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
REFUSAL: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d{1,9})\r\n", re.IGNORECASE)


def chunk(data: bytes) -> bytes:
    """Frame data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def split_request(data: bytes) -> tuple[bytes | None, int]:
    """Give (body, bytes used) of the first whole request; (None, 0) while it is not whole.

    Raises ValueError for what this upstream does not take.
    """
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        if len(data) > REQUEST_BYTES_MAX:
            raise ValueError("a head without end")
        return None, 0
    head = data[: head_end + 2]
    length = _LENGTH.search(head)
    if length is None or not head.startswith(f"POST {PATH} ".encode()):
        raise ValueError("only POST with a length is answered")
    body_end = head_end + 4 + int(length[1])
    if body_end > REQUEST_BYTES_MAX:
        raise ValueError("too large")
    if len(data) < body_end:
        return None, 0
    return data[head_end + 4 : body_end], body_end


class Streamer(asyncio.Protocol):
    """One connection: answers each request with a stream, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._next_at = 0.0
        self._interval_seconds = 0.0
        self._token = b""
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what was under way."""
        del exc
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Gather a request and begin to answer it, unless one is being answered."""
        self._data += data
        if self._timer is None:
            self._begin()

    def _begin(self) -> None:
        transport = self._transport
        if transport is None or not self._data:
            return
        try:
            body, used = split_request(self._data)
        except ValueError:
            self._refuse(transport)
            return
        if body is None:
            return
        shape = stream_shape(body)
        if shape is None:
            self._refuse(transport)
            return
        self._data = self._data[used:]
        tokens, interval_ms = shape
        first, token, last = stream_events(tokens, has_usage=b'"include_usage"' in body)
        self._token = chunk(token)
        self._last = chunk(last) + b"0\r\n\r\n"
        self._left = tokens
        self._interval_seconds = interval_ms / 1000
        transport.write(HEAD + chunk(first))
        self._next_at = self._loop.time()
        self._timer = self._loop.call_at(self._next_at, self._send)

    def _refuse(self, transport: asyncio.Transport) -> None:
        self._data = b""
        transport.write(REFUSAL)
        transport.close()

    def _send(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._left == 0:
            self._timer = None
            transport.write(self._last)
            self._begin()
            return
        self._left -= 1
        transport.write(self._token)
        self._next_at += self._interval_seconds
        self._timer = self._loop.call_at(self._next_at, self._send)


async def serve() -> None:
    """Listen on a free port of loopback, say which, and serve for a bounded time."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Streamer(loop), host="127.0.0.1", port=0, backlog=BACKLOG
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.sleep(LIFE_SECONDS_MAX)


if __name__ == "__main__":
    uvloop.run(serve())

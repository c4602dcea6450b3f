"""Load of streams: a uvloop client that reads each to its end, bounded in count and time."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Final, NamedTuple, cast

import uvloop

from bench import bodies, machine
from bench.load import RequestsFailed, beside_us, spent
from bench.rounds import Cell
from bench.subjects import Subject

BATCH_SECONDS_MAX: Final = 120.0
# Each content of `bench.upstream` begins so; what names the role does not.
CONTENT: Final = b"tok"
ACCEPTED: Final = b"HTTP/1.1 200"


class ClientApi(NamedTuple):
    """An API of the gateway: its path, and what ends a stream of it."""

    path: str
    end: bytes


CHAT: Final = ClientApi("/v1/chat/completions", b"data: [DONE]")
MESSAGES: Final = ClientApi("/v1/messages", b"event: message_stop")


class Stream(asyncio.Protocol):
    """One stream: when its first content came, and whether it came to its end."""

    def __init__(self, request: bytes, end: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._end = end
        self._began = 0.0
        self._tail = b""
        self._is_accepted = False
        self._transport: asyncio.Transport | None = None
        self.first_seconds = 0.0
        self.has_begun: asyncio.Future[None] = loop.create_future()
        self.has_ended: asyncio.Future[str] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        # uvloop's transports are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for the first content and for the end; either may be cut by two reads."""
        window = self._tail + data
        self._tail = window[-64:]
        if not self._is_accepted:
            if len(window) < len(ACCEPTED):
                return
            if not window.startswith(ACCEPTED):
                self._close(f"answered {window[9:12].decode('latin-1')}: {window[-120:]!r}")
                return
            self._is_accepted = True
        if not self.first_seconds and CONTENT in window:
            self.first_seconds = time.perf_counter() - self._began
            self._begin()
        if self._end in window:
            self._close("" if self.first_seconds else "a stream had no content")

    def connection_lost(self, error: Exception | None) -> None:
        """Note that it was cut, unless it had ended."""
        self._close(f"a stream was cut ({type(error).__name__ if error else 'closed'})")

    def _close(self, fault: str) -> None:
        if not self.has_ended.done():
            self.has_ended.set_result(fault)
        self._begin()
        if self._transport is not None:
            self._transport.close()

    def _begin(self) -> None:
        # Whoever waited for it may have given up, which cancels it.
        if not self.has_begun.done():
            self.has_begun.set_result(None)


def request(subject: Subject, client_api: ClientApi = CHAT) -> bytes:
    """Give the bytes that ask a subject for a stream."""
    asked = json.loads(bodies.tiny(subject.model, is_stream=True, output_tokens_max=2_000))
    if client_api is MESSAGES:
        asked["system"] = asked["messages"].pop(0)["content"]
    body = json.dumps(asked).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in subject.headers.items())
    head = (
        f"POST {client_api.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer"
        f" {subject.keys[0]}\r\nContent-Type: application/json\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def streamed(
    subject: Subject,
    seconds: float,
    *,
    streams: int,
    events: int,
    client_api: ClientApi = CHAT,
    per: Callable[[int, int], int] = lambda streams, events: streams * events,
) -> Cell:
    """Open so many streams at once and read each to its end, again until the time is over.

    Costs are for each event that the provider sent, so a gateway that joins events gains nothing,
    or for what `per` makes of streams and the events of one. Raises RequestsFailed unless all
    streams are whole.
    """
    before = spent(subject)
    began = time.perf_counter()
    firsts = uvloop.run(_batches(subject, seconds, streams, client_api))
    took = time.perf_counter() - began
    own = machine.family_seconds(subject.pids)
    units = per(len(firsts), events)
    beside, note = beside_us(subject, before, len(firsts))
    firsts.sort()
    return Cell(
        cpu_us=(own - before.own) / units * 1e6,
        per_second=units / took,
        p50_ms=firsts[len(firsts) // 2] * 1e3,
        p99_ms=firsts[len(firsts) * 99 // 100] * 1e3,
        beside_us=beside,
        note=note,
    )


def one_by_one(subject: Subject, seconds: float) -> Cell:
    """Read short streams one after the other: costs are for each stream."""
    return streamed(subject, seconds, streams=1, events=5, per=lambda streams, _: streams)


async def _batches(
    subject: Subject, seconds: float, streams: int, client_api: ClientApi
) -> list[float]:
    firsts: list[float] = []
    asked = request(subject, client_api)
    deadline = time.perf_counter() + seconds
    while True:
        async with asyncio.timeout(BATCH_SECONDS_MAX):
            batch = await open_streams(subject.port, asked, client_api.end, streams)
            faults = [fault for one in batch if (fault := await one.has_ended)]
        if faults:
            raise RequestsFailed(f"{len(faults)} of {streams} streams failed: {faults[0]}")
        firsts += [one.first_seconds for one in batch]
        if time.perf_counter() >= deadline:
            return firsts


async def open_streams(port: int, asked: bytes, end: bytes, count: int) -> list[Stream]:
    """Open so many streams at once; raises OSError in a group when a connection is refused."""
    loop = asyncio.get_running_loop()
    found = []

    async def one() -> None:
        _, stream = await loop.create_connection(lambda: Stream(asked, end), "127.0.0.1", port)
        found.append(stream)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(one())
    return found

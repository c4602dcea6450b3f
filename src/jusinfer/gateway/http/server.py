"""The clients' side of HTTP/1.1: makes connections, watches their deadlines, drains them."""

import asyncio
import email.utils
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

from jusinfer.gateway.http.buffered_answers import Collected
from jusinfer.gateway.http.request_parser import HttpError
from jusinfer.gateway.http.response_writer import (
    Application,
    ClientEvents,
    Request,
    Responder,
    Visitor,
)
from jusinfer.gateway.http.server_connection import Connection
from jusinfer.gateway.http.server_interface import ServerLimits, Stranger, Upload, Watched

__all__ = [
    "Application",
    "ClientEvents",
    "HttpError",
    "HttpServer",
    "Request",
    "Responder",
    "ServerLimits",
    "Visitor",
]

TICK_SECONDS: Final = 0.25
WEIGH_SECONDS: Final = 1.0


class HttpServer:
    """Makes connections, looks at their deadlines a few times a second, and drains them.

    `on_fault` hears where the application raised: a class and a line of code, never a message.
    """

    def __init__(
        self,
        application: Application,
        limits: ServerLimits,
        loop: asyncio.AbstractEventLoop,
        on_fault: Callable[[str], None] | None = None,
        collected: Collected | None = None,
    ) -> None:
        self.application = application
        self.on_fault = on_fault
        self.limits = limits
        self.loop = loop
        self.open: set[Watched] = set()
        # What all request bodies hold, and what waits for clients that read slowly.
        self.held_bytes = 0
        self.stranger_bytes = 0
        self.strangers: dict[Stranger, Callable[[HttpError], None]] = {}
        self.uploads: dict[Upload, Callable[[HttpError], None]] = {}
        self.collected = (
            Collected(limits.unread_bytes_total_max) if collected is None else collected
        )
        self.collected.bytes_max = limits.unread_bytes_total_max
        self._slow: set[Watched] = set()
        self._weighed_at = loop.time()
        self.is_draining = False
        self.fault_count = 0
        self._date = b""
        self._date_second = 0
        self._ticker: asyncio.TimerHandle | None = loop.call_later(TICK_SECONDS, self._tick)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self.open)

    def protocol_factory(self) -> Connection:
        """Make the protocol of one connection."""
        return Connection(self)

    def opened(self, connection: Watched) -> int:
        """Note a connection; gives how many are open."""
        self.open.add(connection)
        return len(self.open)

    def closed(self, connection: Watched) -> None:
        """Forget a connection."""
        self.open.discard(connection)
        self._slow.discard(connection)

    def slowed(self, connection: Watched) -> None:
        """Count what waits for a slow client; over the bound of all, the slowest is cut."""
        self._slow.add(connection)
        now = self.loop.time()
        self.collected.unread_bytes += connection.unread_bytes(now)
        if self.collected.unread_bytes > self.limits.unread_bytes_total_max:
            self._weigh(now)

    def caught_up(self, connection: Watched) -> None:
        """Note that a client has read what was written."""
        self._slow.discard(connection)

    def _weigh(self, now: float) -> None:
        """Measure what waits for all clients, and cut the slowest until it is within its bound.

        Where whole answers that are still read have no room, clients whose pace is known are cut.
        """
        self._weighed_at = now
        total = sum([connection.unread_bytes(now) for connection in tuple(self.open)])
        while total > self.limits.unread_bytes_total_max and self._slow:
            slowest = min(self._slow, key=lambda one: (one.pace(now), -one.unread_bytes(now)))
            total -= slowest.unread_bytes(now)
            self._slow.discard(slowest)
            slowest.cut()
        collected = self.collected
        while self._slow and total + collected.held_bytes > self.limits.unread_bytes_total_max:
            slowest = min(self._slow, key=lambda one: one.pace(now))
            if slowest.pace(now) == float("inf"):
                break
            total -= slowest.unread_bytes(now)
            self._slow.discard(slowest)
            slowest.cut()
        collected.unread_bytes = total

    def date_line(self) -> bytes:
        """Give the Date header, made once a second."""
        second = int(self.loop.time())
        if second != self._date_second:
            self._date_second = second
            self._date = b"date: %b\r\n" % email.utils.formatdate(usegmt=True).encode()
        return self._date

    def handle(self, request: Request, responder: Responder) -> None:
        """Give a whole request to the application; a fault of ours ends that request only."""
        try:
            self.application.handle(request, responder)
        except Exception as error:  # noqa: BLE001 (the end of a connection: one of three places)
            self._fault(request, responder, error)

    def _fault(self, request: Request, responder: Responder, error: Exception) -> None:
        """Say that something broke if nothing was sent yet, else cut the answer off."""
        self.fault_count += 1
        if self.on_fault is not None:
            self.on_fault(_place(error))
        client = None if responder.is_finished else responder.client
        if responder.is_started:
            responder.abort()
        else:
            refusal = HttpError(503, "fault", "an internal fault; the request was not served")
            status, block, body = self.application.refuse(refusal, request.path)
            responder.close_after()
            responder.send(status, block, body)
        if client is not None:
            client.client_disconnected()

    def begin_drain(self) -> None:
        """Take no new requests; idle connections close, running answers are the last."""
        self.is_draining = True
        for connection in tuple(self.open):
            connection.drain()

    async def drained(self, seconds: float) -> bool:
        """Wait until every connection has ended, for so long at most."""
        deadline = self.loop.time() + seconds
        while self.open:
            if self.loop.time() > deadline:
                return False
            await asyncio.sleep(TICK_SECONDS / 5)
        return True

    def abort_all(self) -> None:
        """Cut every connection."""
        for connection in tuple(self.open):
            connection.cut()

    def close(self) -> None:
        """Stop looking at deadlines and cut what is left."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self.abort_all()

    def _tick(self) -> None:
        # Set first, so that a fault below cannot stop the clock of all the others.
        self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)
        now = self.loop.time()
        for connection in tuple(self.open):
            if connection.deadline < now:
                connection.timed_out()
        if now - self._weighed_at >= WEIGH_SECONDS:
            self._weigh(now)


def _place(error: BaseException) -> str:
    """Say where an error was raised, without its message: that could hold a client's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    name = PurePath(trace.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} at {name}:{trace.tb_lineno}"

"""The callers' side of HTTP/1.1: makes connections, watches their deadlines, drains them."""

import asyncio
import email.utils
from collections.abc import Callable
from pathlib import PurePath
from typing import Final

from jusinfer.gateway.connection import Connection, ServerLimits
from jusinfer.gateway.framing import Refusal
from jusinfer.gateway.responder import Application, Caller, Request, Responder

__all__ = ["Application", "Caller", "HttpServer", "Refusal", "Request", "Responder", "ServerLimits"]

TICK_SECONDS: Final = 0.25


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
    ) -> None:
        self.application = application
        self.on_fault = on_fault
        self.limits = limits
        self.loop = loop
        self.open: set[Connection] = set()
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
            self._fault(responder, error)

    def _fault(self, responder: Responder, error: Exception) -> None:
        """Say that something broke if nothing was sent yet, else cut the answer off."""
        self.fault_count += 1
        if self.on_fault is not None:
            self.on_fault(_place(error))
        caller = None if responder.is_finished else responder.caller
        if responder.is_started:
            responder.abort()
        else:
            refusal = Refusal(503, "fault", "an internal fault; the request was not served")
            status, block, body = self.application.refuse(refusal)
            responder.close_after()
            responder.send(status, block, body)
        if caller is not None:
            caller.caller_gone()

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


def _place(error: BaseException) -> str:
    """Say where an error was raised, without its message: that could hold a caller's words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    name = PurePath(trace.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} at {name}:{trace.tb_lineno}"

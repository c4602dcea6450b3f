"""One client's connection: reads requests in order, keeps deadlines, ends without losing answers.

One request at a time is under way on a connection; what a client pipelines waits in a bounded
buffer and is served in order, so that a refusal can never land inside an answer.
"""

import asyncio
from typing import Final, cast

from jusinfer.gateway.http.head_memory import HeadMemory
from jusinfer.gateway.http.partial_head import HEAD_END, UnfinishedHead
from jusinfer.gateway.http.request_body import Body, hold
from jusinfer.gateway.http.request_parser import (
    HttpError,
    HttpErrorRaised,
    RequestHead,
    head_too_large,
    too_large,
    without_blank_lines,
)
from jusinfer.gateway.http.response_writer import Request, Responder
from jusinfer.gateway.http.server_interface import ServerInterface, ServerLimits
from jusinfer.gateway.http.socket_options import is_broken, reset_on_close, write
from jusinfer.gateway.http.write_backlog import Unread

LINGER_SECONDS: Final = 2.0
LINGER_BYTES_MAX: Final = 1024 * 1024
PROBE_SECONDS: Final = 0.5
DRAINING: Final = HttpError(503, "draining", "this server is about to stop; try again")


class Connection(asyncio.Protocol):
    """One client's connection; also the line of the responder that is under way."""

    __slots__ = (
        "_blank_lines",
        "_body",
        "_buffer",
        "_head",
        "_heads",
        "_held_bytes",
        "_is_body_paused",
        "_is_closing",
        "_is_half_closed",
        "_is_paused",
        "_is_probed",
        "_is_reading_paused",
        "_linger_left",
        "_loop",
        "_peer",
        "_responder",
        "_server",
        "_transport",
        "_unfinished",
        "_unread",
        "deadline",
    )

    def __init__(self, server: ServerInterface) -> None:
        self._server = server
        self._loop = server.loop
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._blank_lines = 0
        self._unfinished: UnfinishedHead | None = None
        self._head: RequestHead | None = None
        self._heads = HeadMemory()
        self._body: Body | None = None
        self._responder: Responder | None = None
        self._is_closing = False
        self._is_half_closed = False
        self._is_paused = False
        self._is_probed = False
        self._is_reading_paused = False
        self._linger_left = LINGER_BYTES_MAX
        self._is_body_paused = False
        self._held_bytes = 0
        self._unread = Unread()
        self._peer: str | None = None
        self.deadline = 0.0

    # ------------------------------------------------------------------ asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, unless there are too many."""
        server, limits = self._server, self._server.limits
        # The loop's own transports need not inherit from asyncio's classes.
        self._transport = stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(limits.write_high_water_bytes, limits.write_low_water_bytes)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) and peer else None
        open_count = server.opened(self)
        self.deadline = self._loop.time() + limits.head_seconds
        if server.is_draining:
            self._refuse(DRAINING)
        elif open_count > limits.connections_max:
            self._refuse(HttpError(503, "too_many_connections", "too many connections right now"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (its signature)
        """Tell whoever answers that the client has gone."""
        self._server.closed(self)
        self._end()
        self._transport = None
        self._is_closing = True
        responder = self._responder
        self._responder = None
        if responder is not None:
            responder.is_gone = True
            if responder.client is not None and not responder.is_finished:
                responder.client.client_disconnected()

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a request, of one that waits, or of one that was refused."""
        if self._is_closing:
            self._linger(len(data))
            return
        if self._responder is not None or self._is_paused:
            self._keep_for_later(data)
            return
        self._advance(data)

    def eof_received(self) -> bool | None:
        """Keep a half-closed connection as long as an answer is owed.

        Over TLS the loop cannot keep one, and clients do not ask for it: there it means gone.
        """
        transport = self._transport
        if self._is_closing or transport is None or not transport.can_write_eof():
            return None
        responder = self._responder
        if responder is None and (self._unfinished is not None or not self._buffer):
            return None
        self._is_half_closed = True
        if responder is None:
            self._loop.call_soon(self._serve_buffered)
        else:
            self._schedule_probe()
        return True

    def pause_writing(self) -> None:
        """Let whoever answers wait for a slow client, for so long at most."""
        self._is_paused = True
        self._unread.slowed(self._transport_now(), self._loop.time())
        self._watch_reader()
        responder = self._responder
        if responder is not None:
            responder.is_paused = True
            if responder.client is not None:
                responder.client.write_paused()
        self._server.slowed(self)

    def resume_writing(self) -> None:
        """Let whoever answers go on, or serve the next request."""
        self._is_paused = False
        self._unread.caught_up()
        self._server.caught_up(self)
        if self._is_closing:
            return
        responder = self._responder
        if responder is None:
            self.deadline = self._loop.time() + self._server.limits.idle_seconds
            self._serve_buffered()
            return
        self.deadline = float("inf")
        self._schedule_probe()
        responder.is_paused = False
        if responder.client is not None:
            responder.client.write_resumed()

    # ------------------------------------------------------------------ reading requests

    def _keep_for_later(self, data: bytes) -> None:
        """Keep what is pipelined, counted with all bodies; without room the client is cut."""
        try:
            self._count(len(data))
        except HttpErrorRaised:
            self.cut()
            return
        self._buffer += data
        is_over = len(self._buffer) > self._server.limits.pipelined_bytes_max
        if is_over and not self._is_reading_paused:
            # The loop hears nothing of a client that leaves while reading is paused, so reading
            # goes on as long as what is pipelined fits.
            self._is_reading_paused = True
            self._transport_now().pause_reading()
            self._schedule_probe()

    def _count(self, size: int) -> None:
        hold(self._server, size)
        self._held_bytes += size

    def _advance(self, data: bytes) -> None:
        """Read as much of one request as is there, and serve it when it is whole."""
        try:
            if self._head is None:
                if self._buffer:
                    data, self._buffer = self._buffer + data, b""
                self._read_head(data)
            elif self._body is not None:
                self._read_body(self._head, self._body, data)
        except HttpErrorRaised as refused:
            self._refuse(refused.refusal)

    def _read_head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):
            data, self._blank_lines = without_blank_lines(data, self._blank_lines)
            self._end_wait()
        unfinished = self._unfinished
        end = data.find(HEAD_END, 0 if unfinished is None else unfinished.seen) + len(HEAD_END)
        limits = self._server.limits
        if end < len(HEAD_END):
            self._wait_for_head(data, limits)
            return
        if unfinished is not None:
            self._end_wait()
        if end > limits.head_bytes_max:
            raise head_too_large(limits.head_bytes_max)
        head = self._head = self._heads.read(data[:end], limits.head_lines_max)
        self._blank_lines = 0
        rest = data[end:]
        if head.body_bytes == 0:
            self._serve(head, b"", rest)
            return
        if head.body_bytes is not None:
            if head.body_bytes > limits.body_bytes_max:
                raise too_large(limits.body_bytes_max)
            if len(rest) >= head.body_bytes:
                self._count(head.body_bytes)
                self._serve(head, rest[: head.body_bytes], rest[head.body_bytes :])
                return
        self._await_body(head, rest)

    def _await_body(self, head: RequestHead, rest: bytes) -> None:
        """Ask the application who this is before more than a little of a body is read."""
        server, now = self._server, self._loop.time()
        self.deadline = now + server.limits.body_seconds
        request = Request(head, b"", now, self._peer)
        self._body = Body(server, head, request, self._refuse)
        server.application.greet(request, self)
        if rest and self._body is not None:
            self._read_body(head, self._body, rest)
        if self._is_half_closed and self._body is not None:
            self._close()

    def admit(self, request: Request, bytes_max: int, owner: str = "") -> None:
        """Read a body that is awaited, within these bytes."""
        body, head = self._body, self._head
        if body is None or head is None or body.request is not request:
            return
        try:
            body.admit(bytes_max, owner)
        except HttpErrorRaised as refused:
            self._refuse(refused.refusal)
            return
        if head.expects_continue:
            self.put(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_on()

    def turn_away(self, request: Request, status: int, block: bytes, body: bytes) -> None:
        """Answer before the body is there, and read no more of it."""
        if self._body is not None and self._body.request is request:
            self._answer_and_close(status, block, body)

    def _read_body(self, head: RequestHead, body: Body, data: bytes) -> None:
        whole = body.feed(data)
        if whole is not None:
            self._held_bytes += body.hand_over()
            self._body = None
            self._read_on()
            self._serve(head, *whole)
        elif body.is_ahead and not self._is_body_paused:
            self._is_body_paused = True
            self._transport_now().pause_reading()

    def _read_on(self) -> None:
        if self._is_body_paused and self._transport is not None:
            self._is_body_paused = False
            self._transport.resume_reading()

    def _end(self) -> None:
        """Keep no bytes of requests any more."""
        self._uncount()
        self._end_wait()
        self._buffer = b""
        body, self._body = self._body, None
        if body is not None:
            body.let_go()

    def _uncount(self, kept: int = 0) -> None:
        self._server.held_bytes -= self._held_bytes - kept
        self._held_bytes = kept

    def _wait_for_head(self, data: bytes, limits: ServerLimits) -> None:
        self._unfinished = self._unfinished or UnfinishedHead(self._server, self._refuse)
        self._unfinished.wait(data)
        # The clock of an idle connection's next head starts with its first byte.
        self.deadline = min(self.deadline, self._loop.time() + limits.head_seconds)
        self._buffer = data
        if self._is_half_closed:
            self._close()

    def _end_wait(self) -> None:
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None:
            unfinished.let_go()

    def _serve(self, head: RequestHead, body: bytes, rest: bytes) -> None:
        """Hand a whole request to the application; what follows it waits."""
        server = self._server
        if rest:
            self._count(len(rest))
        self._buffer = rest
        keep = head.keep_alive and not server.is_draining
        responder = Responder(self, minor=head.http_minor, keep=keep, is_head=head.method == "HEAD")
        self._responder = responder
        self.deadline = float("inf")
        request = Request(head, body, self._loop.time(), self._peer)
        server.handle(request, responder)

    # ------------------------------------------------------------------ a responder's line

    def put(self, data: bytes) -> None:
        """Send bytes if the connection is still there."""
        if self._transport is not None:
            self._unread.put_bytes += len(data)
            write(self._transport, data)

    def date_line(self) -> bytes:
        """Give the Date header of this second."""
        return self._server.date_line()

    def response_complete(self, *, keep: bool) -> None:
        """Go on with the next request, or close."""
        self._responder = None
        self._head = None
        self._uncount(kept=len(self._buffer))
        if self._is_closing:
            self._close(is_lingering=True)
            return
        has_more = bool(self._buffer) or self._is_reading_paused
        if not keep or (self._is_half_closed and not has_more):
            self._close(is_lingering=has_more or self._server.is_draining)
            return
        if not self._is_paused:
            self.deadline = self._loop.time() + self._server.limits.idle_seconds
        if has_more:
            # Not at once: a client that pipelines much must not deepen the stack.
            self._loop.call_soon(self._serve_buffered)

    def abort_incomplete(self, *, is_ended_by_close: bool) -> None:
        """Send what was written, then close without the end that a whole answer has.

        Where closing itself is the end, only a reset tells the client that something is missing.
        """
        transport = self._transport
        if transport is None:
            return
        if not is_ended_by_close:
            self._close(is_lingering=bool(self._buffer) or self._is_reading_paused)
            return
        reset_on_close(transport)
        self.cut()

    def cut(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ ending

    def drain(self) -> None:
        """Close if nothing is under way; else the running answer is the last."""
        if self._is_closing:
            return
        if self._responder is not None:
            self._responder.close_after()
        elif self._head is None and self._buffer:
            self._refuse(DRAINING)
        elif self._head is None:
            self._close()

    def timed_out(self) -> None:
        """A deadline has passed; which one depends on what was awaited."""
        if self._is_closing or self._is_paused:
            self._cut_unless_read()
        elif self._responder is not None:
            self._probe(self._responder)
        elif self._head is not None:
            self._refuse(HttpError(408, "slow_body", "the body took too long to arrive"))
        elif self._buffer:
            self._refuse(HttpError(408, "slow_head", "the head took too long to arrive"))
        else:
            self._close()

    def _serve_buffered(self) -> None:
        """Serve what was pipelined while the last answer was under way."""
        if self._is_closing or self._responder is not None or self._is_paused:
            return
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()
        self._uncount()
        data, self._buffer = self._buffer, b""
        if data and self._head is None:
            self.deadline = self._loop.time() + self._server.limits.head_seconds
            self._advance(data)

    def _refuse(self, refusal: HttpError) -> None:
        """Answer with a refusal and close, but let the client read it first.

        Closing while the client still sends would reset the connection and destroy the answer on
        its way; so our side is closed, and what comes is read and dropped for a short while.
        """
        path = "" if self._head is None else self._head.path
        self._answer_and_close(*self._server.application.refuse(refusal, path))

    def _answer_and_close(self, status: int, block: bytes, body: bytes) -> None:
        is_head = self._head is not None and self._head.method == "HEAD"
        responder = Responder(self, minor=1, keep=False, is_head=is_head)
        self._is_closing = True
        responder.send(status, block, body)

    def _close(self, *, is_lingering: bool = False) -> None:
        transport = self._transport
        if transport is None:
            return
        self._is_closing = True
        self._end()
        self._watch_reader()
        if not is_lingering or self._is_half_closed or not transport.can_write_eof():
            transport.close()
            return
        self._read_on()
        if self._is_reading_paused:
            self._is_reading_paused = False
            transport.resume_reading()
        transport.write_eof()

    def _schedule_probe(self) -> None:
        """Look at the line now and then, as long as the loop does not listen to it."""
        if (self._is_half_closed or self._is_reading_paused) and not self._is_paused:
            self.deadline = self._loop.time() + PROBE_SECONDS

    def _probe(self, responder: Responder) -> None:
        """Cut a line that was reset; find out, by an interim answer, whether it would be.

        A client that has closed wholly looks the same as one that has only finished sending; but
        its machine answers a late byte with a reset. Most answers are there before this is asked.
        """
        if is_broken(self._transport_now()):
            self.cut()
            return
        self.deadline = float("inf")
        self._schedule_probe()
        is_probing = self._is_half_closed and not self._is_probed and not responder.is_started
        if is_probing and self._head is not None and self._head.http_minor == 1:
            self._is_probed = True
            self.put(b"HTTP/1.1 102 Processing\r\n\r\n")

    def _watch_reader(self) -> None:
        """Give the client time to take what waits to be sent."""
        now, limits = self._loop.time(), self._server.limits
        is_waiting = self._unread.is_waiting(self._transport_now(), now)
        self.deadline = now + (limits.client_write_stall_seconds if is_waiting else LINGER_SECONDS)

    def _cut_unless_read(self) -> None:
        """Cut a client that took nothing in the time it was given; a slow one gets more."""
        if self.unread_bytes(self._loop.time()):
            self._watch_reader()
        else:
            self.cut()

    def unread_bytes(self, now: float) -> int:
        """Give what waits to be taken; a client that has taken nothing for too long is cut.

        The loop says nothing of less than its high-water mark: streams end, and clients idle, with
        some of them unread.
        """
        transport = self._transport
        if transport is None or not self._unread.is_waiting(transport, now):
            return 0
        if self._unread.stalled_seconds(now) < self._server.limits.client_write_stall_seconds:
            return transport.get_write_buffer_size()
        self.cut()
        return 0

    def pace(self, now: float) -> float:
        """Give the bytes a second that a slow client has taken."""
        return self._unread.pace(self._transport_now(), now)

    def _linger(self, size: int) -> None:
        self._linger_left -= size
        if self._linger_left <= 0:
            self.cut()

    def _transport_now(self) -> asyncio.Transport:
        if self._transport is None:
            raise AssertionError("the connection is lost")
        return self._transport

"""Carries every path that is not the gateway's own to the console over its Unix socket."""

import asyncio
from collections.abc import Callable
from typing import Final

from jusinfer.domain.errors import InvalidRequest, JusinferError, Unavailable
from jusinfer.gateway.http.connection_pool import Exchange, Failure, FailureKind, Pool, Target
from jusinfer.gateway.http.response_writer import Request, Responder
from jusinfer.gateway.request_origin import Origins
from jusinfer.wire.errors import render

RETRY_SECONDS: Final = 2
# Longest silence of the console, before its answer and within it.
SILENCE_SECONDS: Final = 60.0
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What pages use of a request. Everything else stays here: keys of clients, and whatever a client or
# a proxy says of addresses; the gateway alone says where a request came from.
CARRIED: Final = frozenset(
    {
        b"accept",
        b"accept-language",
        b"cache-control",
        b"content-type",
        b"cookie",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"pragma",
        b"range",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"user-agent",
    }
)
DROPPED_RESPONSE_HEADERS: Final = HOP_BY_HOP | {
    b"content-length",
    b"date",
    b"server",
    b"x-request-id",
}
# What may be asked twice when a kept connection turns out to be closed.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# From an error and a request id to status, header lines and body.
BuildError = Callable[[JusinferError, str], tuple[int, bytes, bytes]]


class ConsoleForward:
    """Sends requests to the console as to any upstream; one that hangs slows nobody else."""

    def __init__(
        self,
        pool: Pool,
        target: Target,
        origins: Origins,
        *,
        build_error: BuildError = render,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._pool = pool
        self._target = target
        self._origins = origins
        self._build_error = build_error
        self._silence_seconds = silence_seconds

    def handle(self, request: Request, responder: Responder, request_id: str) -> None:
        """Carry one request; the answer streams back. A host that is not ours gets no page."""
        if not self._origins.serves(request.header(b"host")):
            error = InvalidRequest(
                "this server has no pages under this host",
                hint="Its operator can name the host in listen.public_url or listen.allowed_hosts.",
            )
            status, block, body = self._build_error(error, request_id)
            responder.send(status, block + id_line(request_id), body)
            return
        carried = ProxiedRequest(self, responder, request_id)
        responder.client = carried
        is_safe = request.method in SAFE_METHODS
        # No page reads a body then: one that comes is a prompt that was sent to the wrong place.
        body = b"" if is_safe else request.body
        carried.begin(self._head(request, request_id, len(body)), body, is_safe)

    def open(self, head: bytes, body: bytes, carried: "ProxiedRequest") -> Exchange:
        """Send a request to the console."""
        return self._pool.open(self._target, head, body, carried)

    def refusal(self, failure: Failure, request_id: str) -> tuple[int, bytes, bytes]:
        """Build the answer that says that the console is away."""
        error = Unavailable(
            f"the console is away ({failure.kind.value})", retry_after_seconds=RETRY_SECONDS
        )
        return self._build_error(error, request_id)

    def later(self, carried: "ProxiedRequest") -> asyncio.TimerHandle:
        """Let a request look at the console's silence when it may have lasted too long."""
        return self._pool.loop.call_later(self._silence_seconds, carried.check_timeout)

    def _head(self, request: Request, request_id: str, body_bytes: int) -> bytes:
        host = request.header(b"host") or b"localhost"
        named = connection_options(request.headers)
        lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), _origin_form(request))]
        if request.header(b"host") is None:
            lines.append(b"host: " + host)
        lines.extend(
            b"%b: %b" % (name, value)
            for name, value in request.headers
            if name in CARRIED and name not in named
        )
        lines += [
            *self._origins.lines(request),
            b"x-request-id: " + request_id.encode("ascii"),
            b"accept-encoding: identity",
            b"content-length: %d" % body_bytes,
            b"\r\n",
        ]
        return b"\r\n".join(lines)


class ProxiedRequest:
    """One request on its way to the console and back."""

    __slots__ = (
        "_again",
        "_exchange",
        "_forward",
        "_has_heard",
        "_request_id",
        "_responder",
        "_timer",
    )

    def __init__(self, forward: ConsoleForward, responder: Responder, request_id: str) -> None:
        self._forward = forward
        self._responder = responder
        self._request_id = request_id
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._again: tuple[bytes, bytes] | None = None
        self._has_heard = False

    def begin(self, head: bytes, body: bytes, is_safe: bool) -> None:  # noqa: FBT001 (one client)
        """Send the request, and keep it if it may be sent again."""
        self._again = (head, body) if is_safe else None
        self._timer = self._forward.later(self)
        self._send(head, body)

    def _send(self, head: bytes, body: bytes) -> None:
        exchange = self._exchange = self._forward.open(head, body, self)
        if self._responder.is_paused:
            exchange.pause()

    # ------------------------------------------------------------------ the console's side

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin the answer with the headers that may pass."""
        self._has_heard = True
        self._again = None
        named = connection_options(headers)
        block = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in headers
            if name not in DROPPED_RESPONSE_HEADERS and name not in named
        )
        self._responder.start(status, block + self._id())

    def upstream_body(self, data: bytes) -> None:
        """Pass on a piece."""
        self._has_heard = True
        self._responder.write(data)

    def upstream_end(self) -> None:
        """End the answer."""
        responder = self._end()
        responder.finish()

    def upstream_failed(self, failure: Failure) -> None:
        """Ask once more if that is safe, say that the console is away, or cut what was cut."""
        again = self._again
        if failure.is_reused and again is not None:
            self._again = None
            self._send(*again)
            return
        responder = self._end()
        if responder.is_started:
            responder.abort()
            return
        status, block, body = self._forward.refusal(failure, self._request_id)
        responder.send(status, block + self._id(), body)

    def check_timeout(self) -> None:
        """Give up on a console that has been silent for too long, unless we keep it waiting."""
        if self._has_heard or self._responder.is_paused:
            self._has_heard = False
            self._timer = self._forward.later(self)
            return
        if self._exchange is not None:
            self._exchange.cancel()
        self._again = None
        self.upstream_failed(Failure(FailureKind.TRUNCATED, detail="the console fell silent"))

    # ------------------------------------------------------------------ the client's side

    def client_disconnected(self) -> None:
        """Stop the console's work for a client that left."""
        if self._exchange is not None:
            self._exchange.cancel()
        self._end()

    def write_paused(self) -> None:
        """Read no faster than the client does."""
        if self._exchange is not None:
            self._exchange.pause()

    def write_resumed(self) -> None:
        """Read on."""
        if self._exchange is not None:
            self._exchange.resume()

    # ------------------------------------------------------------------ shared

    def _end(self) -> Responder:
        """Part from what points back here, so that nothing waits for the garbage collector."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._exchange = None
        self._responder.client = None
        return self._responder

    def _id(self) -> bytes:
        return id_line(self._request_id)


def id_line(request_id: str) -> bytes:
    """Write the header line that names a request."""
    return b"x-request-id: %b\r\n" % request_id.encode("ascii")


def connection_options(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Name the headers that a Connection header confines to one hop."""
    return frozenset(
        option.strip().lower()
        for name, value in headers
        if name == b"connection"
        for option in value.split(b",")
    )


def _origin_form(request: Request) -> bytes:
    query = f"?{request.query}" if request.query else ""
    return f"{request.path}{query}".encode("ascii")

"""Carries every path that is not the gateway's own to the console over its Unix socket."""

from typing import Final

from jusinfer.domain.errors import Unavailable
from jusinfer.gateway.pool import Exchange, Failure, Pool, Target
from jusinfer.gateway.responder import Request, Responder
from jusinfer.wire.errors import render

RETRY_SECONDS: Final = 2
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
# The gateway alone says where a request came from.
NOT_CARRIED: Final = HOP_BY_HOP | {
    b"content-length",
    b"expect",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"x-request-id",
    b"accept-encoding",
}
NOT_RETURNED: Final = HOP_BY_HOP | {b"content-length", b"date", b"server", b"x-request-id"}


class ConsoleForward:
    """Sends requests to the console as to any upstream; one that hangs slows nobody else."""

    def __init__(self, pool: Pool, target: Target, *, is_tls: bool = False) -> None:
        self._pool = pool
        self._target = target
        self._scheme = b"https" if is_tls else b"http"

    def handle(self, request: Request, responder: Responder, request_id: str) -> None:
        """Carry one request; the answer streams back."""
        carried = Carried(responder, request_id)
        responder.caller = carried
        carried.exchange = self._pool.open(
            self._target, self._head(request, request_id), request.body, carried
        )

    def _head(self, request: Request, request_id: str) -> bytes:
        host = request.header(b"host") or b"localhost"
        lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), _origin_form(request))]
        lines.extend(
            b"%b: %b" % (name, value) for name, value in request.headers if name not in NOT_CARRIED
        )
        lines += [
            b"x-forwarded-host: " + host,
            b"x-forwarded-proto: " + self._scheme,
            b"x-request-id: " + request_id.encode("ascii"),
            b"accept-encoding: identity",
            b"content-length: %d" % len(request.body),
            b"\r\n",
        ]
        return b"\r\n".join(lines)


class Carried:
    """One request on its way to the console and back."""

    __slots__ = ("_request_id", "_responder", "exchange")

    def __init__(self, responder: Responder, request_id: str) -> None:
        self._responder = responder
        self._request_id = request_id
        self.exchange: Exchange | None = None

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin the answer with the headers that may pass."""
        block = b"".join(
            b"%b: %b\r\n" % (name, value) for name, value in headers if name not in NOT_RETURNED
        )
        self._responder.start(status, block + self._id())

    def upstream_body(self, data: bytes) -> None:
        """Pass on a piece."""
        self._responder.write(data)

    def upstream_end(self) -> None:
        """End the answer."""
        self._responder.finish()

    def upstream_failed(self, failure: Failure) -> None:
        """Say that the console is away, or cut an answer that was cut."""
        responder = self._responder
        if responder.is_started:
            responder.abort()
            return
        error = Unavailable(
            f"the console is away ({failure.kind.value})", retry_after_seconds=RETRY_SECONDS
        )
        status, block, body = render(error, self._request_id)
        responder.send(status, block + self._id(), body)

    def caller_gone(self) -> None:
        """Stop the console's work for a caller that left."""
        if self.exchange is not None:
            self.exchange.cancel()

    def caller_paused(self) -> None:
        """Read no faster than the caller does."""
        if self.exchange is not None:
            self.exchange.pause()

    def caller_resumed(self) -> None:
        """Read on."""
        if self.exchange is not None:
            self.exchange.resume()

    def _id(self) -> bytes:
        return b"x-request-id: %b\r\n" % self._request_id.encode("ascii")


def _origin_form(request: Request) -> bytes:
    query = f"?{request.query}" if request.query else ""
    return f"{request.path}{query}".encode("ascii")

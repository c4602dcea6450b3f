"""The body of one request while it comes in: framed, bounded, counted with all the others."""

from typing import Final

from jusinfer.gateway.framing import ChunkReader, Head, Refusal, Refused, too_large
from jusinfer.gateway.responder import Request
from jusinfer.gateway.served import Served

FULL: Final = Refusal(
    503, "request_memory", "the bodies of all requests together are too large right now; try again"
)


def hold(server: Served, size: int) -> None:
    """Count bytes that a request holds until it has been answered; raises Refused."""
    server.held_bytes += size
    if server.held_bytes > server.limits.request_bytes_total_max:
        server.held_bytes -= size
        raise Refused(FULL)


class Body:
    """Collects a body. Until the request is admitted, only a little of it is taken."""

    __slots__ = ("_allowed_bytes", "_chunks", "_data", "_head", "_server", "held_bytes", "request")

    def __init__(self, server: Served, head: Head, request: Request) -> None:
        limits = server.limits
        self._server = server
        self._head = head
        # None once the application has said what may be read.
        self.request: Request | None = request
        self._allowed_bytes = limits.stranger_bytes_max
        self._data = bytearray()
        self._chunks: ChunkReader | None = None
        if head.body_bytes is None:
            self._chunks = ChunkReader(
                limits.body_bytes_max, limits.trailer_bytes_max, limits.chunk_extension_bytes_max
            )
        self.held_bytes = 0

    def admit(self, bytes_max: int) -> None:
        """Take this many bytes in all; raises Refused when there are more already, or will be."""
        self.request = None
        self._allowed_bytes = min(bytes_max, self._server.limits.body_bytes_max)
        if max(self._head.body_bytes or 0, self.held_bytes) > self._allowed_bytes:
            raise too_large(self._allowed_bytes)

    @property
    def is_ahead(self) -> bool:
        """Whether more has come than may be taken before the request is admitted."""
        return self.held_bytes > self._allowed_bytes

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; gives the body and what follows it once it is whole; raises Refused."""
        hold(self._server, len(data))
        self.held_bytes += len(data)
        if self._chunks is not None:
            rest = self._chunks.feed(data)
            if rest is not None:
                return bytes(self._chunks.body), rest
            if self.request is None and self._chunks.size > self._allowed_bytes:
                raise too_large(self._allowed_bytes)
            return None
        missing = (self._head.body_bytes or 0) - len(self._data)
        if len(data) < missing:
            self._data += data
            return None
        self._data += data[:missing]
        return bytes(self._data), data[missing:]

    def let_go(self) -> None:
        """Count its bytes no longer."""
        self._server.held_bytes -= self.held_bytes
        self.held_bytes = 0

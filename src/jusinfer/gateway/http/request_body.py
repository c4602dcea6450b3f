"""The body of one request while it comes in: framed, bounded, counted with all the others."""

from collections.abc import Callable
from typing import Final

from jusinfer.gateway.http.request_parser import (
    ChunkReader,
    HttpError,
    HttpErrorRaised,
    RequestHead,
    too_large,
)
from jusinfer.gateway.http.response_writer import Request
from jusinfer.gateway.http.server_interface import ServerInterface, Stranger

FULL: Final = HttpError(
    503, "request_memory", "the bodies of all requests together are too large right now; try again"
)
# The part of all bytes that may be held for clients that are not known yet.
STRANGERS_SHARE: Final = 4
# The part of them that the bodies which one key is sending may hold while others find no room.
OWNERS_SHARE: Final = 4


def hold(server: ServerInterface, size: int, owner: str = "") -> None:
    """Count bytes that a request holds until it has been answered; raises Refused.

    Where there is no room, a key that is sending more than its share gives some up for others.
    """
    while server.held_bytes + size > server.limits.request_bytes_total_max:
        if not _give_up(server, owner):
            raise HttpErrorRaised(FULL)
    server.held_bytes += size


def _give_up(server: ServerInterface, owner: str) -> bool:
    """Refuse the oldest body of the key that sends most, if it has more than its share."""
    sizes: dict[str, int] = {}
    for upload in server.uploads:
        sizes[upload.owner] = sizes.get(upload.owner, 0) + upload.held_bytes
    greedy = max(sizes, key=sizes.__getitem__, default=owner)
    share = server.limits.request_bytes_total_max // OWNERS_SHARE
    if greedy == owner or sizes[greedy] <= share:
        return False
    oldest = next(upload for upload in server.uploads if upload.owner == greedy)
    end = server.uploads[oldest]
    oldest.let_go()
    end(FULL)
    return True


def make_room(server: ServerInterface, own: Stranger, size: int) -> None:
    """Refuse what strangers began to send longest ago: a good key is known at once.

    Raises Refused where that is what needs the room.
    """
    most = server.limits.request_bytes_total_max // STRANGERS_SHARE
    while server.stranger_bytes + size > most:
        oldest = next(iter(server.strangers), own)
        if oldest is own:
            raise HttpErrorRaised(FULL)
        end = server.strangers[oldest]
        oldest.let_go()
        end(FULL)


class Body:
    """Collects a body. Until the request is admitted, only a little of it is taken."""

    __slots__ = (
        "_allowed_bytes",
        "_chunks",
        "_data",
        "_end",
        "_head",
        "_is_stranger",
        "_server",
        "held_bytes",
        "owner",
        "request",
    )

    def __init__(
        self,
        server: ServerInterface,
        head: RequestHead,
        request: Request,
        end: Callable[[HttpError], None],
    ) -> None:
        """Begin; `end` refuses the request when others need its room."""
        limits = server.limits
        self._server = server
        self._head = head
        # None once the application has said what may be read.
        self.request: Request | None = request
        self._allowed_bytes = limits.stranger_bytes_max
        self._is_stranger = True
        self._end = end
        self._data = bytearray()
        self._chunks: ChunkReader | None = None
        if head.body_bytes is None:
            self._chunks = ChunkReader(
                limits.body_bytes_max, limits.trailer_bytes_max, limits.chunk_extension_bytes_max
            )
        self.held_bytes = 0
        self.owner = ""

    def admit(self, bytes_max: int, owner: str) -> None:
        """Take this many bytes in all for a key; raises Refused when there are more, or will be.

        Whoever may send no more than a stranger stays one: pages ask for no key.
        """
        self.request = None
        if bytes_max > self._server.limits.stranger_bytes_max:
            self._be_known()
        if owner:
            self.owner = owner
            self._server.uploads[self] = self._end
        self._allowed_bytes = min(bytes_max, self._server.limits.body_bytes_max)
        # What frames chunks is not a part of the body.
        size = (self._head.body_bytes or 0) if self._chunks is None else self._chunks.size
        if size > self._allowed_bytes:
            raise too_large(self._allowed_bytes)

    @property
    def is_ahead(self) -> bool:
        """Whether more has come than may be taken before the request is admitted."""
        return self.request is not None and self.held_bytes > self._allowed_bytes

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take bytes; gives the body and what follows it once it is whole; raises Refused."""
        self._hold(len(data))
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

    def hand_over(self) -> int:
        """Give how many bytes of a whole body are counted; from now on another counts them."""
        self._be_known()
        self._server.uploads.pop(self, None)
        held, self.held_bytes = self.held_bytes, 0
        return held

    def _hold(self, size: int) -> None:
        server = self._server
        if self._is_stranger:
            make_room(server, self, size)
        hold(server, size, self.owner)
        self.held_bytes += size
        if self._is_stranger:
            server.stranger_bytes += size
            server.strangers[self] = self._end

    def _be_known(self) -> None:
        if self._is_stranger:
            self._is_stranger = False
            self._server.stranger_bytes -= self.held_bytes
            self._server.strangers.pop(self, None)

    def let_go(self) -> None:
        """Count its bytes no longer."""
        self._be_known()
        self._server.uploads.pop(self, None)
        self._server.held_bytes -= self.held_bytes
        self.held_bytes = 0

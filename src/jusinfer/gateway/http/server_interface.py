"""What a connection needs of its server: bounds, counts, and whom to hand requests to."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from jusinfer.gateway.http.request_parser import HttpError
from jusinfer.gateway.http.response_writer import Application, Request, Responder

MIB: Final = 1024 * 1024
UNREAD_BYTES_TOTAL_MAX: Final = 256 * MIB


class ServerLimits(msgspec.Struct, frozen=True):
    """The bounds of one listening server; those with `total` are for all connections together."""

    head_bytes_max: int = 32_768
    head_lines_max: int = 100
    body_bytes_max: int = 20 * MIB
    # What is read of a body before it is known who sends it.
    stranger_bytes_max: int = 65_536
    request_bytes_total_max: int = 256 * MIB
    unread_bytes_total_max: int = UNREAD_BYTES_TOTAL_MAX
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    connections_max: int = 10_000
    pipelined_bytes_max: int = 64 * 1024
    trailer_bytes_max: int = 8_192
    chunk_extension_bytes_max: int = 1_024
    write_high_water_bytes: int = 262_144
    write_low_water_bytes: int = 65_536
    client_write_stall_seconds: float = 60.0


class ServerInterface(Protocol):
    """What a connection needs of the server that it belongs to."""

    application: Application
    limits: ServerLimits
    loop: asyncio.AbstractEventLoop
    is_draining: bool
    held_bytes: int
    # The part of them whose senders are not known.
    stranger_bytes: int
    strangers: dict["Stranger", Callable[[HttpError], None]]
    # Bodies that known clients are sending, the oldest first, each with what refuses it.
    uploads: dict["Upload", Callable[[HttpError], None]]

    def opened(self, connection: "Watched") -> int:
        """Note a connection; gives how many are open."""
        ...

    def closed(self, connection: "Watched") -> None:
        """Forget a connection."""
        ...

    def slowed(self, connection: "Watched") -> None:
        """Note that a client reads more slowly than it is written to."""
        ...

    def caught_up(self, connection: "Watched") -> None:
        """Note that a client has read what was written."""
        ...

    def date_line(self) -> bytes:
        """Give the Date header of this second."""
        ...

    def handle(self, request: Request, responder: Responder) -> None:
        """Give a whole request to the application; never raises what the application raises."""
        ...


class Watched(Protocol):
    """What a server does to a connection by itself."""

    deadline: float

    def drain(self) -> None:
        """Close if nothing is under way; else the running answer is the last."""
        ...

    def cut(self) -> None:
        """Close at once."""
        ...

    def timed_out(self) -> None:
        """Hear that the deadline has passed."""
        ...

    def unread_bytes(self, now: float) -> int:
        """Look at what waits to be taken by the client, and cut one that takes nothing."""
        ...

    def pace(self, now: float) -> float:
        """Give the bytes a second that a slow client has taken."""
        ...


class Stranger(Protocol):
    """A body whose sender is not known."""

    def let_go(self) -> None:
        """Count its bytes no longer."""
        ...


class Upload(Stranger, Protocol):
    """A body that a known client is sending."""

    owner: str
    held_bytes: int

"""What was written to one client and not yet taken, and since when it has taken nothing."""

import asyncio
from typing import Final

from jusinfer.gateway.http.socket_options import untaken_bytes

# A client that was not slow a moment ago is not judged by its pace.
PACE_SECONDS_MIN: Final = 2.0
# Whoever takes less in the time after which a client is cut takes nothing: a few bytes now and then
# would keep an answer, and the provider's connection behind it, for as long as it likes.
TAKEN_BYTES_MIN: Final = 1024


class Unread:
    """Counts what a client takes: its acknowledged bytes, also while the kernel holds the rest."""

    __slots__ = ("_since", "_slow_since", "_slow_taken", "_taken", "put_bytes")

    def __init__(self) -> None:
        self.put_bytes = 0
        self._taken = 0
        self._since = -1.0
        self._slow_since = -1.0
        self._slow_taken = 0

    def slowed(self, transport: asyncio.Transport, now: float) -> None:
        """Begin to measure the pace of a client that reads more slowly than it is written to."""
        if self._slow_since < 0:
            self._slow_since = now
            self._slow_taken = self._taken_now(transport)

    def caught_up(self) -> None:
        """End the measuring."""
        self._slow_since = -1.0
        self._since = -1.0

    def pace(self, transport: asyncio.Transport, now: float) -> float:
        """Give the bytes a second that a slow client has taken; infinite where it is too early."""
        seconds = now - self._slow_since
        if self._slow_since < 0 or seconds < PACE_SECONDS_MIN:
            return float("inf")
        return (self._taken_now(transport) - self._slow_taken) / seconds

    def is_waiting(self, transport: asyncio.Transport, now: float) -> bool:
        """Tell whether something waits to be taken, and note when enough of it was taken last."""
        if not transport.get_write_buffer_size():
            self._since = -1.0
            return False
        taken = self._taken_now(transport)
        if self._since < 0 or taken - self._taken >= TAKEN_BYTES_MIN:
            self._since = now
            self._taken = taken
        return True

    def stalled_seconds(self, now: float) -> float:
        """Give for how long a client has taken next to nothing of what waits for it."""
        return now - self._since

    def _taken_now(self, transport: asyncio.Transport) -> int:
        return self.put_bytes - transport.get_write_buffer_size() - untaken_bytes(transport)

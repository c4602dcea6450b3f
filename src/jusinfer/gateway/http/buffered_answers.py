"""What a worker holds of whole answers: counted from the first byte, and held back together.

A whole answer is read to its end before its client gets any of it. Where all of them, with what
slow clients have not taken, come near the bound, their upstreams are read no further, but for the
one whose answer is largest: it ends soonest, and makes room for the next.
"""

from collections.abc import Iterable
from typing import Final, Protocol

# The part of the bound that is kept for the one that is read to its end.
RESERVED: Final = 4
# What a connection may give at once when it is read again.
READ_BYTES: Final = 256 * 1024


class Collector(Protocol):
    """A completion under way."""

    @property
    def collected_bytes(self) -> int:
        """What it holds of a whole answer."""
        ...


class Collected:
    """Sizes in bytes. `unread_bytes` is what the server counts for slow clients."""

    __slots__ = ("_favoured", "bytes_max", "held_bytes", "unread_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held_bytes = 0
        self.unread_bytes = 0
        self._favoured: Collector | None = None

    def take(self, collector: Collector, size: int) -> bool:
        """Count bytes that have come for a completion; gives whether more of them may come now."""
        self.held_bytes += size
        return self.may_go_on(collector)

    def may_go_on(self, collector: Collector) -> bool:
        """Tell whether an answer may be read further."""
        held = self.held_bytes + self.unread_bytes
        return held <= self.bytes_max - self.bytes_max // RESERVED or collector is self._favoured

    def resume(self, collector: Collector) -> bool:
        """Tell whether an answer that was held back is read again, and keep room for one read."""
        if not self.may_go_on(collector):
            return False
        self.held_bytes += READ_BYTES
        return True

    def weigh(self, collectors: Iterable[Collector]) -> None:
        """Count anew what is held, and choose the answer that is read whatever is held."""
        total, largest, favoured = 0, 0, None
        for collector in collectors:
            size = collector.collected_bytes
            total += size
            if size > largest:
                largest, favoured = size, collector
        self.held_bytes = total
        self._favoured = favoured

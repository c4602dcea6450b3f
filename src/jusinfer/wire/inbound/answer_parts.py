"""The parts of an answer in the order in which they began: one is written, the others wait.

Responses and Messages both let one part end before the next begins, while chat chunks may mix
them. The first part that has not ended is streamed; what comes for later ones is kept for them.
"""

from typing import Any, Final, Literal, Protocol

from jusinfer.domain.inference.stream_state import ChunkMalformed
from jusinfer.wire.json_end import JsonEnd, said_in

WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
# What is kept of one answer until its end: parts, and what stands beside their words. A byte of a
# stream, whose length has a bound, may make much more than a byte of these.
PARTS_MAX: Final = 10_000
KEPT_MAX: Final = 300_000

Kind = Literal["reasoning", "text", "refusal", "call"]


class Part:
    """One part; `pieces` are JSON strings as they came."""

    __slots__ = (
        "_end",
        "annotations",
        "call_id",
        "details",
        "index",
        "is_custom",
        "is_ended",
        "kind",
        "logprobs",
        "name",
        "number",
        "pieces",
        "sent",
        "signature",
    )

    def __init__(self, kind: Kind, index: int) -> None:
        self.kind = kind
        self.index = index
        self.pieces: list[bytes] = []
        # How many of the pieces have been written.
        self.sent = 0
        # Whether nothing more can be added, so that the same kind begins another part.
        self.is_ended = False
        self.signature = ""
        self.details: list[dict[str, Any]] = []
        self.logprobs: list[Any] = []
        self.annotations: list[dict[str, Any]] = []
        self.number = -1
        self.call_id = ""
        self.name = ""
        self.is_custom = False
        self._end = JsonEnd(is_quoted=True)

    @property
    def text(self) -> str:
        """Put what was said together."""
        return text_of(self.pieces)

    def is_whole(self) -> bool:
        """Whether the part is known to have ended, when another has begun."""
        if self.kind != "call":
            return True
        return not self.is_custom and self._end.is_whole(self.pieces)


class Sink(Protocol):
    """Writes parts as an API has them."""

    def opened(self, part: Part) -> None:
        """A part begins."""
        ...

    def grew(self, part: Part, piece: bytes) -> None:
        """A part goes on by a JSON string."""
        ...

    def closed(self, part: Part, *, is_complete: bool) -> None:
        """A part ends."""
        ...


class PartQueue:
    """The parts of one answer."""

    __slots__ = ("_calls", "_first", "_is_open", "_kept_count", "_sink", "_waiting_bytes", "parts")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._calls: dict[int, Part] = {}
        # The place of the first part that has not ended.
        self._first = 0
        self._is_open = False
        self._waiting_bytes = 0
        self._kept_count = 0
        self.parts: list[Part] = []

    def kept(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give what is to be kept beside words, counted; raises ChunkMalformed for too much."""
        self._kept_count += len(rows)
        if self._kept_count > KEPT_MAX:
            raise ChunkMalformed("an answer has more details than can be kept")
        return rows

    def part(self, kind: Kind) -> Part:
        """Give the last part if it is of a kind and goes on, else begin one."""
        if self.parts and self.parts[-1].kind == kind and self._first < len(self.parts):
            last = self.parts[-1]
            if not last.is_ended:
                return last
        return self._add(kind)

    def call(self, number: int) -> Part | None:
        """Give a call that has begun."""
        return self._calls.get(number)

    def add_call(self, number: int) -> Part:
        """Begin a call."""
        part = self._calls[number] = self._add("call")
        part.number = number
        return part

    def grow(self, part: Part, piece: bytes) -> None:
        """Add a JSON string to a part; raises ChunkMalformed."""
        if part.index < self._first:
            if text_of([piece]).strip():
                raise ChunkMalformed("a call goes on after its end")
            return
        part.pieces.append(piece)
        if part.index == self._first and self._is_open:
            part.sent += 1
            self._sink.grew(part, piece)
            return
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            raise ChunkMalformed("too much came out of order")

    def advance(self) -> None:
        """Write on: close what has ended and open what comes next."""
        while self._first < len(self.parts):
            part = self.parts[self._first]
            self._open(part)
            if self._first + 1 == len(self.parts) or not part.is_whole():
                return
            self._close(part, is_complete=True)

    def finish(self, *, is_complete: bool) -> None:
        """Write everything; the last part is whole only if the answer is complete."""
        while self._first < len(self.parts):
            part = self.parts[self._first]
            self._open(part)
            is_last = self._first + 1 == len(self.parts)
            self._close(part, is_complete=is_complete or (not is_last and part.is_whole()))

    # ------------------------------------------------------------------ inside

    def _add(self, kind: Kind) -> Part:
        if len(self.parts) >= PARTS_MAX:
            raise ChunkMalformed("an answer has more parts than can be kept")
        part = Part(kind, len(self.parts))
        self.parts.append(part)
        return part

    def _open(self, part: Part) -> None:
        if not self._is_open:
            self._is_open = True
            self._sink.opened(part)
        for piece in part.pieces[part.sent :]:
            self._waiting_bytes -= len(piece)
            self._sink.grew(part, piece)
        part.sent = len(part.pieces)

    def _close(self, part: Part, *, is_complete: bool) -> None:
        self._sink.closed(part, is_complete=is_complete)
        self._is_open = False
        self._first += 1


def text_of(pieces: list[bytes]) -> str:
    """Put JSON strings together as one text."""
    return said_in(b"".join([piece[1:-1] for piece in pieces]))

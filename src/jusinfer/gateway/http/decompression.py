"""Answers that come compressed though nobody asked: gzip and deflate, piece by piece, bounded."""

import zlib
from collections.abc import Iterator
from typing import Final

PIECE_BYTES: Final = 65_536
MEMBERS_MAX: Final = 64
_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_HEAD_BYTES: Final = 2
_PLAIN: Final = frozenset({b"", b"identity"})


class NotInflatable(Exception):
    """The bytes are not what their header says, or their coding is not one of ours."""


def inflater(codings: list[bytes]) -> "Inflater | None":
    """Give what undoes the codings of an answer; None for none; raises NotInflatable."""
    named = [name.strip().lower() for value in codings for name in value.split(b",")]
    found = [name for name in named if name not in _PLAIN]
    if not found:
        return None
    if found in ([b"gzip"], [b"x-gzip"]):
        return Inflater(is_gzip=True)
    if found == [b"deflate"]:
        return Inflater(is_gzip=False)
    raise NotInflatable("the answer is compressed in a way that was not asked for")


class Inflater:
    """Undoes one coding. What it gives comes in pieces of bounded size, whatever the ratio."""

    __slots__ = ("_has_data", "_head", "_is_gzip", "_members", "_stream")

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._has_data = False
        self._head = b""
        self._members = 0
        self._stream = zlib.decompressobj(_GZIP) if is_gzip else None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Give what these bytes hold; raises NotInflatable."""
        self._has_data = True
        if self._stream is None:
            # Some servers say deflate and leave out zlib's header.
            self._head += data
            if len(self._head) < _HEAD_BYTES:
                return
            data, self._head = self._head, b""
            self._stream = zlib.decompressobj(_ZLIB if _is_zlib(data) else _RAW)
        while data:
            if self._stream.eof and not self._begins_member(data):
                return
            stream = self._stream
            try:
                piece = stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise NotInflatable("the answer is not compressed as it says") from error
            if piece:
                yield piece
            data = stream.unused_data if stream.eof else stream.unconsumed_tail

    def _begins_member(self, data: bytes) -> bool:
        """Begin another member of a gzip file; padding after the last one is passed over."""
        if not self._is_gzip or not data.strip(b"\0"):
            return False
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise NotInflatable("the answer is compressed in too many parts")
        self._stream = zlib.decompressobj(_GZIP)
        return True

    @property
    def is_whole(self) -> bool:
        """Whether the compressed bytes have come to their end, or there were none."""
        return not self._has_data or (self._stream is not None and self._stream.eof)


def _is_zlib(data: bytes) -> bool:
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:_HEAD_BYTES], "big") % 31 == 0

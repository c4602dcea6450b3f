"""Bytes to server-sent events and back, however the bytes are cut; bounded."""

from typing import Final

import msgspec

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
DONE: Final = b"[DONE]"
_TOO_LARGE: Final = EVENT_BYTES_MAX + 1
_DATA: Final = b"data: "
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class SseTooLarge(ValueError):
    """An event is larger than its bound."""


class SseDecoder:
    """Gives the data of whole events, in order; comments, other fields and blank data are dropped.

    `saw_comment` turns true with each comment and is set back by whoever has read it.
    """

    __slots__ = (
        "_has_begun",
        "_is_after_return",
        "_lines",
        "_rest",
        "_size",
        "saw_comment",
    )

    def __init__(self) -> None:
        # A line whose end has not come. It grows in place: reads may be as small as a byte.
        self._rest = bytearray()
        # The data lines of an event whose blank line has not come; a size over the bound stays.
        self._lines: list[bytes] = []
        self._size = 0
        self._has_begun = False
        self._is_after_return = False
        self.saw_comment = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; gives the data of the events that are whole now; raises SseTooLarge."""
        if (
            self._rest
            or self._size
            or not data.startswith(_DATA)
            or not data.endswith(b"\n\n")
            or b"\r" in data
            or len(data) > EVENT_BYTES_MAX
        ):
            return self._slowly(data)
        # Half a line end that is still awaited here could only be followed by a blank line.
        self._has_begun = True
        if data.find(b"\n") == len(data) - 2:
            # One event on one line: what most reads of a stream are.
            payload = data[6:-2]
            return [] if not payload or payload.isspace() else [payload]
        return _blocks(data) or self._slowly(data)

    def end(self) -> list[bytes]:
        """Give a last event that lacks its blank line, if it is whole JSON or the end mark.

        Anything else is the torn half of an event, which nobody may act on; never raises.
        """
        if self._size > EVENT_BYTES_MAX:
            return []
        if self._rest:
            self._line(self._joined(b""))
        payload = b"\n".join(self._lines)
        self._lines.clear()
        self._size = 0
        return [payload] if _is_whole(payload) else []

    def _slowly(self, data: bytes) -> list[bytes]:
        """Take bytes of events that are cut, commented, or framed in another way."""
        if self._size > EVENT_BYTES_MAX:
            raise SseTooLarge("an event is over its bound")
        lines = self._split(data)
        payloads: list[bytes] = []
        last = lines.pop()
        for line in lines:
            whole = self._joined(line) if self._rest else line
            if whole:
                self._line(whole)
            elif self._lines:
                payload = b"\n".join(self._lines)
                self._lines.clear()
                self._size = 0
                if payload.strip():
                    payloads.append(payload)
            self._has_begun = True
            if self._size > EVENT_BYTES_MAX:
                break
        else:
            self._keep(last)
        if self._size > EVENT_BYTES_MAX and not payloads:
            raise SseTooLarge("an event is over its bound")
        # What came before an event that is too large is given first; the next call raises.
        return payloads

    def _split(self, data: bytes) -> list[bytes]:
        """Split at the ends of lines, which may be LF, CRLF or CR; the last one is a rest."""
        if self._is_after_return and data:
            self._is_after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._is_after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data.split(b"\n")

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest += piece
            if self._size + len(self._rest) >= EVENT_BYTES_MAX:
                self._size = _TOO_LARGE
                self._rest.clear()

    def _joined(self, line: bytes) -> bytes:
        self._rest += line
        joined = bytes(self._rest)
        self._rest.clear()
        return joined

    def _line(self, line: bytes) -> None:
        """Take a line that is not blank."""
        if self._size + len(line) >= EVENT_BYTES_MAX:
            self._size = _TOO_LARGE
            return
        if not self._has_begun:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line.startswith(b":"):
            self.saw_comment = True
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            # Each line costs at least one byte, so that empty ones are bounded too.
            self._size += len(line) + 1
            self._lines.append(value.removeprefix(b" "))


def encode_event(payload: bytes) -> bytes:
    """Frame one event; a payload of several lines becomes as many data lines."""
    if b"\n" in payload:
        payload = payload.replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % payload


def _blocks(data: bytes) -> list[bytes] | None:
    """Read what is nothing but whole one-line data events; None when it is more than that."""
    payloads: list[bytes] = []
    for block in data[:-2].split(b"\n\n"):
        payload = block[6:]
        if not block.startswith(_DATA) or b"\n" in block or not payload or payload.isspace():
            return None
        payloads.append(payload)
    return payloads


def _is_whole(payload: bytes) -> bool:
    if payload.startswith(DONE):
        return True
    try:
        msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True

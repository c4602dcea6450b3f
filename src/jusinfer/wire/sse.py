"""Bytes to server-sent events and back, however the bytes are cut; bounded."""

from typing import Final

EVENT_BYTES_MAX: Final = 4 * 1024 * 1024
_DATA: Final = b"data: "


class SseTooLarge(ValueError):
    """An event is larger than its bound."""


class SseDecoder:
    """Gives the data of whole events, in order; comments and other fields are dropped."""

    __slots__ = ("_buffer", "_lines", "_pieces", "_pieces_size", "_size", "saw_comment")

    def __init__(self) -> None:
        self._buffer = b""
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._lines: list[bytes] = []
        self._size = 0
        self.saw_comment = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; gives the data of the events that are whole now."""
        if self._buffer or self._lines or self._pieces or not data.endswith(b"\n\n"):
            return self._slowly(data)
        payloads = _plain(data)
        return self._slowly(data) if payloads is None else payloads

    def _slowly(self, data: bytes) -> list[bytes]:
        """Take bytes of events that are cut, commented, or framed in another way."""
        if b"\n" not in data and b"\r" not in data:
            # Only a part of a line: joined once, when its end has come.
            self._pieces.append(data)
            self._pieces_size += len(data)
            if self._pieces_size + len(self._buffer) + self._size > EVENT_BYTES_MAX:
                raise SseTooLarge("an event is over its bound")
            return []
        return self._lines_of(self._joined() + data)

    def _joined(self) -> bytes:
        joined = self._buffer + b"".join(self._pieces)
        self._buffer = b""
        self._pieces.clear()
        self._pieces_size = 0
        return joined

    def end(self) -> list[bytes]:
        """Give the data of a last event that lacks its blank line."""
        rest = self._joined()
        payloads = self._lines_of(rest + b"\n") if rest else []
        if self._lines:
            payloads.append(self._flush())
        return payloads

    def _lines_of(self, data: bytes) -> list[bytes]:
        payloads: list[bytes] = []
        if b"\r" in data:
            # A carriage return at the very end may be half of a pair: wait for the next byte.
            if data.endswith(b"\r"):
                data, self._buffer = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        self._buffer = lines.pop() + self._buffer
        for line in lines:
            if not line:
                if self._lines:
                    payloads.append(self._flush())
            else:
                self._line(line)
        if self._size + len(self._buffer) > EVENT_BYTES_MAX:
            raise SseTooLarge("an event is over its bound")
        return payloads

    def _line(self, line: bytes) -> None:
        if line.startswith(b":"):
            self.saw_comment = True
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        value = value.removeprefix(b" ")
        self._size += len(value)
        if self._size > EVENT_BYTES_MAX:
            raise SseTooLarge("an event is over its bound")
        self._lines.append(value)

    def _flush(self) -> bytes:
        payload = self._lines[0] if len(self._lines) == 1 else b"\n".join(self._lines)
        self._lines.clear()
        self._size = 0
        return payload


def encode_event(payload: bytes) -> bytes:
    """Frame one event."""
    return b"data: %b\n\n" % payload


def _plain(data: bytes) -> list[bytes] | None:
    """Read what is nothing but whole one-line data events; None when it is more than that."""
    if b"\r" in data:
        return None
    payloads: list[bytes] = []
    for block in data[:-2].split(b"\n\n"):
        if not block.startswith(_DATA) or b"\n" in block:
            return None
        payloads.append(block[6:])
    return payloads

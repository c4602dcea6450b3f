"""The last head of one connection, byte for byte: a client repeats it but for the body's length.

Only what `parse_head` has accepted is remembered, and only the same bytes are recognised: but for
the digits of the one Content-Length, which are held to the same grammar.
"""

import re
from typing import Final

from jusinfer.gateway.http.request_parser import RequestHead, parse_head

# A longer one is read anew each time: connections are many.
REMEMBERED_BYTES_MAX: Final = 4_096
_LENGTH_LINE: Final = re.compile(rb"\r\n(?i:content-length):[ \t]*([0-9]+)[ \t]*\r\n")
_LENGTH: Final = re.compile(rb"[1-9][0-9]{0,8}")


class HeadMemory:
    """Reads heads; what it gives for the same bytes is the same object, which nobody changes."""

    __slots__ = ("_after", "_before", "_head", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._head: RequestHead | None = None
        # What stands before and after the digits of the length; nothing where there is none.
        self._before = b""
        self._after = b""

    def read(self, raw: bytes, lines_max: int) -> RequestHead:
        """Read a complete head (up to and with its blank line); raises Refused."""
        known = self._head
        if known is not None:
            if raw == self._raw:
                return known
            before, after = self._before, self._after
            if after and raw.startswith(before) and raw.endswith(after):
                digits = raw[len(before) : len(raw) - len(after)]
                if _LENGTH.fullmatch(digits):
                    self._raw = raw
                    self._head = known = known.with_length(digits)
                    return known
        head = parse_head(raw, lines_max)
        if len(raw) <= REMEMBERED_BYTES_MAX:
            self._remember(raw, head)
        return head

    def _remember(self, raw: bytes, head: RequestHead) -> None:
        self._raw, self._head = raw, head
        found = _LENGTH_LINE.search(raw) if head.body_bytes else None
        if found is None:
            self._before = self._after = b""
        else:
            self._before, self._after = raw[: found.start(1)], raw[found.end(1) :]

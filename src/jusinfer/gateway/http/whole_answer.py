"""Provider answers that come whole in one read, as most do: read by one match.

Whatever differs is left to the parser from its first byte: another status, a body that is not as
long as its one Content-Length says, any other framing or coding, and a connection that is not kept.
"""

import re
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 200 [\t\x20-\x7e\x80-\xff]*\r\n((?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n" % _TOKEN
)
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,9}")
# What says how an answer is framed or coded, or what becomes of its connection.
_OTHERS: Final = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"keep-alive",
        b"proxy-connection",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def read_whole(
    data: bytes, head_bytes_max: int, lines_max: int
) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
    """Return the headers (lower-case names) and the body; None for any other answer."""
    match = _HEAD.match(data)
    if match is None or match.end() > head_bytes_max:
        return None
    headers: list[tuple[bytes, bytes]] = []
    length: bytes | None = None
    for line in match[1].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"content-length":
            if length is not None:
                return None
            length = value
        elif name in _OTHERS and (name != b"connection" or value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    body = data[match.end() :]
    if length is None or len(headers) > lines_max or not _LENGTH.fullmatch(length):
        return None
    if len(body) != int(length):
        return None
    return headers, body

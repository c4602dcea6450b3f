"""Characters whose JSON escape was cut in two between the events of a stream.

JSON writes a character beyond the first 65,536 as two escapes, a high and a low half of UTF-16. A
provider that cuts text between them sends halves that no parser takes.
"""

import re
from typing import Final

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# A high half that ends a text, and a low half that begins one. Backslashes before it come in pairs.
_LAST: Final = re.compile(rb"(?<!\\)(?:\\\\)*(?P<half>" + _HIGH + rb')(?=")')
_FIRST: Final = re.compile(rb'(?<=")(?P<half>' + _LOW + rb")")


def without_half(payload: bytes) -> tuple[bytes, bytes]:
    """Return an event without the high half that ends one of its texts, and that half if any."""
    found = _LAST.search(payload)
    if found is None:
        return payload, b""
    start, end = found.span("half")
    return payload[:start] + payload[end:], found["half"]


def joined(half: bytes, payload: bytes) -> bytes:
    """Return an event whose text begins with a low half, joined to the high half before it.

    The half is given up where nothing fits it: half a character cannot be shown.
    """
    found = _FIRST.search(payload)
    if found is None:
        return payload
    start = found.start("half")
    return payload[:start] + half + payload[start:]

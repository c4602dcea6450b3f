"""Ids of tool calls for APIs that take few characters: mapped there and back without loss.

Anthropic takes letters, digits, `_` and `-` only; other providers make ids such as
`functions.weather:0`, and some of them want theirs back exactly.
"""

import base64
import re
from typing import Final

MARK: Final = "ji-"
CHARS_MAX: Final = 64
_PORTABLE: Final = re.compile(r"[A-Za-z0-9_-]+")


def portable(call_id: str) -> str:
    """Return an id that every API takes; one that is portable already stays as it is."""
    if _PORTABLE.fullmatch(call_id) and not call_id.startswith(MARK):
        return call_id
    packed = base64.urlsafe_b64encode(call_id.encode("utf-8", "surrogatepass"))
    return MARK + packed.decode("ascii").rstrip("=")


def original(call_id: str) -> str:
    """Return the id from which `portable` made this one; any other stays as it is."""
    if not call_id.startswith(MARK):
        return call_id
    packed = call_id[len(MARK) :]
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        found = data.decode("utf-8", "surrogatepass")
    except ValueError:
        return call_id
    return found if portable(found) == call_id else call_id

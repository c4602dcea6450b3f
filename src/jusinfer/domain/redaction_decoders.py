"""Ways in which a text can be written so that it does not look like itself."""

import html
import re
from typing import Final
from urllib.parse import unquote

ROUNDS_MAX: Final = 4

_ESCAPE: Final = re.compile(
    r"\\+U00([0-9A-Fa-f]{6})|(?:\\+|%)u([0-9A-Fa-f]{4})|\\+x([0-9A-Fa-f]{2})"
    r"|\\+(/)|\\+[nrtbf]|\\+"
)
_CODE_MAX: Final = 0x10FFFF


def unescaped(text: str) -> str:
    """Undo HTML entities, percent signs and backslash escapes, nested a few times over."""
    for _ in range(ROUNDS_MAX):
        if "\\" not in text and "%" not in text and "&" not in text:
            break
        plain = _joined(_ESCAPE.sub(_escaped, unquote(html.unescape(text))))
        if plain == text:
            break
        text = plain
    return text


def _escaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return match[4] or " "
    return chr(min(int(code, 16), _CODE_MAX))


def _joined(text: str) -> str:
    """Put the two halves of a character beyond the first plane together; drop a lone half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")

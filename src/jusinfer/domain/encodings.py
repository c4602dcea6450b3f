"""Ways in which a text can be written so that it does not look like itself."""

import base64
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

ROUNDS_MAX: Final = 4

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_HEX: Final = re.compile(r"(?:(?:0x)?[0-9A-Fa-f]{2}(?:, |[ :-]?)){12,}[0-9A-Fa-f]?")
_NOT_HEX: Final = re.compile(r"0x|[^0-9A-Fa-f]")
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


def encoded_runs(text: str) -> list[str]:
    """Find stretches that may be base64 or hexadecimal digits, the longest first."""
    found = {match[0] for pattern in (_BASE64, _HEX) for match in pattern.finditer(text)}
    return sorted(found, key=lambda run: (-len(run), run))


def decodings(run: str) -> Iterator[str]:
    """Decode a run in every way and from every alignment, and once more what was encoded twice."""
    for once in _decoded(run):
        plain = unescaped(once)
        yield plain
        for inner in encoded_runs(plain):
            for twice in _decoded(inner):
                yield unescaped(twice)


def _decoded(run: str) -> Iterator[str]:
    digits = _NOT_HEX.sub("", run)
    if _HEX.fullmatch(run):
        for start in range(2):
            part = digits[start:]
            yield bytes.fromhex(part[: len(part) // 2 * 2]).decode("utf-8", "ignore")
    if _BASE64.fullmatch(run):
        symbols = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            part = symbols[start:]
            # A group of two or three symbols at the end stands for one or two whole bytes.
            rest = len(part) % 4
            padded = part[: len(part) - (rest == 1)] + "==="[: (4 - rest) % 4 if rest > 1 else 0]
            yield base64.b64decode(padded).decode("utf-8", "ignore")

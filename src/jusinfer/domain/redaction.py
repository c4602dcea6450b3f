"""Cleans an upstream's error text of secrets and of all it shares with the request.

The order matters: secrets out, then every run of twelve or more letters or digits that the text
shares with the request (whatever its case, blanks, quotes and escapes), and the cut to 500
characters last. On any doubt nothing of the text is kept.
"""

import base64
import binascii
import html
import re
from typing import Final
from urllib.parse import unquote

ERROR_CHARS_MAX: Final = 4_096
REQUEST_BYTES_MAX: Final = 256 * 1024
KEPT_CHARS_MAX: Final = 500
SHARED_CHARS_MIN: Final = 12
LUHN_DIGITS_MIN: Final = 13
REDACTED: Final = "[redacted]"
WITHHELD: Final = "[withheld: the request is too large to compare with]"

_SECRETS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]{1,40}-----[\s\S]{0,4096}?(?:-----END [A-Z ]{1,40}-----|$)",
        r"\bji_(?:live|test)_[A-Za-z0-9_-]+",
        r"\b(?:sk|rk|pk|gsk|xai|whsec|hf|ghp|gho|AIza|AKIA|re)[-_]?[A-Za-z0-9_*.-]{12,}",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{6,}",
        r"(?i)\b(?:api[-_ ]?key|token|secret|password)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{4,}",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@]{1,200}@",
        r"(?i)[?&](?:key|token|api_key|access_token|sig|signature)=[^\s&\"']+",
        r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,200}\.[A-Za-z]{2,24}",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"(?i)(?<![0-9a-f:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{0,4}",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    )
)
_CARD: Final = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){12,}")
_ESCAPE: Final = re.compile(r"\\+u([0-9A-Fa-f]{4})|\\+x([0-9A-Fa-f]{2})|\\+[nrtbf]|\\+")


def clean(error_text: str, request: bytes) -> str:
    """Give what may be kept of an upstream's error: at most 500 characters; never raises."""
    if not error_text:
        return ""
    if len(request) > REQUEST_BYTES_MAX:
        return WITHHELD
    try:
        text = _unescaped(error_text[:ERROR_CHARS_MAX])
        asked = _folded(_unescaped(request.decode("utf-8", "replace")))
        text = _without_encoded(text, asked)
        text = mask_secrets(text)
        text = _without_shared(text, asked)
    except (ValueError, RecursionError, OverflowError):
        return REDACTED
    return " ".join(text.split())[:KEPT_CHARS_MAX]


def mask_secrets(text: str) -> str:
    """Put a mark in place of keys, tokens, addresses and card numbers."""
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return _CARD.sub(_card, text)


def _card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match[0] if char.isdigit()]
    if len(digits) < LUHN_DIGITS_MIN:
        return match[0]
    doubled = (
        digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)  # noqa: PLR2004 (Luhn's rule)
        for place, digit in enumerate(reversed(digits))
    )
    return REDACTED if sum(doubled) % 10 == 0 else match[0]


def _unescaped(text: str) -> str:
    """Undo HTML entities, percent signs and backslash escapes, nested a few times over."""
    for _ in range(4):
        plain = _ESCAPE.sub(_escaped, unquote(html.unescape(text)))
        if plain == text:
            break
        text = plain
    return text


def _escaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code is None:
        return " "
    value = int(code, 16)
    # Half of a pair is no character of its own; what it stood for is compared without it.
    return "" if 0xD800 <= value <= 0xDFFF else chr(value)  # noqa: PLR2004 (surrogates)


def _folded(text: str) -> str:
    """Give letters and digits only, case folded."""
    return "".join(filter(str.isalnum, text.casefold()))


def _normalised(text: str) -> tuple[str, list[int]]:
    """Give letters and digits only, case folded, with the place of each in the text."""
    folded: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        if char.isalnum():
            for part in char.casefold():
                if part.isalnum():
                    folded.append(part)
                    places.append(place)
    return "".join(folded), places


def _without_encoded(text: str, asked: str) -> str:
    """Drop runs of base64 or hexadecimal digits that decode to something of the request."""

    def judged(match: re.Match[str]) -> str:
        run = match[0]
        return REDACTED if any(_shares(part, asked) for part in _decodings(run)) else run

    return _ENCODED.sub(judged, _HEX.sub(judged, text))


def _decodings(run: str) -> list[str]:
    found: list[str] = []
    if len(run) % 2 == 0 and _HEX.fullmatch(run):
        found.append(bytes.fromhex(run).decode("utf-8", "ignore"))
    symbols = run.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        part = symbols[start:]
        part = part[: len(part) - len(part) % 4]
        try:
            found.append(base64.b64decode(part).decode("utf-8", "ignore"))
        except (binascii.Error, ValueError):
            continue
    return found


def _shares(text: str, asked: str) -> bool:
    folded, _ = _normalised(text)
    return any(
        folded[at : at + SHARED_CHARS_MIN] in asked
        for at in range(len(folded) - SHARED_CHARS_MIN + 1)
    )


def _without_shared(text: str, asked: str) -> str:
    """Replace every stretch whose letters and digits share a run of twelve with the request."""
    folded, places = _normalised(text)
    is_shared = bytearray(len(text))
    for at in range(len(folded) - SHARED_CHARS_MIN + 1):
        if folded[at : at + SHARED_CHARS_MIN] in asked:
            first, last = places[at], places[at + SHARED_CHARS_MIN - 1]
            is_shared[first : last + 1] = b"\x01" * (last + 1 - first)
    if not any(is_shared):
        return text
    out: list[str] = []
    for place, char in enumerate(text):
        if not is_shared[place]:
            out.append(char)
        elif place == 0 or not is_shared[place - 1]:
            out.append(REDACTED)
    joined = "".join(out)
    # What is left around a mark could close up into a run of its own: look once more.
    return joined if joined == text or not _closes_up(joined, asked) else REDACTED


def _closes_up(text: str, asked: str) -> bool:
    return _shares(text.replace(REDACTED, " "), asked) or _shares(text, asked)

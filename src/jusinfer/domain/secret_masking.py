"""Texts that are secrets or name a person by their shape, and secrets that we know ourselves."""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final

REDACTED: Final = "[redacted]"

PIECE_CHARS: Final = 8
SECRET_CHARS_MIN: Final = 4
SECRET_CHARS_MAX: Final = 8_192
_OFFSETS: Final = 3
CODE_MAX: Final = 0x10FFFF
# A character of a text: where it begins and ends there, and what it is.
Place = tuple[int, int, str]
# Escapes of JSON, of addresses and of HTML, also where they are escaped once more.
_ESCAPE: Final = re.compile(
    r"(?:\\{1,8}u(?P<json>[0-9a-f]{4})|\\{1,8}x(?P<code>[0-9a-f]{2})"
    r"|%(?:25){0,8}(?P<address>[0-9a-f]{2})"
    r"|&(?:amp;){0,8}(?:#x(?P<page>[0-9a-f]{1,6})|#(?P<decimal>[0-9]{1,7})|[a-z]{2,8});)",
    re.IGNORECASE,
)

_SECRETS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]{1,40}-----[\s\S]{0,4096}?(?:-----END [A-Z ]{1,40}-----|$)",
        r"\bji_(?:live|test)_[A-Za-z0-9_-]+",
        r"\b(?:sk|rk|pk|gsk|xai|whsec|hf|gh[oprsu]|AIza|AKIA|re)[-_]?[A-Za-z0-9_*.-]{12,}",
        r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{6,}",
        r"(?i)\b(?:api[-_ ]?key|token|secret|password)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{4,}",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@]{1,200}@",
        r"(?i)[?&](?:key|token|api_key|access_token|sig|signature)=[^\s&\"']+",
        r"[\w.%+-]{1,64}@[\w.-]{1,200}\.[^\W\d_]{2,24}",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"(?i)(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}(?![\w:])",
        r"(?i)(?<![\w:])(?:[0-9a-f]{1,4}:){0,6}(?:[0-9a-f]{1,4})?::(?:[0-9a-f]{1,4}:){0,6}[0-9a-f]+",
        r"(?i)\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b(?<=\d)",
    )
)
_CARD: Final = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?!\w)")


def mask_secrets(text: str) -> str:
    """Put a mark in place of keys, tokens, network and mail addresses, account and card numbers."""
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return _CARD.sub(_card, text)


def _card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match[0] if char.isdecimal()]
    doubled = (
        digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)  # noqa: PLR2004 (Luhn's rule)
        for place, digit in enumerate(reversed(digits))
    )
    return REDACTED if sum(doubled) % 10 == 0 else match[0]


class OwnSecrets:
    """Secrets of ours, of which no piece of eight letters and digits may be told to anybody.

    They are found in any case, with anything but letters and digits between, with any characters
    escaped as in JSON, addresses or HTML, reversed, and in base64 and hexadecimal digits. What is
    shorter than eight must stand whole; below four letters and digits nothing is a secret. Made
    once: the cost of a mask grows with its text alone.
    """

    __slots__ = ("_pieces", "_short")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        pieces: set[str] = set()
        short: set[str] = set()
        for secret in set(secrets):
            for dress in _dresses(secret[:SECRET_CHARS_MAX]):
                folded = "".join(filter(str.isalnum, dress)).lower()
                if len(folded) >= PIECE_CHARS:
                    ends = range(PIECE_CHARS, len(folded) + 1)
                    pieces.update(folded[end - PIECE_CHARS : end] for end in ends)
                elif len(folded) >= SECRET_CHARS_MIN:
                    short.add(folded)
        self._pieces = frozenset(pieces)
        self._short = tuple(sorted(short))

    def mask(self, text: str) -> str:
        """Put a mark in place of every stretch that has a piece of a secret."""
        text = self._masked(text, [(at, at + 1, char) for at, char in enumerate(text)])
        return self._masked(text, list(_unescaped(text))) if _ESCAPE.search(text) else text

    def has(self, text: str) -> bool:
        """Tell whether any piece of a secret stands in a text."""
        return self.mask(text) != text

    def _masked(self, text: str, chars: list[Place]) -> str:
        # A letter whose small form is several keeps its place: only one is compared.
        folds = [(at, end, char.lower()[0]) for at, end, char in chars if char.isalnum()]
        folded = "".join([char for _, _, char in folds])
        shared = bytearray(len(folded))
        for at in range(len(folded) - PIECE_CHARS + 1):
            if folded[at : at + PIECE_CHARS] in self._pieces:
                shared[at : at + PIECE_CHARS] = b"\x01" * PIECE_CHARS
        for secret in self._short:
            at = folded.find(secret)
            while at >= 0:
                shared[at : at + len(secret)] = b"\x01" * len(secret)
                at = folded.find(secret, at + len(secret))
        if not any(shared):
            return text
        return "".join(_marked(text, folds, shared))


NO_SECRETS: Final = OwnSecrets()


def _dresses(secret: str) -> Iterator[str]:
    yield secret
    yield secret[::-1]
    raw = secret.encode("utf-8", "replace")
    yield raw.hex()
    for offset in range(_OFFSETS):
        # The first and the last symbols hold bits of what stands beside.
        coded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        inner = coded[offset + (offset > 0) : len(coded) - 1]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


def _unescaped(text: str) -> Iterator[Place]:
    """Give the characters that a text with escapes stands for; a name stands for no letter."""
    end = 0
    for found in _ESCAPE.finditer(text):
        start = found.start()
        yield from ((at, at + 1, text[at]) for at in range(end, start))
        end = found.end()
        *hexadecimal, decimal = found.group("json", "code", "address", "page", "decimal")
        code = int(decimal or next(filter(None, hexadecimal), "0"), 10 if decimal else 16)
        yield start, end, chr(code) if code <= CODE_MAX else ""
    yield from ((at, at + 1, text[at]) for at in range(end, len(text)))


def _marked(text: str, folds: list[Place], shared: bytearray) -> Iterator[str]:
    """Give the text with each stretch of shared letters, and what is between them, as one mark."""
    end = number = 0
    while number < len(folds):
        if not shared[number]:
            number += 1
            continue
        first = folds[number][0]
        while number < len(folds) and shared[number]:
            number += 1
        yield text[end:first]
        yield REDACTED
        end = folds[number - 1][1]
    yield text[end:]

"""Tells when JSON that comes in pieces is whole, reading each piece once."""

import re
from typing import Final

import msgspec

# What changes the depth outside of texts, and what ends a text or hides its end.
_OUTSIDE: Final = re.compile(r'[\[{]|[\]}]|"')
_INSIDE: Final = re.compile(r'\\|"')
_HALVES: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_string: Final = msgspec.json.Decoder(str).decode
_any: Final = msgspec.json.Decoder().decode


class JsonEnd:
    """Follows one value, whose text comes as JSON strings or as the insides of such."""

    __slots__ = (
        "_count",
        "_depth",
        "_in_text",
        "_is_broken",
        "_is_escaped",
        "_is_quoted",
        "_is_whole",
    )

    def __init__(self, *, is_quoted: bool) -> None:
        self._is_quoted = is_quoted
        # Pieces that were read.
        self._count = 0
        self._depth = 0
        self._in_text = False
        self._is_escaped = False
        self._is_whole = False
        # Whether what came is no JSON: nothing that is added can make it whole.
        self._is_broken = False

    def is_whole(self, pieces: list[bytes]) -> bool:
        """Tell whether the pieces so far are a value that nothing can be added to.

        The same list is given each time; only what was added to it is read.
        """
        if self._count == len(pieces) or self._is_broken:
            return self._is_whole
        text = self._text(pieces[self._count :])
        self._count = len(pieces)
        if not text.strip():
            return self._is_whole
        if self._is_whole:
            # More after the end.
            self._is_whole, self._is_broken = False, True
            return False
        has_ended = self._read(text)
        if self._is_broken or not has_ended or self._depth or self._in_text:
            return False
        self._is_whole = _is_json(self._text(pieces))
        self._is_broken = not self._is_whole
        return self._is_whole

    def _text(self, pieces: list[bytes]) -> str:
        return said_in(b"".join([piece[1:-1] for piece in pieces] if self._is_quoted else pieces))

    def _read(self, text: str) -> bool:
        """Follow depth and texts; tells whether something ended that may be all."""
        has_ended = False
        at = 0
        if self._is_escaped:
            self._is_escaped, at = False, 1
        while at < len(text):
            found = (_INSIDE if self._in_text else _OUTSIDE).search(text, at)
            if found is None:
                break
            at = found.end()
            mark = found[0]
            if mark == "\\":
                at += 1
                self._is_escaped = at > len(text)
            elif mark == '"':
                self._in_text = not self._in_text
                has_ended = not self._in_text
            elif mark in "[{":
                self._depth += 1
            else:
                self._depth -= 1
                has_ended = True
                self._is_broken = self._is_broken or self._depth < 0
        return has_ended


def said_in(inside: bytes) -> str:
    """Read the inside of a JSON string, also one that holds bytes or escapes that are no text."""
    whole = b'"%b"' % inside
    try:
        return _string(whole)
    except ValueError:
        # Bytes that are no text, or half of a pair: what providers send is not checked.
        readable = whole.decode("utf-8", "replace").encode()
        return _string(_HALVES.sub(rb"\\ufffd", readable))


def _is_json(text: str) -> bool:
    try:
        _any(text)
    except (ValueError, RecursionError):
        return False
    return True

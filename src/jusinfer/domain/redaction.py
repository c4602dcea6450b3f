"""Cleans an upstream's error text of secrets and of all it shares with the request.

The order matters: what an upstream says in words is taken out of its JSON, encoded runs that
decode to something of the request go, then secrets, then every run of twelve or more letters or
digits shared with the request (whatever its case, accents, blanks, quotes and escapes), and the
cut to 500 characters comes last. What is left is looked at once more; on any doubt none is kept.

It cannot know a paraphrase, nor pieces of fewer than twelve letters and digits.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

import msgspec

from jusinfer.domain.encodings import decodings, encoded_runs, unescaped
from jusinfer.domain.secrets import REDACTED, mask_secrets

# What goes back to the caller is masked only, what is kept is cleaned.
__all__ = ("clean", "mask_secrets")

ERROR_CHARS_MAX: Final = 4_096
REQUEST_BYTES_MAX: Final = 256 * 1024
KEPT_CHARS_MAX: Final = 500
SHARED_CHARS_MIN: Final = 12
BLOCK_CHARS: Final = SHARED_CHARS_MIN // 2
DEPTH_MAX: Final = 64
WITHHELD: Final = "[withheld: the request is too large to compare with]"
# Members of an error that speak about the request, and what they are called.
_SAID: Final = ("status", "code", "type", "param", "message", "msg")
_WRAPPED: Final = ("error", "errors", "detail")
# In a text that is not JSON to its end, members that repeat what was sent, and all after them.
_REPEATED: Final = re.compile(
    r"[\"'](?:input|messages|prompt|content|body)\\*[\"']\s*:|\binput_value\s*=", re.IGNORECASE
)
_TAG: Final = re.compile(r"<[^<>]{0,500}>")
_MARKUP: Final = re.compile(r"<(?:!doctype|html|head|body|p|h1|title|pre)\b", re.IGNORECASE)
_BREAK: Final = "\x00"
_BREAKS: Final = re.compile(f"{_BREAK}+")
_ASCII_FOLDED: Final = bytes(range(256)).lower()
_ASCII_DROPPED: Final = bytes(code for code in range(128) if not chr(code).isalnum())
# Numbers stay as they were written.
_json: Final = msgspec.json.Decoder(float_hook=str).decode


def clean(error_text: str, request_text: bytes, *, answered: bytes = b"") -> str:
    """Give what may be kept of an upstream's error: at most 500 characters; never raises.

    `request_text` is the body as the caller sent it, `answered` what the upstream has said so far.
    """
    if not error_text:
        return ""
    if len(request_text) + len(answered) > REQUEST_BYTES_MAX:
        return WITHHELD
    try:
        kept = _cleaned(error_text[:ERROR_CHARS_MAX], request_text, answered)
    except (ValueError, RecursionError, OverflowError):
        return REDACTED
    return kept[:KEPT_CHARS_MAX].rstrip()


def _cleaned(error_text: str, request_text: bytes, answered: bytes) -> str:
    known = _Known(request_text, answered)
    text = unescaped(_said(error_text)).replace(_BREAK, "")
    for run in encoded_runs(text):
        if any(known.shares(part) for part in decodings(run)):
            text = text.replace(run, REDACTED)
    text = _without_shared(mask_secrets(text), known)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    # Marks, blanks and escapes that have gone may have let two harmless pieces close up.
    readings = (text, text.replace(REDACTED, ""), unescaped(text))
    return REDACTED if any(map(known.shares, readings)) else text


class _Folder(dict[int, str]):
    """Folds texts to letters and digits without case and accents; remembers each character."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = ""
        if char.isalnum():
            bare = unicodedata.normalize("NFKD", char.casefold()).casefold()
            folded = "".join(filter(str.isalnum, bare)) or char.casefold()
        self[code] = folded
        return folded

    def __call__(self, text: str) -> str:
        if text.isascii():
            return text.encode().translate(_ASCII_FOLDED, _ASCII_DROPPED).decode()
        return text.translate(self)


class _Known:
    """All that was said before, folded, in each way in which an upstream may have read it."""

    def __init__(self, request_text: bytes, answered: bytes) -> None:
        readings: list[str] = []
        for said in filter(None, (request_text, answered)):
            strings: list[str] = []
            try:
                _collect(_json(said), strings, 0)
            except (msgspec.MsgspecError, ValueError):
                strings = [said.decode("utf-8", "replace")]
            text = " ".join(strings)
            readings += [text, unescaped(text)]
        self.fold = _Folder()
        self._text = _BREAK.join(map(self.fold, dict.fromkeys(readings)))
        starts = range(0, len(self._text), BLOCK_CHARS)
        self._blocks = {self._text[at : at + BLOCK_CHARS] for at in starts}

    def shares(self, text: str) -> bool:
        """Tell whether a text has a run of twelve letters and digits that is known."""
        return next(self.stretches(self.fold(text)), None) is not None

    def stretches(self, folded: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of stretches that cover every run of twelve that is known.

        Any such run holds a whole block of six of those that the text is cut into, so that only
        runs around a block that both have need to be searched for.
        """
        text, blocks = self._text, self._blocks
        start, ahead = 0, 0
        while start <= len(folded) - SHARED_CHARS_MIN:
            while (
                ahead <= start + BLOCK_CHARS and folded[ahead : ahead + BLOCK_CHARS] not in blocks
            ):
                ahead += 1
            place = -1
            if ahead <= start + BLOCK_CHARS:
                place = text.find(folded[start : start + SHARED_CHARS_MIN])
            if place < 0:
                start += 1
            else:
                length = SHARED_CHARS_MIN
                while folded[start + length : start + length + 1] == text[
                    place + length : place + length + 1
                ] and start + length < len(folded):
                    length += 1
                yield start, start + length
                start += length - SHARED_CHARS_MIN + 1
            ahead = max(ahead, start)


def _collect(value: object, strings: list[str], depth: int) -> None:
    """Put names, texts and numbers of a JSON value in a row, as the document has them."""
    if depth > DEPTH_MAX:
        # Rather nothing of the error than something of what lies deeper.
        raise RecursionError
    if isinstance(value, dict):
        for name, member in value.items():
            strings.append(name)
            _collect(member, strings, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _collect(member, strings, depth + 1)
    else:
        strings.append("null" if value is None else str(value))


def _said(text: str) -> str:
    """Take out of an error what is said in words; what it repeats of the request stays behind."""
    stripped = text.strip()
    if stripped[:1] in {"{", "["}:
        try:
            value = msgspec.json.decode(stripped)
        except (msgspec.MsgspecError, ValueError):
            pass
        else:
            found: list[str] = []
            _words(value, found, 0)
            return " ".join(found)
    repeated = _REPEATED.search(text)
    if repeated is not None:
        text = f"{text[: repeated.start()]} {REDACTED}"
    return _TAG.sub(" ", text) if _MARKUP.search(text) else text


def _words(value: object, found: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        return
    if isinstance(value, list):
        for member in value:
            _words(member, found, depth + 1)
    elif isinstance(value, dict):
        for name in _SAID:
            said = value.get(name)
            if isinstance(said, str | int):
                found.append(_said(said) if isinstance(said, str) else str(said))
        for name in _WRAPPED:
            wrapped = value.get(name)
            if isinstance(wrapped, str):
                found.append(_said(wrapped))
            else:
                _words(wrapped, found, depth + 1)


def _without_shared(text: str, known: _Known) -> str:
    """Put a mark in place of every stretch whose letters and digits are a run that is known."""
    # Marks are no text: two pieces of a run around one are still a run.
    plain = text.replace(REDACTED, _BREAK)
    folds = ["" if char == _BREAK else known.fold(char) for char in plain]
    places = [place for place, folded in enumerate(folds) for _ in folded]
    is_shared = bytearray(len(plain))
    for start, end in known.stretches("".join(folds)):
        first, final = places[start], places[end - 1]
        is_shared[first : final + 1] = b"\x01" * (final + 1 - first)
    marked = "".join(
        _BREAK if shared else char for shared, char in zip(is_shared, plain, strict=True)
    )
    return _BREAKS.sub(REDACTED, marked)

"""Looks for the rule table's hints in a text, and tells which are on: ids, never what was found.

Only the two ends of the last message of the user are looked at, in time that does not grow with
it, and never with a pattern. Words are found whole, by one look into a set for each word of the
text; what is not made of such words (code, scripts without spaces) is searched for as it is.
"""

import unicodedata
from typing import Final

from jusinfer.domain.routing.rules import Hint

# Bytes of words: ASCII letters in lower case, digits, and every byte of other letters.
_LETTERS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789") | frozenset(range(128, 256))
_FOLDED: Final = bytes(range(256)).lower()
_SPACED: Final = bytes(byte if byte in _LETTERS else 32 for byte in _FOLDED)
_DIGITS: Final = bytes(byte if 48 <= byte <= 57 else 32 for byte in range(256))  # noqa: PLR2004 (0 to 9)
_OPENING: Final = " \t\r\n\"'\u201c\u201d\u2018«*#>-\u2013\u2014([{"
_POLITE: Final = ("please ", "hi ", "hi, ", "hello ", "hello, ", "bitte ")

# Punctuation beyond ASCII that stands next to words: ¿ ¡ « » । and the curly quotation marks.
_GLUED: Final = tuple((mark, mark.encode()) for mark in "¿¡«»।\u201c\u201d\u2018\u2019\u201e")
# The rarest of these in a mark is looked for first: one character is found many times as fast.
_RARE: Final = "`#\\<>{};=_$^*|~!&@()[]"
# Letters from here on are written without spaces: Chinese, Japanese, Korean.
_SPACELESS: Final = "\u3000"


class HintScanner:
    """The hints of one table, made ready."""

    __slots__ = (
        "_counted",
        "_eastern",
        "_ids",
        "_lacking",
        "_marks",
        "_numbers",
        "_openers",
        "_together",
        "_words",
        "_words_known",
    )

    def __init__(self, hints: tuple[Hint, ...]) -> None:
        self._ids = tuple(hint.id for hint in hints)
        self._words: dict[bytes, list[tuple[bytes, int]]] = {}
        self._marks: list[tuple[str, str, int]] = []
        self._eastern: list[tuple[str, str, int]] = []
        self._openers: list[tuple[tuple[str, ...], int]] = []
        self._together: list[tuple[tuple[str, ...], int]] = []
        self._counted: list[tuple[tuple[str, ...], int, int]] = []
        self._lacking: list[tuple[tuple[str, ...], int]] = []
        self._numbers: list[tuple[int, int]] = []
        for index, hint in enumerate(hints):
            self._add(index, hint)
        self._words_known = frozenset(self._words)

    def _add(self, index: int, hint: Hint) -> None:
        for phrases in hint.phrases.values():
            for phrase in phrases:
                self._add_phrase(index, phrase)
        openers = tuple(text for texts in hint.openers.values() for text in texts)
        if openers:
            self._openers.append((openers, index))
        if hint.together:
            self._together.append((hint.together, index))
        if hint.counted:
            self._counted.append((hint.counted, hint.count_least, index))
        if hint.lacks:
            self._lacking.append((hint.lacks, index))
        if hint.numbers_least is not None:
            self._numbers.append((hint.numbers_least, index))

    def _add_phrase(self, index: int, phrase: str) -> None:
        if any(char >= _SPACELESS for char in phrase):
            self._eastern.append((phrase[0], phrase, index))
        elif not all(_is_of_words(char) for char in phrase):
            first = min(phrase, key=lambda char: (_RARE + char).index(char))
            self._marks.append((first, phrase, index))
        else:
            words = phrase.encode().translate(_SPACED).split()
            whole = b"" if len(words) == 1 else b" %b " % b" ".join(words)
            self._words.setdefault(max(words, key=len), []).append((whole, index))

    def scan(self, head: str, tail: str = "") -> tuple[str, ...]:
        """Give the ids of the hints that are on in a text's beginning and its end."""
        text = (f"{head}\n{tail}" if tail else head).lower()
        raw = _unglued(text)
        found: set[int] = set()
        self._scan_words(raw, found)
        self._scan_marks(text, found)
        self._scan_counts(text, found)
        for least, index in self._numbers:
            if index not in found and len(raw.translate(_DIGITS).split()) >= least:
                found.add(index)
        if self._openers:
            opening = _opening(head)
            for openers, index in self._openers:
                if opening.startswith(openers):
                    found.add(index)
        if not found:
            return ()
        ids = self._ids
        return tuple([ids[index] for index in sorted(found)])

    def _scan_words(self, raw: bytes, found: set[int]) -> None:
        words = raw.translate(_SPACED).split()
        joined = b""
        for word in self._words_known.intersection(words):
            for whole, index in self._words[word]:
                if whole and index not in found:
                    joined = joined or b" %b " % b" ".join(words)
                if whole in joined:
                    found.add(index)

    def _scan_marks(self, text: str, found: set[int]) -> None:
        for char, mark, index in self._marks:
            if char in text and mark in text:
                found.add(index)
        if not text.isascii():
            for char, mark, index in self._eastern:
                if char in text and mark in text:
                    found.add(index)

    def _scan_counts(self, text: str, found: set[int]) -> None:
        for marks, least, index in self._counted:
            count = 0
            for mark in marks:
                if mark in text:
                    count += text.count(mark)
            if count >= least:
                found.add(index)
        for marks, index in self._together:
            if all(mark in text for mark in marks):
                found.add(index)
        for marks, index in self._lacking:
            if not any(mark in text for mark in marks):
                found.add(index)


def _unglued(text: str) -> bytes:
    """Give a text's bytes with spaces for what stands next to words without one."""
    raw = text.encode("utf-8", "replace")
    if not text.isascii():
        for char, glued in _GLUED:
            if char in text:
                raw = raw.replace(glued, b" ")
    return raw


def _opening(head: str) -> str:
    """Give how a text begins, in lower case, without what merely leads up to it."""
    opening = head[:64].lower().lstrip(_OPENING)
    if opening.startswith(_POLITE):
        opening = opening.partition(" ")[2].lstrip(_OPENING)
    return opening


def _is_of_words(char: str) -> bool:
    """Tell whether words found whole can make it up; marks of vowels belong to their letters."""
    return char.isalnum() or char in " -,'" or unicodedata.category(char).startswith("M")

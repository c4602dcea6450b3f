"""Reduces a provider's error text to what can be kept: words of a closed list, and few numbers.

A word stays when `error_words` has it. Then whatever the request says too is
taken out: whole texts of four characters or more, runs of twelve letters and digits whatever
their case, accents, blanks and escapes, and numbers. Anything else becomes a mark.

The work is linear in what is given, is counted, and has a maximum; beyond it nothing is kept.
"""

import re
import unicodedata
from typing import Final

import msgspec

from jusinfer.domain.error_words import ERROR_WORDS
from jusinfer.domain.redaction_decoders import ROUNDS_MAX, unescaped
from jusinfer.domain.secret_masking import REDACTED

ERROR_CHARS_MAX: Final = 2_048
REQUEST_BYTES_MAX: Final = 16 * 1024
KEPT_CHARS_MAX: Final = 200
SHARED_CHARS_MIN: Final = 12
BLOCK_CHARS: Final = SHARED_CHARS_MIN // 2
VALUE_CHARS_MIN: Final = 4
PHRASE_WORDS_MAX: Final = 4
NUMBERS_MAX: Final = 4
DIGITS_MAX: Final = 8
DEPTH_MAX: Final = 64
# Characters looked at, in all: what the largest texts can need, and no more.
WORK_MAX: Final = 500_000
WITHHELD: Final = "[withheld]"
# Members of an error that speak about the request, and what they are called.
_SAID: Final = ("status", "code", "type", "param", "message", "msg")
_WRAPPED: Final = ("error", "errors", "detail")
# In a text that is not JSON to its end, members that repeat what was sent, and all after them.
_REPEATED: Final = re.compile(
    r"[\"'](?:input|messages|prompt|content|body)\\*[\"']\s*:|\binput_value\s*=", re.IGNORECASE
)
_TAG: Final = re.compile(r"<[^<>]{0,500}>")
_MARKUP: Final = re.compile(r"<(?:!doctype|html|head|body|p|h1|title|pre)\b", re.IGNORECASE)
_TOKEN: Final = re.compile(r"\d+\.\d+(?![\w.])|\w+")
_NUMBER: Final = re.compile(r"[0-9]{1,8}|[0-9]{1,3}\.[0-9]{1,3}")
_PASSED: Final = re.compile(r"[ .,:;()\[\]'\"/<>=]")
_BLANKS: Final = re.compile(r"\s+")
_GAP_CHARS_MAX: Final = 3
_BREAK: Final = "\x00"
_ASCII_FOLDED: Final = bytes(range(256)).lower()
_ASCII_DROPPED: Final = bytes(code for code in range(128) if not chr(code).isalnum())
# Numbers stay as they were written.
_json: Final = msgspec.json.Decoder(float_hook=str).decode


class _TooMuch(ValueError):
    """The work is over its maximum."""


class _Work:
    """Counts the characters that are looked at."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = 0

    def add(self, count: int) -> None:
        self.done += count
        if self.done > WORK_MAX:
            raise _TooMuch


def clean(error_text: str, request_text: bytes) -> str:
    """Give what may be kept of a provider's error: at most 200 characters; never raises.

    `request_text` is the body as the client sent it.
    Not for an error that comes after an answer has begun: of such a one no words are kept.
    """
    return clean_counted(error_text, request_text)[0]


def clean_counted(error_text: str, request_text: bytes) -> tuple[str, int]:
    """Clean, and tell how many characters were looked at."""
    work = _Work()
    if not error_text.strip():
        return "", 0
    if len(request_text) > REQUEST_BYTES_MAX:
        return WITHHELD, 0
    try:
        kept = _cleaned(error_text[: 2 * ERROR_CHARS_MAX], request_text, work)
    except _TooMuch:
        return WITHHELD, work.done
    except (ValueError, RecursionError, OverflowError):
        return REDACTED, work.done
    return kept, work.done


def _cleaned(error_text: str, request_text: bytes, work: _Work) -> str:
    known = _Known(request_text, work)
    work.add(len(error_text) * (ROUNDS_MAX + 2))
    words = _Words(unescaped(_said(error_text))[:ERROR_CHARS_MAX])
    words.drop_numbers(known)
    words.drop_phrases(known)
    words.drop_runs(known)
    text = words.text()
    # Words that have closed up over others, or over a mark, may be a run once more.
    if known.shares(fold(text)) or known.shares(words.folded()):
        return REDACTED
    return text


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


def fold(text: str) -> str:
    """Give the letters and digits of a text, without case and accents."""
    if text.isascii():
        return text.encode().translate(_ASCII_FOLDED, _ASCII_DROPPED).decode()
    return text.translate(_Folder())


class _Known:
    """All that was said before, folded, in each way in which a provider may have read it."""

    def __init__(self, request_text: bytes, work: _Work) -> None:
        readings: list[str] = []
        self.values: set[str] = set()
        if request_text:
            strings: list[str] = []
            work.add(len(request_text) * (ROUNDS_MAX + 4))
            try:
                _collect(_json(request_text), strings, 0)
            except (msgspec.MsgspecError, ValueError):
                strings = [request_text.decode("utf-8", "replace")]
            self.values.update(map(fold, strings))
            text = " ".join(strings)
            readings += [text, unescaped(text)]
        self.text = _BREAK.join(map(fold, dict.fromkeys(readings)))
        starts = range(0, len(self.text), BLOCK_CHARS)
        self._blocks = {self.text[at : at + BLOCK_CHARS] for at in starts}
        self._work = work

    def holds(self, digits: str) -> bool:
        """Tell whether digits stand anywhere in what was said."""
        self._work.add(len(self.text))
        return digits in self.text

    def runs(self, folded: str) -> set[str]:
        """Give the runs of twelve that a folded text shares with what was said.

        Any such run holds a whole block of six of those that what was said is cut into: only
        where there is one, the whole is looked through.
        """
        self._work.add(2 * len(folded))
        blocks = {folded[at : at + BLOCK_CHARS] for at in range(len(folded) - BLOCK_CHARS + 1)}
        if blocks.isdisjoint(self._blocks):
            return set()
        size, text = SHARED_CHARS_MIN, self.text
        own = {folded[at : at + size] for at in range(len(folded) - size + 1)}
        self._work.add(len(text))
        return own.intersection([text[at : at + size] for at in range(len(text) - size + 1)])

    def shares(self, folded: str) -> bool:
        """Tell whether there is any such run."""
        return bool(self.runs(folded))


class _Words:
    """An error as words with what stands before each; a word that is None is a mark."""

    def __init__(self, text: str) -> None:
        self._words: list[str | None] = []
        self._gaps: list[str] = []
        place = size = 0
        for found in _TOKEN.finditer(text):
            word = found[0]
            size += len(word) + 1
            if size > KEPT_CHARS_MAX:
                break
            gap = "".join(_PASSED.findall(_BLANKS.sub(" ", text[place : found.start()])))
            self._gaps.append(gap[:_GAP_CHARS_MAX] if place or gap.strip() else "")
            is_kept = word.casefold() in ERROR_WORDS or _NUMBER.fullmatch(word) is not None
            self._words.append(word if word.isascii() and is_kept else None)
            place = found.end()

    def drop_numbers(self, known: _Known) -> None:
        """Mark numbers that stand in a row, that were said before, and all beyond the first few."""
        words = self._words
        places = [at for at, word in enumerate(words) if word is not None and word[0].isdigit()]
        is_number = set(places)
        kept = 0
        for at in places:
            word = words[at] or ""
            in_row = at - 1 in is_number or at + 1 in is_number
            if in_row or kept == NUMBERS_MAX or _was_said(word, known):
                words[at] = None
            else:
                kept += 1

    def drop_phrases(self, known: _Known) -> None:
        """Mark words that are, alone or a few together, a whole text of the request."""
        words = self._words
        folds = ["" if word is None else fold(word) for word in words]
        for at in range(len(words)):
            for count in range(1, PHRASE_WORDS_MAX + 1):
                phrase = "".join(folds[at : at + count])
                if len(phrase) >= VALUE_CHARS_MIN and phrase in known.values:
                    words[at : at + count] = [None] * len(words[at : at + count])

    def drop_runs(self, known: _Known) -> None:
        """Mark words that have a part in a run of twelve; marks between words do not end a run."""
        places = [at for at, word in enumerate(self._words) for _ in fold(word or "")]
        folded = self.folded()
        shared = known.runs(folded)
        for start in range(len(folded) - SHARED_CHARS_MIN + 1) if shared else ():
            if folded[start : start + SHARED_CHARS_MIN] in shared:
                for at in places[start : start + SHARED_CHARS_MIN]:
                    self._words[at] = None

    def folded(self) -> str:
        """Give the letters and digits that are kept."""
        return "".join([fold(word) for word in self._words if word is not None])

    def text(self) -> str:
        """Give the words with their gaps; marks in a row are one."""
        out: list[str] = []
        for word, gap in zip(self._words, self._gaps, strict=True):
            if word is None and out and out[-1] == REDACTED:
                continue
            out += [gap, REDACTED if word is None else word]
        return "".join(out).strip()[:KEPT_CHARS_MAX].rstrip()


def _was_said(number: str, known: _Known) -> bool:
    return len(number) > 1 and known.holds(number.replace(".", ""))


def _collect(value: object, strings: list[str], depth: int) -> None:
    """Put texts, numbers and names of the client's own in a row, as the document has them."""
    if depth > DEPTH_MAX:
        # Rather nothing of the error than something of what lies deeper.
        raise RecursionError
    if isinstance(value, dict):
        for name, member in value.items():
            if name not in ERROR_WORDS:
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
        text = text[: repeated.start()]
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

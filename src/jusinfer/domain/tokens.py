"""Token estimates by classes of characters, for texts whose tokenizer is not at hand."""

import re
from typing import Final

_PIECES: Final = re.compile(
    r"[A-Za-z]+|[0-9]+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
    r"|[^\W\d_]+|[\n_]|\s+|[^\w\s]+|\w"
)
LONG_RUN_CHARS: Final = 64
SAMPLE_CHARS: Final = 2_048
SAMPLE_BYTES: Final = 12_288

# Bytes of UTF-8 by what they begin: nothing of a new character, Chinese, Japanese or Korean, or
# a letter of another script.
_CONTINUING: Final = bytes(range(0x80, 0xC0))
_ASCII: Final = bytes(range(0x80))
_EASTERN: Final = bytes(range(0xE3, 0xEE))


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text; long texts are sampled at both ends and the middle."""
    if len(text) <= 3 * SAMPLE_CHARS:
        return _estimate(text)
    middle = len(text) // 2
    sample = text[:SAMPLE_CHARS] + text[middle : middle + SAMPLE_CHARS] + text[-SAMPLE_CHARS:]
    return _estimate(sample) * len(text) // len(sample)


def estimate_json_tokens(text_bytes: int, sample: bytes) -> int:
    """Estimate the tokens of so many bytes of JSON text that is written like `sample`.

    ASCII counts four bytes to a token, other scripts by the character, escaped or not.
    """
    if len(sample) > SAMPLE_BYTES:
        third, middle = SAMPLE_BYTES // 3, len(sample) // 2
        sample = sample[:third] + sample[middle : middle + third] + sample[-third:]
    escapes = sample.count(b"\\u")
    if escapes == 0 and sample.isascii():
        return text_bytes // 4
    begun = sample.translate(None, _CONTINUING + _ASCII)
    eastern = len(begun) - len(begun.translate(None, _EASTERN))
    others = len(begun) - eastern
    plain = len(sample) - len(sample.translate(None, _ASCII)) - 6 * escapes
    # Twentieths of a token, so that no float decides anything.
    twentieths = 5 * max(plain, 0) + 14 * (eastern + escapes) + 6 * others
    return text_bytes * twentieths // (20 * len(sample))


def _estimate(text: str) -> int:
    # Counted in sixtieths of a token, so that no float decides anything.
    sixtieths = sum(_sixtieths(match[0]) for match in _PIECES.finditer(text))
    return -(-sixtieths // 60)


def _sixtieths(piece: str) -> int:
    size = len(piece)
    first = piece[0]
    if first.isspace() or first == "_":
        return 30 if first in "\n_" else 0
    if size > LONG_RUN_CHARS:
        # No word is so long: encoded bytes, which tokenizers cut into short pieces.
        return size * 40
    if first.isascii():
        return _ascii(first, size)
    if size == 1 and "\u3040" <= first <= "\ufaff":
        return 42
    return size * 60 * 10 // 32


def _ascii(first: str, size: int) -> int:
    if first.isdigit():
        return -(-size // 3) * 60
    if first.isalpha():
        return 60 if size <= 7 else 60 + (size - 7) * 10  # noqa: PLR2004 (a word in one token)
    return max(60, size * 60 * 10 // 22)

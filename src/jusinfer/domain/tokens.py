"""Token estimates by classes of characters, for texts whose tokenizer is not at hand."""

import re
from typing import Final

_PIECES: Final = re.compile(
    r"[A-Za-z]+|[0-9]+|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
    r"|[^\W\d_]+|[\n_]|\s+|[^\w\s]+"
)
LONG_RUN_CHARS: Final = 64
SAMPLE_CHARS: Final = 2_048


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text; long texts are sampled at both ends and the middle."""
    if len(text) <= 3 * SAMPLE_CHARS:
        return _estimate(text)
    middle = len(text) // 2
    sample = text[:SAMPLE_CHARS] + text[middle : middle + SAMPLE_CHARS] + text[-SAMPLE_CHARS:]
    return _estimate(sample) * len(text) // len(sample)


def _estimate(text: str) -> int:
    # Counted in sixtieths of a token, so that no float decides anything.
    sixtieths = sum(_sixtieths(match[0]) for match in _PIECES.finditer(text))
    return -(-sixtieths // 60)


def _sixtieths(piece: str) -> int:
    size = len(piece)
    first = piece[0]
    if size > LONG_RUN_CHARS:
        # No word is so long: encoded bytes, which tokenizers cut into short pieces.
        return size * 40
    if first.isspace() or first == "_":
        return 30 if first in "\n_" else 0
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

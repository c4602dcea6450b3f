"""Deterministic text of any length from a seed, and the cutting of texts into tokens."""

import hashlib
import json
import re
from typing import Final

WORDS: Final = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "iris", "juniper",
    "kelp", "lagoon", "meadow", "nectar", "orchard", "pebble", "quartz", "river", "saffron",
    "thicket", "umber", "valley", "willow", "yarrow", "zephyr", "anchor", "bridge", "candle",
    "lantern", "marble", "needle", "paper",
)  # fmt: skip
# Two, three and four bytes to a character, joined marks, and writing from right to left.
UNICODE_WORDS: Final = (
    "héron",
    "चाँद",
    "月光",
    "Öl",
    "niño",
    "река",
    "🌊",
    "👩🏽‍🚀",
    "여름",
    "سلام",
)
FRAGMENT_CHARACTERS: Final = 6
_WORD: Final = re.compile(r"\s*\S+|\s+$")
_STEP: Final = 6_364_136_223_846_793_005
_SHIFT: Final = 1_442_695_040_888_963_407
_MASK: Final = 2**64 - 1


def digest(*parts: str) -> str:
    """Give 64 hexadecimal digits that depend on every part and on where one part ends."""
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        joined.update(b"%d:%b" % (len(data), data))
    return joined.hexdigest()


def words(seed: str, count: int, *, is_unicode: bool = False) -> list[str]:
    """Give so many words, always the same for a seed; each but the first begins with a blank."""
    state = int(digest(seed)[:16], 16)
    source = UNICODE_WORDS if is_unicode else WORDS
    size = len(source)
    out: list[str] = []
    for _ in range(count):
        state = (state * _STEP + _SHIFT) & _MASK
        out.append(f" {source[(state >> 33) % size]}")
    if out:
        out[0] = out[0][1:]
    return out


def tokens_of(text: str) -> list[str]:
    """Cut a text into words with the blanks before them; put together they are the text."""
    return _WORD.findall(text)


def fragments(text: str, size: int = FRAGMENT_CHARACTERS) -> list[str]:
    """Cut a text into pieces of so many characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def compact(value: object) -> str:
    """Write a value as JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

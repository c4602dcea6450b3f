"""Deterministic text, and the smallest value that fits a JSON schema."""

import hashlib
import json
from typing import Final

WORDS: Final = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "iris", "juniper",
    "kelp", "lagoon", "meadow", "nectar", "orchard", "pebble", "quartz", "river", "saffron",
    "thicket", "umber", "valley", "willow", "yarrow", "zephyr", "anchor", "bridge", "candle",
    "lantern", "marble", "needle", "paper",
)  # fmt: skip
DEPTH_MAX: Final = 20
UNICODE_WORDS: Final = ("héron", "चाँद", "月光", "Öl", "niño", "река", "🌊", "여름")


def words(seed: str, count: int, *, is_unicode: bool = False) -> list[str]:
    """Give so many words, always the same for a seed; each but the first begins with a blank."""
    state = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    source = UNICODE_WORDS if is_unicode else WORDS
    out: list[str] = []
    for number in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        word = source[(state >> 33) % len(source)]
        out.append(word if number == 0 else f" {word}")
    return out


def fitting(schema: object, depth: int = 0) -> object:
    """Give a small value that fits a JSON schema, as far as it says what it wants."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return "value"
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return fitting(schema[name][0], depth + 1)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else "string"
    if kind == "object" or "properties" in schema:
        members = schema.get("properties", {})
        return {name: fitting(member, depth + 1) for name, member in members.items()}
    if kind == "array":
        count = max(int(schema.get("minItems", 1)), 1)
        return [fitting(schema.get("items"), depth + 1) for _ in range(min(count, 100))]
    plain: dict[object, object] = {
        "integer": int(schema.get("minimum", 1)),
        "number": float(schema.get("minimum", 1)),
        "boolean": True,
        "null": None,
    }
    return plain.get(kind, _string(schema))


def _string(schema: dict[str, object]) -> str:
    length = schema.get("minLength", 0)
    text = "amber"
    return text.ljust(int(str(length)), "r")


def pieces(text: str, size: int = 6) -> list[str]:
    """Cut a text into pieces of so many characters."""
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def compact(value: object) -> str:
    """Write a value as JSON without blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

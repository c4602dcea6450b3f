"""Embeddings: deterministic vectors of length one, as numbers or as base64."""

import base64
import hashlib
import math
import struct
from typing import Any, Final

from jusinfer.sandbox.text import compact
from jusinfer.sandbox.validation import Refused

DIMENSIONS: Final = 256
NUMBER_BYTES: Final = 4
TOKEN_CHARACTERS: Final = 4


def embed(request: dict[str, Any], prompt_tokens: int | None = None) -> dict[str, Any]:
    """Answer a request for embeddings; the same input always gives the same vector."""
    inputs = _inputs(request["input"])
    dimensions = int(request.get("dimensions") or DIMENSIONS)
    is_base64 = request.get("encoding_format") == "base64"
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _vector(f"{request['model']}{compact(item)}", dimensions, is_base64),
        }
        for index, item in enumerate(inputs)
    ]
    tokens = sum(map(_tokens, inputs)) if prompt_tokens is None else prompt_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": request["model"], "usage": usage}


def _inputs(asked: str | list[Any]) -> list[str | list[int]]:
    items: list[Any] = asked if isinstance(asked, list) else [asked]
    if all(_is_token(item) for item in items):
        return [items]
    for number, item in enumerate(items):
        is_tokens = isinstance(item, list) and bool(item) and all(map(_is_token, item))
        if not (isinstance(item, str) and item) and not is_tokens:
            raise Refused.of("an input is a text or tokens", f"input[{number}]", "invalid_value")
    return items


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tokens(item: str | list[int]) -> int:
    return -(-len(item) // TOKEN_CHARACTERS) if isinstance(item, str) else len(item)


def _vector(seed: str, dimensions: int, is_base64: bool) -> list[float] | str:  # noqa: FBT001
    data = hashlib.shake_256(seed.encode("utf-8", "replace")).digest(NUMBER_BYTES * dimensions)
    numbers = struct.unpack(f"<{dimensions}i", data)
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    vector = [number / length for number in numbers]
    if is_base64:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
    return vector

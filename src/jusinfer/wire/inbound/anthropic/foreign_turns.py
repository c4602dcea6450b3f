"""Turns of a conversation that another provider answered, as Anthropic takes them."""

import re
from typing import Any

from jusinfer.wire.call_ids import portable
from jusinfer.wire.lenient_json import objects, text
from jusinfer.wire.sealed import SEALED


def has_foreign_turns(turns: list[dict[str, Any]]) -> bool:
    """Tell whether a conversation holds what Anthropic would refuse and another provider made."""
    return any(
        _is_foreign(block) or _ids(block) != _portable_ids(block)
        for turn in turns
        for block in objects(turn.get("content"))
    )


def own_turns(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns as Anthropic takes them; a turn of which nothing is left goes."""
    kept: list[dict[str, Any]] = []
    for turn in turns:
        content = turn.get("content")
        if not isinstance(content, list):
            kept.append(turn)
            continue
        blocks = [block | _portable_ids(block) for block in content if not _is_foreign(block)]
        if blocks:
            kept.append(turn | {"content": blocks})
    return kept


def _is_foreign(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind == "thinking":
        signature = text(block.get("signature"))
        return not signature or signature.startswith(SEALED)
    if kind == "redacted_thinking":
        return text(block.get("data")).startswith(SEALED)
    return kind == "text" and not text(block.get("text")).strip()


def _ids(block: dict[str, Any]) -> dict[str, Any]:
    if block.get("type") not in ("tool_use", "tool_result"):
        return {}
    return {name: block[name] for name in ("id", "tool_use_id") if name in block}


def _portable_ids(block: dict[str, Any]) -> dict[str, Any]:
    # An id that was made portable here is portable already.
    return {
        name: value if re.fullmatch(r"[A-Za-z0-9_-]+", text(value)) else portable(text(value))
        for name, value in _ids(block).items()
    }

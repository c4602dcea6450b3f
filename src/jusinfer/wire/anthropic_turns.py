"""From the turns of a Messages request to chat messages."""

from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.anthropic_request import FORMAT
from jusinfer.wire.call_ids import original

# Tuples, as what is looked for in them may be anything, and need not have a hash.
SHOWN: Final = ("image", "document")
ROLES: Final = ("user", "assistant", "system")


def chat_messages(
    system: str | list[dict[str, Any]] | None, turns: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Give the chat messages of a request; raises InvalidRequest naming what cannot be said."""
    messages: list[dict[str, Any]] = []
    if isinstance(system, str):
        messages.append({"role": "system", "content": system})
    elif system:
        parts = [_text(block, f"system[{place}]") for place, block in enumerate(system)]
        messages.append({"role": "system", "content": parts})
    for place, turn in enumerate(turns):
        where = f"messages[{place}]"
        role = turn.get("role")
        if role not in ROLES:
            raise _misfit(f"{where}.role", "is not one of user, assistant and system")
        content = turn.get("content")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
            continue
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise _misfit(f"{where}.content", "must be a string or an array of blocks")
        if role == "assistant":
            messages.append(_assistant(content, where))
        else:
            messages += _user(content, role, where)
    return messages


def _user(content: list[dict[str, Any]], role: str, where: str) -> list[dict[str, Any]]:
    """Give results of tools as messages of their own, then what the user says."""
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for place, block in enumerate(content):
        here = f"{where}.content[{place}]"
        if block.get("type") == "tool_result":
            result, shown = _result(block, here)
            messages.append(result)
            parts += shown
        else:
            parts.append(_part(block, here))
    if parts:
        messages.append({"role": role, "content": parts})
    return messages


def _result(block: dict[str, Any], where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Give the result of a tool; images in it are shown by the user right after."""
    content = block.get("content")
    texts: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    if isinstance(content, list):
        for place, inner in enumerate(content):
            part = _part(inner, f"{where}.content[{place}]")
            (texts if part["type"] == "text" else shown).append(part)
    elif isinstance(content, str):
        texts = [{"type": "text", "text": content}]
    elif content is not None:
        raise _misfit(f"{where}.content", "must be a string or an array of blocks")
    if block.get("cache_control") and texts:
        texts[-1]["cache_control"] = block["cache_control"]
    plain = len(texts) == 1 and "cache_control" not in texts[0]
    message: dict[str, Any] = {
        "role": "tool",
        "tool_call_id": original(str(block.get("tool_use_id") or "")),
        "content": texts[0]["text"] if plain else texts or "",
    }
    if block.get("is_error") is True:
        message["is_error"] = True
    return message, shown


def _assistant(content: list[dict[str, Any]], where: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for place, block in enumerate(content):
        kind = block.get("type")
        here = f"{where}.content[{place}]"
        if kind == "tool_use":
            calls.append(_call(block, here))
        elif kind == "thinking":
            details.append(
                {
                    "type": "reasoning.text",
                    "text": str(block.get("thinking") or ""),
                    "signature": str(block.get("signature") or ""),
                    "format": FORMAT,
                    "index": place,
                }
            )
        elif kind == "redacted_thinking":
            details.append(
                {
                    "type": "reasoning.encrypted",
                    "data": str(block.get("data") or ""),
                    "format": FORMAT,
                    "index": place,
                }
            )
        else:
            parts.append(_text(block, here))
    cached = any("cache_control" in part for part in parts)
    text = "".join(part["text"] for part in parts)
    message: dict[str, Any] = {"role": "assistant", "content": parts if cached else text or None}
    if calls:
        message["tool_calls"] = calls
    if details:
        message["reasoning"] = "".join(detail.get("text", "") for detail in details)
        message["reasoning_details"] = details
    return message


def _call(block: dict[str, Any], where: str) -> dict[str, Any]:
    given = block.get("input", {})
    if not isinstance(given, dict):
        raise _misfit(f"{where}.input", "must be an object")
    call: dict[str, Any] = {
        "id": original(str(block.get("id") or "")),
        "type": "function",
        "function": {"name": str(block.get("name") or ""), "arguments": _json(given)},
    }
    if block.get("cache_control"):
        call["cache_control"] = block["cache_control"]
    return call


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _text(block: dict[str, Any], where: str) -> dict[str, Any]:
    if block.get("type") != "text" or not isinstance(block.get("text"), str):
        raise _misfit(where, "must be a block of text")
    part: dict[str, Any] = {"type": "text", "text": block["text"]}
    if block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


def _part(block: Any, where: str) -> dict[str, Any]:
    if not isinstance(block, dict):
        raise _misfit(where, "must be a block")
    kind = block.get("type")
    if kind == "text":
        return _text(block, where)
    source = block.get("source")
    if kind not in SHOWN or not isinstance(source, dict):
        raise _misfit(where, "is of a type that is not offered here")
    part = _shown(kind, source, where)
    if block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


def _shown(kind: str, source: dict[str, Any], where: str) -> dict[str, Any]:
    form = source.get("type")
    if form == "base64":
        url = f"data:{source.get('media_type')};base64,{source.get('data')}"
    elif form == "url" and kind == "image":
        url = str(source.get("url") or "")
    elif form == "text" and kind == "document" and isinstance(source.get("data"), str):
        return {"type": "text", "text": source["data"]}
    else:
        raise _misfit(f"{where}.source.type", "is not offered here")
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": "document", "file_data": url}}


def _misfit(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{where}` {why}", param=where, hint="Change it, or leave it out.")

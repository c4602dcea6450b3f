"""From the turns of a Messages request to chat messages.

Blocks of a type that is unknown, or that the table of members refuses, are passed over here: the
table has noted them, and no provider that would need this translation is sent the request.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.request import MemberNote
from jusinfer.wire.call_ids import original
from jusinfer.wire.lenient_json import member, text
from jusinfer.wire.sealed import CALL_EXTRA, SEALED, decode_reasoning_state
from jusinfer.wire.tool_names import portable_name
from jusinfer.wire.upstream.anthropic.request import FORMAT
from jusinfer.wire.validation_errors import misplaced

Part = dict[str, Any]
ROLES: Final = ("user", "assistant", "system")


def chat_messages(system: object, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the chat messages of a request; raises InvalidRequest naming what cannot be read."""
    messages: list[dict[str, Any]] = []
    if isinstance(system, str):
        messages.append({"role": "system", "content": system})
    elif system:
        messages.append({"role": "system", "content": _parts(system, "system")})
    for place, turn in enumerate(turns):
        where = f"messages[{place}]"
        role = turn.get("role")
        if role not in ROLES:
            raise misplaced(f"{where}.role", "is not one of user, assistant and system")
        content = turn.get("content")
        if isinstance(content, str):
            messages.append({"role": role, "content": content})
            continue
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise misplaced(f"{where}.content", "must be a string or an array of blocks")
        if role == "assistant":
            messages.append(_assistant(content, where))
        else:
            messages += _user(content, role, where)
    return messages


# Blocks that stand in turns of one role only.
PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tool_use": "assistant",
        "thinking": "assistant",
        "redacted_thinking": "assistant",
        "tool_result": "user",
    }
)


def misplaced_blocks(turns: list[dict[str, Any]]) -> tuple[MemberNote, ...]:
    """Return notes of the blocks that no other API has a place for, as they stand in a wrong turn.

    Anthropic is left to judge them itself.
    """
    foreign = frozenset({"chat", "workers_ai"})
    return tuple(
        MemberNote(
            f"messages[{place}].content[{at}].type",
            foreign,
            f"such a block belongs in a turn of the {PLACES[block['type']]}",
        )
        for place, turn in enumerate(turns)
        for at, block in enumerate(_blocks(turn.get("content")))
        if PLACES.get(text(block.get("type")), turn.get("role")) != turn.get("role")
    )


def _blocks(content: object) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else []


def _user(content: list[dict[str, Any]], role: str, where: str) -> list[dict[str, Any]]:
    """Return results of tools as messages of their own, then what the user says."""
    messages: list[dict[str, Any]] = []
    parts: list[Part] = []
    for place, block in enumerate(content):
        here = f"{where}.content[{place}]"
        if block.get("type") == "tool_result":
            messages.append(_result(block, here))
        else:
            parts += _part(block, here)
    if parts:
        messages.append({"role": role, "content": parts})
    elif not content:
        messages.append({"role": role, "content": ""})
    return messages


def _result(block: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the result of a tool; what it shows besides text stays in its place."""
    content = block.get("content")
    parts: list[Part] = []
    if isinstance(content, str):
        parts = [{"type": "text", "text": content}]
    elif content is not None:
        parts = _parts(content, f"{where}.content")
    if block.get("cache_control") and parts:
        parts[-1]["cache_control"] = block["cache_control"]
    is_plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    message: dict[str, Any] = {
        "role": "tool",
        "tool_call_id": original(text(block.get("tool_use_id"))),
        "content": parts[0]["text"] if is_plain else parts or "",
    }
    if block.get("is_error") is True:
        message["is_error"] = True
    return message


def _assistant(content: list[dict[str, Any]], where: str) -> dict[str, Any]:
    parts: list[Part] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for place, block in enumerate(content):
        kind = block.get("type")
        here = f"{where}.content[{place}]"
        if kind == "tool_use":
            calls.append(_call(block, here))
        elif kind in ("thinking", "redacted_thinking"):
            details += _thoughts(block, place, here)
        else:
            parts += _part(block, here)
    is_cached = any("cache_control" in part for part in parts)
    is_text = all(part["type"] == "text" for part in parts)
    said = "".join(part["text"] for part in parts) if is_text else ""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": parts if is_cached or not is_text else said or None,
    }
    _give_extras(calls, details)
    thoughts = [detail for detail in details if detail.get("type") != CALL_EXTRA]
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning"] = "".join(text(detail.get("text")) for detail in thoughts)
        message["reasoning_details"] = thoughts
    elif not calls and message["content"] is None:
        message["content"] = ""
    return message


def _thoughts(block: dict[str, Any], place: int, where: str) -> list[dict[str, Any]]:
    """Return details of reasoning; what was sealed here belongs to a provider of another API."""
    if block.get("type") == "redacted_thinking":
        data = text(block.get("data"))
        if data.startswith(SEALED):
            return decode_reasoning_state(data, f"{where}.data")
        return [{"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": place}]
    said, signature = text(block.get("thinking")), text(block.get("signature"))
    if not signature or signature.startswith(SEALED):
        return [{"type": "reasoning.text", "text": said}] if said else []
    detail = {"type": "reasoning.text", "text": said, "signature": signature}
    return [detail | {"format": FORMAT, "index": place}]


def _give_extras(calls: list[dict[str, Any]], details: list[dict[str, Any]]) -> None:
    extras = {
        text(detail.get("id")): detail.get("extra_content")
        for detail in details
        if detail.get("type") == CALL_EXTRA
    }
    for call in calls:
        extra = extras.get(call["id"])
        if extra is not None:
            call["extra_content"] = extra


def _call(block: dict[str, Any], where: str) -> dict[str, Any]:
    given = block.get("input", {})
    if not isinstance(given, dict):
        raise misplaced(f"{where}.input", "must be an object")
    call: dict[str, Any] = {
        "id": original(text(block.get("id"))),
        "type": "function",
        "function": {
            "name": portable_name(text(block.get("name"))),
            "arguments": msgspec.json.encode(given).decode(),
        },
    }
    if block.get("cache_control"):
        call["cache_control"] = block["cache_control"]
    return call


def _parts(content: object, where: str) -> list[Part]:
    if not isinstance(content, list):
        raise misplaced(where, "must be a string or an array of blocks")
    parts: list[Part] = []
    for place, block in enumerate(content):
        here = f"{where}[{place}]"
        if not isinstance(block, dict):
            raise misplaced(here, "must be a block")
        parts += _part(block, here)
    return parts


def _part(block: dict[str, Any], where: str) -> list[Part]:
    kind = block.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    parts = [] if read is None else read(block, where)
    if parts and block.get("cache_control"):
        parts[-1]["cache_control"] = block["cache_control"]
    return parts


def _text(block: dict[str, Any], where: str) -> list[Part]:
    if not isinstance(block.get("text"), str):
        raise misplaced(f"{where}.text", "must be a string")
    return [{"type": "text", "text": block["text"]}]


def _image(block: dict[str, Any], where: str) -> list[Part]:
    source = member(block.get("source"))
    url = _url(source, where)
    return [] if url is None else [{"type": "image_url", "image_url": {"url": url}}]


def _document(block: dict[str, Any], where: str) -> list[Part]:
    source = member(block.get("source"))
    about = [text(block.get(name)) for name in ("title", "context")]
    parts = [{"type": "text", "text": said} for said in about if said]
    if source.get("type") == "text":
        return [*parts, *_text({"text": source.get("data")}, f"{where}.source")]
    if source.get("type") == "content":
        content = source.get("content")
        if isinstance(content, str):
            return [*parts, {"type": "text", "text": content}]
        return [*parts, *_parts(content, f"{where}.source.content")]
    url = _url(source, where)
    if url is None or source.get("type") == "url":
        return parts
    name = text(block.get("title")) or "document"
    return [*parts, {"type": "file", "file": {"filename": name, "file_data": url}}]


def _url(source: dict[str, Any], where: str) -> str | None:
    """Return the URL of a source; None for a kind that the table of members refuses."""
    if source.get("type") == "base64":
        data, media_type = source.get("data"), source.get("media_type")
        if not isinstance(data, str) or not isinstance(media_type, str):
            raise misplaced(f"{where}.source", "must have `media_type` and `data`, both strings")
        return f"data:{media_type};base64,{data}"
    if source.get("type") == "url":
        if not isinstance(source.get("url"), str):
            raise misplaced(f"{where}.source.url", "must be a string")
        return text(source["url"])
    return None


def _search_result(block: dict[str, Any], where: str) -> list[Part]:
    head = "\n".join(part for name in ("title", "source") if (part := text(block.get(name))))
    return [{"type": "text", "text": head}, *_parts(block.get("content"), f"{where}.content")]


def _tool_reference(block: dict[str, Any], where: str) -> list[Part]:
    del where
    return [{"type": "text", "text": text(block.get("tool_name"))}]


_READERS: Final[Mapping[str, Callable[[dict[str, Any], str], list[Part]]]] = MappingProxyType(
    {
        "text": _text,
        "image": _image,
        "document": _document,
        "search_result": _search_result,
        "tool_reference": _tool_reference,
    }
)


def tool_changes(
    turns: list[dict[str, Any]],
) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return the tools that turns add, with their places, and the names of those taken away."""
    added: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    # In the order in which they were taken away; a dict, as there may be very many.
    removed: dict[str, None] = {}
    for place, turn in enumerate(turns):
        for at, block in enumerate(_blocks(turn.get("content"))):
            tool = member(block.get("tool"))
            name = text(tool.get("name"))
            if block.get("type") == "tool_addition":
                definition = member(tool.get("definition"))
                name = text(definition.get("name")) or name
                removed.pop(name, None)
                if definition:
                    where = f"messages[{place}].content[{at}].tool.definition"
                    added.setdefault(name, []).append((where, definition))
            elif block.get("type") == "tool_removal":
                removed[name] = None
                added.pop(name, None)
    return [row for rows in added.values() for row in rows], list(removed)

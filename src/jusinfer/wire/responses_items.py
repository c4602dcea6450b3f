"""From the input of a Responses request to chat messages, and opaque reasoning back and forth."""

import base64
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest

# What is opaque to callers begins so; what does not is an upstream's own.
SEALED: Final = "ji1."
# Tuples, as what is looked for in them may be anything, and need not have a hash.
CALLS: Final = ("function_call", "custom_tool_call")
OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")
ROLES: Final = ("user", "assistant", "system", "developer")
TEXTS: Final = ("input_text", "output_text", "text")
SEALED_CHARS_MAX: Final = 4 * 1024 * 1024
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def seal(details: list[dict[str, Any]]) -> str:
    """Write reasoning as the opaque text that a caller sends back."""
    return SEALED + base64.urlsafe_b64encode(_encode(details)).decode("ascii")


def unseal(text: str) -> list[dict[str, Any]]:
    """Read it again; what another wrote is kept as it is."""
    foreign = [{"type": "reasoning.encrypted", "data": text, "format": "openai-responses-v1"}]
    if not text.startswith(SEALED):
        return foreign
    try:
        value = _any(base64.urlsafe_b64decode(text[len(SEALED) :].encode("ascii")))
    except (ValueError, RecursionError):
        raise misfit("input[].encrypted_content", "is not what was given out") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise misfit("input[].encrypted_content", "is not what was given out")
    return value


def chat_messages(instructions: str | None, items: str | list[Any]) -> list[dict[str, Any]]:
    """Give the chat messages of a request; raises InvalidRequest naming what cannot be said."""
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(items, str):
        return [*messages, {"role": "user", "content": items}]
    thoughts: list[dict[str, Any]] = []
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if not isinstance(item, dict):
            raise misfit(where, "must be an object")
        kind = item.get("type", "message")
        if kind == "message":
            message = _message(item, where)
            if message["role"] == "assistant":
                _think(message, thoughts)
            messages.append(message)
        elif kind in CALLS:
            _add_call(messages, _call(item, kind, where), thoughts)
        elif kind in OUTPUTS:
            messages.append(_output(item, where))
        elif kind == "reasoning":
            thoughts += _thoughts(item)
        else:
            raise misfit(f"{where}.type", "is of a kind that is not kept here")
    return messages


def misfit(where: str, why: str) -> InvalidRequest:
    """Say which member is at fault."""
    return InvalidRequest(f"`{where}` {why}", param=where, hint="Change it, or leave it out.")


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ROLES:
        raise misfit(f"{where}.role", "is not one of user, assistant, system and developer")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise misfit(f"{where}.content", "must be a string or an array of parts")
    parts = [_part(part, f"{where}.content[{place}]") for place, part in enumerate(content)]
    if role == "assistant" and all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _part(part: object, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise misfit(where, "must be an object")
    kind = part.get("type")
    if kind in TEXTS and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "refusal", "refusal": part["refusal"]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        file = {"file_data": part["file_data"], "filename": part.get("filename") or "file"}
        return {"type": "file", "file": file}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise misfit(where, "is of a kind, or names a stored file, that is not kept here")


def _call(item: dict[str, Any], kind: str, where: str) -> dict[str, Any]:
    call_id, name = item.get("call_id"), item.get("name")
    if not isinstance(call_id, str) or not isinstance(name, str):
        raise misfit(f"{where}.call_id", "and `name` must be strings")
    if kind == "function_call":
        function = {"name": name, "arguments": item.get("arguments") or ""}
        return {"id": call_id, "type": "function", "function": function}
    custom = {"name": name, "input": item.get("input") or ""}
    return {"id": call_id, "type": "custom", "custom": custom}


def _add_call(
    messages: list[dict[str, Any]], call: dict[str, Any], thoughts: list[dict[str, Any]]
) -> None:
    """Join a call to the turn of the assistant that it belongs to."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    _think(messages[-1], thoughts)
    messages[-1].setdefault("tool_calls", []).append(call)


def _output(item: dict[str, Any], where: str) -> dict[str, Any]:
    output = item.get("output")
    if isinstance(output, list):
        output = [_part(part, f"{where}.output[{place}]") for place, part in enumerate(output)]
    elif not isinstance(output, str):
        raise misfit(f"{where}.output", "must be a string or an array of parts")
    return {"role": "tool", "tool_call_id": str(item.get("call_id") or ""), "content": output}


def _thoughts(item: dict[str, Any]) -> list[dict[str, Any]]:
    sealed = item.get("encrypted_content")
    if isinstance(sealed, str) and sealed:
        if len(sealed) > SEALED_CHARS_MAX:
            raise misfit("input[].encrypted_content", "is too long")
        return unseal(sealed)
    rows = item.get("content") or item.get("summary") or []
    texts = [row.get("text") for row in rows if isinstance(row, dict)]
    text = "".join(text for text in texts if isinstance(text, str))
    return [{"type": "reasoning.text", "text": text}] if text else []


def _think(message: dict[str, Any], thoughts: list[dict[str, Any]]) -> None:
    if thoughts:
        message["reasoning_details"] = [*message.get("reasoning_details", []), *thoughts]
        text = "".join(row["text"] for row in thoughts if isinstance(row.get("text"), str))
        if text:
            message["reasoning"] = message.get("reasoning", "") + text
        thoughts.clear()

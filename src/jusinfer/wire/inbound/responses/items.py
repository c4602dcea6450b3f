"""From the input of a Responses request to chat messages, and opaque reasoning back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.wire.inbound.responses.tools import ToolNames, json_object
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.sealed import CALL_EXTRA, SEALED, decode_reasoning_state
from jusinfer.wire.validation_errors import misplaced

# Tuples, as what is looked for in them may be anything, and need not have a hash.
ROLES: Final = ("user", "assistant", "system", "developer")
TEXTS: Final = ("input_text", "output_text", "text", "reasoning_text")
# Calls of tools with a fixed shape, with the member that holds what the function's arguments were.
FIXED_CALLS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "local_shell_call": ("local_shell", "action"),
        "shell_call": ("shell", "action"),
        "apply_patch_call": ("apply_patch", "operation"),
        "computer_call": ("computer", "action"),
        "tool_search_call": ("tool_search", "arguments"),
    }
)
OUTPUTS: Final = frozenset(
    {
        "function_call_output",
        "custom_tool_call_output",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
        "computer_call_output",
        "tool_search_output",
    }
)
# Items that say nothing to a model, or that the table of members refuses before they are sent.
PASSED_OVER: Final = frozenset({"additional_tools", "web_search_call"})
_encode: Final = msgspec.json.Encoder().encode


class Conversation:
    """Chat messages that grow item by item."""

    def __init__(self, instructions: str | None, names: ToolNames) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names = names
        self._thoughts: list[dict[str, Any]] = []
        self._extras: dict[str, Any] = {}
        if instructions:
            self.messages.append({"role": "system", "content": instructions})

    def add(self, item: dict[str, Any], where: str) -> None:
        """Add one item; raises InvalidRequest. A kind that is unknown is left to the table."""
        kind = item.get("type")
        if kind is None and "role" not in item and "id" in item:
            raise misplaced(
                where,
                "is a reference, and no item is kept here",
                "Send the item itself, and set `store` to false in your client so that it does.",
            )
        if kind is None or kind == "message":
            self._add_message(item, where)
        elif kind == "reasoning":
            self._think(item, f"{where}.encrypted_content")
        elif isinstance(kind, str) and kind in OUTPUTS:
            self.messages.append(_output(item, kind, where))
        elif isinstance(kind, str) and (call := self._call(item, kind, where)) is not None:
            self._add_call(call)

    def whole(self) -> list[dict[str, Any]]:
        """Return the messages, each with its reasoning as one text too."""
        for message in self.messages:
            details = message.get("reasoning_details", ())
            said = "".join([text(detail.get("text")) for detail in details])
            if said:
                message["reasoning"] = said
        return self.messages

    def _add_message(self, item: dict[str, Any], where: str) -> None:
        message = _message(item, where)
        if message["role"] == "assistant":
            self._take_thoughts(message)
            if message["content"] in ("", []):
                return
            self._give_thoughts(message)
        self.messages.append(message)

    def _take_thoughts(self, message: dict[str, Any]) -> None:
        """Take reasoning that stands among the words of an answer out of them."""
        content = message["content"]
        thoughts = [part for part in objects(content) if part["type"] == "thinking"]
        if not thoughts:
            return
        self._thoughts += [{"type": "reasoning.text", "text": part["text"]} for part in thoughts]
        rest = [part for part in content if part["type"] != "thinking"]
        is_text = all(part["type"] == "text" for part in rest)
        message["content"] = "".join(part["text"] for part in rest) if is_text else rest

    def _think(self, item: dict[str, Any], where: str) -> None:
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and sealed.startswith(SEALED):
            for detail in decode_reasoning_state(sealed, where):
                if detail.get("type") == CALL_EXTRA:
                    self._extras[text(detail.get("id"))] = detail.get("extra_content")
                else:
                    self._thoughts.append(detail)
            return
        if isinstance(sealed, str) and sealed:
            # What another wrote is kept as it is: only its author can read it.
            self._thoughts.append(
                {"type": "reasoning.encrypted", "data": sealed, "format": "openai-responses-v1"}
            )
        rows = objects(item.get("content")) or objects(item.get("summary"))
        said = "".join(text(row.get("text")) for row in rows)
        if said:
            self._thoughts.append({"type": "reasoning.text", "text": said})

    def _call(self, item: dict[str, Any], kind: str, where: str) -> dict[str, Any] | None:
        call_id = item.get("call_id") or (item.get("id") if kind in FIXED_CALLS else None)
        if kind in FIXED_CALLS:
            tool, inside = FIXED_CALLS[kind]
            given = _given(item, inside)
            function = {"name": tool, "arguments": _encode(given).decode()}
            return {"id": text(call_id), "type": "function", "function": function}
        if kind not in ("function_call", "custom_tool_call"):
            return None
        name, space = item.get("name"), item.get("namespace")
        if not isinstance(call_id, str) or not isinstance(name, str):
            raise misplaced(f"{where}.call_id", "and `name` must be strings")
        name = self._names.offered_as(name, space if isinstance(space, str) else None)
        if kind == "function_call":
            arguments = item.get("arguments") or ""
            if not isinstance(arguments, str):
                raise misplaced(f"{where}.arguments", "must be a string of JSON")
            function = {"name": name, "arguments": arguments}
            return {"id": call_id, "type": "function", "function": function}
        custom = {"name": name, "input": text(item.get("input"))}
        return {"id": call_id, "type": "custom", "custom": custom}

    def _add_call(self, call: dict[str, Any]) -> None:
        """Join a call to the turn of the assistant that it belongs to."""
        messages = self.messages
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        self._give_thoughts(messages[-1])
        extra = self._extras.pop(call["id"], None)
        if extra is not None:
            call["extra_content"] = extra
        messages[-1].setdefault("tool_calls", []).append(call)

    def _give_thoughts(self, message: dict[str, Any]) -> None:
        if not self._thoughts:
            return
        message.setdefault("reasoning_details", []).extend(self._thoughts)
        self._thoughts = []


def _given(item: dict[str, Any], inside: str) -> dict[str, Any]:
    """Return what a tool with a fixed shape was called with, as the arguments of its function."""
    if item.get("type") == "computer_call":
        names = ("action", "actions")
        return {name: item[name] for name in names if item.get(name) is not None}
    value = item.get(inside)
    if isinstance(value, str):
        value = json_object(value) or {inside: value}
    return member(value)


def chat_messages(
    instructions: str | None, items: str | list[Any], names: ToolNames
) -> list[dict[str, Any]]:
    """Return the chat messages of a request; raises InvalidRequest naming what cannot be read."""
    conversation = Conversation(instructions, names)
    if isinstance(items, str):
        return [*conversation.messages, {"role": "user", "content": items}]
    for place, item in enumerate(items):
        where = f"input[{place}]"
        if not isinstance(item, dict):
            raise misplaced(where, "must be an object")
        if text(item.get("type")) not in PASSED_OVER:
            conversation.add(item, where)
    return conversation.whole()


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ROLES:
        raise misplaced(f"{where}.role", "is not one of user, assistant, system and developer")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise misplaced(f"{where}.content", "must be a string or an array of parts")
    parts = _parts(content, f"{where}.content")
    if role == "assistant" and all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _parts(content: list[Any], where: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for place, part in enumerate(content):
        here = f"{where}[{place}]"
        made = _part(part, here)
        if made is not None:
            parts.append(made)
        if made is not None and made["type"] == "file" and _is_given_twice(part):
            parts += _parts([part | {"file_data": None}], here)
    return parts


def _is_given_twice(part: dict[str, Any]) -> bool:
    return all(part.get(name) is not None for name in ("file_data", "file_url"))


def _part(part: object, where: str) -> dict[str, Any] | None:
    """Return a part of a message; None for a kind that the table of members refuses."""
    if not isinstance(part, dict):
        raise misplaced(where, "must be an object")
    kind = part.get("type")
    if kind in TEXTS:
        made = "thinking" if kind == "reasoning_text" else "text"
        return {"type": made, "text": _needed(part, "text", where)}
    if kind == "refusal":
        return {"type": "refusal", "refusal": _needed(part, "refusal", where)}
    if kind == "input_image" and part.get("file_id") is None:
        image = {"url": _needed(part, "image_url", where)}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and part.get("file_id") is None:
        given = "file_data" if part.get("file_data") is not None else "file_url"
        data = _needed(part, given, where)
        return {"type": "file", "file": {"file_data": data, "filename": _file_name(part)}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    return None


def _needed(part: dict[str, Any], name: str, where: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise misplaced(f"{where}.{name}", "must be a string")
    return value


def _file_name(part: dict[str, Any]) -> str:
    return text(part.get("filename")) or "file"


def _output(item: dict[str, Any], kind: str, where: str) -> dict[str, Any]:
    call_id = item.get("call_id") or item.get("id")
    output = item.get("output")
    content: str | list[dict[str, Any]]
    if kind == "tool_search_output":
        content = _encode(item.get("tools")).decode()
    elif kind == "computer_call_output":
        url = text(member(output).get("image_url"))
        content = [{"type": "image_url", "image_url": {"url": url}}] if url else ""
    elif kind == "shell_call_output" and isinstance(output, list):
        content = _encode(output).decode()
    elif kind == "apply_patch_call_output":
        content = f"{text(item.get('status'))}\n{text(output)}".strip()
    elif isinstance(output, list):
        parts = _parts(output, f"{where}.output")
        is_text = all(part["type"] == "text" for part in parts)
        content = "".join(part["text"] for part in parts) if is_text else parts
    elif isinstance(output, str):
        content = output
    else:
        raise misplaced(f"{where}.output", "must be a string or an array of parts")
    return {"role": "tool", "tool_call_id": text(call_id), "content": content}

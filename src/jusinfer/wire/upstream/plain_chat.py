"""Rewrites chats for providers that take less than the canonical form holds.

The canonical form has members of OpenRouter and Anthropic, lists of parts everywhere, pictures in
results of tools and custom tools. What a provider cannot take is put into the form that it can.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.upstream.call_order import in_call_order

# What stands between texts that were parts of one message.
BREAK: Final = "\n"
_ONLY_HERE: Final = frozenset({"cache_control", "reasoning_details", "is_error", "reasoning"})
# Members of texts that may be joined: what they say, and marks and notes that ask for nothing.
_JOINED: Final = frozenset({"type", "text", "annotations", "logprobs", "prompt_cache_breakpoint"})
_SPOKEN: Final = ("error", "failed", "failure")
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def translated_chat(request: CompletionRequest, flags: tuple[str, ...]) -> CompletionRequest:
    """Return a request of another client API as a provider of Chat Completions takes it.

    Marks of what to cache are hints; reasoning goes back under the name that most providers read.
    """
    fields = dict(request.fields)
    messages = results_first(_any(fields["messages"]))
    if "openrouter" not in flags:
        fields.pop("cache_control", None)
        messages = [plain_message(message) for message in messages]
        if b'"cache_control"' in bytes(fields.get("tools", b"")):
            tools = [_without_marks(tool) for tool in _any(fields["tools"])]
            fields["tools"] = msgspec.Raw(_encode(tools))
    fields["messages"] = msgspec.Raw(_encode(messages))
    changed = request.with_fields(fields)
    return functions_only(changed) if "no_custom_tools" in flags else changed


def results_first(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in call order, with pictures taken out of results and shown after them."""
    ordered: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for message in in_call_order(messages):
        if message.get("role") != "tool":
            _show(ordered, shown)
            shown = []
            ordered.append(message)
            continue
        content = message.get("content")
        pictures = [part for part in objects(content) if part.get("type") != "text"]
        if not pictures:
            ordered.append(message)
            continue
        shown += pictures
        texts = [part for part in objects(content) if part.get("type") == "text"]
        ordered.append(message | {"content": texts or "(shown in the next message)"})
    _show(ordered, shown)
    return ordered


def _show(ordered: list[dict[str, Any]], shown: list[dict[str, Any]]) -> None:
    if shown:
        ordered.append({"role": "user", "content": shown})


def functions_only(request: CompletionRequest) -> CompletionRequest:
    """Return a request whose custom tools are functions `{input: string}`."""
    if b'"custom"' not in b"".join(
        bytes(request.fields.get(name, b"")) for name in ("tools", "messages", "tool_choice")
    ):
        return request
    fields = dict(request.fields)
    tools = _any(fields.get("tools", b"null"))
    if tools:
        fields["tools"] = msgspec.Raw(_encode([_function_tool(tool) for tool in tools]))
    choice = _any(fields.get("tool_choice", b"null"))
    if isinstance(choice, dict) and choice.get("type") == "custom":
        named = {"type": "function", "function": choice.get("custom")}
        fields["tool_choice"] = msgspec.Raw(_encode(named))
    messages = _any(fields["messages"])
    for message in messages:
        if message.get("tool_calls"):
            message["tool_calls"] = [
                _function_call(call) for call in objects(message["tool_calls"])
            ]
    fields["messages"] = msgspec.Raw(_encode(messages))
    return request.with_fields(fields)


def _function_tool(tool: dict[str, Any]) -> dict[str, Any]:
    custom = member(tool.get("custom"))
    if tool.get("type") != "custom":
        return tool
    grammar = member(member(custom.get("format")).get("grammar"))
    description = text(custom.get("description"))
    if grammar:
        description += (
            f"\n\n`input` must follow this {text(grammar.get('syntax'))} grammar:\n"
            f"{text(grammar.get('definition'))}"
        )
    described = {"description": description.strip()} if description else {}
    return {
        "type": "function",
        "function": {
            "name": text(custom.get("name")),
            **described,
            "parameters": {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        },
    }


def _function_call(call: dict[str, Any]) -> dict[str, Any]:
    custom = call.get("custom")
    if not isinstance(custom, dict):
        return call
    arguments = _encode({"input": custom.get("input") or ""}).decode()
    function = {"name": custom.get("name"), "arguments": arguments}
    rest = {name: value for name, value in call.items() if name not in {"custom", "type"}}
    return {**rest, "type": "function", "function": function}


def plain_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what only OpenRouter and Anthropic know, its texts as one."""
    kept = {name: value for name, value in message.items() if name not in _ONLY_HERE}
    if message.get("reasoning"):
        kept["reasoning_content"] = message["reasoning"]
    thoughts = [part for part in objects(kept.get("content")) if part.get("type") == "thinking"]
    if thoughts:
        kept["content"] = [
            part for part in objects(kept["content"]) if part.get("type") != "thinking"
        ]
        kept.setdefault("reasoning_content", "".join(map(_thought, thoughts)))
    kept["content"] = plain_content(kept.get("content"))
    refusal = kept.pop("refusal", None)
    if isinstance(refusal, str) and refusal:
        kept["content"] = _and_refusal(kept["content"], refusal)
    if message.get("is_error") is True:
        kept["content"] = _as_error(kept["content"])
    if kept.get("tool_calls"):
        kept["tool_calls"] = [_without_marks(call) for call in objects(kept["tool_calls"])]
    return kept


def _thought(part: dict[str, Any]) -> str:
    """Return the words of a part that thinks: a text, or parts of text, as Mistral has them."""
    said = part.get("thinking")
    return (
        said if isinstance(said, str) else "".join(text(row.get("text")) for row in objects(said))
    )


def _and_refusal(content: Any, refusal: str) -> Any:
    if not content:
        return refusal
    if isinstance(content, list):
        return [*content, {"type": "text", "text": refusal}]
    return f"{text(content)}{BREAK}{refusal}"


def plain_content(content: Any) -> Any:
    """Return one text where all parts are text, else the parts without marks."""
    if not isinstance(content, list):
        return content
    parts = [_plain_part(part) for part in objects(content)]
    # A member that is not known here is the provider's to judge: its part stays as it is.
    if all(part.get("type") == "text" and part.keys() <= _JOINED for part in parts):
        return BREAK.join(text(part.get("text")) for part in parts)
    return parts


def _plain_part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "refusal":
        rest = {name: value for name, value in part.items() if name != "refusal"}
        return _without_marks(rest) | {"type": "text", "text": text(part.get("refusal"))}
    return _without_marks(part)


def _as_error(content: Any) -> Any:
    """Say that a result is an error, unless it says so itself."""
    if isinstance(content, list):
        return [{"type": "text", "text": "Error:"}, *content]
    said = text(content)
    lowered = said[:200].lower()
    return said if any(word in lowered for word in _SPOKEN) else f"Error: {said}".strip()


def _without_marks(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if name != "cache_control"}


def plain_roles(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages in which developers are the system."""
    return [
        message | {"role": "system"} if message.get("role") == "developer" else message
        for message in messages
    ]

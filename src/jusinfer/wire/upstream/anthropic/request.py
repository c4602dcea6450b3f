"""From a chat request to an Anthropic Messages request: roles, blocks, tools, thinking."""

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.wire.call_ids import portable
from jusinfer.wire.json_schemas import enforceable, object_schema
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.member_table import judge, table_of
from jusinfer.wire.sealed import merged
from jusinfer.wire.tool_shapes import typed_schema
from jusinfer.wire.upstream.anthropic.thinking import cannot, think
from jusinfer.wire.upstream.call_order import in_call_order

OUTPUT_TOKENS_DEFAULT: Final = 8_192
FORMAT: Final = "anthropic-claude-v1"
# Names that browsers and tools give to types that Anthropic knows under another.
_MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
)
_any: Final = msgspec.json.Decoder().decode
_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode

Block = dict[str, Any]


def encode_messages(
    asked: CompletionRequest,
    upstream_model: str,
    output_tokens_max: int | None,
    flags: tuple[str, ...],
) -> bytes:
    """Write the body; raises InvalidRequest naming what cannot be said."""
    fields = {name: _any(raw) for name, raw in asked.fields.items()}
    _refuse(fields, flags)
    system, messages = _turns(fields["messages"])
    budget = output_tokens_max or asked.output_tokens_max or OUTPUT_TOKENS_DEFAULT
    body: dict[str, object] = {
        "model": upstream_model,
        "max_tokens": budget,
        "messages": messages,
    }
    if system:
        body["system"] = system
    if asked.is_stream:
        body["stream"] = True
    for name in ("temperature", "top_p", "top_k", "cache_control"):
        if fields.get(name) is not None:
            body[name] = fields[name]
    stop = _stops(fields.get("stop"))
    if stop:
        body["stop_sequences"] = stop
    allow_some(fields)
    if fields.get("tools"):
        body["tools"] = [_tool(tool, place) for place, tool in enumerate(fields["tools"])]
    choice = _tool_choice(fields)
    if choice is not None and "tools" in body:
        body["tool_choice"] = choice
    elif choice is not None and choice["type"] in {"any", "tool"}:
        raise InvalidRequest(
            "`tool_choice` demands a call, and `tools` offers nothing to call",
            param="tool_choice",
            hint="Offer `tools`, or leave out `tool_choice`.",
        )
    think(body, fields, budget, flags)
    if isinstance(fields.get("user"), str):
        body["metadata"] = {"user_id": fields["user"]}
    return _encode(body)


def _stops(stop: object) -> list[str]:
    """Return the words to stop at: empty ones ask for nothing, white space alone is not known."""
    words = [stop] if isinstance(stop, str) else _list(stop)
    if any(isinstance(word, str) and word and not word.strip() for word in words):
        raise cannot("stop", "it stops at no white space alone")
    return [word for word in words if word]


def _refuse(fields: dict[str, Any], flags: tuple[str, ...]) -> None:
    judge(table_of("chat").notes(fields), "anthropic")
    if "no_sampling" in flags:
        # Agents that know no better always send one; a model without such a setting has one way.
        for name in ("temperature", "top_p", "top_k"):
            fields.pop(name, None)


# ---------------------------------------------------------------------- messages


def _turns(messages: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """Hoist the instructions, and join turns of the same role: Messages wants them to alternate."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    # A fault is told by the place where the client put it, whatever order Anthropic wants.
    places = {id(message): place for place, message in enumerate(messages)}
    for message in in_call_order(messages):
        role = message["role"]
        place = places.get(id(message))
        where = "messages" if place is None else f"messages[{place}]"
        if role in {"system", "developer"}:
            system += _parts(message.get("content"), where)
            continue
        if role == "function":
            raise cannot(f"{where}.role", "use the role `tool`")
        blocks = _blocks(message, role, where)
        name = "assistant" if role == "assistant" else "user"
        if not blocks:
            continue
        if turns and turns[-1]["role"] == name:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": name, "content": blocks})
    for turn in turns:
        # Results of tools stand first in a turn.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if turns and turns[-1]["role"] == "assistant":
        _trim_end(turns[-1]["content"])
    if not turns:
        raise InvalidRequest(
            "`messages` holds nothing that a user or an assistant says",
            param="messages",
            hint="Add a message of the role `user`.",
        )
    return system, turns


def _trim_end(blocks: list[Block]) -> None:
    """Anthropic takes no white space at the end of words that its model is to go on with."""
    if blocks[-1]["type"] == "text":
        blocks[-1] = blocks[-1] | {"text": blocks[-1]["text"].rstrip()}


def _blocks(message: dict[str, Any], role: str, where: str) -> list[Block]:
    if role == "tool":
        content = _parts(message.get("content"), where)
        result: Block = {
            "type": "tool_result",
            "tool_use_id": portable(str(message.get("tool_call_id") or "")),
            "content": content,
        }
        if message.get("is_error") is True:
            result["is_error"] = True
        if content and "cache_control" in content[-1]:
            result["cache_control"] = content[-1].pop("cache_control")
        return [result]
    blocks = _parts(message.get("content"), where)
    if role != "assistant":
        return blocks
    if isinstance(message.get("refusal"), str):
        blocks += _parts(message["refusal"], where)
    calls = [
        _call(call, f"{where}.tool_calls[{place}]")
        for place, call in enumerate(_list(message.get("tool_calls")))
    ]
    return [*_thoughts(message), *blocks, *calls]


def _parts(content: object, where: str) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        return []
    return [
        block
        for place, part in enumerate(content)
        if (block := _part(member(part), f"{where}.content[{place}]")) is not None
    ]


def _part(part: dict[str, Any], where: str) -> Block | None:
    kind = part.get("type")
    block: Block
    if kind == "thinking":
        # Reasoning of another provider, which nobody signed.
        return None
    if kind in {"text", "refusal"}:
        said = part.get("text") or part.get("refusal")
        if not isinstance(said, str) or not said.strip():
            # Anthropic refuses blank blocks.
            return None
        block = {"type": "text", "text": said}
    elif kind == "image_url":
        source = part.get("image_url")
        url = source.get("url") if isinstance(source, dict) else source
        block = {"type": "image", "source": _source(str(url), f"{where}.image_url")}
    elif kind == "file" and isinstance(part.get("file"), dict) and part["file"].get("file_data"):
        block = _file(part["file"], where)
    else:
        raise cannot(where, f"parts of type {str(kind)[:40]!r} have no equal there")
    if part.get("cache_control"):
        block["cache_control"] = part["cache_control"]
    return block


def _source(url: str, where: str) -> Block:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, comma, data = url[5:].partition(",")
    media_type, *settings = head.lower().split(";")
    if not comma or "base64" not in settings:
        raise cannot(where, "write the data URL as data:<type>;base64,<data>")
    media_type = _MEDIA_TYPES.get(media_type, media_type)
    return {"type": "base64", "media_type": media_type, "data": data}


def _file(file: dict[str, Any], where: str) -> Block:
    source = _source(str(file["file_data"]), f"{where}.file.file_data")
    kind = source.get("media_type", "")
    if kind.startswith("image/"):
        return {"type": "image", "source": source}
    if kind.startswith("text/"):
        try:
            said = base64.b64decode(source["data"], validate=True).decode()
        except ValueError:
            raise cannot(f"{where}.file.file_data", "it is no text in UTF-8") from None
        source = {"type": "text", "media_type": "text/plain", "data": said}
    block: Block = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str) and file["filename"] not in {"", "file"}:
        block["title"] = file["filename"]
    return block


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _call(call: object, where: str) -> Block:
    if not isinstance(call, dict):
        raise cannot(where, "it is no call of a tool")
    function = call.get("function")
    if not isinstance(function, dict):
        raise cannot(where, "calls of custom tools have no equal there")
    arguments = function.get("arguments") or "{}"
    try:
        given = _any(str(arguments).encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidRequest(
            f"`{where}.function.arguments` is not a JSON object",
            param=f"{where}.function.arguments",
            hint="Send back the arguments as they came.",
        )
    block: Block = {
        "type": "tool_use",
        "id": portable(str(call.get("id") or "")),
        "name": function.get("name", ""),
        "input": given,
    }
    if call.get("cache_control"):
        block["cache_control"] = call["cache_control"]
    return block


def _thoughts(message: dict[str, Any]) -> list[Block]:
    """Give back thinking with its signature; what Anthropic did not sign it would refuse."""
    blocks: list[Block] = []
    for detail in merged(objects(message.get("reasoning_details"))):
        # A client that joins the texts of a stream's fragments joins their formats too.
        if text(detail.get("format")).replace(FORMAT, ""):
            continue
        if detail.get("type") == "reasoning.encrypted" and detail.get("data"):
            blocks.append({"type": "redacted_thinking", "data": detail["data"]})
        elif detail.get("type") == "reasoning.text" and detail.get("signature"):
            blocks.append(
                {
                    "type": "thinking",
                    "thinking": detail.get("text") or "",
                    "signature": detail["signature"],
                }
            )
    return blocks


# ---------------------------------------------------------------------- tools, thinking


def _tool(tool: dict[str, Any], place: int) -> Block:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise cannot(f"tools[{place}]", "only tools of type `function` have an equal there")
    schema, rules = object_schema(typed_schema(function.get("parameters")))
    if function.get("strict") is True:
        schema = enforceable(schema)
    made: Block = {
        "name": function.get("name"),
        "input_schema": schema or {"type": "object", "properties": {}},
    }
    for name in ("description", "strict"):
        if function.get(name) is not None:
            made[name] = function[name]
    if rules:
        made["description"] = f"{text(function.get('description'))}\n\nArguments: {rules}".strip()
    if tool.get("cache_control"):
        made["cache_control"] = tool["cache_control"]
    return made


def allow_some(fields: dict[str, Any]) -> None:
    """Offer only the tools that `tool_choice` allows, where a provider has no such choice."""
    choice = member(fields.get("tool_choice"))
    if choice.get("type") != "allowed_tools":
        return
    allowed = member(choice.get("allowed_tools"))
    names = {member(row.get("function")).get("name") for row in objects(allowed.get("tools"))}
    fields["tools"] = [
        tool
        for tool in objects(fields.get("tools"))
        if member(tool.get("function")).get("name") in names
    ]
    if not fields["tools"]:
        raise cannot("tool_choice", "it allows none of the functions that are offered")
    fields["tool_choice"] = "required" if allowed.get("mode") == "required" else "auto"


def _tool_choice(fields: Mapping[str, Any]) -> Block | None:
    asked = fields.get("tool_choice")
    choice: Block | None = None
    if isinstance(asked, str):
        kinds = {"auto": "auto", "required": "any", "none": "none"}
        choice = {"type": kinds[asked]}
    elif isinstance(asked, dict):
        function = asked.get("function")
        if not isinstance(function, dict):
            raise cannot("tool_choice", "name a function, or use auto, required or none")
        choice = {"type": "tool", "name": function.get("name")}
    if fields.get("parallel_tool_calls") is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    return choice

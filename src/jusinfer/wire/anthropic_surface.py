"""Anthropic Messages as callers speak it to us."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.anthropic_turns import chat_messages
from jusinfer.wire.anthropic_writer import MessageWriter, stop_reason_of, usage_members
from jusinfer.wire.call_ids import portable
from jusinfer.wire.chat_misfits import misfit
from jusinfer.wire.pivot import SurfaceStream
from jusinfer.wire.tolerant import first_choice, member, objects, text

ERROR_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
CLIENT_ERRORS: Final = range(400, 500)
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: Tokens | None = None


class _Format(msgspec.Struct, rename={"kind": "type"}):
    kind: str
    schema: dict[str, Any] | None = None


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Tool(msgspec.Struct):
    name: Name
    input_schema: dict[str, Any] | None = None
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class _Counted(msgspec.Struct):
    """The members of a request; any other is refused by name."""

    model: Name
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=10_000)]
    max_tokens: Tokens | None = None
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=64)] | None = None
    stream: bool | None = None
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=1_024)] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cache_control: dict[str, Any] | None = None
    # Ours, as on every surface.
    jusinfer: msgspec.Raw | None = None
    models: list[str] | None = None
    provider: dict[str, Any] | None = None
    sandbox: msgspec.Raw | None = None


_asked: Final = msgspec.json.Decoder(_Counted).decode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_stop: Final = frozenset(_Counted.__struct_fields__)


class AnthropicSurface:
    """Messages, in and out."""

    name = "anthropic"

    def to_chat(self, body: bytes) -> bytes:
        """Turn a Messages request into a chat request; raises InvalidRequest."""
        return _encode(_chat(_judged(body, needs_budget=True)))

    def to_counted(self, body: bytes) -> bytes:
        """Do the same for a request whose tokens are only to be counted."""
        asked = _judged(body, needs_budget=False)
        asked.stream = None
        return _encode(_chat(asked))

    def answer(self, chat_answer: bytes, asked_body: bytes, usage: TokenUsage, cost: str) -> bytes:
        """Turn a chat completion into a message."""
        del asked_body
        answer = _any(chat_answer)
        choice = first_choice(answer)
        message = member(choice.get("message"))
        made = {
            "id": _message_id(answer.get("id")),
            "type": "message",
            "role": "assistant",
            "model": text(answer.get("model")),
            "content": _content(message),
            "stop_reason": stop_reason_of(choice.get("finish_reason")),
            "stop_sequence": None,
            "usage": usage_members(usage) | {"cost": msgspec.Raw(cost.encode("ascii"))},
        }
        return _encode(made)

    def stream(self, asked_body: bytes) -> SurfaceStream:
        """Begin to write a stream."""
        del asked_body
        return MessageWriter()

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in Anthropic's shape."""
        kind = ERROR_TYPES.get(status)
        if kind is None:
            kind = "invalid_request_error" if status in CLIENT_ERRORS else "api_error"
        error = {"type": kind, "message": message, "code": code, "param": param}
        return _encode({"type": "error", "error": error, "request_id": request_id})


def _judged(body: bytes, *, needs_budget: bool) -> _Counted:
    try:
        asked = _asked(body)
        members = _members(body)
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "the body is not JSON that can be read",
            hint="Send a JSON object with `model`, `max_tokens` and `messages`.",
        ) from None
    for name, raw in members.items():
        if name not in _stop and bytes(raw) != b"null":
            shown = name if name.isidentifier() and len(name) < 64 else "a member"  # noqa: PLR2004
            raise InvalidRequest(
                f"`{shown}` cannot be served here", param=shown, hint=f"Leave out `{shown}`."
            )
    if needs_budget and asked.max_tokens is None:
        raise InvalidRequest(
            "`max_tokens` is missing", param="max_tokens", hint="Add `max_tokens`, at least 1."
        )
    if asked.service_tier not in {None, "auto", "standard_only"}:
        raise InvalidRequest(
            "`service_tier` is not offered here: its price is not known",
            param="service_tier",
            hint="Use auto, or leave it out.",
        )
    return asked


def _chat(asked: _Counted) -> dict[str, Any]:
    chat: dict[str, Any] = {
        "model": asked.model,
        "messages": chat_messages(asked.system, asked.messages),
    }
    given = {
        "max_tokens": asked.max_tokens,
        "stop": asked.stop_sequences or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "cache_control": asked.cache_control,
        "user": None if asked.metadata is None else asked.metadata.user_id,
        "jusinfer": asked.jusinfer,
        "models": asked.models,
        "provider": asked.provider,
        "sandbox": asked.sandbox,
    }
    chat |= {name: value for name, value in given.items() if value is not None}
    if asked.stream:
        chat["stream"] = True
    if asked.tools:
        chat["tools"] = [_tool(tool, place) for place, tool in enumerate(asked.tools)]
    _choose(chat, asked.tool_choice)
    _reason(chat, asked)
    return chat


def _tool(tool: _Tool, place: int) -> dict[str, Any]:
    if tool.type not in {None, "custom"}:
        raise InvalidRequest(
            f"`tools[{place}].type` is a tool that Anthropic runs, which is not offered here",
            param=f"tools[{place}].type",
            hint="Offer tools of your own.",
        )
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.input_schema or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    made: dict[str, Any] = {"type": "function", "function": function}
    if tool.cache_control is not None:
        made["cache_control"] = tool.cache_control
    return made


def _choose(chat: dict[str, Any], choice: _Choice | None) -> None:
    if choice is None:
        return
    if choice.disable_parallel_tool_use is True:
        chat["parallel_tool_calls"] = False
    if choice.type == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.name or ""}}
    elif choice.type in {"auto", "none"}:
        chat["tool_choice"] = choice.type
    elif choice.type == "any":
        chat["tool_choice"] = "required"
    else:
        raise InvalidRequest(
            "`tool_choice.type` is not one of the values it may have",
            param="tool_choice.type",
            hint="Use auto, any, tool or none.",
        )


def _reason(chat: dict[str, Any], asked: _Counted) -> None:
    thinking, output = asked.thinking, asked.output_config
    reasoning: dict[str, Any] = {}
    if thinking is not None:
        if thinking.type == "enabled":
            reasoning["max_tokens"] = thinking.budget_tokens or 1_024
        elif thinking.type == "disabled":
            reasoning["enabled"] = False
        elif thinking.type in {"adaptive", "between_tools"}:
            reasoning["enabled"] = True
        else:
            raise InvalidRequest(
                "`thinking.type` is not one of the values it may have",
                param="thinking.type",
                hint="Use enabled, disabled or adaptive.",
            )
    if output is not None and output.effort is not None and "enabled" not in reasoning:
        reasoning["effort"] = output.effort
    if reasoning:
        chat["reasoning"] = reasoning
    if output is not None and output.format is not None:
        if output.format.kind != "json_schema" or output.format.schema is None:
            raise InvalidRequest(
                "`output_config.format` must be a json_schema",
                param="output_config.format",
                hint="Give its type and its schema.",
            )
        schema = {"name": "output", "schema": output.format.schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _content(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = _thoughts(message)
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text(part.get("text")) for part in objects(content))
    said = text(content) or text(message.get("refusal"))
    if said:
        blocks.append({"type": "text", "text": said})
    for call in objects(message.get("tool_calls")):
        function = member(call.get("function")) or member(call.get("custom"))
        blocks.append(
            {
                "type": "tool_use",
                "id": portable(text(call.get("id"))),
                "name": text(function.get("name")),
                "input": _input(function),
            }
        )
    return blocks


def _input(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments", function.get("input"))
    if isinstance(given, dict):
        return given
    if not given:
        return {}
    try:
        value = _any(str(given).encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": given}


def _thoughts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for detail in objects(message.get("reasoning_details")):
        said, signature = text(detail.get("text")), text(detail.get("signature"))
        if detail.get("type") == "reasoning.encrypted":
            blocks.append({"type": "redacted_thinking", "data": text(detail.get("data"))})
        elif said or signature:
            blocks.append({"type": "thinking", "thinking": said, "signature": signature})
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    if not blocks and thought:
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    return blocks


def _message_id(chat_id: object) -> str:
    text = chat_id if isinstance(chat_id, str) else ""
    return text if text.startswith("msg_") else f"msg_{text.removeprefix('chatcmpl-')}"

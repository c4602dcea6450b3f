"""A Messages request, read loosely: its members are judged by their table, per provider."""

from typing import Annotated, Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import MemberNote
from jusinfer.wire.inbound.anthropic.foreign_turns import has_foreign_turns
from jusinfer.wire.inbound.anthropic.messages import chat_messages, misplaced_blocks, tool_changes
from jusinfer.wire.inbound.anthropic.tools import function_tools
from jusinfer.wire.interfaces import ChatForm
from jusinfer.wire.json_schemas import strict_form
from jusinfer.wire.lenient_json import text
from jusinfer.wire.member_table import speechless, table_of
from jusinfer.wire.single_tool_call import may_call, without_wish
from jusinfer.wire.tool_names import portable_name
from jusinfer.wire.validation_errors import unreadable_body, validation_error

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


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


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Asked(msgspec.Struct):
    """The members whose shape is judged."""

    model: Name
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=10_000)]
    max_tokens: Tokens | None = None
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=64)] | None = None
    stream: bool | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=1_024)] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cache_control: dict[str, Any] | None = None
    # Ours, as on every client API.
    jusinfer: Any = None
    models: list[str] | None = None
    provider: dict[str, Any] | None = None
    route: Any = None
    sandbox: Any = None


PASSED: Final = (
    "temperature",
    "top_p",
    "top_k",
    "cache_control",
    "jusinfer",
    "models",
    "provider",
    "route",
    "sandbox",
)


def read_messages_request(body: bytes, *, needs_budget: bool = True) -> ChatForm:
    """Return a request as a chat, and what some providers cannot be sent; raises InvalidRequest."""
    asked, notes = _judged(body)
    if needs_budget and asked.max_tokens is None:
        raise InvalidRequest(
            "`max_tokens` is missing", param="max_tokens", hint="Add `max_tokens`, at least 1."
        )
    if not needs_budget:
        asked.stream = None
    messages = chat_messages(asked.system, asked.messages)
    notes += misplaced_blocks(asked.messages)
    if not messages:
        messages, notes = speechless("messages", notes, {"chat", "workers_ai"})
    chat = _chat(asked, messages)
    if not may_call(chat):
        notes = without_wish(notes)
    return ChatForm(_encode(chat), notes, has_foreign_turns(asked.messages))


def _judged(body: bytes) -> tuple[_Asked, tuple[MemberNote, ...]]:
    try:
        tree = _any(body)
    except (ValueError, RecursionError):
        hint = "Send a JSON object with `model`, `max_tokens` and `messages`."
        raise unreadable_body(body, hint) from None
    try:
        asked = msgspec.convert(tree, _Asked)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    return asked, table_of("messages").notes(tree)


def _chat(asked: _Asked, messages: list[dict[str, Any]]) -> dict[str, Any]:
    chat: dict[str, Any] = {"model": asked.model, "messages": messages}
    for name in PASSED:
        value = getattr(asked, name)
        if value is not None:
            chat[name] = value
    if asked.max_tokens is not None:
        chat["max_tokens"] = asked.max_tokens
    if asked.stop_sequences:
        chat["stop"] = asked.stop_sequences
    if asked.metadata is not None and asked.metadata.user_id is not None:
        chat["user"] = asked.metadata.user_id
    if asked.stream:
        chat["stream"] = True
    tools = _tools(asked)
    if tools:
        chat["tools"] = tools
    _choose(chat, asked.tool_choice)
    if not tools:
        _forget_choice(chat)
    _reason(chat, asked)
    return chat


def _tools(asked: _Asked) -> list[dict[str, Any]]:
    added, removed = tool_changes(asked.messages)
    gone = {*removed, *(text(tool.get("name")) for _, tool in added)}
    given = [
        (f"tools[{place}]", tool)
        for place, tool in enumerate(asked.tools or ())
        if text(tool.get("name")) not in gone
    ]
    choice = asked.tool_choice
    return function_tools(
        [*given, *added], {} if choice is None else {"type": choice.type, "name": choice.name}
    )


def _choose(chat: dict[str, Any], choice: _Choice | None) -> None:
    if choice is None:
        return
    if choice.disable_parallel_tool_use is True:
        chat["parallel_tool_calls"] = False
    if choice.type == "tool":
        chat["tool_choice"] = {
            "type": "function",
            "function": {"name": portable_name(choice.name or "")},
        }
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


def _forget_choice(chat: dict[str, Any]) -> None:
    """Leave out how to call tools where there are none: providers refuse that."""
    chat.pop("parallel_tool_calls", None)
    if chat.get("tool_choice") in ("auto", "none"):
        del chat["tool_choice"]


def _reason(chat: dict[str, Any], asked: _Asked) -> None:
    thinking, output = asked.thinking, asked.output_config
    reasoning: dict[str, Any] = {}
    if output is not None and output.effort is not None:
        reasoning["effort"] = output.effort
    if thinking is not None:
        if thinking.type == "enabled":
            reasoning["max_tokens"] = thinking.budget_tokens or 1_024
        elif thinking.type == "disabled":
            reasoning = {"enabled": False}
        elif thinking.type in {"adaptive", "between_tools"}:
            reasoning["enabled"] = True
        else:
            raise InvalidRequest(
                "`thinking.type` is not one of the values it may have",
                param="thinking.type",
                hint="Use enabled, disabled or adaptive.",
            )
    if reasoning:
        chat["reasoning"] = reasoning
    if output is not None and output.format is not None:
        if output.format.kind != "json_schema" or output.format.schema is None:
            raise InvalidRequest(
                "`output_config.format` must be a json_schema",
                param="output_config.format",
                hint="Give its type and its schema.",
            )
        # Anthropic lets members be left out, which OpenAI's strict mode refuses.
        shape, is_strict = strict_form(output.format.schema)
        schema = {"name": "output", "schema": shape, "strict": is_strict}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}

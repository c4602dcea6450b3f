"""A Responses request, read loosely: its members are judged by their table, per provider."""

from typing import Annotated, Any, Final

import msgspec

from jusinfer.domain.inference.request import MemberNote
from jusinfer.wire.inbound.responses.items import chat_messages
from jusinfer.wire.inbound.responses.tools import chosen, offered_tools
from jusinfer.wire.interfaces import ChatForm
from jusinfer.wire.member_table import speechless, table_of
from jusinfer.wire.single_tool_call import may_call, without_wish
from jusinfer.wire.validation_errors import misplaced, unreadable_body, validation_error

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
LOGPROBS: Final = "message.output_text.logprobs"
NO_LOGPROBS: Final = MemberNote(
    "include", frozenset({"anthropic", "workers_ai"}), "the provider of this model has no logprobs"
)
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class _Format(msgspec.Struct):
    type: str
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Asked(msgspec.Struct):
    """The members whose shape is judged."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input: str | Annotated[list[Any], msgspec.Meta(min_length=1, max_length=10_000)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=1_024)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Reasoning | None = None
    text: _Text | None = None
    include: list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    # Ours, as on every client API.
    jusinfer: Any = None
    models: list[str] | None = None
    provider: dict[str, Any] | None = None
    route: Any = None
    sandbox: Any = None


PASSED: Final = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "user",
    "jusinfer",
    "models",
    "provider",
    "route",
    "sandbox",
)


def read_responses_request(body: bytes) -> ChatForm:
    """Return a request as a chat, and what some providers cannot be sent; raises InvalidRequest."""
    asked, tree, notes = _judged(body)
    offered = offered_tools(tree)
    messages = chat_messages(asked.instructions, asked.input, offered.names)
    if not messages:
        messages, notes = speechless("input", notes, {"chat", "anthropic", "workers_ai"})
    if LOGPROBS in (asked.include or ()):
        notes = (*notes, NO_LOGPROBS)
    chat: dict[str, Any] = {"model": asked.model, "messages": messages}
    passed = {name: getattr(asked, name) for name in PASSED}
    chat |= {name: value for name, value in passed.items() if value is not None}
    if asked.max_output_tokens is not None:
        chat["max_tokens"] = asked.max_output_tokens
    if asked.stream:
        chat["stream"] = True
    _ask_logprobs(chat, asked)
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        chat["reasoning_effort"] = asked.reasoning.effort
    _write(chat, asked.text)
    choice, tools = chosen(asked.tool_choice, offered)
    if tools:
        chat["tools"] = tools
        if choice is not None:
            chat["tool_choice"] = choice
    else:
        # How to call tools asks for nothing where there are none, and some providers refuse it.
        chat.pop("parallel_tool_calls", None)
    if not may_call(chat):
        notes = without_wish(notes)
    return ChatForm(_encode(chat), notes)


def _ask_logprobs(chat: dict[str, Any], asked: _Asked) -> None:
    if asked.top_logprobs or LOGPROBS in (asked.include or ()):
        chat["logprobs"] = True
        if asked.top_logprobs:
            chat["top_logprobs"] = asked.top_logprobs


def _judged(body: bytes) -> tuple[_Asked, dict[str, Any], tuple[MemberNote, ...]]:
    try:
        tree = _any(body)
    except (ValueError, RecursionError):
        raise unreadable_body(body, "Send a JSON object with `model` and `input`.") from None
    try:
        asked = msgspec.convert(tree, _Asked)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    return asked, tree, table_of("responses").notes(tree)


def _write(chat: dict[str, Any], wish: _Text | None) -> None:
    if wish is None:
        return
    if wish.verbosity is not None:
        chat["verbosity"] = wish.verbosity
    form = wish.format
    if form is None or form.type == "text":
        return
    if form.type == "json_object":
        chat["response_format"] = {"type": "json_object"}
        return
    if form.type != "json_schema" or form.schema is None or form.name is None:
        raise misplaced("text.format", "must be text, json_object, or a json_schema with a name")
    schema: dict[str, Any] = {"name": form.name, "schema": form.schema}
    more = {"strict": form.strict, "description": form.description}
    schema |= {name: value for name, value in more.items() if value is not None}
    chat["response_format"] = {"type": "json_schema", "json_schema": schema}

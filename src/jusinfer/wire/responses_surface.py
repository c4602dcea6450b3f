"""OpenAI's Responses as callers speak it to us; nothing of it is ever stored."""

from typing import Annotated, Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.chat_misfits import misfit
from jusinfer.wire.pivot import SurfaceStream
from jusinfer.wire.responses_items import chat_messages
from jusinfer.wire.responses_items import misfit as item_misfit
from jusinfer.wire.responses_writer import ResponseWriter, finished, items_of, response_of
from jusinfer.wire.tolerant import first_choice, member, text

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
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
    summary: str | None = None


class _Asked(msgspec.Struct):
    """The members of a request; any other is refused by name."""

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
    truncation: str | None = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    # Ours, as on every surface.
    jusinfer: msgspec.Raw | None = None
    models: list[str] | None = None
    provider: dict[str, Any] | None = None
    sandbox: msgspec.Raw | None = None


_asked: Final = msgspec.json.Decoder(_Asked).decode
OWN_TOOLS: Final = ("function", "custom")
_KNOWN: Final = frozenset(_Asked.__struct_fields__)
_PASSED: Final = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "user",
    "jusinfer",
    "models",
    "provider",
    "sandbox",
)


class ResponsesSurface:
    """Responses, in and out."""

    name = "responses"

    def to_chat(self, body: bytes) -> bytes:
        """Turn a Responses request into a chat request; raises InvalidRequest."""
        asked = _judged(body)
        chat: dict[str, Any] = {
            "model": asked.model,
            "messages": chat_messages(asked.instructions, asked.input),
        }
        for name in _PASSED:
            value = getattr(asked, name)
            if value is not None:
                chat[name] = value
        if asked.max_output_tokens is not None:
            chat["max_tokens"] = asked.max_output_tokens
        if asked.stream:
            chat["stream"] = True
        if asked.top_logprobs or "message.output_text.logprobs" in (asked.include or ()):
            chat["logprobs"] = True
            if asked.top_logprobs:
                chat["top_logprobs"] = asked.top_logprobs
        if asked.reasoning is not None and asked.reasoning.effort is not None:
            chat["reasoning_effort"] = asked.reasoning.effort
        _write(chat, asked.text)
        if asked.tools:
            chat["tools"] = [_tool(tool, place) for place, tool in enumerate(asked.tools)]
        if asked.tool_choice is not None:
            chat["tool_choice"] = _choice(asked.tool_choice)
        return _encode(chat)

    def answer(self, chat_answer: bytes, asked_body: bytes, usage: TokenUsage, cost: str) -> bytes:
        """Turn a chat completion into a response."""
        answer = _any(chat_answer)
        choice = first_choice(answer)
        response = response_of(asked_body, text(answer.get("id")), text(answer.get("model")))
        created = answer.get("created")
        response["created_at"] = created if isinstance(created, int) else 0
        response["output"] = items_of(member(choice.get("message")), choice.get("logprobs"))
        return _encode(finished(response, choice.get("finish_reason"), usage, cost))

    def stream(self, asked_body: bytes) -> SurfaceStream:
        """Begin to write a stream."""
        return ResponseWriter(asked_body)

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in OpenAI's shape."""
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
        error = {"message": message, "type": kind, "param": param, "code": code}
        return _encode({"error": error | {"request_id": request_id}})


def _judged(body: bytes) -> _Asked:
    try:
        asked = _asked(body)
        members = _members(body)
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "the body is not JSON that can be read",
            hint="Send a JSON object with `model` and `input`.",
        ) from None
    for name, raw in members.items():
        if name not in _KNOWN and bytes(raw) != b"null":
            shown = name if name.isidentifier() and len(name) < 64 else "a member"  # noqa: PLR2004
            raise InvalidRequest(
                f"`{shown}` cannot be served here: no response is kept",
                param=shown,
                hint=f"Leave out `{shown}`, and send the whole conversation in `input`.",
            )
    if asked.background:
        raise item_misfit("background", "is not offered: answers are not kept")
    if asked.truncation not in {None, "disabled"}:
        raise item_misfit("truncation", "is not offered: input is never cut in silence")
    return asked


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
        raise item_misfit("text.format", "must be text, json_object, or a json_schema with a name")
    schema: dict[str, Any] = {"name": form.name, "schema": form.schema}
    more = {"strict": form.strict, "description": form.description}
    schema |= {name: value for name, value in more.items() if value is not None}
    chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _tool(tool: dict[str, Any], place: int) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in OWN_TOOLS or not isinstance(tool.get("name"), str):
        raise item_misfit(
            f"tools[{place}].type", "is a tool that the model's maker runs, which is not offered"
        )
    body = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": kind, kind: body}


def _choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    if kind not in OWN_TOOLS:
        raise item_misfit("tool_choice", "must be none, auto, required, or name a tool of yours")
    return {"type": kind, kind: {"name": choice.get("name")}}

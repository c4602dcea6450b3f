"""Chat Completions as callers speak it: a request read, judged, and written for an upstream.

What was judged is what is sent: the members are read once and written again, so a member that
stands twice reaches nobody in two readings (the last one counts). Unknown members pass through.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.traits import Traits
from jusinfer.wire.chat_content import Message, Reading, read_messages

MODEL_CHARS_MAX: Final = 256
OURS: Final = frozenset({"jusinfer", "route", "sandbox"})
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")

Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Role = Literal["developer", "system", "user", "assistant", "tool", "function"]
Effort = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: dict[str, msgspec.Raw] | None = None


class _Request(msgspec.Struct):
    """The members that are judged; numbers have OpenAI's ranges."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=MODEL_CHARS_MAX)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    seed: int | None = None
    user: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=1_024)] | None = None
    tool_choice: str | dict[str, msgspec.Raw] | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: Effort | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    store: bool | None = None


_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_request: Final = msgspec.json.Decoder(_Request).decode
_encode: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes) -> CompletionRequest:
    """Read and judge a caller's request; raises InvalidRequest naming the field at fault."""
    try:
        fields = _fields(body)
        asked = _request(body)
        reading = read_messages(asked.messages, wants_hints=asked.model.startswith("jusinfer/"))
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest(
            "the body is not JSON" if body.strip() else "the body is empty",
            hint="Send a JSON object with `model` and `messages`.",
        ) from None
    except RecursionError:
        raise InvalidRequest(
            "the body is nested too deeply", hint="Flatten it to fewer than 1,000 levels."
        ) from None
    options = asked.stream_options
    is_stream = asked.stream is True
    return CompletionRequest(
        model=asked.model,
        is_stream=is_stream,
        wants_usage=is_stream and options is not None and options.include_usage is True,
        output_tokens_max=asked.max_completion_tokens or asked.max_tokens,
        choice_count=asked.n or 1,
        fields=fields,
        traits=_traits(asked, fields, reading, is_stream=is_stream),
        body_bytes=len(body),
    )


def _traits(
    asked: _Request, fields: dict[str, msgspec.Raw], read: Reading, *, is_stream: bool
) -> Traits:
    tools_bytes = len(bytes(fields["tools"])) if asked.tools else 0
    schema_bytes = len(bytes(fields["response_format"])) if asked.response_format else 0
    return Traits(
        input_tokens=read.tokens + (tools_bytes + schema_bytes) // 4,
        input_tokens_max=read.tokens_max + tools_bytes + schema_bytes + 16,
        output_tokens_max=asked.max_completion_tokens or asked.max_tokens,
        message_count=len(asked.messages),
        tool_count=len(asked.tools or ()),
        has_images=read.has_images,
        has_audio=read.has_audio,
        needs_json_schema=asked.response_format is not None
        and asked.response_format.type == "json_schema",
        has_reasoning_hint=read.has_reasoning_hint,
        reasoning_effort=asked.reasoning_effort or "",
        is_stream=is_stream,
    )


def encode_request(
    request: CompletionRequest,
    *,
    upstream_model: str,
    output_tokens_max: int | None,
    quirks: tuple[str, ...],
) -> bytes:
    """Write a request for an upstream: its model's name, usage asked for, privacy flags set."""
    fields: dict[str, object] = dict(request.fields)
    fields["model"] = upstream_model
    if request.is_stream and "no_stream_options" not in quirks:
        fields["stream_options"] = _stream_options(request, quirks)
    if output_tokens_max is not None:
        name = "max_completion_tokens"
        if name not in fields and "max_completion_tokens" not in quirks:
            name = "max_tokens"
        fields[name] = output_tokens_max
    for name in OURS & fields.keys():
        if name != "sandbox" or "sandbox" not in quirks:
            del fields[name]
    if "store_false" in quirks:
        fields["store"] = _FALSE
    if "openrouter" in quirks:
        fields["provider"] = _provider(request)
    return _encode(fields)


def _stream_options(request: CompletionRequest, quirks: tuple[str, ...]) -> dict[str, object]:
    raw = bytes(request.fields.get("stream_options", b"null"))
    options: dict[str, object] = {}
    if raw != b"null":
        options.update(_fields(raw))
    options["include_usage"] = _TRUE
    if "no_obfuscation" in quirks:
        options["include_obfuscation"] = _FALSE
    return options


def _provider(request: CompletionRequest) -> dict[str, object]:
    """Keep the caller's preferences, but never let an upstream of the upstream collect data."""
    raw = bytes(request.fields.get("provider", b"null"))
    provider: dict[str, object] = {}
    if raw.startswith(b"{"):
        provider.update(_fields(raw))
    return provider | {"data_collection": "deny"}


_PATH: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_KEY: Final = re.compile(r"\[\.\.\.\]|\[\"[^\"]*\"\]")
_MISSING: Final = re.compile(r"missing required field `(?P<name>\w+)`")
# The only sentences of the decoder that are passed on: they name types and bounds, never values.
_EXPECTED: Final = re.compile(
    r"Expected `(?P<wanted>[^`]+)`(?: (?:of length )?(?P<bound>[<>]= -?[\d.]+))?"
    r"(?:, got `(?P<got>[a-z ]+)`)?"
)
_WORDS: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}
_INVALID_ENUM: Final = re.compile(r"Invalid enum value")


def _invalid(text: str) -> InvalidRequest:
    """Say in our own words what the decoder found, without any value of the caller's."""
    place = _PATH.search(text)
    path = _KEY.sub("[…]", place["path"]).lstrip(".") if place else ""
    missing = _MISSING.search(text)
    if missing is not None:
        name = f"{path}.{missing['name']}" if path else missing["name"]
        return InvalidRequest(f"`{name}` is missing", param=name, hint="Add it to the request.")
    name = path or None
    subject = f"`{path}`" if path else "the body"
    expected = _EXPECTED.search(text)
    if expected is not None:
        kinds = expected["wanted"].replace(" | null", "").split(" | ")
        wanted = " or ".join(_WORDS.get(kind, kind) for kind in kinds)
        bound = f" {expected['bound']}" if expected["bound"] else ""
        got = f", not {_WORDS.get(expected['got'], expected['got'])}" if expected["got"] else ""
        return InvalidRequest(
            f"{subject} must be {wanted}{bound}{got}", param=name, hint="Mend this field."
        )
    if _INVALID_ENUM.search(text):
        return InvalidRequest(
            f"{subject} is not one of the values it may have",
            param=name,
            hint="Roles are developer, system, user, assistant, tool and function.",
        )
    return InvalidRequest(f"{subject} cannot be understood", param=name, hint="Mend this field.")

"""Chat Completions as clients speak it: a request read, judged, and written for an upstream.

Top-level members are read once and written again, so one that stands twice reaches nobody in two
readings: the last one counts. Unknown members pass through, and so does what is inside messages.
Of two output budgets `max_completion_tokens` counts and the other is not sent.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.preferences import NO_PREFERENCES
from jusinfer.domain.sender import NO_STAMP, Stamp
from jusinfer.domain.token_estimation import estimate_json_tokens, worst_json_tokens
from jusinfer.wire.inbound.openai_chat_content import (
    ContentStats,
    Message,
    last_user_content,
    read_messages,
)
from jusinfer.wire.inbound.provider_preferences import read_preferences
from jusinfer.wire.member_table import table_of
from jusinfer.wire.upstream.compatibility import (
    UNPRICED,
    apply_compatibility,
    refuse_unpriced,
    set_sender_id,
)
from jusinfer.wire.upstream.plain_chat import plain_roles
from jusinfer.wire.validation_errors import unreadable, unreadable_body, validation_error

MODEL_CHARS_MAX: Final = 256
MESSAGE_TOKENS: Final = 4
MESSAGE_TOKENS_MAX: Final = 8
FRAME_TOKENS_MAX: Final = 16
# Members of our own: none reaches an upstream, except `sandbox`, which the sandbox reads.
OURS: Final = frozenset({"jusinfer", "models", "provider", "route", "sandbox", "usage"})
# Members besides the messages that an upstream reads as input.
_INPUTS: Final = frozenset({"tools", "functions", "response_format", "prediction"})
# Members that only say how an answer is kept or delivered; no other provider API has them.
_NEVER_FORWARDED: Final = frozenset({"store", "prompt_cache_key", "stream_options"})
# Letters that are escaped, as only names that hide are: serializers escape no letter of ASCII.
_HIDDEN: Final = re.compile(rb"\\u00[4-7]")
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
_NOTHING: Final = msgspec.Raw(b"null")

Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Effort = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Choice = Literal["none", "auto", "required"]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _UsageOptions(msgspec.Struct):
    include: bool | None = None


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
    tool_choice: Choice | dict[str, msgspec.Raw] | None = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    reasoning_effort: Effort | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    store: bool | None = None
    usage: _UsageOptions | None = None


_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_request: Final = msgspec.json.Decoder(_Request).decode
_included: Final = msgspec.json.Decoder(_UsageOptions).decode
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes) -> CompletionRequest:
    """Read and judge a client's request; raises InvalidRequest naming the field at fault."""
    try:
        if not body.isascii():
            # What passes through unread is not checked by anyone else.
            body.decode()
        fields = _fields(body)
        asked = _request(body)
        _check_shapes(asked)
        reading = read_messages(asked.messages)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8", hint="Encode the JSON as UTF-8.") from None
    except msgspec.DecodeError:
        hint = "Send a JSON object with `model` and `messages`."
        raise unreadable_body(body, hint) from None
    except RecursionError:
        raise InvalidRequest(
            "the body is nested too deeply", hint="Flatten it to fewer than 1,000 levels."
        ) from None
    if not UNPRICED.keys().isdisjoint(fields):
        refuse_unpriced(fields)
    has_preferences = "models" in fields or "provider" in fields
    is_routed = asked.model.startswith("jusinfer/") or "models" in fields
    options = asked.stream_options
    is_stream = asked.stream is True
    wants_route = "route" in fields and _wants_route(fields["route"])
    wants_cost = asked.usage is not None and asked.usage.include is True
    request = CompletionRequest(
        model=asked.model,
        is_stream=is_stream,
        wants_usage=is_stream
        and ((options is not None and options.include_usage is True) or wants_cost or wants_route),
        wants_cost=wants_cost,
        output_tokens_max=asked.max_completion_tokens or asked.max_tokens,
        choice_count=asked.n or 1,
        fields=fields,
        traits=_traits(asked, fields, reading, body, is_routed=is_routed),
        body_bytes=len(body),
        last_user=last_user_content(asked.messages) if is_routed else None,
        wants_route=wants_route,
        preferences=read_preferences(fields) if has_preferences else NO_PREFERENCES,
    )
    request.has_developer = reading.has_developer
    # Members inside messages must be judged where there are marks of what to cache, some of which
    # have a price of their own, files stored at a provider, or names that hide.
    if (
        b'"prompt_cache_breakpoint"' in body
        or b'"file_id"' in body
        or "prompt_cache_options" in fields
        or _HIDDEN.search(body) is not None
    ):
        _judge_inside(request, body)
    return request


def _judge_inside(request: CompletionRequest, body: bytes) -> None:
    """Note what a provider cannot be sent, and write the messages as they were judged.

    A member that stands twice in them would otherwise be judged once and read another time.
    """
    try:
        tree = _any(body)
    except (msgspec.DecodeError, RecursionError):
        raise unreadable(request.fields) from None
    request.notes = table_of("chat").notes(tree)
    request.fields["messages"] = msgspec.Raw(_encode(tree["messages"]))


def _wants_route(raw: msgspec.Raw) -> bool:
    """Tell whether the plan is to be put into the answer; other values are other clients' words."""
    try:
        return _included(raw).include is True
    except msgspec.DecodeError:
        return False


def _check_shapes(asked: _Request) -> None:
    """Find members that need another one beside them; raises ValidationError."""
    for index, tool in enumerate(asked.tools or ()):
        if tool.type == "function" and tool.function is None:
            raise msgspec.ValidationError(
                f"Object missing required field `function` - at `$.tools[{index}]`"
            )
    form = asked.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        raise msgspec.ValidationError(
            "Object missing required field `json_schema` - at `$.response_format`"
        )


def _traits(
    asked: _Request,
    fields: dict[str, msgspec.Raw],
    read: ContentStats,
    body: bytes,
    *,
    is_routed: bool,
) -> RequestFeatures:
    text_bytes = read.text_bytes
    for name in _INPUTS & fields.keys():
        text_bytes += len(fields[name])
    message_count = len(asked.messages)
    form = asked.response_format
    framing_tokens = read.media_tokens + message_count * MESSAGE_TOKENS
    return RequestFeatures(
        input_tokens=estimate_json_tokens(text_bytes, body) + framing_tokens,
        window_tokens=worst_json_tokens(text_bytes, body) + framing_tokens if is_routed else 0,
        # JSON is never shorter than the text it carries, and no tokenizer makes more tokens than
        # bytes; whatever member an upstream reads as input is in the body.
        input_tokens_max=len(body)
        - read.media_bytes
        + read.media_tokens_max
        + message_count * MESSAGE_TOKENS_MAX
        + FRAME_TOKENS_MAX,
        output_tokens_max=asked.max_completion_tokens or asked.max_tokens,
        message_count=message_count,
        tool_count=len(asked.tools or ()),
        has_images=read.image_count > 0,
        image_count=read.image_count,
        has_audio=read.has_audio,
        needs_json_schema=form is not None and form.type == "json_schema",
        needs_json=form is not None and form.type == "json_object",
        reasoning_effort=asked.reasoning_effort or "",
        is_stream=asked.stream is True,
        choice_count=asked.n or 1,
    )


def encode_request(
    request: CompletionRequest,
    *,
    upstream_model: str,
    output_tokens_max: int | None,
    flags: tuple[str, ...],
    stamp: Stamp = NO_STAMP,
) -> bytes:
    """Write a request for an upstream: its model's name, usage asked for, privacy flags set.

    `output_tokens_max` replaces the client's budget when given.
    """
    fields: dict[str, object] = dict(request.fields)
    fields["model"] = upstream_model
    if request.is_stream and "no_stream_options" not in flags:
        fields["stream_options"] = _stream_options(request, flags)
    if output_tokens_max is None:
        output_tokens_max = request.output_tokens_max
    if output_tokens_max is not None:
        _set_budget(fields, output_tokens_max, flags)
    if "store" in fields:
        # Nothing of ours is kept at a provider, whatever a client wishes.
        fields["store"] = _FALSE
    if request.has_developer and "developer_role" not in flags:
        fields["messages"] = plain_roles(_any(request.fields["messages"]))
    for name in OURS & fields.keys():
        if name != "sandbox" or "sandbox" not in flags:
            del fields[name]
    apply_compatibility(fields, request, flags, stamp)
    return _encode(fields)


def _set_budget(fields: dict[str, object], tokens: int, flags: tuple[str, ...]) -> None:
    """Write the output budget once, under the name that this upstream obeys.

    A name it does not know would be ignored, and the answer could outgrow what was reserved.
    """
    known, other = "max_tokens", "max_completion_tokens"
    if "max_completion_tokens" in flags:
        known, other = other, known
    fields.pop(other, None)
    fields[known] = tokens


def _stream_options(request: CompletionRequest, flags: tuple[str, ...]) -> dict[str, object]:
    raw = bytes(request.fields.get("stream_options", _NOTHING))
    options: dict[str, object] = {}
    if raw != b"null":
        options.update(_fields(raw))
    options["include_usage"] = _TRUE
    if "no_obfuscation" in flags:
        options["include_obfuscation"] = _FALSE
    return options


def with_sender(
    request: CompletionRequest, stamp: Stamp, flags: tuple[str, ...]
) -> CompletionRequest:
    """Give a request for another provider API: its sender named opaquely, our own members gone."""
    fields: dict[str, object] = dict(request.fields)
    for name in OURS & fields.keys():
        del fields[name]
    set_sender_id(fields, (*flags, "user"), stamp)
    for name in _NEVER_FORWARDED & fields.keys():
        del fields[name]
    return request.with_fields(
        {
            name: value if isinstance(value, msgspec.Raw) else msgspec.Raw(_encode(value))
            for name, value in fields.items()
        }
    )

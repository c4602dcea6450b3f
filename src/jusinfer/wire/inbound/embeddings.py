"""Embeddings: requests judged, answers read for their usage, floats and base64 turned as asked."""

import base64
import struct
from typing import Annotated, Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.preferences import NO_PREFERENCES
from jusinfer.domain.token_estimation import estimate_json_tokens
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.provider_preferences import read_preferences
from jusinfer.wire.lenient_json import objects
from jusinfer.wire.upstream.errors import read_inner_error
from jusinfer.wire.upstream.openai_chat import Answer
from jusinfer.wire.upstream.usage_shapes import read_usage
from jusinfer.wire.validation_errors import unreadable_body, validation_error

INPUTS_MAX: Final = 2_048
TOKENS_MAX: Final = 300_000
FLOAT_BYTES: Final = 4
# Tokens by which an upstream may wrap each input.
WRAPPING_TOKENS: Final = 4
OURS: Final = frozenset({"jusinfer", "models", "provider", "route", "sandbox", "usage"})

Text = Annotated[str, msgspec.Meta(min_length=1)]
Token = Annotated[int, msgspec.Meta(ge=0)]


class _Asked(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    input: msgspec.Raw
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    encoding_format: str | None = None
    user: str | None = None


_asked: Final = msgspec.json.Decoder(_Asked).decode
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_texts: Final = msgspec.json.Decoder(Annotated[list[Text], msgspec.Meta(max_length=INPUTS_MAX)])
_tokens: Final = msgspec.json.Decoder(list[Token])
_rows: Final = msgspec.json.Decoder(Annotated[list[list[Token]], msgspec.Meta(max_length=2_048)])
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def decode_embeddings(body: bytes) -> CompletionRequest:
    """Read and judge a request; raises InvalidRequest naming the field at fault."""
    try:
        if not body.isascii():
            # What passes through unread is not checked by anyone else.
            body.decode()
        fields = _fields(body)
        asked = _asked(body)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unreadable_body(body, "Send a JSON object with `model` and `input`.") from None
    if "messages" in fields:
        raise InvalidRequest(
            "`messages` has no meaning for embeddings",
            param="messages",
            hint="Send what is to be embedded in `input`.",
        )
    if asked.encoding_format not in {None, "float", "base64"}:
        raise InvalidRequest(
            "`encoding_format` is not one of the values it may have",
            param="encoding_format",
            hint="Use float or base64.",
        )
    estimate, most, count = _measure(bytes(asked.input), body)
    has_preferences = "models" in fields or "provider" in fields
    return CompletionRequest(
        model=asked.model,
        is_stream=False,
        wants_usage=False,
        output_tokens_max=0,
        choice_count=1,
        fields=fields,
        traits=RequestFeatures(
            input_tokens=estimate,
            input_tokens_max=most,
            output_tokens_max=None,
            message_count=count,
        ),
        body_bytes=len(body),
        preferences=read_preferences(fields) if has_preferences else NO_PREFERENCES,
    )


def _measure(given: bytes, body: bytes) -> tuple[int, int, int]:
    """Give the estimated tokens, the most there can be, and the number of inputs."""
    first = given[:1]
    if first == b'"' and len(given) > len(b'""'):
        return estimate_json_tokens(len(given), body), len(given) + WRAPPING_TOKENS, 1
    if first == b"[":
        try:
            texts = _texts.decode(given)
        except msgspec.ValidationError:
            return _count_tokens(given)
        if texts:
            wrapping = WRAPPING_TOKENS * len(texts)
            return estimate_json_tokens(len(given), body), len(given) + wrapping, len(texts)
    raise _bad_input()


def _count_tokens(given: bytes) -> tuple[int, int, int]:
    """Count tokens that the client has made itself."""
    rows: list[list[int]] = []
    try:
        rows = [_tokens.decode(given)]
    except msgspec.ValidationError:
        try:
            rows = _rows.decode(given)
        except msgspec.ValidationError:
            raise _bad_input() from None
    if not rows or not all(rows):
        raise _bad_input()
    count = sum(map(len, rows))
    if count > TOKENS_MAX:
        raise _bad_input()
    return count, count + WRAPPING_TOKENS * len(rows), len(rows)


def _bad_input() -> InvalidRequest:
    return InvalidRequest(
        "`input` must be a text, or a list of texts or of lists of tokens, none of them empty",
        param="input",
        hint=f"Send at most {INPUTS_MAX} inputs and {TOKENS_MAX} tokens at once.",
    )


def encode_embeddings(asked: CompletionRequest, upstream_model: str) -> bytes:
    """Write the request for an upstream."""
    fields: dict[str, object] = {
        name: raw for name, raw in asked.fields.items() if name not in OURS and name != "user"
    }
    fields["model"] = upstream_model
    return _encode(fields)


def read_embeddings(body: bytes) -> Answer:
    """Read what a whole answer says of itself."""
    try:
        answer = _fields(body)
    except (ValueError, RecursionError):
        return Answer(failure=read_inner_error(b'"the answer is no JSON object"'))
    error = bytes(answer.get("error", b"null"))
    data = bytes(answer.get("data", b""))
    if error != b"null" or data[:1] != b"[" or not data[1:-1].strip():
        return Answer(failure=read_inner_error(error))
    usage = read_usage(bytes(answer.get("usage", b"null")))
    if usage is not None:
        usage = TokenUsage(
            prompt_tokens=usage.prompt_tokens, reported_cost_pico=usage.reported_cost_pico
        )
        if not usage.prompt_tokens:
            usage = None
    return Answer(usage=usage, has_content=False, finish_reason="stop")


def as_asked(body: bytes, asked: CompletionRequest, usage: TokenUsage) -> bytes:
    """Write floats or base64, whichever was asked for, where the provider did otherwise.

    `usage` is what is charged; it is shown where the provider did not say it.
    """
    wish = bytes(asked.fields.get("encoding_format", b'"float"')).strip(b'"')
    wants_base64 = wish == b"base64"
    is_text = b'"embedding":"' in body or b'"embedding": "' in body
    if not (wants_base64 or is_text or usage.is_estimated):
        return body
    answer = _any(body)
    if usage.is_estimated:
        count = usage.prompt_tokens
        answer["usage"] = {"prompt_tokens": count, "total_tokens": count}
    for row in objects(answer["data"]):
        vector = row.get("embedding")
        if wants_base64 and isinstance(vector, list):
            row["embedding"] = _packed(vector)
        elif not wants_base64 and isinstance(vector, str):
            row["embedding"] = _floats(vector)
    return _encode(answer)


def _packed(vector: list[Any]) -> Any:
    try:
        packed = struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError):
        return vector
    return base64.b64encode(packed).decode("ascii")


def _floats(text: str) -> Any:
    try:
        packed = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(packed) // FLOAT_BYTES}f", packed))
    except (ValueError, struct.error):
        return text

"""Whole chat answers of the shape that nearly all have: read by two passes in C, written by one.

Whatever differs in a single member is left to `chat_answer`, which reads any shape. What is passed
on is the provider's own text of its choices, so nothing can be lost of it.
"""

from typing import Annotated, Final, Literal

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_stream import CREATED_MAX
from jusinfer.wire.upstream.openai_chat import Answer, shown_usage
from jusinfer.wire.upstream.usage_shapes import TOKENS_MAX, UsualUsage, usual_usage

Some = Annotated[int, msgspec.Meta(gt=0, le=TOKENS_MAX)]
_encode: Final = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    reasoning: None = None
    annotations: Annotated[list[None], msgspec.Meta(max_length=0)] | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: None = None
    native_finish_reason: str | None = None


class _Counts(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: Some
    completion_tokens: Some
    total_tokens: Some


class UsualAnswer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An answer of one text, with the counts that are charged."""

    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, msgspec.Meta(gt=0, le=CREATED_MAX)]
    model: Annotated[str, msgspec.Meta(min_length=1)]
    choices: msgspec.Raw
    usage: msgspec.Raw
    system_fingerprint: str | msgspec.UnsetType | None = msgspec.UNSET
    service_tier: str | msgspec.UnsetType | None = msgspec.UNSET
    provider: str | msgspec.UnsetType = msgspec.UNSET


_counts: Final = msgspec.json.Decoder(_Counts).decode
_usage: Final = msgspec.json.Decoder(UsualUsage).decode
_read: Final = msgspec.json.Decoder(UsualAnswer).decode
_read_choices: Final = msgspec.json.Decoder(tuple[_Choice]).decode


def read_usual(body: bytes) -> Answer | None:
    """Judge an answer of the usual shape; None for any other."""
    try:
        usual = _read(body)
        choice = _read_choices(usual.choices)[0]
        usage = _plain_usage(usual.usage) or usual_usage(_usage(usual.usage))
    except (ValueError, RecursionError):
        return None
    if usage is None or not usage.prompt_tokens or not usage.completion_tokens:
        return None
    return Answer(
        usage,
        choice.finish_reason,
        None,
        True,  # noqa: FBT003 (has_content; by name it costs a third more)
        0,
    )


def _plain_usage(raw: msgspec.Raw) -> TokenUsage | None:
    """Read a usage of three counts that add up; None for any other."""
    try:
        counts = _counts(raw)
    except msgspec.ValidationError:
        return None
    if counts.total_tokens != counts.prompt_tokens + counts.completion_tokens:
        return None
    return TokenUsage(counts.prompt_tokens, 0, 0, counts.completion_tokens)


def write_usual(body: bytes, ident: AnswerIdent, usage: TokenUsage, cost_usd: str) -> bytes | None:
    """Give an answer of the usual shape our id, usage and cost; None for any other."""
    if not ident.takes_function_call and b'"function_call"' in body:
        return None
    try:
        usual = _read(body)
        is_plain = _plain_usage(usual.usage) == usage
    except (ValueError, RecursionError):
        return None
    if is_plain:
        shown = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"cost":%b}' % (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens + usage.completion_tokens,
            cost_usd.encode("ascii"),
        )
    else:
        shown = _encode(shown_usage(usage, bytes(usual.usage), cost_usd))
    rest = b""
    for name in ("system_fingerprint", "service_tier", "provider"):
        value = getattr(usual, name)
        if value is not msgspec.UNSET:
            rest += b',"%b":%b' % (name.encode("ascii"), _encode(value))
    return (
        b'{"id":"%b","object":"chat.completion","created":%d,"model":%b,"choices":%b%b,"usage":%b}'
    ) % (
        ident.chat_id.encode("ascii"),
        usual.created,
        _encode(usual.model),
        usual.choices,
        rest,
        shown,
    )

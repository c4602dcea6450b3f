"""Whole chat answers of the shape that nearly all have: read by two passes in C, written by one.

Whatever differs in a single member is left to `chat_answer`, which reads any shape. What is passed
on is the provider's own text of its choices, so nothing can be lost of it.
"""

from typing import Annotated, Final, Literal

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.chat_stream import CREATED_MAX
from jusinfer.wire.openai_chat import Answer
from jusinfer.wire.usage_shapes import TOKENS_MAX

Some = Annotated[int, msgspec.Meta(gt=0, le=TOKENS_MAX)]
_encode: Final = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


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
    usage: _Counts
    system_fingerprint: str | msgspec.UnsetType | None = msgspec.UNSET


_read: Final = msgspec.json.Decoder(UsualAnswer).decode
_read_choices: Final = msgspec.json.Decoder(tuple[_Choice]).decode


def read_usual(body: bytes) -> Answer | None:
    """Judge an answer of the usual shape; None for any other."""
    try:
        usual = _read(body)
        choice = _read_choices(usual.choices)[0]
    except (ValueError, RecursionError):
        return None
    counts = usual.usage
    if counts.total_tokens != counts.prompt_tokens + counts.completion_tokens:
        return None
    return Answer(
        TokenUsage(counts.prompt_tokens, 0, 0, counts.completion_tokens),
        choice.finish_reason,
        None,
        True,  # noqa: FBT003 (has_content; by name it costs a third more)
        0,
    )


def write_usual(body: bytes, ident: AnswerIdent, usage: TokenUsage, cost_usd: str) -> bytes | None:
    """Give an answer of the usual shape our id, usage and cost; None for any other."""
    has_old_call = not ident.takes_function_call and b'"function_call"' in body
    if has_old_call or usage != TokenUsage(usage.prompt_tokens, 0, 0, usage.completion_tokens):
        return None
    try:
        usual = _read(body)
    except (ValueError, RecursionError):
        return None
    rest = b""
    if usual.system_fingerprint is not msgspec.UNSET:
        rest = b',"system_fingerprint":%b' % _encode(usual.system_fingerprint)
    return b'{"id":"%b","object":"chat.completion","created":%d,"model":%b,"choices":%b%b,%b}' % (
        ident.chat_id.encode("ascii"),
        usual.created,
        _encode(usual.model),
        usual.choices,
        rest,
        b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"cost":%b}'
        % (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens + usage.completion_tokens,
            cost_usd.encode("ascii"),
        ),
    )

"""Reads a whole chat completion loosely and gives it in the strict form of OpenAI's types."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.failures import MALFORMED
from jusinfer.domain.inference.stream_state import ChunkMalformed, estimate_completion_tokens
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_calls import whole_calls
from jusinfer.wire.upstream.chat_choice import CHOICES_MAX, Choice, final_reason, read_choice
from jusinfer.wire.upstream.chat_stream import (
    CREATED_MAX,
    DROPPED_REQUEST_HEADERS,
    NOTE_BYTES,
    with_note,
)
from jusinfer.wire.upstream.lenient_text import (
    NULL,
    Members,
    object_of,
    plain,
    rows_of,
    whole_number,
)
from jusinfer.wire.upstream.openai_chat import Answer, decode_answer, shown_usage
from jusinfer.wire.upstream.usual_answer import read_usual, write_usual

SEED_BYTES: Final = 16
_encode: Final = msgspec.json.Encoder().encode


def read_answer(body: bytes, *, is_chat: bool = True) -> tuple[Answer, bytes]:
    """Judge a whole answer that came with status 200; gives it in the strict form too.

    `is_chat` says that its client speaks Chat Completions: others cannot take images and sound.
    """
    usual = read_usual(body)
    if usual is not None:
        return usual, body
    try:
        members = object_of(body)
    except ChunkMalformed:
        return decode_answer(body), body
    members["created"] = msgspec.Raw(
        b"%d" % (whole_number(members.get("created"), CREATED_MAX) or 0)
    )
    members["model"] = msgspec.Raw(_encode(plain(members.get("model"))))
    if bytes(members.get("error", NULL)) != b"null":
        answer = decode_answer(body)
        if answer.failure is not None:
            return answer, body
    try:
        choices = _choices(members)
        if len(choices) == 1:
            choices[0].index = 0
        seed = hashlib.blake2b(body, digest_size=SEED_BYTES).digest()
        rows = [_row(choice, seed, is_chat=is_chat) for choice in choices]
    except ChunkMalformed:
        return Answer(failure=MALFORMED), body
    members["choices"] = msgspec.Raw(_encode(rows))
    strict = _encode(members)
    answer = decode_answer(strict)
    if answer.failure is None:
        _judge(answer, choices, is_chat=is_chat)
    return answer, strict


def _choices(members: Members) -> list[Choice]:
    raws = rows_of(members.get("choices", NULL))
    if len(raws) > CHOICES_MAX:
        raise ChunkMalformed("an answer has more choices than can be told apart")
    return [read_choice(raw, place) for place, raw in enumerate(raws)]


def _row(choice: Choice, seed: bytes, *, is_chat: bool) -> dict[str, object]:
    message = choice.delta
    calls = choice.calls
    if not is_chat:
        message.pop("images", None)
        message.pop("audio", None)
        if choice.has_media and (choice.text_bytes or calls):
            message["content"] = with_note(message.get("content"))
            choice.text_bytes += NOTE_BYTES
        old = message.pop("function_call", None)
        calls = calls if old is None else [*calls, msgspec.Raw(_encode({"function": old}))]
    elif choice.has_function_call:
        choice.text_bytes += choice.function_bytes
    message.pop("tool_calls", None)
    if calls:
        made, counted = whole_calls(calls, b"%b/%d" % (seed, choice.index))
        message["tool_calls"] = made
        choice.text_bytes += counted
        choice.has_parts = True
    reason = choice.reason
    if reason is not None or choice.text_bytes or choice.has_parts:
        # An answer that says something and gives no reason has come to its end all the same.
        reason = final_reason(
            reason or "stop",
            has_calls=bool(calls),
            has_function_call=is_chat and choice.has_function_call,
        )
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": None, **message},
        "finish_reason": reason,
        "logprobs": None,
        **choice.members,
    }


def _judge(answer: Answer, choices: list[Choice], *, is_chat: bool) -> None:
    """Count what is delivered, and nothing else."""
    size = sum(choice.text_bytes for choice in choices)
    has_media = any(choice.has_media for choice in choices)
    has_parts = any(choice.has_parts for choice in choices)
    answer.has_content = bool(size) or has_parts or (is_chat and has_media)
    answer.estimated_tokens = estimate_completion_tokens(0, size)
    if has_media and not answer.has_content:
        answer.failure = DROPPED_REQUEST_HEADERS


def head_of(answer: Mapping[str, Any], ident: AnswerIdent) -> AnswerIdent:
    """Give an answer's own time and model where it has them, with our id."""
    created, model = answer.get("created"), answer.get("model")
    return AnswerIdent(
        ident.completion_id,
        created if isinstance(created, int) and created > 0 else ident.created,
        model if isinstance(model, str) and model else ident.model,
    )


def named_answer(body: bytes, ident: AnswerIdent, usage: TokenUsage, cost_usd: str) -> bytes:
    """Give a strict answer our id, and the usage and cost that are charged."""
    usual = write_usual(body, ident, usage, cost_usd)
    if usual is not None:
        return usual
    members = object_of(body)
    head: dict[str, object] = {
        "id": ident.chat_id,
        "object": "chat.completion",
        "created": whole_number(members.get("created"), CREATED_MAX) or ident.created,
        "model": plain(members.get("model")) or ident.model,
    }
    members.pop("x_groq", None)
    if not ident.takes_function_call:
        members["choices"] = _modern(members.get("choices", NULL), ident)
    raw = bytes(members.get("usage", NULL))
    rest = {name: value for name, value in members.items() if name not in head and name != "usage"}
    return _encode(head | rest | {"usage": shown_usage(usage, raw, cost_usd)})


def _modern(raw: msgspec.Raw, ident: AnswerIdent) -> msgspec.Raw:
    """Give choices whose calls of the old form are calls of the new one."""
    if b'"function_call"' not in bytes(raw):
        return raw
    rows: list[dict[str, object]] = []
    for row in map(object_of, rows_of(raw)):
        made: dict[str, object] = dict(row)
        message = object_of(row["message"])
        old = message.pop("function_call", None)
        if old is not None:
            calls = [*rows_of(message.get("tool_calls", NULL)), _encode({"function": old})]
            seed = b"%b/%d" % (ident.completion_id.encode(), len(rows))
            new, _ = whole_calls([msgspec.Raw(call) for call in calls], seed)
            made["message"] = {**message, "tool_calls": new}
            reason = plain(row.get("finish_reason"))
            made["finish_reason"] = final_reason(reason, has_calls=True, has_function_call=False)
        rows.append(made)
    return msgspec.Raw(_encode(rows))

"""Anthropic Messages as clients speak it to us."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.inbound.anthropic.blocks import (
    content_of,
    message_id,
    stop_reason_of,
    usage_members,
)
from jusinfer.wire.inbound.anthropic.request import read_messages_request
from jusinfer.wire.inbound.anthropic.stop_sequence import STOP_SEQUENCE, stopped_by
from jusinfer.wire.inbound.anthropic.stream_writer import MessageWriter
from jusinfer.wire.interfaces import ChatForm, ClientStream
from jusinfer.wire.lenient_json import first_choice, member, text
from jusinfer.wire.tool_names import ClientNames

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


class AnthropicClientApi:
    """Messages, in and out."""

    name = "anthropic"

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a Messages request into a chat request; raises InvalidRequest."""
        return read_messages_request(body)

    def to_counted(self, body: bytes) -> ChatForm:
        """Do the same for a request whose tokens are only to be counted."""
        return read_messages_request(body, needs_budget=False)

    def answer(
        self,
        chat_answer: bytes,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Turn a chat completion into a message."""
        answer = _any(chat_answer)
        choice = first_choice(answer)
        message = member(choice.get("message"))
        native = choice.get("native_finish_reason")
        said = (choice.get("stop_reason"), choice.get("matched_stop"))
        stopped = stopped_by(asked_body, said, native)
        reason = stop_reason_of(
            choice.get("finish_reason"),
            native,
            is_refused=bool(text(message.get("refusal"))),
            has_calls=bool(message.get("tool_calls")),
            is_by_word=stopped.is_by_word,
        )
        made = {
            "id": message_id(ident),
            "type": "message",
            "role": "assistant",
            "model": text(answer.get("model")) or ident.model,
            "content": content_of(message, ClientNames(asked_body)),
            "stop_reason": reason,
            "stop_sequence": stopped.word if reason == STOP_SEQUENCE else None,
            "usage": usage_members(usage) | {"cost": msgspec.Raw(cost.encode("ascii"))},
        }
        return _encode(made)

    def stream(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Begin to write a stream."""
        return MessageWriter(ident, asked_body)

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in Anthropic's shape."""
        kind = ERROR_TYPES.get(status)
        if kind is None:
            kind = "invalid_request_error" if status in CLIENT_ERRORS else "api_error"
        error = {"type": kind, "message": message, "code": code, "param": param}
        return _encode({"type": "error", "error": error, "request_id": request_id})

"""Anthropic Messages as callers speak it to us."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.anthropic_writer import MessageWriter, stop_reason_of, usage_members
from jusinfer.wire.call_ids import portable
from jusinfer.wire.messages_request import read_messages_request
from jusinfer.wire.pivot import ChatForm, SurfaceStream
from jusinfer.wire.tolerant import first_choice, member, objects, text

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


class AnthropicSurface:
    """Messages, in and out."""

    name = "anthropic"

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a Messages request into a chat request; raises InvalidRequest."""
        return read_messages_request(body)

    def to_counted(self, body: bytes) -> ChatForm:
        """Do the same for a request whose tokens are only to be counted."""
        return read_messages_request(body, needs_budget=False)

    def answer(self, chat_answer: bytes, asked_body: bytes, usage: TokenUsage, cost: str) -> bytes:
        """Turn a chat completion into a message."""
        del asked_body
        answer = _any(chat_answer)
        choice = first_choice(answer)
        message = member(choice.get("message"))
        made = {
            "id": _message_id(answer.get("id")),
            "type": "message",
            "role": "assistant",
            "model": text(answer.get("model")),
            "content": _content(message),
            "stop_reason": stop_reason_of(choice.get("finish_reason")),
            "stop_sequence": None,
            "usage": usage_members(usage) | {"cost": msgspec.Raw(cost.encode("ascii"))},
        }
        return _encode(made)

    def stream(self, asked_body: bytes) -> SurfaceStream:
        """Begin to write a stream."""
        del asked_body
        return MessageWriter()

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in Anthropic's shape."""
        kind = ERROR_TYPES.get(status)
        if kind is None:
            kind = "invalid_request_error" if status in CLIENT_ERRORS else "api_error"
        error = {"type": kind, "message": message, "code": code, "param": param}
        return _encode({"type": "error", "error": error, "request_id": request_id})


def _content(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = _thoughts(message)
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text(part.get("text")) for part in objects(content))
    said = text(content) or text(message.get("refusal"))
    if said:
        blocks.append({"type": "text", "text": said})
    for call in objects(message.get("tool_calls")):
        function = member(call.get("function")) or member(call.get("custom"))
        blocks.append(
            {
                "type": "tool_use",
                "id": portable(text(call.get("id"))),
                "name": text(function.get("name")),
                "input": _input(function),
            }
        )
    return blocks


def _input(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments", function.get("input"))
    if isinstance(given, dict):
        return given
    if not given:
        return {}
    try:
        value = _any(str(given).encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": given}


def _thoughts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for detail in objects(message.get("reasoning_details")):
        said, signature = text(detail.get("text")), text(detail.get("signature"))
        if detail.get("type") == "reasoning.encrypted":
            blocks.append({"type": "redacted_thinking", "data": text(detail.get("data"))})
        elif said or signature:
            blocks.append({"type": "thinking", "thinking": said, "signature": signature})
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    if not blocks and thought:
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    return blocks


def _message_id(chat_id: object) -> str:
    text = chat_id if isinstance(chat_id, str) else ""
    return text if text.startswith("msg_") else f"msg_{text.removeprefix('chatcmpl-')}"

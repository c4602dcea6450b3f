"""OpenAI's Responses as clients speak it to us; nothing of it is ever stored."""

from typing import Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.errors import type_of
from jusinfer.wire.inbound.responses.output import finished, output_of, response_of
from jusinfer.wire.inbound.responses.request import read_responses_request
from jusinfer.wire.inbound.responses.stream_writer import ResponseWriter
from jusinfer.wire.inbound.responses.tools import names_of
from jusinfer.wire.interfaces import ChatForm, ClientStream
from jusinfer.wire.lenient_json import first_choice
from jusinfer.wire.upstream.chat_answer import head_of

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class ResponsesClientApi:
    """Responses, in and out."""

    name = "responses"

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a Responses request into a chat request; raises InvalidRequest."""
        return read_responses_request(body)

    def answer(
        self,
        chat_answer: bytes,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Turn a chat completion into a response."""
        answer = _any(chat_answer)
        choice = first_choice(answer)
        head = head_of(answer, ident)
        response = response_of(asked_body, ident, head.created, head.model)
        reason = choice.get("finish_reason")
        response["output"] = output_of(choice, ident, names_of(asked_body))
        return _encode(finished(response, reason, usage, cost))

    def stream(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Begin to write a stream."""
        return ResponseWriter(asked_body, ident)

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in OpenAI's shape."""
        error = {"message": message, "type": type_of(status), "param": param, "code": code}
        return _encode({"error": error | {"request_id": request_id}})

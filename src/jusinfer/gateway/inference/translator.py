"""How one attempt speaks: the client API its client uses and the provider API its upstream uses.

Where both are the same, bytes pass: nothing is read but what money and honesty need.
"""

from typing import ClassVar, Final

import msgspec

from jusinfer.domain.errors import ContextTooLong, InvalidRequest, JusinferError
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.stream_state import ChunkMalformed, UpstreamFailure
from jusinfer.domain.sender import Stamp
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.error_kinds import prompt_too_long
from jusinfer.wire.errors import render, status_of
from jusinfer.wire.inbound.embeddings import as_asked, encode_embeddings, read_embeddings
from jusinfer.wire.inbound.member_names import in_client_words
from jusinfer.wire.inbound.openai_chat import encode_request, with_sender
from jusinfer.wire.interfaces import (
    ClientApi,
    ClientStream,
    Headers,
    ProviderApi,
    ProviderStream,
    StreamDecoder,
)
from jusinfer.wire.member_table import judge
from jusinfer.wire.passthrough.anthropic import (
    NativeDecoder,
    NativeReader,
    NativeWriter,
    native_answer,
)
from jusinfer.wire.passthrough.anthropic_request import native_request
from jusinfer.wire.passthrough.responses_answer import read_response, whole_response
from jusinfer.wire.passthrough.responses_request import Target
from jusinfer.wire.passthrough.responses_request import native_request as native_response
from jusinfer.wire.passthrough.responses_stream import ResponsesRelay, response_as_events
from jusinfer.wire.upstream.chat_answer import named_answer, read_answer
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.errors import read_error
from jusinfer.wire.upstream.openai_chat import Answer, answer_as_events
from jusinfer.wire.upstream.plain_chat import functions_only, translated_chat
from jusinfer.wire.validation_errors import unreadable


class Translator:
    """Chat Completions on both sides; the others change what differs."""

    __slots__ = ()
    # Whether the client's own headers mean something to the provider.
    passes_headers: ClassVar[bool] = False

    def encode(
        self,
        asked: CompletionRequest,
        body: bytes,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        """Write the request for the upstream; raises InvalidRequest."""
        del body
        if asked.notes:
            judge(asked.notes, "chat")
        try:
            return encode_request(
                asked,
                upstream_model=upstream_model,
                output_tokens_max=output_tokens_max,
                flags=flags,
                stamp=stamp,
            )
        except (msgspec.DecodeError, RecursionError):
            raise unreadable(asked.fields) from None

    def failure(self, status: int, headers: Headers, body: bytes, wall: float) -> UpstreamFailure:
        """Judge a refusal."""
        return read_error(status, headers, body, wall)

    def answer(self, body: bytes) -> tuple[Answer, bytes]:
        """Judge a whole answer; gives it in the strict canonical form too."""
        return read_answer(body)

    def whole(
        self,
        body: bytes,
        asked: CompletionRequest,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Give a whole answer as the client gets it."""
        del asked, asked_body
        return named_answer(body, ident, usage, cost)

    def as_events(self, body: bytes) -> list[bytes]:
        """Turn a good whole answer into events, for an upstream that did not stream."""
        return answer_as_events(body)

    def reader(self, ident: AnswerIdent) -> ProviderStream | None:
        """Begin to translate a stream; None when its events pass."""
        del ident
        return None

    def decoder(self, ident: AnswerIdent) -> StreamDecoder:
        """Give what reads the events that are relayed."""
        return ChatStreamDecoder(ident)

    def writer(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream | None:
        """Begin to write a stream in the client's shape; None when it is Chat Completions."""
        del asked_body, ident
        return None


class CrossFormatTranslator(Translator):
    """Another client API, another provider API, or both, by way of the canonical form."""

    __slots__ = ("_client_api", "_provider_api")

    def __init__(self, client_api: ClientApi | None, provider_api: ProviderApi | None) -> None:
        self._client_api = client_api
        self._provider_api = provider_api

    def encode(
        self,
        asked: CompletionRequest,
        body: bytes,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        """Write the request in the upstream's provider API; raises InvalidRequest."""
        del body
        judge(asked.notes, "chat" if self._provider_api is None else self._provider_api.name)
        try:
            return self._encoded(asked, upstream_model, output_tokens_max, flags, stamp)
        except (msgspec.DecodeError, RecursionError):
            raise unreadable(asked.fields) from None
        except InvalidRequest as error:
            if self._client_api is None:
                raise
            raise in_client_words(error, self._client_api.name) from None

    def _encoded(
        self,
        asked: CompletionRequest,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        provider_api = self._provider_api
        if provider_api is None:
            return encode_request(
                translated_chat(asked, flags),
                upstream_model=upstream_model,
                output_tokens_max=output_tokens_max,
                flags=flags,
                stamp=stamp,
            )
        if self._client_api is not None:
            asked = functions_only(asked)
        return provider_api.encode(
            with_sender(asked, stamp, flags),
            upstream_model=upstream_model,
            output_tokens_max=output_tokens_max,
            flags=flags,
        )

    def failure(self, status: int, headers: Headers, body: bytes, wall: float) -> UpstreamFailure:
        """Judge a refusal in the upstream's provider API."""
        if self._provider_api is None:
            return read_error(status, headers, body, wall)
        return self._provider_api.failure(status, headers, body, wall)

    def answer(self, body: bytes) -> tuple[Answer, bytes]:
        """Translate a whole answer, then judge it."""
        is_chat = self._client_api is None
        if self._provider_api is None:
            return read_answer(body, is_chat=is_chat)
        try:
            neutral = self._provider_api.answer(body)
        except ChunkMalformed:
            return Answer(failure=NOT_AN_ANSWER), body
        return read_answer(neutral, is_chat=is_chat)

    def whole(
        self,
        body: bytes,
        asked: CompletionRequest,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Give a whole answer in the client's shape."""
        if self._client_api is None:
            return super().whole(body, asked, asked_body, usage, cost, ident)
        return self._client_api.answer(body, asked_body, usage, cost, ident)

    def reader(self, ident: AnswerIdent) -> ProviderStream | None:
        """Begin to read the upstream's provider API."""
        return None if self._provider_api is None else self._provider_api.stream(ident)

    def decoder(self, ident: AnswerIdent) -> StreamDecoder:
        """Give what reads the canonical form of the events that are written."""
        return ChatStreamDecoder(ident, is_chat=self._client_api is None)

    def writer(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream | None:
        """Begin to write the client's shape."""
        return None if self._client_api is None else self._client_api.stream(asked_body, ident)


class MessagesPassthrough(CrossFormatTranslator):
    """Anthropic Messages on both sides: bytes pass."""

    __slots__ = ()
    passes_headers: ClassVar[bool] = True

    def encode(
        self,
        asked: CompletionRequest,
        body: bytes,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        """Write the client's own request; the upstream judges it."""
        judge(asked.notes, "anthropic")
        return native_request(asked, body, upstream_model, output_tokens_max, flags, stamp)

    def answer(self, body: bytes) -> tuple[Answer, bytes]:
        """Judge a whole answer in the canonical form, and pass it as it came."""
        return super().answer(body)[0], body

    def whole(
        self,
        body: bytes,
        asked: CompletionRequest,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Give the upstream's own answer under our id, with the usage that is charged."""
        del asked, asked_body
        return native_answer(body, ident, usage, cost)

    def reader(self, ident: AnswerIdent) -> ProviderStream:
        """Pass events."""
        del ident
        return NativeReader()

    def decoder(self, ident: AnswerIdent) -> StreamDecoder:
        """Read usage and ends from events as they pass."""
        del ident
        return NativeDecoder()

    def writer(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Frame events as they came, the last with the usage that is charged."""
        del asked_body
        return NativeWriter(ident)


class ResponsesPassthrough(CrossFormatTranslator):
    """Responses on both sides: bytes pass. One for each attempt, as a stream has a state."""

    __slots__ = ("_is_reasoning", "_relay", "_response_id")

    def __init__(self, client_api: ClientApi, completion_id: str, *, is_reasoning: bool) -> None:
        super().__init__(client_api, None)
        self._response_id = f"resp_{completion_id}"
        self._is_reasoning = is_reasoning
        self._relay = ResponsesRelay(self._response_id, b"{}")

    def encode(
        self,
        asked: CompletionRequest,
        body: bytes,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        """Write the client's own request; raises InvalidRequest for what is never sent on."""
        judge(asked.notes, "responses")
        target = Target(upstream_model, output_tokens_max, flags, stamp, self._is_reasoning)
        return native_response(asked, body, target)

    def answer(self, body: bytes) -> tuple[Answer, bytes]:
        """Judge a whole answer."""
        return read_response(body), body

    def whole(
        self,
        body: bytes,
        asked: CompletionRequest,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Give the upstream's own answer, with our id and what is charged."""
        del asked, ident
        return whole_response(body, self._response_id, asked_body, usage, cost)

    def as_events(self, body: bytes) -> list[bytes]:
        """Turn a good whole answer into events."""
        return response_as_events(body)

    def reader(self, ident: AnswerIdent) -> ProviderStream:
        """Pass events."""
        del ident
        return self._relay

    def decoder(self, ident: AnswerIdent) -> StreamDecoder:
        """Read content, usage and ends from events as they pass."""
        del ident
        return self._relay

    def writer(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Frame events as they came; comes before the reader and the decoder of a stream."""
        del ident
        self._relay = ResponsesRelay(self._response_id, asked_body)
        return self._relay


class EmbeddingsTranslator(Translator):
    """Embeddings, which are answered whole."""

    __slots__ = ()

    def encode(
        self,
        asked: CompletionRequest,
        body: bytes,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
        stamp: Stamp,
    ) -> bytes:
        """Write the request for the upstream."""
        del body, output_tokens_max, flags, stamp
        return encode_embeddings(asked, upstream_model)

    def answer(self, body: bytes) -> tuple[Answer, bytes]:
        """Judge a whole answer."""
        return read_embeddings(body), body

    def whole(
        self,
        body: bytes,
        asked: CompletionRequest,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Give vectors as they were asked for."""
        del asked_body, cost, ident
        return as_asked(body, asked, usage)


EMBEDDINGS_TRANSLATOR: Final = EmbeddingsTranslator()
NOT_AN_ANSWER: Final = UpstreamFailure(
    code="not_an_answer", message="the upstream's answer is no completion", status=502
)
CHAT_TRANSLATOR: Final = Translator()


def client_message(client_api: ClientApi | None, error: JusinferError) -> str:
    """Give the words of an error, those that Anthropic's clients look for where it is spoken."""
    if (
        client_api is None
        or client_api.name != "anthropic"
        or not isinstance(error, ContextTooLong)
    ):
        return error.message
    return f"{prompt_too_long(error.asked_tokens, error.context_tokens)}."


def render_error(
    client_api: ClientApi | None, error: JusinferError, request_id: str
) -> tuple[int, bytes, bytes]:
    """Give status, header lines and body of an error in the client's wire format."""
    status, block, body = render(error, request_id)
    if client_api is None:
        return status, block, body
    message = client_message(client_api, error)
    if error.hint:
        message = f"{message.rstrip('.')}. {error.hint}"
    return (
        status_of(error),
        block,
        client_api.error(status, error.code, message, error.param, request_id),
    )

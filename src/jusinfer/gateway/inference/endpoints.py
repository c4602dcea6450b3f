"""The paths by which completions come in, with the client API that each of them speaks."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.gateway.inference.translator import (
    CHAT_TRANSLATOR,
    EMBEDDINGS_TRANSLATOR,
    CrossFormatTranslator,
    MessagesPassthrough,
    ResponsesPassthrough,
    Translator,
)
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.embeddings import decode_embeddings
from jusinfer.wire.inbound.member_names import in_client_words
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.inbound.responses.client_api import ResponsesClientApi
from jusinfer.wire.inbound.text_completions import TextCompletionsClientApi
from jusinfer.wire.interfaces import ClientApi, ProviderApi
from jusinfer.wire.member_table import judge
from jusinfer.wire.passthrough.anthropic_request import beta_line

CHAT_PATH: Final = "/chat/completions"
TURNS: Final = ("messages[", "input[")
EMBEDDINGS_PATH: Final = "/embeddings"
RESPONSES_PATH: Final = "/responses"


class Endpoint(msgspec.Struct, frozen=True):
    """One path; `client_api` is None where the canonical form itself is spoken."""

    decode: Callable[[bytes], CompletionRequest]
    client_api: ClientApi | None = None
    is_embedding: bool = False
    passed_header: bytes = b""

    def header_lines(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return what of a request's head belongs to the request; raises InvalidRequest."""
        if not self.passed_header:
            return b""
        return beta_line([value for name, value in headers if name == self.passed_header])

    def translator(
        self,
        provider_api: ProviderApi | None,
        *,
        flags: tuple[str, ...] = (),
        completion_id: str = "",
        is_reasoning: bool = False,
    ) -> Translator:
        """Return the translator between this endpoint and a provider API."""
        if self.is_embedding:
            return EMBEDDINGS_TRANSLATOR
        if self.client_api is not None and self._speaks_responses(provider_api, flags):
            return ResponsesPassthrough(self.client_api, completion_id, is_reasoning=is_reasoning)
        if self.client_api is None and provider_api is None:
            return CHAT_TRANSLATOR
        if (
            self.client_api is not None
            and provider_api is not None
            and self.client_api.name == provider_api.name
        ):
            return MessagesPassthrough(self.client_api, provider_api)
        return CrossFormatTranslator(self.client_api, provider_api)

    def path(
        self,
        provider_api: ProviderApi | None,
        upstream_model: str,
        *,
        is_stream: bool,
        flags: tuple[str, ...] = (),
    ) -> str:
        """Give the path below the upstream's base."""
        if self.is_embedding:
            return EMBEDDINGS_PATH
        if self._speaks_responses(provider_api, flags):
            return RESPONSES_PATH
        if provider_api is None:
            return CHAT_PATH
        return provider_api.path(upstream_model, is_stream=is_stream)

    def _speaks_responses(self, provider_api: ProviderApi | None, flags: tuple[str, ...]) -> bool:
        return self.client_api is RESPONSES and provider_api is None and "responses" in flags


def via_chat(client_api: ClientApi) -> Callable[[bytes], CompletionRequest]:
    """Read requests that come in the shape of a client API."""

    def decode(body: bytes) -> CompletionRequest:
        chat = client_api.to_chat(body)
        try:
            asked = decode_request(chat.body)
        except InvalidRequest as error:
            for note in chat.notes if error.param == "messages" else ():
                # What is passed over in translating may be all that there was.
                if note.path.startswith(TURNS):
                    judge((note,), next(iter(note.columns)))
            raise in_client_words(error, client_api.name) from None
        asked.notes = chat.notes
        asked.has_foreign_turns = chat.has_foreign_turns
        longer = len(body) - len(chat.body)
        if longer > 0:
            # What the translation left out is in the body still, and may be sent as it came.
            traits = asked.traits
            asked.traits = msgspec.structs.replace(
                traits, input_tokens_max=traits.input_tokens_max + longer
            )
        return asked

    return decode


ANTHROPIC: Final = AnthropicClientApi()
COMPLETIONS: Final = TextCompletionsClientApi()
RESPONSES: Final = ResponsesClientApi()
ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "/v1/chat/completions": Endpoint(decode_request),
        "/v1/completions": Endpoint(via_chat(COMPLETIONS), COMPLETIONS),
        "/v1/embeddings": Endpoint(decode_embeddings, is_embedding=True),
        "/v1/messages": Endpoint(via_chat(ANTHROPIC), ANTHROPIC, passed_header=b"anthropic-beta"),
        "/v1/responses": Endpoint(via_chat(RESPONSES), RESPONSES),
    }
)

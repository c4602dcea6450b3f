"""The paths by which completions come in, with the surface that each of them speaks."""

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
from jusinfer.wire.inbound.anthropic.client_api import AnthropicSurface
from jusinfer.wire.inbound.embeddings import decode_embeddings
from jusinfer.wire.inbound.member_names import in_client_words
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.inbound.responses.client_api import ResponsesSurface
from jusinfer.wire.inbound.text_completions import CompletionsSurface
from jusinfer.wire.interfaces import Dialect, Surface
from jusinfer.wire.member_table import judge
from jusinfer.wire.passthrough.anthropic_request import beta_line

CHAT_PATH: Final = "/chat/completions"
TURNS: Final = ("messages[", "input[")
EMBEDDINGS_PATH: Final = "/embeddings"
RESPONSES_PATH: Final = "/responses"


class Endpoint(msgspec.Struct, frozen=True):
    """One path; `surface` is None where the neutral form itself is spoken."""

    decode: Callable[[bytes], CompletionRequest]
    surface: Surface | None = None
    is_embedding: bool = False
    passed_header: bytes = b""

    def header_lines(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return what of a request's head belongs to the request; raises InvalidRequest."""
        if not self.passed_header:
            return b""
        return beta_line([value for name, value in headers if name == self.passed_header])

    def translator(
        self,
        dialect: Dialect | None,
        *,
        quirks: tuple[str, ...] = (),
        completion_id: str = "",
        is_reasoning: bool = False,
    ) -> Translator:
        """Give how an attempt speaks between this endpoint and a dialect with its quirks."""
        if self.is_embedding:
            return EMBEDDINGS_TRANSLATOR
        if self.surface is not None and self._speaks_responses(dialect, quirks):
            return ResponsesPassthrough(self.surface, completion_id, is_reasoning=is_reasoning)
        if self.surface is None and dialect is None:
            return CHAT_TRANSLATOR
        if self.surface is not None and dialect is not None and self.surface.name == dialect.name:
            return MessagesPassthrough(self.surface, dialect)
        return CrossFormatTranslator(self.surface, dialect)

    def path(
        self,
        dialect: Dialect | None,
        upstream_model: str,
        *,
        is_stream: bool,
        quirks: tuple[str, ...] = (),
    ) -> str:
        """Give the path below the upstream's base."""
        if self.is_embedding:
            return EMBEDDINGS_PATH
        if self._speaks_responses(dialect, quirks):
            return RESPONSES_PATH
        if dialect is None:
            return CHAT_PATH
        return dialect.path(upstream_model, is_stream=is_stream)

    def _speaks_responses(self, dialect: Dialect | None, quirks: tuple[str, ...]) -> bool:
        return self.surface is RESPONSES and dialect is None and "responses" in quirks


def via_chat(surface: Surface) -> Callable[[bytes], CompletionRequest]:
    """Read requests that come in the shape of a surface."""

    def decode(body: bytes) -> CompletionRequest:
        chat = surface.to_chat(body)
        try:
            asked = decode_request(chat.body)
        except InvalidRequest as error:
            for note in chat.notes if error.param == "messages" else ():
                # What is passed over in translating may be all that there was.
                if note.path.startswith(TURNS):
                    judge((note,), next(iter(note.columns)))
            raise in_client_words(error, surface.name) from None
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


ANTHROPIC: Final = AnthropicSurface()
COMPLETIONS: Final = CompletionsSurface()
RESPONSES: Final = ResponsesSurface()
ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType(
    {
        "/v1/chat/completions": Endpoint(decode_request),
        "/v1/completions": Endpoint(via_chat(COMPLETIONS), COMPLETIONS),
        "/v1/embeddings": Endpoint(decode_embeddings, is_embedding=True),
        "/v1/messages": Endpoint(via_chat(ANTHROPIC), ANTHROPIC, passed_header=b"anthropic-beta"),
        "/v1/responses": Endpoint(via_chat(RESPONSES), RESPONSES),
    }
)

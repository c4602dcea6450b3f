"""What a client API and a provider API are: translations to and from the canonical form.

The canonical form is OpenAI's Chat Completions JSON. A client API is what clients speak to us, a
provider API what we speak to a provider; neither knows of the other. Both are pure: no clock, no
network.
"""

from typing import Protocol

import msgspec

from jusinfer.domain.inference.request import CompletionRequest, MemberNote
from jusinfer.domain.inference.stream_state import Chunk, UpstreamFailure
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent

Headers = list[tuple[bytes, bytes]]


class ChatForm(msgspec.Struct, frozen=True):
    """A request in canonical form, and what providers of some APIs cannot take of it."""

    body: bytes
    notes: tuple[MemberNote, ...] = ()
    has_foreign_turns: bool = False


class ClientStream(Protocol):
    """One streamed answer on its way to a client."""

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn strict neutral chunks (JSON, unframed) into framed bytes.

        Raises ChunkMalformed for what cannot be written; the stream is then ended as failed.
        """
        ...

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Give the closing events after a good end."""
        ...

    def fail(self, code: str, message: str) -> bytes:
        """Give the one error event that ends a stream which broke after it had begun."""
        ...


class ClientApi(Protocol):
    """How clients speak to us; stateless."""

    name: str

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a client's body into the canonical form; raises InvalidRequest naming the field."""
        ...

    def answer(
        self,
        chat_answer: bytes,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Turn a strict whole answer into the client's shape; `cost` is US dollars as text."""
        ...

    def stream(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Begin a streamed answer to a request."""
        ...

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write the body of an error in the client's wire format."""
        ...


class StreamDecoder(Protocol):
    """Reads the events of one attempt as they are relayed."""

    def decode(self, payload: bytes) -> Chunk:
        """Read one event; raises ChunkMalformed."""
        ...

    def flush(self) -> Chunk | None:
        """Give what is still held at the end of the stream."""
        ...


class ProviderStream(Protocol):
    """One streamed attempt at an upstream."""

    def chunks(self, payload: bytes) -> list[bytes]:
        """Turn the data of one event into neutral chunks; raises ChunkMalformed.

        After the last event of a complete stream `[DONE]` comes last. An error event becomes a
        chunk with a top-level `error` member.
        """
        ...

    def end(self) -> list[bytes]:
        """Give what is left when the body ended as HTTP says; `[DONE]` only after a real end."""
        ...


class ProviderApi(Protocol):
    """How we speak to an upstream; stateless."""

    name: str

    def path(self, upstream_model: str, *, is_stream: bool) -> str:
        """Give the path of a completion below the upstream's base."""
        ...

    def encode(
        self,
        asked: CompletionRequest,
        *,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
    ) -> bytes:
        """Write a request; raises InvalidRequest naming what the provider API cannot express."""
        ...

    def answer(self, body: bytes) -> bytes:
        """Turn a whole good answer into the canonical form with `usage`; raises ChunkMalformed."""
        ...

    def stream(self, ident: AnswerIdent) -> ProviderStream:
        """Begin to read a streamed answer, which is named so."""
        ...

    def failure(self, status: int, headers: Headers, body: bytes, now: float) -> UpstreamFailure:
        """Judge a refusal; `now` is seconds since 1970, for dates."""
        ...

"""Reads chunks in the strict form, as those who write other APIs from them need it."""

from typing import Any, Final

import msgspec

from jusinfer.domain.inference.stream_state import ChunkMalformed
from jusinfer.wire.lenient_json import objects

UNSAID: Final = msgspec.Raw()
NOTHING: Final = frozenset({b"", b"null", b'""', b"[]"})


class StrictFunction(msgspec.Struct, gc=False):
    """A function, or a custom tool, that is called; its arguments are a JSON string."""

    name: str = ""
    arguments: msgspec.Raw = UNSAID
    input: msgspec.Raw = UNSAID


class StrictCall(msgspec.Struct, gc=False):
    """What a delta adds to one call; id, type and name come with the first."""

    index: int
    id: str = ""
    function: StrictFunction | None = None
    custom: StrictFunction | None = None
    extra_content: msgspec.Raw = UNSAID


class StrictDelta(msgspec.Struct, gc=False):
    """What a chunk adds to one choice."""

    content: msgspec.Raw = UNSAID
    refusal: msgspec.Raw = UNSAID
    reasoning_content: msgspec.Raw = UNSAID
    reasoning: msgspec.Raw = UNSAID
    reasoning_details: msgspec.Raw = UNSAID
    annotations: msgspec.Raw = UNSAID
    tool_calls: list[StrictCall] | None = None


class StrictChoice(msgspec.Struct, gc=False):
    """One choice of a chunk."""

    index: int
    delta: StrictDelta
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    native_finish_reason: msgspec.Raw = UNSAID
    # The word that ended the answer, by vLLM's name and by SGLang's.
    stop_reason: msgspec.Raw = UNSAID
    matched_stop: msgspec.Raw = UNSAID


class StrictChunk(msgspec.Struct, gc=False):
    """One chunk."""

    created: int
    model: str
    choices: list[StrictChoice]


_chunk: Final = msgspec.json.Decoder(StrictChunk).decode
_any: Final = msgspec.json.Decoder().decode


def read_strict(payload: bytes) -> StrictChunk:
    """Read a chunk; raises ChunkMalformed for what is not in the strict form."""
    try:
        return _chunk(payload)
    except (ValueError, RecursionError) as error:
        raise ChunkMalformed("an event is not in the strict form") from error


def value_of(raw: msgspec.Raw) -> Any:
    """Read a value that nobody has judged; None where there is none. Raises ChunkMalformed."""
    piece = bytes(raw)
    if piece in NOTHING:
        return None
    try:
        return _any(piece)
    except (ValueError, RecursionError) as error:
        raise ChunkMalformed("a member of an event cannot be read") from error


def said(raw: msgspec.Raw) -> bytes:
    """Give a text as the JSON it came in; empty where there is none."""
    piece = bytes(raw)
    return b"" if piece in NOTHING else piece


def thought_of(delta: StrictDelta) -> bytes:
    """Give what a delta adds to reasoning, whichever of its two names is used."""
    return said(delta.reasoning_content) or said(delta.reasoning)


def listed(raw: msgspec.Raw) -> list[dict[str, Any]]:
    """Give the objects of a list that nobody has judged."""
    piece = bytes(raw)
    if piece in NOTHING:
        return []
    try:
        return objects(_any(piece))
    except (ValueError, RecursionError):
        return []

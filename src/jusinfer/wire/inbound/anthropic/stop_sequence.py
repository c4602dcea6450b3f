"""The word that ended an answer, where a provider of Chat Completions tells that one did."""

from typing import Final, NamedTuple

import msgspec

from jusinfer.wire.lenient_json import member

# What Anthropic, and those that relay its models, call this end.
STOP_SEQUENCE: Final = "stop_sequence"
_any: Final = msgspec.json.Decoder().decode


class Stopped(NamedTuple):
    """How an answer ended: by a word that the client asked to stop at, and by which if known."""

    is_by_word: bool = False
    word: str | None = None


def stopped_by(asked_body: bytes, said: tuple[object, ...], native: object) -> Stopped:
    """Tell whether a word of a Messages request ended its answer.

    `said` are what providers state beside the reason: vLLM's `stop_reason`, SGLang's
    `matched_stop`. Others use these names for other things, so that only words count that were
    asked for.
    """
    words = [word for word in said if isinstance(word, str)]
    is_told = isinstance(native, str) and native.lower() == STOP_SEQUENCE
    if not words and not is_told:
        return Stopped()
    asked = _asked_words(asked_body)
    for word in words:
        if word in asked:
            return Stopped(is_by_word=True, word=word)
    if not is_told or not asked:
        return Stopped()
    return Stopped(is_by_word=True, word=asked[0] if len(asked) == 1 else None)


def _asked_words(asked_body: bytes) -> list[str]:
    try:
        words = member(_any(asked_body)).get("stop_sequences")
    except (ValueError, RecursionError):
        return []
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []

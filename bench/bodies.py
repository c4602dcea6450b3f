"""The bodies that every subject is asked with and answered with, the same for all."""

import enum
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PATH: Final = "/v1/chat/completions"
REQUEST_BYTES: Final = 620
ANSWER_BYTES: Final = 630
ANSWER_TOKENS: Final = 200
WORD: Final = "tok "
TOKENS_MAX: Final = 100_000
INTERVAL_MS_MAX: Final = 60_000
_FILLER: Final = "The quick brown fox jumps over the lazy dog and counts its steps aloud. "
_SHAPE: Final = re.compile(rb'"model"\s*:\s*"(?:[^"]*/)?s(\d{1,6})x(\d{1,6})"')


class Kind(enum.StrEnum):
    """What is asked for: a whole answer (plain or TLS upstream), or a stream of some shape."""

    PLAIN = "plain"
    TLS = "tls"
    STREAM = "stream"
    FIRST = "first"
    HOLD = "hold"

    @property
    def is_stream(self) -> bool:
        """Whether it is answered with events."""
        return self in SHAPES

    @property
    def model(self) -> str:
        """The model's id; it tells the upstream the shape of a stream."""
        if not self.is_stream:
            return f"bench/{self.value}"
        tokens, interval_ms = SHAPES[self]
        return f"bench/s{tokens}x{interval_ms}"


# How many tokens a stream has, and how many milliseconds they are apart.
SHAPES: Final[Mapping[Kind, tuple[int, int]]] = MappingProxyType(
    {Kind.STREAM: (100, 10), Kind.FIRST: (3, 5), Kind.HOLD: (100, 2_000)}
)


def stream_shape(body: bytes) -> tuple[int, int] | None:
    """Read (tokens, interval in ms) from the model that a request names; None if it has none."""
    match = _SHAPE.search(body)
    if match is None:
        return None
    return min(int(match[1]), TOKENS_MAX), min(int(match[2]), INTERVAL_MS_MAX)


def request_body(kind: Kind) -> bytes:
    """Give a request of exactly `REQUEST_BYTES`, padded in its prompt."""

    def built(prompt: str) -> bytes:
        fields: dict[str, object] = {
            "model": kind.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 200,
        }
        if kind.is_stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(fields, separators=(",", ":")).encode()

    return built(_filler(REQUEST_BYTES - len(built(""))))


def answer_body() -> str:
    """Give the static upstream's answer: `ANSWER_BYTES` that hold no `'`, `$` and `@`.

    It stands between single quotes in nginx's configuration, which is filled from a template.
    """

    def built(text: str) -> str:
        message = {"role": "assistant", "content": text}
        fields = {
            "id": "chatcmpl-bench0000000000000000000001",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "bench-model",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": ANSWER_TOKENS - 80,
                "completion_tokens": 80,
                "total_tokens": ANSWER_TOKENS,
            },
        }
        return json.dumps(fields, separators=(",", ":"))

    return built(_filler(ANSWER_BYTES - len(built(""))))


def stream_events(tokens: int, *, has_usage: bool) -> tuple[bytes, bytes, bytes]:
    """Give the first event (the role), one token's event, and all that comes at the end."""
    first = _event([{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    token = _event([{"index": 0, "delta": {"content": WORD}}])
    last = _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if has_usage:
        counts = {
            "prompt_tokens": 120,
            "completion_tokens": tokens,
            "total_tokens": 120 + tokens,
        }
        last += _event([], counts)
    return first, token, last + b"data: [DONE]\n\n"


def _event(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> bytes:
    fields: dict[str, object] = {
        "id": "chatcmpl-bench0000000000000000000001",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench-model",
        "choices": choices,
    }
    if usage is not None:
        fields["usage"] = usage
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def _filler(count: int) -> str:
    return (_FILLER * (count // len(_FILLER) + 1))[:count]

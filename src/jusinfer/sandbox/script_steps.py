"""What an answer is made of, in order: bytes, tokens, waits and ways to end a connection."""

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

STALL_SECONDS: Final = 3_600.0
# A reset overtakes what was written just before it, so those bytes get a head start.
HEAD_START_SECONDS: Final = 0.03


class Token(NamedTuple):
    """Bytes that carry produced tokens, and how many."""

    data: bytes
    tokens: int = 1


class Wait(NamedTuple):
    """A pause; zero lets the bytes before it leave by themselves."""

    seconds: float


class Close(enum.Enum):
    """The connection ends here: with everything sent, or with a reset."""

    CLEAN = enum.auto()
    RESET = enum.auto()


Step = bytes | Token | Wait | Close
Script = Iterator[Step]


def mapped(step: Step, data: bytes) -> Step:
    """Give the same step with other bytes."""
    return Token(data, step.tokens) if isinstance(step, Token) else data


def data_of(step: Step) -> bytes | None:
    """Give the bytes of a step, if it has any."""
    if isinstance(step, Token):
        return step.data
    return step if isinstance(step, bytes) else None


def split(script: Script, size_bytes: int) -> Script:
    """Cut every write into pieces of so many bytes, each of which leaves by itself."""
    for step in script:
        data = data_of(step)
        if data is None or len(data) <= size_bytes:
            yield step
            if data:
                yield Wait(0)
            continue
        yield mapped(step, data[:size_bytes])
        yield Wait(0)
        for at in range(size_bytes, len(data), size_bytes):
            yield data[at : at + size_bytes]
            yield Wait(0)

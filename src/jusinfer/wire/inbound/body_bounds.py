"""How many values a body may hold: counted before it is read, at the speed of memory.

A body of small values costs a hundred times its size in memory once it is read. Real requests stay
far below these bounds: ten thousand messages and a thousand tools with their schemas have less
than a hundred thousand members; the most numbers stand in an embeddings request, 300,000 tokens.
"""

from typing import Final

from jusinfer.domain.errors import InvalidRequest

# What is smaller cannot hold enough to matter.
COUNTED_BYTES_MIN: Final = 256 * 1024
VALUES_MAX: Final = 400_000
MEMBERS_MAX: Final = 100_000


def check_count(body: bytes) -> None:
    """Raise InvalidRequest when a body holds too many values or members."""
    if len(body) < COUNTED_BYTES_MIN:
        return
    # Counting in texts too gives too much, never too little, and is enough for nearly all.
    if _values(body) <= VALUES_MAX and body.count(b":") <= MEMBERS_MAX:
        return
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Each text is a value or the name of a member; that bounds the work below.
    if body.count(b'"') // 2 <= VALUES_MAX + MEMBERS_MAX:
        outside = b"".join(body.split(b'"')[::2])
        if _values(outside) <= VALUES_MAX and outside.count(b":") <= MEMBERS_MAX:
            return
    raise InvalidRequest(
        f"the body holds more than {VALUES_MAX} values or {MEMBERS_MAX} members of objects",
        hint="Send fewer of them at once; long texts count as one value each.",
    )


def _values(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")

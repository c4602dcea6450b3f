"""What a request to an upstream carries about its sender: opaque names, and what we insist on."""

import hashlib
from typing import Final

import msgspec

from jusinfer.domain.catalog import Price

NAME_CHARS: Final = 32


class Stamp(msgspec.Struct, frozen=True):
    """What one attempt adds to a request, whoever asked for it.

    `sender` tells an upstream its users apart without naming anybody; `price` is what the
    reservation was made at, so that nothing dearer is accepted.
    """

    sender: str = ""
    is_zdr: bool = False
    price: Price | None = None


NO_STAMP: Final = Stamp()


def opaque(*parts: str) -> str:
    """Give a name that says nothing, the same for the same parts, of letters and digits.

    Its parts hold an id of 122 random bits, so that nobody can try them all; the upstream's name
    is one of them, so that two upstreams cannot compare notes.
    """
    text = "\x1f".join(("jusinfer", *parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:NAME_CHARS]

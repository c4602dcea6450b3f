"""Names of tools for providers that take at most 64 letters, digits, `_` and `-`: there and back.

Clients name tools of MCP servers with dots, slashes and up to 128 characters.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from jusinfer.wire.lenient_json import member, objects, text

NAME_CHARS_MAX: Final = 64
DIGEST_BYTES: Final = 4
# What is kept of a name: the rest is `_j` and the digest.
KEPT_CHARS: Final = NAME_CHARS_MAX - 2 - 2 * DIGEST_BYTES
_PLAIN: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{NAME_CHARS_MAX}}}")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
_MADE: Final = re.compile(rf"[A-Za-z0-9_-]{{0,{KEPT_CHARS}}}_j[0-9a-f]{{8}}")
_any: Final = msgspec.json.Decoder().decode


def portable_name(name: str) -> str:
    """Return a name that every provider takes; one that is portable already stays as it is."""
    if not name or _PLAIN.fullmatch(name):
        return name
    said = name.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(said, digest_size=DIGEST_BYTES).hexdigest()
    return f"{_ODD.sub('_', name)[:KEPT_CHARS]}_j{digest}"


class ClientNames:
    """The names that the client of a Messages request gave its tools; read only when needed."""

    __slots__ = ("_asked_body", "_originals")

    def __init__(self, asked_body: bytes) -> None:
        self._asked_body = asked_body
        self._originals: dict[str, str] | None = None

    def original(self, name: str) -> str:
        """Return the client's name for what a provider called; a foreign one stays as it is."""
        if not _MADE.fullmatch(name):
            return name
        if self._originals is None:
            names = _names(self._asked_body)
            self._originals = {portable_name(given): given for given in names}
        return self._originals.get(name, name)


def _names(asked_body: bytes) -> list[str]:
    try:
        asked = member(_any(asked_body))
    except (ValueError, RecursionError):
        return []
    tools: list[dict[str, Any]] = objects(asked.get("tools"))
    for turn in objects(asked.get("messages")):
        tools += [
            member(member(block.get("tool")).get("definition"))
            for block in objects(turn.get("content"))
            if block.get("type") == "tool_addition"
        ]
    return [text(tool.get("name")) for tool in tools]

"""The console's paths, as the gateway knows them: whatever else is asked is answered here.

A client whose base URL lacks `/v1` would otherwise hand its prompts to the console.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.domain.errors import MethodNotAllowed, PathNotFound

BODY_BYTES_MAX: Final = 64 * 1024
READ: Final = frozenset({"GET", "HEAD"})
PAGES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"/": READ, "/docs": READ, "/health": READ, "/openapi.json": READ}
)
# Folders of files.
FOLDERS: Final = ("/static/",)
# How the paths of the API begin without the `/v1` that stands before all of them.
_API: Final = frozenset(
    {
        "chat",
        "completions",
        "credits",
        "embeddings",
        "generation",
        "key",
        "messages",
        "models",
        "responses",
        "route",
        "status",
    }
)


def judge(method: str, path: str) -> None:
    """Let through what the console serves; raises PathNotFound or MethodNotAllowed."""
    allowed = PAGES.get(path)
    if allowed is None and path.startswith(FOLDERS):
        allowed = READ
    if allowed is None:
        if path.strip("/").partition("/")[0] in _API:
            raise PathNotFound(
                "there is nothing at this path",
                hint=f"The API is under /v1: let the client's base URL end in it (/v1{path}).",
            )
        raise PathNotFound("there is nothing at this path")
    if method not in allowed:
        raise MethodNotAllowed("use GET at this path")

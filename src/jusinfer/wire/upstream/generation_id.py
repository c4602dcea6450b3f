"""The id under which a provider of OpenRouter's kind can be asked what an answer cost."""

import re
from typing import Final

import msgspec

from jusinfer.domain.provider_report import is_generation_id
from jusinfer.wire.upstream.usage_shapes import tried

HEADER: Final = b"x-generation-id"
# Anything else is an id of another kind, which nobody can be asked about, or a text.
PREFIX: Final = "gen-"
COMPLETION: Final = "chatcmpl-"
PART_CHARS_MIN: Final = 4
_NULL: Final = msgspec.Raw(b"null")


class _Response(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NULL


class _Event(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NULL
    response: msgspec.Raw = _NULL


_event: Final = msgspec.json.Decoder(_Event).decode
_response: Final = msgspec.json.Decoder(_Response).decode
_text: Final = msgspec.json.Decoder(str).decode


def generation_id(headers: list[tuple[bytes, bytes]], first: bytes) -> str:
    """Read the id from an answer's head, or from its first event or whole body; else empty."""
    for name, value in headers:
        if name == HEADER:
            said = value.decode("ascii", "replace")
            if said.startswith(PREFIX) and is_generation_id(said):
                return said
    event = tried(_event, msgspec.Raw(first))
    if event is None:
        return ""
    said = tried(_text, event.id) or ""
    if not said:
        response = tried(_response, event.response)
        said = (tried(_text, response.id) or "") if response is not None else ""
        said = said if said.startswith(PREFIX) else ""
    elif not said.startswith(COMPLETION):
        said = said if said.startswith(PREFIX) else ""
    return said if is_generation_id(said) else ""


def repeats(named: str, request: bytes) -> bool:
    """Tell whether a part of an id, of four letters and digits or more, stands in a request."""
    low = request.lower()
    parts = (
        part.encode()
        for part in re.split(
            "[^a-z0-9]", named.lower().removeprefix(PREFIX).removeprefix(COMPLETION)
        )
    )
    return any(part in low for part in parts if len(part) >= PART_CHARS_MIN)

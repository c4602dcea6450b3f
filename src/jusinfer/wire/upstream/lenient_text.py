"""Reads what providers put where a text should be: numbers, lists of parts, objects.

Texts are handled as the JSON that they came in, without its quotes: nothing is decoded that only
passes, so halves of surrogate pairs and odd escapes stay as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.stream_state import ChunkMalformed

DEPTH_MAX: Final = 8
ABSENT: Final = frozenset({b"", b"null"})
NULL: Final = msgspec.Raw(b"null")
QUOTE: Final = 34
Members = dict[str, msgspec.Raw]
# Where an object has its text, the likeliest first.
_TEXTS: Final = ("text", "content", "value", "thinking", "reasoning", "summary", "output_text")
_THOUGHTS: Final = frozenset(
    {"thinking", "reasoning", "reasoning_text", "summary_text"}
    | {"reasoning.text", "reasoning.summary", "reasoning_content", "thought"}
)
_CALLS: Final = frozenset({"tool_use", "tool_call", "function_call", "function"})
_IMAGES: Final = frozenset({"image_url", "image", "output_image", "image_file", "input_image"})
_SOUNDS: Final = frozenset({"audio", "output_audio", "input_audio", "audio_url"})
_members: Final = msgspec.json.Decoder(Members).decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_string: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode


class Said(msgspec.Struct):
    """What one delta or message says, by kind; texts are the inside of JSON strings."""

    content: list[bytes] = []
    reasoning: list[bytes] = []
    refusal: list[bytes] = []
    calls: list[Members] = []
    images: list[msgspec.Raw] = []
    sounds: list[msgspec.Raw] = []
    details: list[msgspec.Raw] = []
    references: list[msgspec.Raw] = []


def object_of(raw: msgspec.Raw | bytes) -> Members:
    """Read an object; raises ChunkMalformed."""
    try:
        return _members(raw)
    except (ValueError, RecursionError) as error:
        raise ChunkMalformed("a member is no object") from error


def rows_of(raw: msgspec.Raw | bytes) -> list[msgspec.Raw]:
    """Read a list, or one object in place of a list of one; raises ChunkMalformed."""
    said = bytes(raw)
    if said in ABSENT:
        return []
    if said.startswith(b"{"):
        return [msgspec.Raw(said)]
    try:
        return _rows(said)
    except (ValueError, RecursionError) as error:
        raise ChunkMalformed("a member is no list") from error


def plain(raw: msgspec.Raw | bytes | None) -> str:
    """Give the text of a string, number or boolean; empty for anything else."""
    said = b"" if raw is None else bytes(raw)
    if said in ABSENT or said[:1] in {b"[", b"{"}:
        return ""
    if said[0] != QUOTE:
        return said.decode("ascii", "replace")
    try:
        return _string(said)
    except (ValueError, RecursionError):
        return said[1:-1].decode("utf-8", "replace")


def whole_number(raw: msgspec.Raw | None, most: int) -> int | None:
    """Read a whole number from 0 to `most`, be it a text or a fraction; None when it is none."""
    try:
        value = int(float(plain(raw)))
    except (ValueError, OverflowError):
        return None
    return value if 0 <= value <= most else None


def quoted(inner: list[bytes]) -> msgspec.Raw:
    """Put pieces of a text together as JSON."""
    return msgspec.Raw(b'"%b"' % b"".join(inner))


def as_json_text(raw: bytes) -> bytes:
    """Give the JSON of a value as a text."""
    return _encode(raw.decode("utf-8", "replace"))[1:-1]


def text_in(raw: msgspec.Raw | bytes, depth: int = 0) -> bytes:
    """Give the text of any value: an object's own text, else its JSON."""
    said = bytes(raw)
    if said in ABSENT:
        return b""
    if said[0] == QUOTE:
        return said[1:-1]
    if depth >= DEPTH_MAX:
        return as_json_text(said)
    if said.startswith(b"["):
        return b"".join([text_in(row, depth + 1) for row in rows_of(said)])
    return _own_text(said, depth) if said.startswith(b"{") else said


def _own_text(said: bytes, depth: int) -> bytes:
    members = object_of(said)
    for name in _TEXTS:
        if name in members:
            return text_in(members[name], depth + 1)
    return as_json_text(said) if members else b""


def thought_in(raw: msgspec.Raw | None) -> bytes:
    """Give the text of a member for reasoning; a switch such as `true` is none."""
    said = b"" if raw is None else bytes(raw)
    return b"" if said in {b"true", b"false"} else text_in(said)


def read_content(raw: msgspec.Raw, said: Said) -> None:
    """Sort what stands as content by kind; raises ChunkMalformed."""
    value = bytes(raw)
    if value in ABSENT:
        return
    if value[:1] not in {b"[", b"{"}:
        said.content.append(text_in(value))
        return
    for part in rows_of(value):
        if bytes(part).startswith(b"{"):
            _read_part(part, said)
        else:
            said.content.append(text_in(part))


def _read_part(raw: msgspec.Raw, said: Said) -> None:
    members = object_of(raw)
    kind = plain(members.get("type"))
    if kind in _THOUGHTS:
        said.reasoning.append(_thought_part(members))
    elif kind in {"redacted_thinking", "reasoning.encrypted"}:
        data = members.get("data", NULL)
        said.details.append(
            msgspec.Raw(_encode({"type": "reasoning.encrypted", "data": data, "format": "unknown"}))
        )
    elif kind == "refusal":
        said.refusal.append(text_in(members.get("refusal", members.get("text", NULL))))
    elif kind in _CALLS and "name" in (members | _inner(members)):
        said.calls.append(_call_part(members))
    elif kind in _IMAGES:
        said.images.append(raw)
    elif kind in _SOUNDS:
        said.sounds.append(members.get(kind, raw))
    elif kind == "reference":
        said.references.append(raw)
    else:
        said.content.append(text_in(raw))


def _thought_part(members: Mapping[str, msgspec.Raw]) -> bytes:
    for name in ("thinking", "reasoning", "text", "summary", "content"):
        found = thought_in(members.get(name))
        if found:
            return found
    return b""


def _inner(members: Members) -> Members:
    raw = members.get("function", NULL)
    return object_of(raw) if bytes(raw).startswith(b"{") else {}


def _call_part(members: Members) -> Members:
    """Give a call that stands in content as one of the list of calls."""
    inner = _inner(members) or members
    given = inner.get("arguments", inner.get("input", NULL))
    function: dict[str, Any] = {"name": inner["name"], "arguments": given}
    made = {"type": msgspec.Raw(b'"function"'), "function": msgspec.Raw(_encode(function))}
    call_id = members.get("id", members.get("call_id"))
    return made if call_id is None else made | {"id": call_id}

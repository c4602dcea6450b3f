"""Brings one choice of a chat completion, or of one of its chunks, into the strict form.

The strict form is what OpenAI's own types allow: content, refusal and reasoning are texts or null,
calls are whole objects, a reason is one of five words. What a provider says beyond that is kept.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.wire.upstream.lenient_text import (
    ABSENT,
    NULL,
    Members,
    Said,
    as_json_text,
    object_of,
    plain,
    quoted,
    read_content,
    rows_of,
    text_in,
    thought_in,
    whole_number,
)

CHOICES_MAX: Final = 1_024
THOUGHTS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
# Members of a delta that are written anew.
_READ: Final = frozenset({"content", "refusal", "tool_calls", "images", "audio", *THOUGHTS})
REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_OTHER_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_tokens": "length",
        "max_output_tokens": "length",
        "max_length": "length",
        "max_new_tokens": "length",
        "model_length": "length",
        "model_context_window_exceeded": "length",
        "context_length": "length",
        "incomplete": "length",
        "tool_call": "tool_calls",
        "tool_use": "tool_calls",
        "tool": "tool_calls",
        "tools": "tool_calls",
        "functioncall": "function_call",
        "safety": "content_filter",
        "refusal": "content_filter",
        "recitation": "content_filter",
        "blocklist": "content_filter",
        "prohibited_content": "content_filter",
        "spii": "content_filter",
        "content_filtered": "content_filter",
        "sensitive": "content_filter",
        "malformed_function_call": "stop",
    }
)
CALLING: Final = frozenset({"tool_calls", "function_call"})
_encode: Final = msgspec.json.Encoder().encode


class Choice(msgspec.Struct):
    """One choice in the strict form, but for its calls, which only their tracker can write."""

    index: int
    # Members of the choice but for delta, message and finish_reason, and those of its delta.
    members: dict[str, object]
    delta: dict[str, object]
    calls: list[msgspec.Raw]
    reason: str | None
    # Bytes of texts as JSON writes them; parts that are not texts, and those of chat only.
    text_bytes: int
    has_parts: bool
    has_media: bool
    has_function_call: bool
    function_bytes: int = 0


def read_choice(raw: msgspec.Raw, place: int) -> Choice:
    """Read a choice of any shape; raises ChunkMalformed."""
    row = object_of(raw)
    delta_raw = bytes(row.get("delta", NULL))
    if delta_raw in ABSENT or delta_raw == b"{}":
        delta_raw = bytes(row.get("message", NULL))
    if delta_raw in ABSENT and "text" in row:
        delta_raw = bytes(row["text"])
    said = Said()
    if delta_raw.startswith(b"{"):
        delta = object_of(delta_raw)
        read_content(delta.get("content", NULL), said)
    else:
        delta = {}
        read_content(msgspec.Raw(delta_raw or b"null"), said)
    reason = reason_of(row.get("finish_reason"))
    index = whole_number(row.get("index"), CHOICES_MAX - 1)
    calls = rows_of(delta.get("tool_calls", NULL))
    calls += [msgspec.Raw(_encode(call)) for call in said.calls]
    made = Choice(
        index=place if index is None else index,
        members=_kept(row, reason),
        delta={},
        calls=calls,
        reason=reason,
        text_bytes=0,
        has_parts=_has(delta, "annotations"),
        has_media=bool(said.images or said.sounds) or _has(delta, "images") or _has(delta, "audio"),
        has_function_call=_has(delta, "function_call"),
    )
    made.delta = _delta(delta, said, made)
    return made


def reason_of(raw: msgspec.Raw | None) -> str | None:
    """Give a reason in OpenAI's words; an unknown one is a plain stop."""
    said = plain(raw)
    if raw is None or said in {"", "false", "0"}:
        return None if raw is None or bytes(raw)[:1] not in {b"{", b"["} else "stop"
    if said in REASONS:
        return said
    word = said.lower().rpartition(".")[2].removeprefix("finish_reason_").replace("-", "_")
    if word in REASONS:
        return word
    return _OTHER_REASONS.get(word, "stop")


def final_reason(reason: str, *, has_calls: bool, has_function_call: bool) -> str:
    """Give the reason that agrees with what was said: clients run calls only if it says so."""
    if has_function_call and not has_calls:
        return "function_call" if reason in {"stop", *CALLING} else reason
    if has_calls:
        return "tool_calls" if reason in {"stop", "function_call"} else reason
    return reason


def _kept(row: Members, reason: str | None) -> dict[str, object]:
    left_out = {"index", "delta", "message", "finish_reason", "usage", "text"}
    kept: dict[str, object] = {name: value for name, value in row.items() if name not in left_out}
    if "logprobs" in kept and not bytes(row["logprobs"]).startswith(b"{"):
        kept["logprobs"] = None
    native = plain(row.get("finish_reason"))
    if reason is not None and native != reason and "native_finish_reason" not in kept:
        kept["native_finish_reason"] = native
    return kept


def _has(members: Members, name: str) -> bool:
    return bytes(members.get(name, NULL)) not in {b"", b"null", b"[]", b"{}", b'""'}


def _delta(delta: Members, said: Said, made: Choice) -> dict[str, object]:
    """Write a delta anew: texts as texts, everything unknown as it came."""
    out: dict[str, object] = {name: raw for name, raw in delta.items() if name not in _READ}
    if "role" in delta and plain(delta["role"]) != "assistant":
        out["role"] = "assistant"
    content = quoted(said.content)
    refusal = quoted([*said.refusal, text_in(delta.get("refusal", NULL))])
    if said.content or "content" in delta:
        is_null = not said.content and bytes(delta.get("content", NULL)) in ABSENT
        out["content"] = None if is_null else content
    if len(bytes(refusal)) > 2:  # noqa: PLR2004 (the quotes)
        out["refusal"] = refusal
    elif "refusal" in delta:
        out["refusal"] = None
    details = [*_details(delta), *said.details]
    thought = _think(delta, said, details, out)
    images = [*rows_of(delta.get("images", NULL)), *said.images]
    if images:
        out["images"] = images
    if said.sounds or "audio" in delta:
        out["audio"] = said.sounds[0] if said.sounds else delta["audio"]
    if said.references:
        out["references"] = said.references
    out.pop("function_call", None)
    if made.has_function_call:
        out["function_call"] = _function_call(delta["function_call"], made)
    made.text_bytes += len(bytes(content)) - 2 + len(bytes(refusal)) - 2 + len(thought)
    made.has_parts = made.has_parts or bool(details)
    return out


def _details(delta: Members) -> list[msgspec.Raw]:
    raw = bytes(delta.get("reasoning_details", NULL))
    if not raw.startswith((b"[", b"{")):
        return []
    return [row for row in rows_of(raw) if bytes(row).startswith(b"{")]


def _think(delta: Members, said: Said, details: list[msgspec.Raw], out: dict[str, object]) -> bytes:
    """Write reasoning as one text, under the name that the provider used if it is a usual one."""
    name, thought = "reasoning_content", b""
    for one in THOUGHTS:
        thought = thought_in(delta.get(one))
        if thought:
            name = one if one in {"reasoning", "reasoning_content"} else name
            break
    thought += b"".join(said.reasoning)
    if not thought and details:
        name = "reasoning"
        rows = [object_of(row) for row in details]
        thought = b"".join([text_in(row.get("text", row.get("summary", NULL))) for row in rows])
    for one in ("reasoning_content", "reasoning"):
        if one in delta:
            raw = bytes(delta[one])
            out[one] = delta[one] if raw.startswith(b'"') else None
    if thought:
        out[name] = quoted([thought])
    if details:
        out["reasoning_details"] = details
    elif "reasoning_details" in delta:
        del out["reasoning_details"]
    return thought


def _given(raw: bytes) -> bytes:
    return b"" if raw in ABSENT else as_json_text(raw)


def _function_call(raw: msgspec.Raw, made: Choice) -> dict[str, object]:
    """Write the old form of a call strictly: its name, if it has one, and its arguments."""
    members = object_of(raw)
    given = bytes(members.get("arguments", NULL))
    out: dict[str, object] = dict(members)
    if "name" in members:
        out["name"] = plain(members["name"])
    if "arguments" in members:
        out["arguments"] = msgspec.Raw(given) if given[:1] == b'"' else quoted([_given(given)])
    written = [_encode(out[name]) for name in ("name", "arguments") if name in out]
    made.function_bytes = sum(len(text) - 2 for text in written)
    return out

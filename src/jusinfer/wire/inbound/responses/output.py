"""A response and its output items, whole: what a stream ends with and what a whole answer is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.inbound.answer_parts import Kind, Part
from jusinfer.wire.inbound.responses.tools import ToolNames, ToolShape, call_item
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.sealed import CALL_EXTRA, encode_reasoning_state

_any: Final = msgspec.json.Decoder().decode
PREFIXES: Final[Mapping[Kind, str]] = MappingProxyType(
    {"reasoning": "rs", "text": "msg", "refusal": "msg", "call": "fc"}
)
# Members of a request that its response repeats, with what stands where nothing was said.
ECHOED: Final[tuple[tuple[str, object], ...]] = (
    ("instructions", None),
    ("max_output_tokens", None),
    ("metadata", {}),
    ("parallel_tool_calls", True),
    ("temperature", 1.0),
    ("text", {"format": {"type": "text"}}),
    ("tool_choice", "auto"),
    ("tools", []),
    ("top_p", 1.0),
    ("reasoning", {"effort": None, "summary": None}),
)
CUT: Final[Mapping[str, str]] = MappingProxyType(
    {"length": "max_output_tokens", "content_filter": "content_filter"}
)


def response_of(asked_body: bytes, ident: AnswerIdent, created: int, model: str) -> dict[str, Any]:
    """Give a response that has just begun, with what it repeats of its request."""
    try:
        asked = member(_any(asked_body))
    except (ValueError, RecursionError):
        asked = {}
    response: dict[str, Any] = {
        "id": f"resp_{ident.completion_id}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }
    for name, default in ECHOED:
        value = asked.get(name)
        response[name] = default if value is None else value
    return response


def finished(
    response: dict[str, Any], finish_reason: object, usage: TokenUsage, cost_usd: str
) -> dict[str, Any]:
    """Close a response that ended well: completed, or incomplete with its reason."""
    reason = CUT.get(finish_reason) if isinstance(finish_reason, str) else None
    response["status"] = "completed" if reason is None else "incomplete"
    if reason is not None:
        response["incomplete_details"] = {"reason": reason}
    response["usage"] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_prompt_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": msgspec.Raw(cost_usd.encode("ascii")),
    }
    return response


def item_id_of(ident: AnswerIdent, part: Part) -> str:
    """Give the id of an item, which no other answer's has."""
    return f"{PREFIXES[part.kind]}_{ident.completion_id}_{part.index}"


def shape_of(part: Part, names: ToolNames) -> ToolShape:
    """Give how the client knows the tool that a part calls."""
    return names.shape_of(part.name, is_custom=part.is_custom)


def item_of(part: Part, item_id: str, names: ToolNames, status: str) -> dict[str, Any]:
    """Give a part as the item that it is, whole or as far as it came."""
    if part.kind == "reasoning":
        return _reasoning_item(item_id, part, status)
    if part.kind == "call":
        shape = shape_of(part, names)
        return call_item(
            shape, item_id, part.call_id, part.text, status=status, is_custom=part.is_custom
        )
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [content_of(part)],
    }


def content_of(part: Part) -> dict[str, Any]:
    """Give the content of a message: a text, or a refusal."""
    if part.kind == "refusal":
        return {"type": "refusal", "refusal": part.text}
    return {
        "type": "output_text",
        "text": part.text,
        "annotations": part.annotations,
        "logprobs": part.logprobs,
    }


def _reasoning_item(item_id: str, part: Part, status: str) -> dict[str, Any]:
    said = part.text
    rows = part.details
    if said and all(row.get("type") == CALL_EXTRA for row in rows):
        rows = [{"type": "reasoning.text", "text": said}, *rows]
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": said}] if said else [],
        "encrypted_content": encode_reasoning_state(rows),
        "status": status,
    }


def annotation_of(note: dict[str, Any]) -> dict[str, Any] | None:
    """Give an annotation as a text part has it; None for a kind that it cannot have."""
    inner = member(note.get("url_citation"))
    return {"type": "url_citation"} | inner if inner else None


def call_extra(call_id: str, extra_content: object) -> dict[str, Any]:
    """Give what a provider wants back with a call, as an entry of sealed reasoning."""
    return {"type": CALL_EXTRA, "id": call_id, "extra_content": extra_content}


def parts_of(message: dict[str, Any], logprobs: object) -> list[Part]:
    """Give the parts of a whole strict message, in the order in which they stand in an answer."""
    parts: list[Part] = []
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = objects(message.get("reasoning_details"))
    calls = objects(message.get("tool_calls"))
    details += [
        call_extra(text(call.get("id")), call["extra_content"])
        for call in calls
        if call.get("extra_content")
    ]
    if thought or details:
        part = _part(parts, "reasoning", thought)
        part.details = details
    if text(message.get("content")):
        part = _part(parts, "text", text(message.get("content")))
        part.logprobs = objects(member(logprobs).get("content"))
        notes = [annotation_of(note) for note in objects(message.get("annotations"))]
        part.annotations = [note for note in notes if note is not None]
    if text(message.get("refusal")):
        _part(parts, "refusal", text(message.get("refusal")))
    for call in calls:
        is_custom = call.get("type") == "custom"
        body = member(call.get("custom" if is_custom else "function"))
        part = _part(parts, "call", text(body.get("input" if is_custom else "arguments")))
        part.call_id, part.name = text(call.get("id")), text(body.get("name"))
        part.is_custom = is_custom
    return parts


def _part(parts: list[Part], kind: Kind, said: str) -> Part:
    part = Part(kind, len(parts))
    if said:
        part.pieces.append(msgspec.json.encode(said))
    parts.append(part)
    return part


def output_of(choice: dict[str, Any], ident: AnswerIdent, names: ToolNames) -> list[dict[str, Any]]:
    """Give the output items of a whole strict choice; the last is incomplete if it was cut."""
    parts = parts_of(member(choice.get("message")), choice.get("logprobs"))
    is_cut = text(choice.get("finish_reason")) in CUT
    items: list[dict[str, Any]] = []
    for part in parts:
        is_last = part is parts[-1]
        status = "incomplete" if is_cut and is_last else "completed"
        items.append(item_of(part, item_id_of(ident, part), names, status))
    return items

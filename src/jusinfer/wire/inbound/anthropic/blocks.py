"""Blocks of a message, whole: what chat says, as Anthropic has it, with what is opaque sealed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.call_ids import portable
from jusinfer.wire.inbound.anthropic.stop_sequence import STOP_SEQUENCE
from jusinfer.wire.inbound.responses.output import call_extra
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.sealed import encode_reasoning_state
from jusinfer.wire.tool_names import ClientNames
from jusinfer.wire.upstream.anthropic.request import FORMAT

STOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
    }
)
# Reasons that a provider gives in words of its own, where Anthropic has one for them too.
NATIVE_STOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "model_context_window_exceeded": "model_context_window_exceeded",
        "model_length": "model_context_window_exceeded",
        "pause_turn": "pause_turn",
    }
)
# The signature of a thought that no provider signed: known again when it comes back.
UNSIGNED: Final = encode_reasoning_state([{"type": "reasoning.text", "format": "unknown"}])
_any: Final = msgspec.json.Decoder().decode


def stop_reason_of(
    finish_reason: object,
    native: object = None,
    *,
    is_refused: bool = False,
    has_calls: bool = True,
    is_by_word: bool = False,
) -> str:
    """Give Anthropic's word for why an answer ended."""
    if is_refused:
        return "refusal"
    if not has_calls and finish_reason in ("tool_calls", "function_call"):
        # A client that is told of calls and finds none asks again without end.
        return "end_turn"
    if isinstance(native, str) and finish_reason == "length" and native in NATIVE_STOP:
        return NATIVE_STOP[native]
    if is_by_word and finish_reason == "stop":
        return STOP_SEQUENCE
    return STOP.get(finish_reason, "end_turn") if isinstance(finish_reason, str) else "end_turn"


def message_id(ident: AnswerIdent) -> str:
    """Give the id of a message."""
    return f"msg_{ident.completion_id}"


def usage_members(usage: TokenUsage) -> dict[str, Any]:
    """Count as Anthropic does: the input without what was cached."""
    fresh = usage.prompt_tokens - usage.cached_prompt_tokens - usage.cache_write_tokens
    return {
        "input_tokens": max(fresh, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_prompt_tokens,
        "output_tokens": usage.completion_tokens,
    }


def redacted(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Give encrypted reasoning as a block; another provider's is sealed with all that it says."""
    data = text(detail.get("data"))
    if detail.get("format") not in (FORMAT, None):
        data = encode_reasoning_state([dict(detail)])
    return {"type": "redacted_thinking", "data": data}


def signature_of(detail: Mapping[str, Any]) -> str:
    """Give the signature of a thought; another provider's is sealed."""
    signature = text(detail.get("signature"))
    if signature and detail.get("format") not in (FORMAT, None, "unknown"):
        return encode_reasoning_state(
            [{name: value for name, value in detail.items() if name != "text"}]
        )
    return signature


def baggage(call_id: str, extra_content: object) -> dict[str, Any]:
    """Give what a provider wants back with a call, as the block that stands before it."""
    return {
        "type": "redacted_thinking",
        "data": encode_reasoning_state([call_extra(call_id, extra_content)]),
    }


def content_of(message: Mapping[str, Any], names: ClientNames) -> list[dict[str, Any]]:
    """Give the blocks of a whole strict message."""
    blocks = _thoughts(message)
    for said in (text(message.get("content")), text(message.get("refusal"))):
        if said:
            blocks.append({"type": "text", "text": said})
    for call in objects(message.get("tool_calls")):
        function = member(call.get("function")) or member(call.get("custom"))
        call_id = portable(text(call.get("id")))
        if call.get("extra_content"):
            blocks.append(baggage(text(call.get("id")), call["extra_content"]))
        given = input_of(text(function.get("arguments")) or text(function.get("input")))
        name = names.original(text(function.get("name")))
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": given})
    return blocks


def input_of(given: str) -> dict[str, Any]:
    """Give the input of a tool, which is an object; what is none is kept under `arguments`."""
    if not given:
        return {}
    try:
        value = _any(given.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": given}


def _thoughts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    details = objects(message.get("reasoning_details"))
    said = "".join(_said(detail) for detail in details)
    blocks: list[dict[str, Any]] = []
    if thought and thought != said:
        # What is shown and counted is the text; details may repeat it in another form.
        signatures = [signature_of(detail) for detail in details if detail.get("signature")]
        signature = signatures[0] if len(signatures) == 1 else UNSIGNED
        blocks.append({"type": "thinking", "thinking": thought, "signature": signature})
    for detail in details:
        if detail.get("type") == "reasoning.encrypted":
            blocks.append(redacted(detail))
        elif thought == said and (_said(detail) or detail.get("signature")):
            signature = signature_of(detail) or UNSIGNED
            blocks.append({"type": "thinking", "thinking": _said(detail), "signature": signature})
    return blocks


def _said(detail: Mapping[str, Any]) -> str:
    return text(detail.get("text")) or text(detail.get("summary"))

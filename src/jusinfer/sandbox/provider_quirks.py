"""Habits of named upstreams, and ornaments of a message: members beside those of OpenAI."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

# These say usage on every stream, asked or not.
USAGE_ALWAYS: Final = frozenset({"openrouter", "mistral", "groq"})
# These say usage beside finish_reason and send no event for it.
USAGE_BESIDE: Final = frozenset({"mistral", "deepseek"})
KNOWN: Final = frozenset(
    {"azure", "deepseek", "groq", "llamacpp", "mistral", "openrouter", "together"}
)
COST_PER_TOKEN: Final = Decimal("0.000000125")
# Faults of calls.
NO_ID: Final = "call_without_id"
ONE_INDEX: Final = "calls_at_one_index"
# What Gemini wants back with each call.
GEMINI_CALL: Final[Mapping[str, Any]] = {
    "extra_content": {"google": {"thought_signature": "sandbox-thought"}}
}
_FILTERED: Final[Mapping[str, Any]] = {"hate": {"filtered": False, "severity": "safe"}}
_ORNAMENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "annotations": {
        "annotations": [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": 0,
                    "end_index": 5,
                    "title": "Amber",
                    "url": "https://example.com/amber",
                },
            }
        ]
    },
    "audio": {
        "audio": {
            "id": "audio_sandbox",
            "data": "AAAA",
            "transcript": "amber",
            "expires_at": 1_764_003_600,
        }
    },
    "images": {
        "images": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, "index": 0}
        ]
    },
}


def envelope(like: str) -> dict[str, Any]:
    """Give the members that such an upstream adds to every object."""
    return {"provider": "Sandbox"} if like == "openrouter" else {}


def choice(like: str, finish: str | None) -> dict[str, Any]:
    """Give the members that such an upstream adds to a choice."""
    if like == "openrouter":
        return {"native_finish_reason": finish}
    return {"content_filter_results": dict(_FILTERED)} if like == "azure" else {}


def finish(like: str, reason: str) -> str:
    """Give such an upstream's word for a usual ending."""
    renamed = {("together", "stop"): "eos", ("mistral", "length"): "model_length"}
    return renamed.get((like, reason), reason)


def reasoning(like: str, text: str, content: str | None) -> dict[str, Any]:
    """Give the members of a message or delta that hold reasoning."""
    if like == "openrouter":
        detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
        return {"reasoning": text, "reasoning_details": [detail]}
    if like == "groq":
        return {"reasoning": text}
    if like == "mistral":
        parts: list[dict[str, Any]] = [
            {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        ]
        if content:
            parts.append({"type": "text", "text": content})
        return {"content": parts}
    return {"reasoning_content": text}


def usage(like: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Write usage as such an upstream does."""
    prompt = plain["prompt_tokens"]
    if like == "deepseek":
        hit = prompt // 2
        return plain | {
            "prompt_cache_hit_tokens": hit,
            "prompt_cache_miss_tokens": prompt - hit,
            "prompt_tokens_details": {"cached_tokens": hit},
        }
    if like == "openrouter":
        return plain | cost(plain)
    if like == "groq":
        return plain | {"queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.1}
    if like in {"together", "llamacpp", "mistral"}:
        return {name: value for name, value in plain.items() if not name.endswith("_details")}
    return plain


def cost(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Give OpenRouter's members about money; the two amounts are the same and do not add up."""
    amount = float(COST_PER_TOKEN * int(plain["total_tokens"]))
    return {
        "cost": amount,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": amount},
    }


def leading(like: str, answer_id: str) -> dict[str, Any] | None:
    """Give members of an event that comes before all others and has no choices, if any."""
    if like == "azure":
        row = {"prompt_index": 0, "content_filter_results": dict(_FILTERED)}
        return {"id": "", "model": "", "created": 0, "prompt_filter_results": [row]}
    if like == "groq":
        return {"x_groq": {"id": f"req_{answer_id[-8:]}"}}
    return None


def closing(like: str, said: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give members that the event with finish_reason has besides."""
    if like == "groq":
        return {"x_groq": {"id": "req_sandbox", "usage": said}}
    if like == "llamacpp":
        return {"timings": {"prompt_n": 4, "prompt_ms": 1.5, "predicted_n": 16, "cache_n": 0}}
    return {}


def call(like: str, names: frozenset[str], row: dict[str, Any]) -> dict[str, Any]:
    """Give a call, or the first delta of one, as such an upstream writes it."""
    made = {name: value for name, value in row.items() if name != "id" or not names & {NO_ID}}
    if "index" in made and ONE_INDEX in names:
        made["index"] = 0
    return {**made, **GEMINI_CALL} if like == "gemini" else made


def extra_members(names: frozenset[str]) -> dict[str, Any]:
    """Give what a message has beside its text, by fault."""
    found: dict[str, Any] = {}
    for name in sorted(names & _ORNAMENTS.keys()):
        found.update(_ORNAMENTS[name])
    return found

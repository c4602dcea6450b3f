"""Responses on both sides, a whole answer: judged for money and honesty, and put right."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.inference.stream_state import UpstreamFailure, estimate_completion_tokens
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.upstream.errors import read_inner_error
from jusinfer.wire.upstream.openai_chat import Answer
from jusinfer.wire.upstream.usage_shapes import read_usage

Members = dict[str, msgspec.Raw]
# What a response repeats of its request, where the provider was told something else or nothing.
ECHOED: Final[Mapping[str, object]] = MappingProxyType(
    {"metadata": {}, "prompt_cache_key": None, "safety_identifier": None, "user": None}
)
FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {"max_output_tokens": "length", "content_filter": "content_filter"}
)
ENDED_WELL: Final = frozenset({"", "completed", "incomplete"})
FAILED: Final = frozenset({"cancelled", "failed"})
_NOTHING: Final = frozenset({b"", b"null", b'""'})
_NULL: Final = msgspec.Raw(b"null")
_encode: Final = msgspec.json.Encoder().encode
_any: Final = msgspec.json.Decoder().decode
_members: Final = msgspec.json.Decoder(Members).decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_response(body: bytes) -> Answer:
    """Judge a whole response that came with status 200; what is none is a failure."""
    response = members_of(body)
    if response is None:
        return Answer(failure=_failed("not_an_answer", "the upstream's answer is no response"))
    failure = failure_of(response)
    if failure is not None:
        return Answer(failure=failure)
    items = rows_of(response.get("output", _NULL))
    if items is None or status_of(response) not in ENDED_WELL:
        return Answer(failure=_failed("not_an_answer", "the upstream's answer is no response"))
    finish_reason = finish_of(response)
    if not items and finish_reason == "stop":
        return Answer(failure=_failed("empty_answer", "the upstream produced nothing"))
    sizes = [item_bytes(item) for item in items]
    return Answer(
        usage=usage_of(response),
        finish_reason=finish_reason,
        has_content=any(is_shown(item) for item in items),
        estimated_tokens=estimate_completion_tokens(0, sum(sizes)),
    )


def whole_response(
    body: bytes, response_id: str, asked_body: bytes, usage: TokenUsage, cost_usd: str
) -> bytes:
    """Give a whole response under our id, with what is charged."""
    response = put_right(members_of(body) or {}, response_id, asked_body)
    return _encode({**response, "usage": usage_members(response, usage, cost_usd)})


def put_right(response: Members, response_id: str, asked_body: bytes) -> dict[str, object]:
    """Give a response our id, and the request's own words where the provider got others."""
    asked = members_of(asked_body) or {}
    right: dict[str, object] = {**response, "id": response_id, "store": False}
    for name, nothing in ECHOED.items():
        raw = asked.get(name, _NULL)
        if bytes(raw) != b"null":
            right[name] = raw
        elif name in response:
            right[name] = nothing
    return right


def usage_members(
    response: Mapping[str, object], usage: TokenUsage, cost_usd: str
) -> dict[str, object]:
    """Give the provider's own members of usage, with our counts and what is charged in USD."""
    raw = response.get("usage")
    told = members_of(raw) if isinstance(raw, msgspec.Raw) else None
    members: dict[str, object] = dict(told or {})
    taken = members_of(members.get("input_tokens_details"))
    given = members_of(members.get("output_tokens_details"))
    members["input_tokens"] = usage.prompt_tokens
    members["input_tokens_details"] = {
        **(taken or {}),
        "cached_tokens": usage.cached_prompt_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    members["output_tokens"] = usage.completion_tokens
    members["output_tokens_details"] = {
        **(given or {}),
        "reasoning_tokens": usage.reasoning_tokens,
    }
    members["total_tokens"] = usage.prompt_tokens + usage.completion_tokens
    members["cost"] = msgspec.Raw(cost_usd.encode("ascii"))
    if usage.is_estimated:
        members["is_estimated"] = True
    return members


def failure_of(response: Members) -> UpstreamFailure | None:
    """Read the failure that a response tells of itself; None when it ended well, or goes on."""
    error = bytes(response.get("error", _NULL))
    if error not in _NOTHING:
        return read_inner_error(error)
    if status_of(response) in FAILED:
        return _failed("upstream_error", "the upstream reported an error")
    return None


def status_of(response: Members) -> str:
    """Read the status of a response; empty when it has none."""
    return text_of(response.get("status", _NULL))


def finish_of(response: Members) -> str:
    """Give the reason to stop in the words of Chat Completions."""
    details = members_of(response.get("incomplete_details", _NULL)) or {}
    return FINISH.get(text_of(details.get("reason", _NULL)), "stop")


def usage_of(response: Members) -> TokenUsage | None:
    """Read the usage of a response; None when it has none."""
    raw = bytes(response.get("usage", _NULL))
    return None if raw in _NOTHING else read_usage(raw)


def is_shown(item: Members) -> bool:
    """Tell whether an item is an answer by itself: a call, a picture, or words."""
    if text_of(item.get("type", _NULL)) in {"message", "reasoning"}:
        return item_bytes(item) > 0
    return True


def item_bytes(item: Members) -> int:
    """Give the size of what a client sees of an output item, as JSON writes it."""
    kind = text_of(item.get("type", _NULL))
    if kind == "message":
        return _parts_bytes(item, "content")
    if kind == "reasoning":
        return _parts_bytes(item, "summary") + _parts_bytes(item, "content")
    if kind in {"function_call", "mcp_call"}:
        return shown_bytes(item.get("arguments", _NULL))
    if kind == "custom_tool_call":
        return shown_bytes(item.get("input", _NULL))
    return len(_encode(item))


def _parts_bytes(item: Members, name: str) -> int:
    return sum(
        shown_bytes(part.get("text", _NULL)) + shown_bytes(part.get("refusal", _NULL))
        for part in rows_of(item.get(name, _NULL)) or []
    )


def shown_bytes(raw: msgspec.Raw) -> int:
    """Give the size of a text without its quotes; of another value as it is written."""
    part = bytes(raw)
    if part in _NOTHING:
        return 0
    return len(part) - 2 if part.startswith(b'"') else len(part)


def members_of(raw: object) -> Members | None:
    """Read an object; None for anything else."""
    if not isinstance(raw, bytes | msgspec.Raw):
        return None
    try:
        return _members(raw)
    except (ValueError, RecursionError):
        return None


def rows_of(raw: msgspec.Raw) -> list[Members] | None:
    """Read the objects of a list; None when it is none."""
    try:
        rows = _rows(raw)
    except (ValueError, RecursionError):
        return None
    return [row for raw_row in rows if (row := members_of(raw_row)) is not None]


def text_of(raw: msgspec.Raw) -> str:
    """Read a text; empty for anything else."""
    try:
        value = _any(raw)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def _failed(code: str, message: str) -> UpstreamFailure:
    return UpstreamFailure(code=code, message=message, status=502)

"""The sandbox as Anthropic: Messages judged, answered whole or event by event."""

import json
from collections.abc import Mapping
from typing import Any, Final

from jusinfer.sandbox.chat import Answer, Choice, Piece
from jusinfer.sandbox.fault_responses import fault_response
from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.response_script import before
from jusinfer.sandbox.script_steps import Script, Token, Wait
from jusinfer.sandbox.stream import inject_fault
from jusinfer.sandbox.text import compact, digest
from jusinfer.sandbox.validation import Refused

VERSIONS: Final = frozenset({"2023-06-01", "2026-10-21"})
ROLES: Final = frozenset({"assistant", "user"})
MID_SYSTEM: Final = "mid-conversation-"
SAMPLING: Final = ("temperature", "top_p", "top_k")
CACHED_TOKENS: Final = 3
STOP: Final[Mapping[str | None, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class MessageRefused(Refused):
    """The request is refused, in Anthropic's shape."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(status, error)
        inner = {"type": error["type"], "message": error["message"]}
        self.body: dict[str, Any] = {"type": "error", "error": inner, "request_id": "req_sandbox"}


def judge_messages(request: object, headers: Mapping[str, str]) -> dict[str, Any]:
    """Give the request back if Anthropic would take it."""
    if not headers.get("x-api-key") and not headers.get("authorization"):
        raise _refused("x-api-key header is required", 401, "authentication_error")
    version = headers.get("anthropic-version")
    if version not in VERSIONS:
        raise _refused("anthropic-version: header is required")
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise _refused("model: field required")
    if not isinstance(request.get("max_tokens"), int) or request["max_tokens"] < 1:
        raise _refused("max_tokens: field required")
    if version == "2026-10-21" and any(request.get(name) is not None for name in SAMPLING):
        raise _refused("temperature, top_p and top_k are not supported")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refused("messages: at least one message is required")
    betas = headers.get("anthropic-beta", "")
    _judge_betas(request, betas)
    _judge_turns(messages, ROLES | ({"system"} if MID_SYSTEM in betas else set()))
    _judge_rest(request)
    return request


def _judge_betas(request: dict[str, Any], betas: str) -> None:
    """Refuse what is taken only from those who name its beta."""
    if request.get("context_management") is not None and "context-management-" not in betas:
        raise _refused("context_management: Extra inputs are not permitted")
    for number, tool in enumerate(request.get("tools") or []):
        if tool.get("defer_loading") is not None and "advanced-tool-use-" not in betas:
            raise _refused(f"tools.{number}.custom.defer_loading: Extra inputs are not permitted")


def _judge_rest(request: dict[str, Any]) -> None:
    for number, tool in enumerate(request.get("tools") or []):
        if tool.get("type", "custom") != "custom":
            continue
        if not isinstance(tool.get("input_schema"), dict) or not tool.get("name"):
            raise _refused(f"tools.{number}.input_schema: field required")
    thinking = request.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or not 1_024 <= budget < request["max_tokens"]:  # noqa: PLR2004
            raise _refused("thinking.budget_tokens: must be at least 1024 and below max_tokens")


def _judge_turns(messages: list[dict[str, Any]], roles: set[str] | frozenset[str]) -> None:
    open_calls: set[str] = set()
    for number, turn in enumerate(messages):
        role = turn.get("role")
        if role not in roles:
            raise _refused(f"messages.{number}.role: must be user or assistant")
        content = turn.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            raise _refused(f"messages.{number}.content: must not be empty")
        results = {block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"}
        if results != open_calls:
            raise _refused(f"messages.{number}: tool_use ids without tool_result right after")
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            if block["type"] == "text" and not block.get("text"):
                raise _refused(f"messages.{number}: text content blocks must be non-empty")
            if block["type"] == "thinking" and not _is_signed(block):
                raise _refused(f"messages.{number}: invalid signature in thinking block")


def signature_of(text: str) -> str:
    """Sign a thought; only what was thought here verifies."""
    return f"sig_{digest('thinking', text)[:24]}"


def _is_signed(block: Mapping[str, Any]) -> bool:
    return block.get("signature") == signature_of(str(block.get("thinking", "")))


def as_chat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the sandbox needs to make up an answer, as a chat request."""
    messages = [
        {"role": turn["role"], "content": _said(turn["content"])} for turn in request["messages"]
    ]
    if request.get("system"):
        messages.insert(0, {"role": "system", "content": _said(request["system"])})
    chat: dict[str, Any] = {
        "model": request["model"],
        "messages": messages,
        "max_tokens": request["max_tokens"],
        "stream": bool(request.get("stream")),
        "stop": request.get("stop_sequences"),
        "sandbox": request.get("sandbox"),
        "tools": [
            {"type": "function", "function": {"name": t["name"], "parameters": t["input_schema"]}}
            for t in request.get("tools") or []
            if "input_schema" in t
        ],
    }
    choice = request.get("tool_choice") or {}
    kinds: dict[str, Any] = {"any": "required", "none": "none"}
    chat["tool_choice"] = kinds.get(choice.get("type", ""), "auto")
    if choice.get("type") == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    if (request.get("thinking") or {}).get("type") in {"enabled", "adaptive"}:
        chat["reasoning_effort"] = "high"
    form = (request.get("output_config") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        schema = {"name": "output", "schema": form.get("schema")}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat


def _said(content: object) -> object:
    if not isinstance(content, list):
        return content
    parts: list[dict[str, Any]] = []
    for block in content:
        if block.get("type") == "text":
            parts.append({"type": "text", "text": block["text"]})
        elif block.get("type") == "image":
            parts.append({"type": "image_url", "image_url": {"url": "data:,"}})
    return parts


def message_script(answer: Answer, http: Http, said: str) -> Script:
    """Answer as its faults say, in Anthropic's words."""
    fault = answer.fault
    yield from before(fault, http)
    instead = fault_response(fault, http, said, is_stream=answer.is_stream)
    if instead is not None:
        yield from instead
    elif answer.is_stream:
        yield from http.stream(_events(answer, http))
    else:
        body = _message(answer) | {
            "content": _blocks(answer.choices[0]),
            "stop_reason": STOP.get(answer.choices[0].finish, answer.choices[0].finish),
            "usage": _usage(answer, answer.completion_tokens),
        }
        if fault.has("missing_usage"):
            del body["usage"]
        yield from http.whole(200, compact(body).encode(), tokens=answer.completion_tokens)


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.seed[:24]}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(answer: Answer, output_tokens: int) -> dict[str, Any]:
    fault = answer.fault
    cached = min(CACHED_TOKENS, answer.prompt_tokens) if fault.has("cost") else 0
    return {
        "input_tokens": answer.prompt_tokens - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": 0 if fault.has("zero_usage") else output_tokens,
        "service_tier": "standard",
    }


def _blocks(choice: Choice) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    thought = choice.text("reasoning")
    if thought:
        signed = signature_of(thought)
        blocks.append({"type": "thinking", "thinking": thought, "signature": signed})
    text = choice.text("content") or choice.text("refusal")
    if text:
        blocks.append({"type": "text", "text": text})
    for number, call in enumerate(choice.calls):
        given = json.loads(choice.text("call", number) or "{}")
        blocks.append({"type": "tool_use", "id": call.call_id, "name": call.name, "input": given})
    return blocks


def _events(answer: Answer, http: Http) -> Script:
    fault = answer.fault
    start = _message(answer) | {"usage": _usage(answer, 1)}
    yield _frame({"type": "message_start", "message": start})
    yield _frame({"type": "ping"})
    choice = answer.choices[0]
    after = fault.number("after", 5)
    strikes = fault.has("cut", "reset", "stall")
    pause = Wait(fault.number("token_ms", fault.number("ms", 50)) / 1000)
    opened: tuple[str, int] | None = None
    index = -1
    for produced, piece in enumerate(choice.pieces):
        if strikes and produced >= after and (yield from inject_fault(fault, http)):
            return
        if fault.has("error_in_stream") and produced >= after:
            error = {"type": fault.word("err", "overloaded_error"), "message": "Overloaded"}
            yield _frame({"type": "error", "error": error})
            return
        if fault.has("slow") or "token_ms" in fault.options:
            yield pause
        here = (piece.kind, piece.call)
        if here != opened:
            if opened is not None:
                yield from _closed(choice, opened, index)
            index += 1
            opened = here
            yield _frame(_start(choice, piece, index))
        yield Token(_frame(_delta(piece, index)))
    if strikes and (yield from inject_fault(fault, http)):
        return
    if opened is not None:
        yield from _closed(choice, opened, index)
    yield from _ending(answer, fault)


def _ending(answer: Answer, fault: Fault) -> Script:
    reason = answer.choices[0].finish
    last = {"stop_reason": STOP.get(reason, reason), "stop_sequence": None}
    usage = {"output_tokens": _usage(answer, answer.completion_tokens)["output_tokens"]}
    if not fault.has("done_no_finish"):
        event: dict[str, Any] = {"type": "message_delta", "delta": last}
        if not fault.has("missing_usage"):
            event["usage"] = usage
        yield _frame(event)
    if not fault.has("no_done"):
        yield _frame({"type": "message_stop"})


def _start(choice: Choice, piece: Piece, index: int) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": ""}
    if piece.kind == "reasoning":
        block = {"type": "thinking", "thinking": "", "signature": ""}
    elif piece.kind == "call":
        call = choice.calls[piece.call]
        block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}}
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(piece: Piece, index: int) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": piece.text}
    if piece.kind == "reasoning":
        delta = {"type": "thinking_delta", "thinking": piece.text}
    elif piece.kind == "call":
        delta = {"type": "input_json_delta", "partial_json": piece.text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _closed(choice: Choice, opened: tuple[str, int], index: int) -> Script:
    if opened[0] == "reasoning":
        signed = {"type": "signature_delta", "signature": signature_of(choice.text("reasoning"))}
        yield _frame({"type": "content_block_delta", "index": index, "delta": signed})
    yield _frame({"type": "content_block_stop", "index": index})


def _frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {compact(event)}\n\n".encode("utf-8", "replace")


def _refused(
    message: str, status: int = 400, kind: str = "invalid_request_error"
) -> MessageRefused:
    return MessageRefused(status, {"message": message, "type": kind, "param": None, "code": None})

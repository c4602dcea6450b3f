"""The sandbox as OpenAI's Responses: requests judged, answered whole or event by event."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jusinfer.sandbox.chat import CREATED, Answer, Piece
from jusinfer.sandbox.fault_responses import fault_response
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.response_script import before
from jusinfer.sandbox.responses_items import OPENING, Item, items_of
from jusinfer.sandbox.script_steps import Script, Token, Wait
from jusinfer.sandbox.stream import inject_fault
from jusinfer.sandbox.text import compact, digest
from jusinfer.sandbox.validation import Refused

NAMED: Final = frozenset({"custom", "function", "namespace"})
TOOLS: Final = (
    NAMED
    | frozenset({"apply_patch", "code_interpreter", "computer_use_preview", "file_search"})
    | frozenset({"image_generation", "local_shell", "mcp", "shell", "tool_search"})
    | frozenset({"web_search", "web_search_preview"})
)
CALLS: Final = frozenset({"custom_tool_call", "function_call"})
OUTPUTS: Final = frozenset({"custom_tool_call_output", "function_call_output"})
ITEMS: Final = (
    CALLS
    | OUTPUTS
    | frozenset({"additional_tools", "compaction", "item_reference", "message", "reasoning"})
)
REPEATED: Final = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "top_p",
    "truncation",
)


def judge_responses(request: object) -> dict[str, Any]:
    """Give the request back if Responses would take it."""
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise Refused.of("you must provide a model parameter", "model", "missing_parameter")
    if request.get("previous_response_id"):
        message = "Previous response with this id not found."
        raise Refused.of(message, "previous_response_id", "previous_response_not_found")
    given = request.get("input")
    if not isinstance(given, str | list) or not given:
        raise Refused.of("'input' must be a text or a list of items", "input", "invalid_type")
    if isinstance(given, list):
        _judge_items(given)
    for number, tool in enumerate(request.get("tools") or []):
        kind = tool.get("type")
        if kind not in TOOLS:
            raise Refused.of(f"Invalid value: '{kind}'", f"tools[{number}].type", "invalid_value")
        if kind in NAMED and not tool.get("name"):
            where = f"tools[{number}].name"
            raise Refused.of(f"Missing required parameter: '{where}'", where, "missing_parameter")
    return request


def _judge_items(items: list[dict[str, Any]]) -> None:
    calls: set[str] = set()
    answered: set[str] = set()
    for number, item in enumerate(items):
        kind = item.get("type", "message")
        where = f"input[{number}]"
        if kind not in ITEMS:
            raise Refused.of(f"Invalid value: '{kind}'", f"{where}.type", "invalid_value")
        if kind == "item_reference":
            message = f"Item with id '{item.get('id')}' not found"
            raise Refused.of(message, "input", status=404)
        if kind in CALLS:
            calls.add(item["call_id"])
        elif kind in OUTPUTS:
            if item["call_id"] not in calls:
                message = f"No tool call found for the output with call_id {item['call_id']}."
                raise Refused.of(message, "input")
            answered.add(item["call_id"])
        elif kind == "reasoning" and not _is_own_thought(item):
            message = "The encrypted content could not be verified."
            raise Refused.of(message, f"{where}.encrypted_content", "invalid_encrypted_content")
    for call_id in sorted(calls - answered):
        raise Refused.of(f"No tool output found for function call {call_id}.", "input")


def _is_own_thought(item: Mapping[str, Any]) -> bool:
    sealed = item.get("encrypted_content")
    said = "".join(str(part.get("text", "")) for part in item.get("summary") or [])
    return sealed is None or sealed == sealed_of(said)


def sealed_of(thought: str) -> str:
    """Seal a thought; only what was thought here verifies."""
    return f"enc_{digest('reasoning', thought)[:24]}"


def as_chat(request: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the sandbox needs to make up an answer, as a chat request."""
    given = request["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages: list[dict[str, Any]] = [
        {"role": item.get("role", "tool"), "content": _text(item)} for item in items
    ]
    if request.get("instructions"):
        messages.insert(0, {"role": "system", "content": request["instructions"]})
    chat: dict[str, Any] = {
        "model": request["model"],
        "messages": messages,
        "max_tokens": request.get("max_output_tokens"),
        "stream": bool(request.get("stream")),
        "sandbox": request.get("sandbox"),
        "tools": [_tool(tool) for tool in request.get("tools") or [] if tool["type"] in _ASKED],
        "parallel_tool_calls": request.get("parallel_tool_calls"),
        "reasoning_effort": (request.get("reasoning") or {}).get("effort"),
    }
    choice = request.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        kind = choice.get("type")
        choice = _tool(choice) if kind in _ASKED else "auto"
    form = (request.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        schema = {"name": form.get("name"), "schema": form.get("schema")}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    return chat | {"tool_choice": choice}


_ASKED: Final = frozenset({"custom", "function"})


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    body = {name: value for name, value in tool.items() if name != "type"}
    return {"type": tool["type"], tool["type"]: body}


def _text(item: Mapping[str, Any]) -> object:
    content = item.get("content", item.get("output", item.get("arguments", "")))
    if not isinstance(content, list):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": "data:,"}})
        elif part.get("text"):
            parts.append({"type": "text", "text": part["text"]})
    return parts


def response_script(answer: Answer, asked: Mapping[str, Any], http: Http, said: str) -> Script:
    """Answer as its faults say, in the words of Responses; `asked` is the request as it came."""
    fault = answer.fault
    yield from before(fault, http)
    instead = fault_response(fault, http, said, is_stream=answer.is_stream)
    if instead is not None:
        yield from instead
    elif answer.is_stream:
        yield from http.stream(_events(answer, asked, http))
    else:
        body = _ended(answer, asked)
        yield from http.whole(200, compact(body).encode(), tokens=answer.completion_tokens)


def _response(answer: Answer, asked: Mapping[str, Any], status: str) -> dict[str, Any]:
    repeated = {name: asked.get(name) for name in REPEATED}
    return repeated | {
        "id": f"resp_{answer.seed[:24]}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": [],
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "usage": None,
    }


def _ended(answer: Answer, asked: Mapping[str, Any]) -> dict[str, Any]:
    choice = answer.choices[0]
    is_short = choice.finish == "length"
    body = _response(answer, asked, "incomplete" if is_short else "completed")
    body["output"] = [item.whole for item in _items(answer, asked)]
    if is_short:
        body["incomplete_details"] = {"reason": "max_output_tokens"}
    if not answer.fault.has("missing_usage"):
        body["usage"] = _usage(answer)
    return body


def _usage(answer: Answer) -> dict[str, Any]:
    is_nothing = answer.fault.has("zero_usage")
    taken = 0 if is_nothing else answer.prompt_tokens
    made = 0 if is_nothing else answer.completion_tokens
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": min(answer.reasoning_tokens, made)},
        "total_tokens": taken + made,
    }


def _items(answer: Answer, asked: Mapping[str, Any]) -> list[Item]:
    is_sealed = "reasoning.encrypted_content" in (asked.get("include") or [])
    return items_of(answer.choices[0], answer.seed, sealed_of if is_sealed else None)


class _Told:
    """Writes events with their numbers."""

    def __init__(self) -> None:
        self._number = -1

    def frame(self, kind: str, members: Mapping[str, Any]) -> bytes:
        """Write one event."""
        self._number += 1
        event = {"type": kind, "sequence_number": self._number} | dict(members)
        return f"event: {kind}\ndata: {compact(event)}\n\n".encode("utf-8", "replace")


def _events(answer: Answer, asked: Mapping[str, Any], http: Http) -> Script:
    fault = answer.fault
    told = _Told()
    started = {"response": _response(answer, asked, "in_progress")}
    yield told.frame("response.created", started)
    yield told.frame("response.in_progress", started)
    after = fault.number("after", 5)
    strikes = fault.has("cut", "reset", "stall")
    pause = Wait(fault.number("token_ms", fault.number("ms", 50)) / 1000)
    produced = 0
    for index, item in enumerate(_items(answer, asked)):
        yield from _opened(told, item, index)
        for piece in item.pieces:
            if strikes and produced >= after and (yield from inject_fault(fault, http)):
                return
            if fault.has("error_in_stream") and produced >= after:
                yield from _failed(told, answer, asked)
                return
            if fault.has("slow") or "token_ms" in fault.options:
                yield pause
            produced += 1
            yield Token(b"".join(_delta(told, item, index, piece)))
        yield from _closed(told, item, index)
    if strikes and (yield from inject_fault(fault, http)):
        return
    body = _ended(answer, asked)
    if not fault.has("done_no_finish", "no_done"):
        yield told.frame(f"response.{body['status']}", {"response": body})


def _failed(told: _Told, answer: Answer, asked: Mapping[str, Any]) -> Script:
    error = {"code": answer.fault.word("err", "server_error"), "message": "The provider failed."}
    body = _response(answer, asked, "failed") | {"error": error}
    yield told.frame("response.failed", {"response": body})


def _opened(told: _Told, item: Item, index: int) -> Script:
    status = {"status": "in_progress"} if "status" in item.whole else {}
    start = item.whole | status | dict(OPENING[item.kind])
    yield told.frame("response.output_item.added", {"output_index": index, "item": start})
    if item.part is not None:
        members = item.place(index) | {"part": item.part | {item.member: ""}}
        yield told.frame(f"{item.part_prefix}.added", members)


def _delta(told: _Told, item: Item, index: int, piece: Piece) -> Iterator[bytes]:
    if piece.text:
        members = item.place(index) | {"delta": piece.text}
        yield told.frame(f"{item.prefix}.delta", members)


def _closed(told: _Told, item: Item, index: int) -> Script:
    place = item.place(index)
    yield told.frame(f"{item.prefix}.done", place | {item.member: item.text})
    if item.part is not None:
        yield told.frame(f"{item.part_prefix}.done", place | {"part": item.part})
    done = {"output_index": index, "item": item.whole}
    yield told.frame("response.output_item.done", done)

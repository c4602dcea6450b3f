"""The sandbox as Cloudflare Workers AI: the native run endpoint with its envelope and streams."""

import json
from collections.abc import Mapping
from typing import Any, Final

from jusinfer.sandbox.chat import Answer
from jusinfer.sandbox.fault_responses import fault_response
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.response_script import before
from jusinfer.sandbox.script_steps import Script, Token, Wait
from jusinfer.sandbox.stream import inject_fault
from jusinfer.sandbox.text import compact
from jusinfer.sandbox.validation import Refused

MAX_TOKENS_DEFAULT: Final = 256


class RunRefused(Refused):
    """The request is refused, in Cloudflare's envelope."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(status, error)
        row = {"code": error["code"], "message": error["message"]}
        self.body: dict[str, Any] = {
            "result": None,
            "success": False,
            "errors": [row],
            "messages": [],
        }


def judge_run(request: object, headers: Mapping[str, str], model: str) -> dict[str, Any]:
    """Give the request as a chat request, if Workers AI would take it."""
    if not headers.get("authorization", "").startswith("Bearer "):
        raise _refused(10_000, "Authentication error", 401)
    if not model.startswith(("@cf/", "sandbox/")):
        raise _refused(5_007, f"No such model {model}")
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        raise _refused(5_004, "AiError: Bad input: must have required property 'messages'")
    if "model" in request or "stream_options" in request:
        raise _refused(5_004, "AiError: Bad input: unexpected property")
    for message in request["messages"]:
        if message.get("content") is None:
            raise _refused(5_004, "AiError: Bad input: content must be a string")
    request.setdefault("max_tokens", MAX_TOKENS_DEFAULT)
    return request | {"model": model}


def run_script(answer: Answer, http: Http, said: str) -> Script:
    """Answer as its faults say, in Cloudflare's envelope."""
    fault = answer.fault
    yield from before(fault, http)
    instead = fault_response(fault, http, said, is_stream=answer.is_stream)
    if instead is not None:
        yield from instead
    elif answer.is_stream:
        yield from http.stream(_events(answer, http))
    else:
        choice = answer.choices[0]
        result: dict[str, Any] = {"response": choice.text("content")}
        if choice.calls:
            result["tool_calls"] = _calls(answer)
        if not fault.has("missing_usage"):
            result["usage"] = answer.usage()
        body = {"result": result, "success": True, "errors": [], "messages": []}
        yield from http.whole(200, compact(body).encode(), tokens=answer.completion_tokens)


def _events(answer: Answer, http: Http) -> Script:
    fault = answer.fault
    choice = answer.choices[0]
    after = fault.number("after", 5)
    strikes = fault.has("cut", "reset", "stall")
    for produced, piece in enumerate(choice.pieces):
        if strikes and produced >= after and (yield from inject_fault(fault, http)):
            return
        if fault.has("slow") or "token_ms" in fault.options:
            yield Wait(fault.number("token_ms", 50) / 1000)
        if piece.kind == "content":
            if produced % 2:
                row = {"index": 0, "delta": {"content": piece.text}, "finish_reason": None}
                yield Token(_frame({"choices": [row]}))
            else:
                yield Token(_frame({"response": piece.text}))
    if choice.calls:
        yield Token(_frame({"response": "", "tool_calls": _calls(answer)}))
        empty = {"id": None, "function": {"name": None, "arguments": ""}}
        yield _frame({"response": "", "tool_calls": [empty]})
    if fault.has("missing_usage"):
        yield _frame({"response": "", "finish_reason": choice.finish})
    else:
        last = {"response": "", "finish_reason": choice.finish, "usage": answer.usage()}
        yield _frame(last)
    if not fault.has("no_done"):
        yield b"data: [DONE]\n\n"


def _calls(answer: Answer) -> list[dict[str, Any]]:
    choice = answer.choices[0]
    return [
        {"name": call.name, "arguments": json.loads(choice.text("call", number) or "{}")}
        for number, call in enumerate(choice.calls)
    ]


def _frame(members: dict[str, Any]) -> bytes:
    return f"data: {compact(members)}\n\n".encode("utf-8", "replace")


def _refused(code: int, message: str, status: int = 400) -> RunRefused:
    return RunRefused(status, {"message": message, "type": "", "param": None, "code": code})

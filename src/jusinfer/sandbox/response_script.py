"""Tells an answer as a script of steps, from before its head to its end."""

from typing import Any

from jusinfer.sandbox.chat import Answer
from jusinfer.sandbox.fault_responses import fault_response
from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.script_steps import STALL_SECONDS, Close, Script, Wait
from jusinfer.sandbox.stream import event_script
from jusinfer.sandbox.text import compact
from jusinfer.sandbox.usage import reported_usage


def answer_script(answer: Answer, http: Http, said: str) -> Script:
    """Answer a chat request as its faults say; `said` is what an echoing error repeats."""
    fault = answer.fault
    yield from before(fault, http)
    instead = fault_response(fault, http, said, is_stream=answer.is_stream)
    if instead is not None:
        yield from instead
    elif answer.is_stream and not fault.has("plain_json"):
        yield from http.stream(event_script(answer, http))
    else:
        body = answer.whole()
        usage = reported_usage(fault, answer.usage())
        if usage is not None:
            body["usage"] = usage
        if fault.has("error_in_stream", "error_in_200"):
            _fail_choice(body)
        data = compact(body).encode("utf-8", "replace")
        yield from http.whole(200, data, tokens=answer.completion_tokens)


def before(fault: Fault, http: Http) -> Script:
    """Do what happens before there is a head."""
    wait_ms = fault.number("wait_ms", 0) + (fault.number("ms", 500) if fault.has("delay") else 0)
    if wait_ms:
        yield Wait(wait_ms / 1000)
    if fault.has("early_hints"):
        code = fault.number("code", 103)
        for number in range(fault.number("n", 1)):
            yield f"HTTP/1.1 {code} Early\r\nlink: </{number}>; rel=preload\r\n\r\n".encode()
    if fault.has("stall") and fault.flag("before"):
        yield Wait(STALL_SECONDS)
    if fault.has("close_before_answer") or (fault.has("cut", "stall") and fault.flag("before")):
        yield Close.CLEAN
    if fault.has("reset") and fault.flag("before"):
        yield from http.end_badly()
    if fault.has("garbage"):
        yield b"\x16\x03\x01 amber basin\x00\xff\r\ncedar\r\n\r\n"
        yield Close.CLEAN


def _fail_choice(body: dict[str, Any]) -> None:
    body["choices"][0]["finish_reason"] = "error"
    body["choices"][0]["error"] = {"code": 502, "message": "the provider disconnected"}

"""Answers that are none: errors in every shape, pages, redirections and broken JSON."""

import base64
import datetime as dt
import email.utils
import html
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.script_steps import Script
from jusinfer.sandbox.text import compact

ENCODERS: Final[Mapping[str, Callable[[str], str]]] = {
    "raw": str,
    "json": json.dumps,
    "html": html.escape,
    "url": urllib.parse.quote,
    "base64": lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode(),
    "hex": lambda text: text.encode("utf-8", "replace").hex(),
    "upper": str.upper,
}


def fault_response(fault: Fault, http: Http, said: str, *, is_stream: bool) -> Script | None:
    """Give the script of something that is no answer, if a fault asks for it.

    `said` is what an echoing error repeats.
    """
    scripts: tuple[tuple[bool, Callable[[Fault, Http, str], Script]], ...] = (
        (fault.has("status"), _status),
        (fault.has("echo_error"), _echo_error),
        (fault.has("html"), _page),
        (fault.has("error_in_200") and fault.word("in", "body") == "body", _error_in_200),
        (fault.has("huge_error"), _huge_error),
        (fault.has("redirect"), _redirect),
        (fault.has("bad_json") and not is_stream, _bad_json),
    )
    for is_asked, script in scripts:
        if is_asked:
            return script(fault, http, said)
    return None


def _page(fault: Fault, http: Http, _said: str) -> Script:
    page = b"<!doctype html><html><body><h1>Sandbox</h1><p>Not JSON.</p></body></html>"
    return http.whole(fault.number("code", 200), page, {"content-type": "text/html"})


def _error_in_200(fault: Fault, http: Http, _said: str) -> Script:
    error = {"error": {"code": fault.number("code", 502), "message": "the provider failed"}}
    return http.whole(200, compact(error).encode())


def _huge_error(fault: Fault, http: Http, _said: str) -> Script:
    size_bytes = fault.number("mb", 12) << 20
    return http.huge(fault.number("code", 500), size_bytes, b'{"error":{"message":"', b'"}}')


def _redirect(fault: Fault, http: Http, _said: str) -> Script:
    to = fault.word("to", "http://127.0.0.1:9/elsewhere")
    return http.whole(fault.number("code", 302), b"", {"location": to})


def _bad_json(_fault: Fault, http: Http, _said: str) -> Script:
    return http.whole(200, b'{"id":"chatcmpl-amber","choices":[{"index":0,"message":{"ro')


def _status(fault: Fault, http: Http, _said: str) -> Script:
    code = fault.number("code", 500)
    headers = {}
    for name in ("retry_after", "retry_after_ms"):
        if name in fault.options:
            headers[name.replace("_", "-")] = fault.options[name]
    if "should_retry" in fault.options:
        headers["x-should-retry"] = fault.options["should_retry"]
    if "retry_after_date" in fault.options:
        seconds = fault.number("retry_after_date", 0)
        instant = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        headers["retry-after"] = email.utils.format_datetime(instant, usegmt=True)
    if fault.flag("empty"):
        return http.whole(code, b"", headers)
    return http.whole(code, compact(_shaped_error(fault, code)).encode(), headers)


def _shaped_error(fault: Fault, code: int) -> object:
    kind = "insufficient_quota" if fault.flag("quota") else fault.word("type", "sandbox_error")
    name = fault.word("err", kind if fault.flag("quota") else f"scripted_{code}")
    message = fault.word("message", f"scripted status {code}")
    error = {"message": message, "type": kind, "param": None, "code": name}
    shapes: dict[str, object] = {
        "openai": {"error": error},
        "text": {"error": message},
        "bare": {"message": message, "type": kind},
        "detail": {"detail": [{"loc": ["body", "messages"], "msg": message, "type": kind}]},
        "array": [{"error": {"code": code, "message": message, "status": name.upper()}}],
        "cloudflare": {
            "success": False,
            "errors": [{"code": fault.number("n", 7003), "message": message}],
            "result": None,
        },
        "openrouter": {
            "error": {"code": code, "message": message, "metadata": {"error_type": name}}
        },
        "anthropic": {"type": "error", "error": {"type": kind, "message": message}},
    }
    return shapes.get(fault.word("shape", "openai"), shapes["openai"])


def _echo_error(fault: Fault, http: Http, said: str) -> Script:
    code = fault.number("code", 400)
    text = ENCODERS.get(fault.word("enc", "raw"), str)(said)
    error: dict[str, Any] = {"message": f"invalid input: {text}", "type": "invalid_request_error"}
    if fault.word("in", "message") == "metadata":
        error = {
            "message": "flagged",
            "code": code,
            "metadata": {"reasons": ["scripted"], "flagged_input": text},
        }
    if fault.word("in", "message") == "body":
        return http.whole(code, text.encode("utf-8", "replace"), {"content-type": "text/plain"})
    return http.whole(code, compact({"error": error}).encode("utf-8", "replace"))

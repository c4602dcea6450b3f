"""Puts an answer on the wire, well or, when a fault asks for it, in every way it can go wrong."""

import asyncio
import base64
import gzip
import html
import json
import struct
import urllib.parse
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from jusinfer.sandbox.chat import Answer
from jusinfer.sandbox.faults import Fault

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream; charset=utf-8"
FOREVER_SECONDS: Final = 3_600
KEEP_ALIVES_MAX: Final = 100_000
ENCODERS: Final[dict[str, Callable[[str], str]]] = {
    "raw": lambda text: text,
    "json": json.dumps,
    "html": html.escape,
    "url": urllib.parse.quote,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "upper": str.upper,
}


class Cut(Exception):
    """The connection is to be closed now; `is_reset` says how."""

    def __init__(self, *, is_reset: bool = False) -> None:
        super().__init__("cut")
        self.is_reset = is_reset


class Wire:
    """Raw writes of HTTP/1.1, so that the rules can be broken on purpose."""

    def __init__(self, writer: asyncio.StreamWriter, split_bytes: int = 0) -> None:
        self._writer = writer
        self._split_bytes = split_bytes
        self.keep = True

    async def put(self, data: bytes) -> None:
        """Send bytes, in pieces if asked to."""
        if self._split_bytes:
            for at in range(0, len(data), self._split_bytes):
                self._writer.write(data[at : at + self._split_bytes])
                await self._writer.drain()
                await asyncio.sleep(0)
            return
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, headers: dict[str, str]) -> None:
        """Send a head."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await self.put(f"HTTP/1.1 {status} Sandbox\r\n{lines}\r\n".encode())

    async def whole(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, over: int = 0
    ) -> None:
        """Send a whole answer; `over` makes its length a lie."""
        all_headers = {"content-type": JSON, "content-length": str(len(body) + over)}
        await self.head(status, all_headers | (headers or {}))
        await self.put(body)

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body."""
        await self.put(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """End a chunked body."""
        await self.put(b"0\r\n\r\n")

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        connection = self._writer.get_extra_info("socket")
        if connection is not None:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(1, 13, linger)
        self._writer.transport.abort()


class Meter:
    """Counts what was really produced, apart from everyone else's books."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, int]] = {}

    def add(self, model: str, name: str, count: int = 1) -> None:
        """Count something of a model."""
        row = self.models.setdefault(
            model, {"started": 0, "finished": 0, "cancelled": 0, "tokens": 0}
        )
        row[name] += count


async def play(wire: Wire, answer: Answer, fault: Fault, meter: Meter) -> None:
    """Answer one request as its fault says."""
    await _before(wire, fault)
    if await _instead(wire, answer, fault):
        return
    if answer.request.get("stream") and fault.name != "plain_json":
        await _stream(wire, answer, fault, meter)
    else:
        await _plain(wire, answer, fault, meter)


async def _before(wire: Wire, fault: Fault) -> None:
    name = fault.name
    if name == "delay":
        await asyncio.sleep(fault.number("ms", 500) / 1000)
    elif name == "stall" and "before" in fault.options:
        await asyncio.sleep(FOREVER_SECONDS)
    elif name == "close_before_answer":
        raise Cut
    elif name == "early_hints":
        await wire.put(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    elif name == "garbage":
        await wire.put(b"\x00\x01this is not HTTP\r\n\r\n")
        raise Cut
    elif name == "slow_head":
        for byte in b"HTTP/1.1 200 OK\r\ncontent-type: app":
            await wire.put(bytes([byte]))
            await asyncio.sleep(fault.number("ms", 20) / 1000)


async def _instead(wire: Wire, answer: Answer, fault: Fault) -> bool:
    """Give something else than an answer; true when that is all."""
    name = fault.name
    if name == "status":
        await _status(wire, fault)
    elif name == "html":
        page = b"<html><body><h1>Bad gateway</h1></body></html>"
        await wire.whole(fault.number("code", 200), page, {"content-type": "text/html"})
    elif name == "error_in_200":
        error = {"error": {"code": fault.number("code", 502), "message": "the provider failed"}}
        await wire.whole(200, json.dumps(error).encode())
    elif name == "echo_error":
        encode = ENCODERS.get(fault.options.get("enc", "raw"), str)
        text = encode(json.dumps(answer.request, ensure_ascii=False))
        error = {"error": {"message": f"invalid input: {text}", "type": "invalid_request_error"}}
        await wire.whole(fault.number("code", 400), json.dumps(error).encode())
    elif name == "huge_error":
        text = "x" * (fault.number("mb", 12) << 20)
        await wire.whole(500, json.dumps({"error": {"message": text}}).encode())
    elif name == "redirect":
        await wire.whole(302, b"", {"location": "http://127.0.0.1:9/elsewhere"})
    elif name == "bad_json":
        await wire.whole(200, b'{"id": "x", "choices": [')
    elif name == "compressed":
        body = gzip.compress(json.dumps(answer.whole()).encode())
        await wire.whole(200, body, {"content-encoding": "gzip"})
    else:
        return False
    return True


async def _status(wire: Wire, fault: Fault) -> None:
    code = fault.number("code", 500)
    kind = "insufficient_quota" if fault.flag("quota") else "sandbox_status"
    error = {"message": f"scripted status {code}", "type": kind, "param": None, "code": kind}
    headers = {}
    if "retry_after" in fault.options:
        headers["retry-after"] = fault.options["retry_after"]
    await wire.whole(code, json.dumps({"error": error}).encode(), headers)


async def _plain(wire: Wire, answer: Answer, fault: Fault, meter: Meter) -> None:
    body = answer.whole()
    usage = _usage(answer, fault)
    if usage is None:
        del body["usage"]
    else:
        body["usage"] = usage
    meter.add(answer.model, "tokens", answer.completion_tokens * answer.count)
    data = json.dumps(body, ensure_ascii=False).encode()
    headers: dict[str, str] = {}
    if fault.name == "blank_lines":
        data = b"\n\n\n" + data
    elif fault.name == "set_cookie":
        headers = {"set-cookie": "a=b", "x-secret-internal": "1", "openai-processing-ms": "12"}
    elif fault.name == "headers":
        headers = {f"x-pad-{n}": "y" * 1000 for n in range(fault.number("kb", 100))}
    if fault.name in {"wrong_length", "cut", "reset"}:
        await wire.whole(200, data[: len(data) // 2], headers, over=len(data) - len(data) // 2)
        raise Cut(is_reset=fault.name == "reset")
    if fault.name == "truncated_chunked":
        await wire.head(200, {"content-type": JSON, "transfer-encoding": "chunked"})
        await wire.chunk(data)
        raise Cut
    await wire.whole(200, data, headers)


def _usage(answer: Answer, fault: Fault) -> dict[str, Any] | None:
    usage = answer.usage()
    if fault.name == "missing_usage":
        return None
    if fault.name == "zero_usage":
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if fault.name == "wrong_usage":
        usage["prompt_tokens_details"] = {"cached_tokens": usage["prompt_tokens"] + 1_000}
        usage["completion_tokens"] = fault.number("completion", usage["completion_tokens"])
    if fault.name == "cost":
        usage |= {"cost": 0.000123, "cost_details": {"upstream_inference_cost": 0.000123}}
    return usage


async def _stream(wire: Wire, answer: Answer, fault: Fault, meter: Meter) -> None:
    headers = {"content-type": EVENTS, "transfer-encoding": "chunked", "cache-control": "no-cache"}
    await wire.head(200, headers)
    async for event in _events(answer, fault, meter):
        await wire.chunk(event)
    if fault.name != "truncated_chunked":
        await wire.end()
    else:
        raise Cut


async def _events(answer: Answer, fault: Fault, meter: Meter) -> AsyncIterator[bytes]:
    async for lead in _leading(fault):
        yield lead
    produced = 0
    for index in range(answer.count):
        yield _framed(answer.chunk({"role": "assistant", "content": ""}, index, None), fault)
    if fault.name != "role_only":
        for delta in answer.deltas():
            for index in range(answer.count):
                await _strike(fault, produced)
                if fault.name == "error_in_stream" and produced >= fault.number("after", 5):
                    yield _stream_error(answer, fault)
                    return
                yield _content(answer, delta, index, fault)
                produced += 1
                meter.add(answer.model, "tokens")
    async for last in _ending(answer, fault):
        yield last


async def _leading(fault: Fault) -> AsyncIterator[bytes]:
    if fault.name == "comments":
        yield b": OPENROUTER PROCESSING\n\n: keep-alive\n\n: ping\n\n"
    elif fault.name == "keepalive":
        count = KEEP_ALIVES_MAX if fault.flag("forever") else fault.number("n", 5)
        for _ in range(count):
            yield b": keep-alive\n\n"
            await asyncio.sleep(fault.number("ms", 100) / 1000)
    elif fault.name == "no_choices":
        yield b'data: {"id":"x","object":"chat.completion.chunk"}\n\n'
    elif fault.name == "null_choices":
        yield b'data: {"id":"x","choices":null}\n\ndata: {"id":"x","choices":[]}\n\n'
    elif fault.name == "long_line":
        pad = "z" * (fault.number("kb", 1_000) << 10)
        yield f'data: {{"id":"x","choices":[],"obfuscation":"{pad}"}}\n\n'.encode()


async def _strike(fault: Fault, produced: int) -> None:
    """Do what a fault does between two tokens."""
    is_time = produced >= fault.number("after", 5)
    if fault.name in {"cut", "reset"} and is_time:
        raise Cut(is_reset=fault.name == "reset")
    if fault.name == "stall" and is_time:
        await asyncio.sleep(FOREVER_SECONDS)
    if fault.name == "slow":
        await asyncio.sleep(fault.number("ms", 50) / 1000)


def _content(answer: Answer, delta: dict[str, Any], index: int, fault: Fault) -> bytes:
    event = answer.chunk(delta, index, None)
    if fault.name == "usage_every_chunk":
        event["usage"] = answer.usage()
    lead = b": OPENROUTER PROCESSING\n\n" if fault.name == "comments" else b""
    return lead + _framed(event, fault)


def _stream_error(answer: Answer, fault: Fault) -> bytes:
    error = {"code": 502, "message": "the provider disconnected"}
    if fault.flag("plain"):
        return _framed({"error": error}, fault)
    event = answer.chunk({"content": ""}, 0, "error")
    return _framed(event | {"error": error}, fault)


async def _ending(answer: Answer, fault: Fault) -> AsyncIterator[bytes]:
    name = fault.name
    wants_usage = bool((answer.request.get("stream_options") or {}).get("include_usage"))
    usage = _usage(answer, fault) if wants_usage else None
    if name not in {"role_only", "done_no_finish"}:
        for index in range(answer.count):
            event = answer.chunk({}, index, answer.finish)
            if name in {"usage_with_finish", "usage_nonempty_choices"} and usage is not None:
                event["usage"] = usage
            yield _framed(event, fault)
    if name == "content_after_finish":
        yield _framed(answer.chunk({"content": " late"}, 0, None), fault)
    if usage is not None and name not in {"usage_with_finish", "usage_nonempty_choices"}:
        event = answer.chunk({}, 0, None)
        yield _framed(event | {"choices": [], "usage": usage}, fault)
    if name != "no_done":
        yield _framed("[DONE]", fault)
    if name == "data_after_done":
        yield _framed(answer.chunk({"content": " ghost"}, 0, None), fault)


def _framed(event: object, fault: Fault) -> bytes:
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    end = "\r\n\r\n" if fault.name == "crlf" else "\n\n"
    return f"data: {text}{end}".encode()

"""Puts bodies and events into HTTP/1.1 by hand, so that every rule can be broken on purpose."""

import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.script_steps import (
    HEAD_START_SECONDS,
    STALL_SECONDS,
    Close,
    Script,
    Token,
    Wait,
    data_of,
    mapped,
    split,
)

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream; charset=utf-8"
HEADER_LINE_BYTES: Final = 1_000
PIECE_BYTES: Final = 65_536
WRONG_BYTES: Final = 10
GZIP_BITS: Final = 31
COOKIES: Final[Mapping[str, str]] = {
    "set-cookie": "sandbox=amber; Path=/; HttpOnly",
    "x-internal-host": "node-17.sandbox.internal",
    "openai-organization": "org-sandbox",
    "cf-ray": "8a0000000000abcd-SBX",
}


class Http:
    """Writes one answer for one request, as its faults say."""

    def __init__(self, fault: Fault, request_id: str, *, is_old: bool = False) -> None:
        self.fault = fault
        self.request_id = request_id
        self._is_old = is_old

    def whole(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, tokens: int = 0
    ) -> Script:
        """Answer with a body whose length is known, or is lied about."""
        fault = self.fault
        all_headers = {"content-type": JSON} | dict(headers or {})
        if fault.has("blank_lines"):
            body = b"\n" * fault.number("n", 3) + body
        if fault.has("compressed"):
            all_headers["content-encoding"] = fault.word("enc", "gzip")
            machine = self._machine()
            body = machine.compress(body) + machine.flush()
        if fault.has("keepalive", "truncated_chunked") and not self._is_old:
            script = self._chunked(status, all_headers, self._patient(body, tokens))
        else:
            script = self._sized(status, all_headers, body, tokens)
        yield from self._cut_up(script)

    def huge(self, status: int, size_bytes: int, first: bytes, last: bytes) -> Script:
        """Answer with a body of so many bytes between its ends, without ever holding it."""
        length = str(len(first) + size_bytes + len(last))
        yield from self._head(status, {"content-type": JSON, "content-length": length})
        yield first
        for at in range(0, size_bytes, PIECE_BYTES):
            yield b"x" * min(PIECE_BYTES, size_bytes - at)
        yield last

    def stream(self, events: Script) -> Script:
        """Answer with events as they come."""
        fault = self.fault
        headers = {"content-type": EVENTS, "cache-control": "no-cache"}
        if fault.has("compressed"):
            headers["content-encoding"] = fault.word("enc", "gzip")
            events = self._compressed(events)
        if fault.has("burst"):
            events = _joined(events)
        if fault.has("wrong_length"):
            steps = list(events)
            size = sum(len(data_of(step) or b"") for step in steps)
            script = self._lying(headers, iter(steps), size)
        elif self._is_old:
            script = self._until_close(headers, events)
        else:
            script = self._chunked(HTTPStatus.OK, headers, events)
        yield from self._cut_up(script)

    def end_badly(self) -> Script:
        """Stop here: closed, reset or silent, as the fault says."""
        if self.fault.has("reset"):
            yield Wait(HEAD_START_SECONDS)
            yield Close.RESET
        if self.fault.has("stall"):
            yield Wait(STALL_SECONDS)
        yield Close.CLEAN

    def _sized(self, status: int, headers: dict[str, str], body: bytes, tokens: int) -> Script:
        by = self.fault.number("by", WRONG_BYTES) if self.fault.has("wrong_length") else 0
        headers["content-length"] = str(max(len(body) + by, 0))
        yield from self._head(status, headers)
        if self.fault.has("cut", "reset", "stall"):
            yield Token(body[: len(body) // 2], tokens)
            yield from self.end_badly()
        yield Token(body, tokens)
        if by > 0:
            yield Close.CLEAN

    def _lying(self, headers: dict[str, str], events: Script, size_bytes: int) -> Script:
        by = self.fault.number("by", WRONG_BYTES)
        headers["content-length"] = str(max(size_bytes + by, 0))
        yield from self._head(HTTPStatus.OK, headers)
        yield from events
        yield Close.CLEAN

    def _until_close(self, headers: dict[str, str], events: Script) -> Script:
        yield from self._head(HTTPStatus.OK, headers)
        yield from events
        yield Close.CLEAN

    def _chunked(self, status: int, headers: dict[str, str], events: Script) -> Script:
        yield from self._head(status, headers | {"transfer-encoding": "chunked"})
        for step in events:
            data = data_of(step)
            if data:
                yield mapped(step, b"%x\r\n%b\r\n" % (len(data), data))
            elif data is None:
                yield step
        if self.fault.has("truncated_chunked"):
            if self.fault.word("at", "end") == "chunk":
                yield b"400\r\nonly this"
            yield Close.CLEAN
        yield b"0\r\n\r\n"

    def _patient(self, body: bytes, tokens: int) -> Script:
        """Send blank lines while the sandbox thinks, as an upstream with a queue does."""
        if self.fault.has("keepalive"):
            yield from self.idle(b"\n")
        yield Token(body, tokens)

    def idle(self, filler: bytes) -> Script:
        """Send a filler so many times, or for as long as anyone listens."""
        seconds = self.fault.number("ms", 100) / 1000
        if self.fault.flag("forever"):
            for _ in range(int(STALL_SECONDS / max(seconds, 0.001))):
                yield filler
                yield Wait(seconds)
            yield Close.CLEAN
        for _ in range(self.fault.number("n", 5)):
            yield filler
            yield Wait(seconds)

    def _head(self, status: int, headers: Mapping[str, str]) -> Script:
        fault = self.fault
        lines = {"x-request-id": self.request_id} | dict(headers)
        if fault.has("set_cookie"):
            lines |= COOKIES
        if fault.has("headers"):
            count = -(-fault.number("kb", 100) * 1024 // HEADER_LINE_BYTES)
            lines |= {f"x-pad-{number}": "y" * HEADER_LINE_BYTES for number in range(count)}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        data = f"HTTP/1.1 {status} {_phrase(status)}\r\n{text}\r\n".encode("latin-1", "replace")
        if not fault.has("slow_head"):
            yield data
            return
        for byte in data:
            yield bytes((byte,))
            yield Wait(fault.number("ms", 20) / 1000)

    def _compressed(self, script: Script) -> Script:
        machine = self._machine()
        for step in script:
            data = data_of(step)
            if data is None:
                yield step
                continue
            yield mapped(step, machine.compress(data) + machine.flush(zlib.Z_SYNC_FLUSH))
        yield machine.flush()

    def _machine(self) -> "zlib._Compress":
        is_gzip = self.fault.word("enc", "gzip") == "gzip"
        return zlib.compressobj(wbits=GZIP_BITS if is_gzip else zlib.MAX_WBITS)

    def _cut_up(self, script: Script) -> Script:
        if self.fault.has("split"):
            return split(script, self.fault.number("bytes", 1))
        return script


def _joined(events: Script) -> Iterator[Token]:
    steps = [step for step in events if not isinstance(step, Wait | Close)]
    count = sum(step.tokens for step in steps if isinstance(step, Token))
    yield Token(b"".join(data_of(step) or b"" for step in steps), count)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Sandbox"

"""The sandbox upstream on one loopback port: reads requests with h11, answers as scripted."""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import h11
import uvloop

from jusinfer.sandbox.chat import Answer, Refused, judge
from jusinfer.sandbox.faults import Faults
from jusinfer.sandbox.play import Cut, Meter, Wire, play
from jusinfer.sandbox.text import words

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
IDLE_SECONDS: Final = 600
READ_BYTES: Final = 65_536
REMEMBERED: Final = 50
DIMENSIONS: Final = 8
CHAT_PATHS: Final = frozenset({"/v1/chat/completions", "/chat/completions"})


class Sandbox:
    """What all connections share: the faults' memory, the meter, the last requests' shapes."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.meter = Meter()
        self.last: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        try:
            while await self._one(parser, reader, writer):
                parser.start_next_cycle()
        except (ConnectionError, TimeoutError, h11.RemoteProtocolError):
            pass
        except Cut as cut:
            if cut.is_reset:
                Wire(writer).reset()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()

    async def _one(
        self, parser: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = await _next(parser, reader)
        if not isinstance(request, h11.Request):
            return False
        body = bytearray()
        while True:
            event = await _next(parser, reader)
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    return False
            else:
                break
        gone = asyncio.ensure_future(reader.read(1))
        answer = asyncio.ensure_future(self._answer(request, bytes(body), writer))
        try:
            await asyncio.wait({gone, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
            await answer
        except asyncio.CancelledError:
            return False
        finally:
            is_idle = not gone.done()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await gone
        # h11 has not seen the raw answer: tell it, so that the next request may come.
        parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        parser.send(h11.EndOfMessage())
        return is_idle and parser.our_state is h11.DONE and parser.their_state is h11.DONE

    async def _answer(
        self, request: h11.Request, body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        path = request.target.decode().partition("?")[0]
        wire = Wire(writer)
        if request.method == b"GET" or path == "/sandbox/reset":
            await self._page(wire, path)
        elif not headers.get("authorization"):
            refused = Refused(401, "you did not provide an API key", None, "invalid_api_key")
            await wire.whole(401, json.dumps(refused.body).encode())
        elif path in CHAT_PATHS:
            await self._chat(writer, headers, body)
        elif path in {"/v1/embeddings", "/embeddings"}:
            await wire.whole(200, json.dumps(_embeddings(json.loads(body))).encode())
        else:
            await wire.whole(404, b'{"error":{"message":"no such path","code":"not_found"}}')

    async def _chat(
        self, writer: asyncio.StreamWriter, headers: dict[str, str], body: bytes
    ) -> None:
        wire = Wire(writer)
        try:
            request = judge(json.loads(body))
        except (ValueError, UnicodeDecodeError):
            await wire.whole(400, b'{"error":{"message":"the body is not JSON","code":null}}')
            return
        except Refused as refused:
            await wire.whole(refused.status, json.dumps(refused.body).encode())
            return
        self.last.append({"headers": sorted(headers), "keys": sorted(request)} | _flags(request))
        scope = headers.get("x-sandbox-scope", "")
        fault = self.faults.choose(
            request["model"], headers.get("x-sandbox-fault"), request.get("sandbox"), scope
        )
        if fault.name == "split":
            wire = Wire(writer, fault.number("bytes", 1))
        answer = Answer(request, fault)
        self.meter.add(answer.model, "started")
        try:
            await play(wire, answer, fault, self.meter)
        except asyncio.CancelledError:
            self.meter.add(answer.model, "cancelled")
            raise
        self.meter.add(answer.model, "finished")

    async def _page(self, wire: Wire, path: str) -> None:
        if path == "/sandbox/reset":
            self.faults.reset()
            self.meter.models.clear()
            self.last.clear()
        pages: dict[str, object] = {
            "/healthz": {"status": "ok"},
            "/sandbox/counts": self.meter.models,
            "/sandbox/last": list(self.last),
            "/sandbox/reset": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": "sandbox/echo", "object": "model"}]},
        }
        status = 200 if path in pages else 404
        await wire.whole(status, json.dumps(pages.get(path, {"error": "no such page"})).encode())


async def _next(parser: h11.Connection, reader: asyncio.StreamReader) -> object:
    while True:
        event = parser.next_event()
        if event is not h11.NEED_DATA:
            return event
        async with asyncio.timeout(IDLE_SECONDS):
            parser.receive_data(await reader.read(READ_BYTES))


def _flags(request: dict[str, Any]) -> dict[str, Any]:
    """Keep the privacy flags of a request, and nothing of what it says."""
    kept = ("store", "stream_options", "provider", "max_tokens", "max_completion_tokens", "model")
    return {name: request[name] for name in kept if name in request}


def _embeddings(request: dict[str, Any]) -> dict[str, Any]:
    asked = request.get("input", "")
    texts = asked if isinstance(asked, list) and not _is_tokens(asked) else [asked]
    size = int(request.get("dimensions") or DIMENSIONS)
    rows = []
    for index, text in enumerate(texts):
        seed = words(f"{text}", size)
        vector = [len(word) / 16 - 0.25 for word in seed]
        value: object = vector
        if request.get("encoding_format") == "base64":
            value = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": value})
    tokens = sum(max(len(str(text)) // 4, 1) for text in texts)
    return {
        "object": "list",
        "data": rows,
        "model": request.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _is_tokens(value: list[object]) -> bool:
    return bool(value) and all(isinstance(item, int) for item in value)


async def run(host: str, port: int, ready_fd: int | None) -> None:
    """Serve until a signal says to stop."""
    sandbox = Sandbox()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await asyncio.start_server(sandbox.serve, host, port, backlog=4096)
    line = json.dumps({"event": "sandbox_ready", "port": server.sockets[0].getsockname()[1]})
    if ready_fd is None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    else:
        os.write(ready_fd, line.encode() + b"\n")
        os.close(ready_fd)
    await stop.wait()
    server.close()


def _watch_parent(descriptor: int) -> None:
    def wait() -> None:
        while os.read(descriptor, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sandbox from the command line."""
    options = argparse.ArgumentParser(prog="jusinfer-sandbox")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--ready-fd", type=int, default=None)
    chosen = options.parse_args(arguments)
    ready_fd = chosen.ready_fd
    if ready_fd is None and "JUSINFER_READY_FD" in os.environ:
        ready_fd = int(os.environ["JUSINFER_READY_FD"])
    if "JUSINFER_PARENT_FD" in os.environ:
        _watch_parent(int(os.environ["JUSINFER_PARENT_FD"]))
    uvloop.run(run(chosen.host, chosen.port, ready_fd))


if __name__ == "__main__":
    main()

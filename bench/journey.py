"""Plays requests through one gateway worker in this process: `python -m bench.journey`.

The bytes of a client go into the server's connection, what the gateway sends is read from the
transport of a kept connection to a provider, and the provider's bytes go back the same way. Key,
credit and journal are there; the database is not asked. Counts are exact (functions of ours, files,
bytecodes); times are CPU time of this thread, the best of several rounds.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import jusinfer
from jusinfer import config, rules
from jusinfer.domain.identity import KeyId, MemberId, Mode, Principal, TenantId, fingerprint
from jusinfer.gateway.accounting.credit_leases import CreditBalances
from jusinfer.gateway.accounting.journal_writer import Journal
from jusinfer.gateway.accounting.key_cache import KeyCache
from jusinfer.gateway.accounting.request_holds import RequestHolds
from jusinfer.gateway.api.console_proxy import ConsoleForward
from jusinfer.gateway.api.router import Gateway
from jusinfer.gateway.http.client_connection import UpstreamConnection
from jusinfer.gateway.http.connection_pool import Pool, PoolLimits, TargetPool
from jusinfer.gateway.http.server import HttpServer, ServerLimits
from jusinfer.gateway.runtime_config import Snapshot
from jusinfer.gateway.state import WorkerLimits, WorkerState

ROOT: Final = str(Path(jusinfer.__file__).parent)
KEY: Final = b"ji_live_" + b"A" * 43
ROUNDS: Final = 15
# In which the first request borrows its credit.
SETTLE_SECONDS: Final = 0.3
CONFIG: Final = """
[[upstream]]
name = "bench"
base_url = "http://127.0.0.1:9/v1"
is_local = true
[[upstream.model]]
id = "bench/model"
input = "1"
output = "2"
capabilities = ["tools", "vision", "json_schema", "reasoning"]
"""


class Wire(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        """Keep bytes."""
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits."""

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def close(self) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """Nothing to abort."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def taken(self) -> bytes:
        """Take what was written."""
        data = b"".join(self.written)
        self.written.clear()
        return data


class Lending:
    """Credit without end."""

    async def take(self, tenant_id: str, mode: str, need_nano: int) -> Any:
        """Lend much."""
        del tenant_id, mode
        return cast("Any", Loan(need_nano * 1_000_000))

    async def give_back(self, lease_id: str, amount_nano: int) -> None:
        """Nothing is kept."""


class Loan:
    """A lease."""

    def __init__(self, granted_nano: int) -> None:
        self.lease_id = "1" * 32
        self.granted_nano = granted_nano


class Bench:
    """One worker with a client's connection and a provider's."""

    def __init__(self, directory: Path, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        path = directory / "jusinfer.toml"
        path.write_text(CONFIG)
        settings = config.load(config.Overrides(config_file=path), {})
        context = self.context = WorkerState(WorkerLimits(worker_id="w"))
        context.loop = loop
        context.clock_us = lambda: time.time_ns() // 1000
        context.spawn = lambda step: cast("None", tasks.create_task(step))
        context.snapshot = Snapshot(config.offers(settings, 1), rules.builtin().table)
        context.pool = Pool(loop, PoolLimits(), tasks)
        context.keys = KeyCache(self._look, OSError)
        context.balances = CreditBalances(Lending(), OSError, context.spawn)
        context.holds = cast("RequestHolds", None)
        context.journal = Journal(directory, "w", 1 << 40)
        context.journal.open(0)
        gateway = Gateway(context, cast("ConsoleForward", None), cast("Any", None))
        self.server = HttpServer(gateway, ServerLimits(), loop)
        self.client, self.provider = Wire(), Wire()
        self.connection = self.server.protocol_factory()
        self.connection.connection_made(self.client)
        dispatch = context.snapshot.dispatch(Mode.LIVE, "bench")
        room = TargetPool(context.pool, dispatch.target)
        context.pool._rooms[dispatch.target] = room  # noqa: SLF001 (no socket is opened)
        answer = PoolLimits().answer
        self.upstream = UpstreamConnection(answer, room.connection_free, room.on_connection_lost)
        self.upstream.connection_made(self.provider)
        self.upstream.idle_since = loop.time()
        room.idle.append(self.upstream)

    async def _look(self, fingerprint_: bytes, is_known: bool) -> Principal:  # noqa: FBT001 (its signature)
        del is_known
        if fingerprint_ != fingerprint(KEY):
            raise ValueError("another key was asked for")
        return Principal(TenantId("a" * 32), MemberId("b" * 32), KeyId("c" * 32), Mode.LIVE)

    def ask(self, request: bytes) -> None:
        """Let the client send a request."""
        self.connection.data_received(request)

    def answer(self, data: bytes) -> None:
        """Let the provider send bytes."""
        self.upstream.data_received(data)


def post(body: object) -> bytes:
    """Write a request as the OpenAI client does."""
    data = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8787\r\n"
        b"accept: application/json\r\ncontent-type: application/json\r\n"
        b"user-agent: OpenAI/Python 2.8.1\r\nauthorization: Bearer %b\r\n"
        b"x-stainless-lang: python\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n"
        b"accept-encoding: gzip, deflate\r\ncontent-length: %d\r\n\r\n%b" % (KEY, len(data), data)
    )


def agent(messages: int, size: int) -> dict[str, object]:
    """Build a request as coding agents send it: tools, calls and their results."""
    said: list[dict[str, object]] = [{"role": "system", "content": "You are an agent. " * 20}]
    for number in range(messages // 3):
        call = {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "read", "arguments": json.dumps({"path": f"src/{number}.py"})},
        }
        said += [
            {"role": "user", "content": f"step {number}: " + 'look "here"\n' * (size // 12)},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{number}", "content": "line é\n" * (size // 7)},
        ]
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{number}",
                "description": "Does a thing. " * 10,
                "parameters": {
                    "type": "object",
                    "properties": {"path": {"type": "string"}, "n": {"type": "integer"}},
                    "required": ["path"],
                },
            },
        }
        for number in range(20)
    ]
    return {"model": "bench/model", "messages": said, "tools": tools, "max_tokens": 1000}


ANSWER_BODY: Final = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there, how are you?"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }
).encode()
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nserver: nginx\r\ndate: Sat, 28 Nov 2026 12:00:00 GMT\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\nconnection: keep-alive\r\n\r\n%b"
    % (len(ANSWER_BODY), ANSWER_BODY)
)
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def event(delta: str, finish: str = "null") -> bytes:
    """Write one event as one chunk of HTTP."""
    data = (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,'
        f'"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}\n\n'
    ).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


TEXT: Final = event('{"content":" token"}')
STREAM_END: Final = event("{}", '"stop"') + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def plain(bench: Bench, request: bytes) -> None:
    """Play one plain request."""
    bench.ask(request)
    bench.provider.written.clear()
    bench.answer(ANSWER)
    bench.client.written.clear()


class Counter:
    """Counts what one step runs of ours."""

    def __init__(self) -> None:
        self.calls = self.bytecodes = self.moves = 0
        self.functions: set[object] = set()
        self.files: set[str] = set()
        self._last = ""

    def __call__(self, frame: FrameType, kind: str, argument: object) -> Any:
        """Hear of a call or a bytecode."""
        del argument
        name = frame.f_code.co_filename
        if not name.startswith(ROOT):
            return None
        if kind == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            self.calls += 1
            self.functions.add(frame.f_code)
            self.files.add(name)
            self.moves += name != self._last
            self._last = name
        elif kind == "opcode":
            self.bytecodes += 1
        return self

    def of(self, step: Callable[[], None]) -> str:
        """Count a step."""
        sys.settrace(self)
        try:
            step()
        finally:
            sys.settrace(None)
        return (
            f"{self.calls:6} calls {len(self.functions):5} functions {len(self.files):4} files "
            f"{self.moves:5} moves {self.bytecodes:7} bytecodes"
        )


def best_us(step: Callable[[], None], count: int) -> float:
    """Return the CPU microseconds of a step, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time_ns()
        for _ in range(count):
            step()
        best = min(best, (time.thread_time_ns() - begun) / count / 1000)
    return best


async def run(only: str) -> None:
    """Play every journey, and print what it takes."""
    with tempfile.TemporaryDirectory() as name:
        async with asyncio.TaskGroup() as tasks:
            bench = Bench(Path(name), tasks)
            await _rows(bench, only)
            bench.context.journal.close()
            if bench.server._ticker is not None:  # noqa: SLF001 (nothing else ends it here)
                bench.server._ticker.cancel()  # noqa: SLF001


def tiny(**more: object) -> bytes:
    """Write a request of some 600 bytes."""
    messages = [
        {"role": "system", "content": "You are helpful. " * 20},
        {"role": "user", "content": "Say hello."},
    ]
    return post({"model": "bench/model", "messages": messages, "max_tokens": 100, **more})


async def _rows(bench: Bench, only: str) -> None:
    small = tiny()
    bench.ask(small)
    await asyncio.sleep(SETTLE_SECONDS)
    bench.answer(ANSWER)
    _expect(b"HTTP/1.1 200", bench.client.taken())
    bodies = {
        "plain": (small, 300),
        "agent 51 KB": (post(agent(100, 310)), 60),
        "agent 201 KB": (post(agent(1_000, 55)), 15),
    }
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    for label, (request, count) in bodies.items():
        if only and only not in label:
            continue

        def step(request: bytes = request) -> None:
            plain(bench, request)

        step()
        counted = "" if label != "plain" else Counter().of(step)
        print(f"{label:13} {len(request):7} B {best_us(step, count):9.2f} us {counted}", flush=True)
    if only and only not in "event together":
        return
    streamed = tiny(stream=True)

    def together() -> None:
        bench.answer(TEXT * 20)
        bench.client.written.clear()

    bench.ask(streamed)
    bench.provider.written.clear()
    bench.answer(STREAM_HEAD + TEXT)

    def single() -> None:
        bench.answer(TEXT)
        bench.client.written.clear()

    print(f"{'event':13} {len(TEXT):7} B {best_us(single, 500):9.2f} us {Counter().of(single)}")
    print(f"{'20 together':13} {20 * len(TEXT):7} B {best_us(together, 50) / 20:9.2f} us each")
    bench.answer(STREAM_END)
    _expect(b"\r\n0\r\n\r\n", bench.client.taken())


def _expect(part: bytes, data: bytes) -> None:
    if part not in data:
        raise ValueError(f"the gateway sent something else: {data[:500]!r}")


def main() -> None:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the name of a journey")
    asyncio.run(run(parser.parse_args().only))


if __name__ == "__main__":
    main()

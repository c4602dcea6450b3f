"""Load: wrk for plain answers, a uvloop client for streams. Bounded in count and in time."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import uvloop

from bench import machine
from bench.subjects import Subject

PROMPT = "lorem ipsum dolor " * 27
STREAM_SECONDS_MAX = 120.0


class Plain(msgspec.Struct):
    """What a run of plain requests came to."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    beside_us: dict[str, float]
    failures: int


class Streamed(msgspec.Struct):
    """What a run of streams came to."""

    streams: int
    events: int
    cpu_us_per_event: float
    first_event_ms_p50: float
    kb_per_stream: float


def request_body(model: str, *, is_stream: bool) -> str:
    """Give the body of about 620 bytes that every subject gets."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": PROMPT},
        ],
        "max_tokens": 200,
    }
    if is_stream:
        body["stream"] = True
    return json.dumps(body)


def plain(subject: Subject, folder: Path, *, connections: int, seconds: int) -> Plain:
    """Run wrk against a subject, and see what it cost."""
    script = folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {subject.key}"\n'
        f"wrk.body = [==[{request_body(subject.model, is_stream=False)}]==]\n"
    )
    everyone = {"self": subject.pids, **subject.beside}
    before = {name: machine.cpu_seconds(machine.family(pids)) for name, pids in everyone.items()}
    url = f"http://127.0.0.1:{subject.port}/v1/chat/completions"
    command = [shutil.which("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}"]
    done = subprocess.run(
        [*command, "--latency", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    own = machine.cpu_seconds(machine.family(subject.pids))
    if subject.beside:
        time.sleep(2)
    count = int(_find(r"(\d+) requests in", done.stdout) or 0)
    spent = {
        name: (machine.cpu_seconds(machine.family(pids)) - before[name]) / max(count, 1) * 1e6
        for name, pids in subject.beside.items()
    }
    return Plain(
        requests=count,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", done.stdout) or 0),
        p50_ms=_milliseconds(_find(r"50%\s+(\S+)", done.stdout)),
        p99_ms=_milliseconds(_find(r"99%\s+(\S+)", done.stdout)),
        cpu_us=(own - before["self"]) / max(count, 1) * 1e6,
        beside_us=spent,
        failures=int(_find(r"Non-2xx or 3xx responses: (\d+)", done.stdout) or 0),
    )


def _find(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _milliseconds(text: str | None) -> float:
    if text is None:
        return 0.0
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if match is None:
        return 0.0
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[match[2]]


CHAT = ("/v1/chat/completions", b"data: [DONE]")
MESSAGES = ("/v1/messages", b"event: message_stop")


def streamed(
    subject: Subject, model: str, streams: int, surface: tuple[str, bytes] = CHAT
) -> Streamed:
    """Open many streams at once and read each to its end; every one must be whole."""
    return uvloop.run(_streamed(subject, model, streams, surface))


async def _streamed(
    subject: Subject, model: str, streams: int, surface: tuple[str, bytes]
) -> Streamed:
    path, end = surface
    pid = subject.pids[0]
    asked = json.loads(request_body(model, is_stream=True))
    if surface is MESSAGES:
        asked["system"] = asked["messages"].pop(0)["content"]
    body = json.dumps(asked).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {subject.key}"
        f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    cpu, memory = machine.cpu_seconds([pid]), machine.resident_kb(pid)
    peak = memory
    firsts: list[float] = []
    events = 0
    is_done = asyncio.Event()

    async def one() -> None:
        nonlocal events
        reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)
        began = time.perf_counter()
        writer.write(head.encode() + body)
        tail = b""
        while end not in tail:
            data = await reader.read(65_536)
            if not data:
                raise RuntimeError(f"a stream of {subject.name} was cut")
            if not tail:
                firsts.append(time.perf_counter() - began)
            events += data.count(b"data: ")
            tail = (tail + data)[-200:]
        writer.close()

    async def watch() -> None:
        nonlocal peak
        while not is_done.is_set():
            peak = max(peak, machine.resident_kb(pid))
            await asyncio.sleep(0.1)

    async with asyncio.timeout(STREAM_SECONDS_MAX), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        async with asyncio.TaskGroup() as readers:
            for _ in range(streams):
                readers.create_task(one())
        is_done.set()
        await watching
    firsts.sort()
    return Streamed(
        streams=streams,
        events=events,
        cpu_us_per_event=(machine.cpu_seconds([pid]) - cpu) / max(events, 1) * 1e6,
        first_event_ms_p50=firsts[len(firsts) // 2] * 1000,
        kb_per_stream=(peak - memory) / streams,
    )

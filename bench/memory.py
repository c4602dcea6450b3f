"""What the product costs while it does little: idle, and with many open streams."""

import asyncio
import http.client
import time
from typing import Final

import msgspec
import uvloop

from bench import machine
from bench.rounds import FAULTS, reason
from bench.streams import CHAT, Stream, open_streams, request
from bench.subjects import Subject

# Streams that are opened at once; more wait until these have begun.
WAVE: Final = 100
OPENING_SECONDS_MAX: Final = 150.0
ENDING_SECONDS_MAX: Final = 120.0


class Memory(msgspec.Struct):
    """Resident memory of a gateway before any, with and after open streams, in MiB and KiB each."""

    wanted: int
    streams: int = 0
    idle_mb: float = 0.0
    open_mb: float = 0.0
    kb_each: float = 0.0
    after_mb: float = 0.0
    after_seconds: float = 0.0
    note: str = ""


def idle(subject: Subject, seconds: float) -> dict[str, float]:
    """Give the CPU of each process of a product that nobody calls, in ms for each second."""
    parts = {"gateway": subject.pids, **subject.beside}
    counted = {name: machine.family(pids) for name, pids in parts.items()} | subject.idle
    before = {name: machine.cpu_seconds(pids) for name, pids in counted.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {
        name: (machine.cpu_seconds(pids) - before[name]) / took * 1e3
        for name, pids in counted.items()
    }


def held(
    subject: Subject, upstream: int, wanted: int, after_seconds: float, idle_mb: float
) -> Memory:
    """Hold so many streams open, end them all, and look again later; a fault is in the note.

    What each takes is counted from `idle_mb`, what the subject held when nobody had called: what
    it keeps of earlier streams is used again. Where open files do not allow so many, as many as
    they allow are held, and the note says so.
    """
    found = Memory(wanted, idle_mb=idle_mb, after_seconds=after_seconds)
    possible = machine.streams_possible(machine.open_files())
    count = min(wanted, possible)
    if count < wanted:
        found.note = f"the limit of open files allows {possible} of {wanted}; `ulimit -n` raises it"
    try:
        uvloop.run(_hold(subject, upstream, count, found))
    except FAULTS as error:
        found.note = "; ".join(part for part in (found.note, reason(error)) if part)
        return found
    time.sleep(after_seconds)
    found.after_mb = resident_mb(subject)
    return found


def resident_mb(subject: Subject) -> float:
    """Give the resident memory of a subject's processes in MiB."""
    return sum(machine.resident_kb(pid) for pid in machine.family(subject.pids)) / 1024


async def _hold(subject: Subject, upstream: int, count: int, found: Memory) -> None:
    asked = request(subject)
    streams: list[Stream] = []
    faults: list[str] = []
    try:
        async with asyncio.timeout(OPENING_SECONDS_MAX):
            while len(streams) < count and not faults:
                wave = await open_streams(
                    subject.port, asked, CHAT.end, min(WAVE, count - len(streams))
                )
                for one in wave:
                    await one.has_begun
                faults = [
                    one.has_ended.result() or "a stream ended before it was told to"
                    for one in wave
                    if one.has_ended.done()
                ]
                streams += [one for one in wave if not one.has_ended.done()]
    except TimeoutError:
        faults = [f"no more were open after {OPENING_SECONDS_MAX:.0f} s"]
    found.streams = len(streams)
    found.open_mb = resident_mb(subject)
    if streams:
        found.kb_each = (found.open_mb - found.idle_mb) * 1024 / len(streams)
    if faults:
        found.note = "; ".join(part for part in (found.note, faults[0]) if part)
    await asyncio.to_thread(end_held, upstream)
    async with asyncio.timeout(ENDING_SECONDS_MAX):
        cut = [fault for one in streams if (fault := await one.has_ended)]
    if cut:
        told = f"{len(cut)} of {len(streams)} did not end whole: {cut[0]}"
        found.note = "; ".join(part for part in (found.note, told) if part)


def end_held(upstream: int) -> None:
    """Have the provider end every stream that it holds."""
    link = http.client.HTTPConnection("127.0.0.1", upstream, timeout=ENDING_SECONDS_MAX)
    try:
        link.request("POST", "/end", b"")
        link.getresponse().read()
    finally:
        link.close()

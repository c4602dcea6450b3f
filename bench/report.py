"""Tables for people, and what was expected of the figures: met or not met."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from bench.figures import Figures, Memory, Plain

FLOOR: Final = "nginx"
OURS: Final = "jusinfer"
PEER: Final = "litellm"
BUSY: Final = "32"
MB: Final = 1024 * 1024
KB: Final = 1024


class Verdict(msgspec.Struct, frozen=True):
    """One expectation and what was found; `is_least` tells a lower bound from an upper one."""

    name: str
    found: float
    bound: float
    unit: str
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it holds."""
        return self.found >= self.bound if self.is_least else self.found <= self.bound

    @property
    def sentence(self) -> str:
        """Say it in a line."""
        word = "at least" if self.is_least else "at most"
        judgement = "met" if self.is_met else "NOT MET"
        return f"{self.name}: {self.found:.4g} {self.unit} ({word} {self.bound:g}): {judgement}"


def judge(figures: Figures) -> list[Verdict]:
    """Compare with what is expected; what was not measured is left out."""
    return [
        *_judge_requests(figures),
        *_judge_streams(figures),
        *_judge_memory(figures.memory.get(OURS)),
        *_judge_money(figures),
    ]


def _judge_requests(figures: Figures) -> Iterator[Verdict]:
    busy = figures.plain.get(BUSY, {})
    if OURS not in busy:
        return
    own_us = busy[OURS].own_us
    if FLOOR in busy and busy[FLOOR].own_us:
        yield Verdict("CPU per request", own_us / busy[FLOOR].own_us, 4.5, "x nginx")
    if PEER in busy and own_us:
        ratio = busy[PEER].own_us / own_us
        yield Verdict("LiteLLM's CPU per request", ratio, 100, "x ours", is_least=True)
    if figures.keys is not None and figures.keys.few.own_us:
        ratio = figures.keys.many.own_us / figures.keys.few.own_us
        yield Verdict("CPU per request with many keys", ratio, 1.1, "x with few")


def _judge_streams(figures: Figures) -> Iterator[Verdict]:
    ours, floor = figures.stream.get(OURS), figures.stream.get(FLOOR)
    if ours is not None and floor is not None and floor.own_us:
        yield Verdict("CPU per streamed event", ours.own_us / floor.own_us, 1.8, "x nginx")


def _judge_memory(memory: Memory | None) -> Iterator[Verdict]:
    if memory is None:
        return
    yield Verdict("idle worker", memory.idle_rss_bytes / MB, 55, "MB")
    for row in memory.opens:
        yield Verdict(f"one of {row.streams} open streams", row.bytes_per_stream / KB, 20, "KB")


def _judge_money(figures: Figures) -> Iterator[Verdict]:
    busy = figures.plain.get(BUSY, {})
    if OURS in busy:
        beside_us = busy[OURS].beside_us
        yield Verdict("settler and PostgreSQL beside the load", beside_us, 40, "us a completion")
    if figures.settler is not None:
        row = figures.settler
        spent_us = row.settler_us + row.postgres_us
        yield Verdict("settler and PostgreSQL, posting a pile", spent_us, 40, "us a completion")
        yield Verdict("posting", row.per_second, 30_000, "records/s", is_least=True)


def tables(figures: Figures) -> Iterator[str]:
    """Write every table, line by line."""
    yield from _facts(figures)
    for connections, rows in figures.plain.items():
        yield from _plain(f"plain answers, {connections} connections", rows)
    if figures.tls:
        yield from _plain("TLS upstream, 32 connections", figures.tls)
    if figures.keys is not None:
        many = figures.keys
        rows = {
            f"{many.few_count} keys": many.few,
            f"{many.many_used} of {many.many_count}": many.many,
            "first use of a key": many.first_use,
        }
        yield from _plain("keys, 32 connections", rows)
    yield from _streams(figures)
    yield from _first(figures)
    yield from _memory(figures)
    if figures.settler is not None:
        row = figures.settler
        head = ["posting a pile", "records/s", "settler us", "postgres us", "records"]
        cells = ["", f"{row.per_second:.0f}", *_us(row.settler_us, row.postgres_us), f"{row.rows}"]
        yield from _table([head, cells])
    yield ""
    yield from (verdict.sentence for verdict in judge(figures))


def _facts(figures: Figures) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in figures.machine.items() if value != "")
    yield ", ".join(f"{name} {version}" for name, version in figures.versions.items() if version)


def _plain(title: str, rows: dict[str, Plain]) -> Iterator[str]:
    head = [title, "own us", "x nginx", "settler", "postgres", "req/s", "p50 us", "p99 us"]
    head += ["+p50 us", "+p99 us", "failed"]
    floor = rows[FLOOR].own_us if FLOOR in rows else 0.0
    direct = rows.get("direct")
    lines = [head]
    for name, row in rows.items():
        added = (
            _us(row.p50_us - direct.p50_us, row.p99_us - direct.p99_us)
            if direct is not None and direct is not row
            else ["", ""]
        )
        lines.append(
            [
                name,
                *(_us(row.own_us) if row.cpu_us else [""]),
                _ratio(row.own_us, floor),
                *(_us(row.cpu_us[part])[0] if part in row.cpu_us else "" for part in BESIDE),
                f"{row.per_second:.0f}",
                *_us(row.p50_us, row.p99_us),
                *added,
                f"{row.faults}",
            ]
        )
    yield from _table(lines)


BESIDE: Final = ("settler", "postgres")


def _streams(figures: Figures) -> Iterator[str]:
    if not figures.stream:
        return
    floor = figures.stream[FLOOR].own_us if FLOOR in figures.stream else 0.0
    lines = [["streams of 100 tokens, 10 ms apart", "own us/event", "x nginx", "whole", "failed"]]
    for name, row in figures.stream.items():
        cells = [name, *_us(row.own_us), _ratio(row.own_us, floor)]
        lines.append([*cells, f"{row.streams}", f"{row.faults} {'; '.join(row.fault_texts)}"])
    yield from _table(lines)


def _first(figures: Figures) -> Iterator[str]:
    if not figures.ttft:
        return
    direct = figures.ttft.get("direct")
    lines = [["first token", "p50 us", "p99 us", "+p50 us", "+p99 us", "failed"]]
    for name, row in figures.ttft.items():
        added = (
            _us(row.p50_us - direct.p50_us, row.p99_us - direct.p99_us)
            if direct is not None and direct is not row
            else ["", ""]
        )
        lines.append([name, *_us(row.p50_us, row.p99_us), *added, f"{row.faults}"])
    yield from _table(lines)


def _memory(figures: Figures) -> Iterator[str]:
    if not figures.memory:
        return
    lines = [["memory", "streams", "RSS MB", "PSS MB", "KB a stream"]]
    for name, row in figures.memory.items():
        lines.append([name, "idle", *_mb(row.idle_rss_bytes, row.idle_pss_bytes), ""])
        lines += [
            [
                "",
                f"{some.streams}",
                *_mb(some.rss_bytes, some.pss_bytes),
                f"{some.bytes_per_stream / KB:.1f}",
            ]
            for some in row.opens
        ]
    yield from _table(lines)


def _us(*values: float) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _mb(*values: int | None) -> list[str]:
    return ["" if value is None else f"{value / MB:.1f}" for value in values]


def _ratio(value: float, floor: float) -> str:
    return f"{value / floor:.2f}" if value and floor else ""


def _table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    yield ""
    for line in lines:
        first, *others = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()

"""How each figure is taken; subjects take turns, so that a busy neighbour meets them all."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import load
from bench.bodies import Kind
from bench.figures import (
    First,
    Keys,
    Memory,
    Open,
    Plain,
    Streamed,
    median,
    per_unit_us,
    percentile,
)
from bench.load import Ask
from bench.machine import Size
from bench.subject_jusinfer import Product, insert_keys
from bench.subjects import BenchError, Subject

CONNECTIONS: Final = (1, 32)
WARM_SECONDS: Final = 1
STREAMS: Final = 100
CALM_SECONDS: Final = 1.5
FEW_KEYS: Final = 100
MANY_KEYS: Final = 100_000
# A peer that keeps a stream of this many from starting is not asked for more.
PEER_STREAMS: Final = 20


class Plan(msgspec.Struct, frozen=True):
    """How long and how often."""

    seconds: int
    rounds: int
    open_counts: tuple[int, ...]
    keys_used: int
    posted: int
    first_count: int


FULL: Final = Plan(
    seconds=8,
    rounds=3,
    open_counts=(1_000, 5_000),
    keys_used=10_000,
    posted=240_000,
    first_count=300,
)
QUICK: Final = Plan(
    seconds=2,
    rounds=1,
    open_counts=(1_000,),
    keys_used=2_000,
    posted=40_000,
    first_count=100,
)


def once(subject: Subject, folder: Path, ask: Ask) -> Plain:
    """Press once, and see what it cost, up to when all of it has been posted."""
    before = subject.cpu()
    seen = load.press(subject, folder, ask)
    subject.settle()
    if not seen.requests:
        raise BenchError(f"{subject.name}: no request was answered ({seen})")
    return Plain(
        per_second=seen.per_second,
        p50_us=seen.p50_us,
        p99_us=seen.p99_us,
        cpu_us=per_unit_us(before, subject.cpu(), seen.requests),
        requests=seen.requests,
        faults=seen.faults,
    )


def plain(
    subjects: Sequence[Subject], folder: Path, plan: Plan, kind: Kind, connections: int
) -> dict[str, Plain]:
    """Measure whole answers of every subject, in turn, round by round."""
    for subject in subjects:
        load.press(subject, folder, Ask(kind, connections, WARM_SECONDS))
        subject.settle()
    ask = Ask(kind, connections, plan.seconds)
    rounds = [
        {subject.name: once(subject, folder, ask) for subject in subjects}
        for _ in range(plan.rounds)
    ]
    return {
        subject.name: median([figures[subject.name] for figures in rounds]) for subject in subjects
    }


def streamed(subject: Subject, plan: Plan, streams: int = STREAMS) -> Streamed:
    """Measure what relaying an event costs, over streams that run beside each other."""
    load.stream(load.job(subject, Kind.STREAM, streams, 1))
    subject.settle()
    before = subject.cpu()
    tally = load.stream(load.job(subject, Kind.STREAM, streams, max(plan.seconds // 2, 2)))
    subject.settle()
    return Streamed(
        streams=tally.whole,
        events=tally.events,
        cpu_us=per_unit_us(before, subject.cpu(), tally.events),
        faults=tally.fault_count,
        fault_texts=tally.faults,
    )


def first_token(subject: Subject, plan: Plan) -> First:
    """Measure the time to the first token, one stream after the other."""
    tally = load.stream(load.job(subject, Kind.FIRST, 1, plan.first_count))
    times_us = tally.first_token_us
    return First(
        count=len(times_us),
        p50_us=percentile(times_us, 50),
        p99_us=percentile(times_us, 99),
        faults=tally.fault_count,
    )


def memory(subject: Subject, idle: Size, counts: Sequence[int]) -> Memory:
    """Measure what open streams take, beside what was there just before they opened.

    Streams are opened once before, and let go: what a first crowd leaves behind is not theirs.
    """
    with load.held(load.job(subject, Kind.HOLD, min(counts), 1, is_held=True)):
        time.sleep(CALM_SECONDS)
    opens = []
    for count in counts:
        time.sleep(CALM_SECONDS)
        before = subject.memory()
        with load.held(load.job(subject, Kind.HOLD, count, 1, is_held=True)) as begun:
            if begun < count:
                raise BenchError(f"{subject.name}: {begun} of {count} streams began")
            time.sleep(CALM_SECONDS)
            during = subject.memory()
        subject.settle()
        grown = during.rss_bytes - before.rss_bytes
        opens.append(Open(count, during.rss_bytes, during.pss_bytes, grown / count))
    return Memory(idle.rss_bytes, idle.pss_bytes, opens)


def keys(product: Product, folder: Path, plan: Plan) -> Keys:
    """Measure requests spread over few keys, then over many that are among many more."""
    subject = product.subject
    few = insert_keys(product.dsn, product.tenant_id, FEW_KEYS)
    warm = _warm(subject, folder, plan, few)
    many = insert_keys(product.dsn, product.tenant_id, MANY_KEYS - FEW_KEYS)
    used, fresh = many[: plan.keys_used], many[plan.keys_used :]
    spread = _warm(subject, folder, plan, used)
    # Each key is asked with once: the look-up is paid by every request.
    cold = once(subject, folder, Ask(Kind.PLAIN, 32, plan.seconds, fresh))
    return Keys(FEW_KEYS, MANY_KEYS, len(used), warm, spread, cold)


def _warm(subject: Subject, folder: Path, plan: Plan, used: Sequence[str]) -> Plain:
    """Ask with every key until all are known, then measure."""
    asked = 0
    for _ in range(20):
        asked += load.press(
            subject, folder, Ask(Kind.PLAIN, 32, WARM_SECONDS, used[asked:] or used)
        ).requests
        if asked >= len(used):
            break
    subject.settle()
    return median(
        [once(subject, folder, Ask(Kind.PLAIN, 32, plan.seconds, used)) for _ in range(plan.rounds)]
    )

"""Writes how requests ended, and keeps the counts that `/metrics` shows."""

import bisect

from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.usage import Outcome
from jusinfer.gateway.accounting.journal_writer import Segment
from jusinfer.gateway.state import LATENCY_BUCKETS_MS, WorkerState


def append_ended(
    context: WorkerState, segment: Segment, record: RequestEnded, overrun_nano: int
) -> None:
    """Write the record of an end.

    A disk that refuses the record keeps it in memory, to be written as soon as it can be, and no
    new money is spent until then.
    """
    counters = context.counters
    if overrun_nano > 0:
        counters.overruns += 1
        context.balances.overrun_nano += overrun_nano
    try:
        context.journal.end(segment, record)
    except OSError:
        counters.journal_failures += 1
        context.journal.is_shedding = True
        context.pending_records.append((segment, record))
    count(context, record)


def write_unwritten(context: WorkerState) -> None:
    """Try again to write the records that the disk refused, in their order."""
    while context.pending_records:
        segment, record = context.pending_records[0]
        try:
            context.journal.end(segment, record)
        except OSError:
            return
        context.pending_records.pop(0)


def count(context: WorkerState, record: RequestEnded) -> None:
    """Keep the counters that `/metrics` shows."""
    counters = context.counters
    key = (record.upstream, record.outcome)
    counters.completions[key] = counters.completions.get(key, 0) + 1
    counters.tokens_prompt += record.prompt_tokens
    counters.tokens_completion += record.completion_tokens
    if record.outcome == Outcome.CUT_BY_CLIENT:
        counters.client_cuts += 1
    if record.first_byte_us >= 0:
        counters.first_byte_ms[bucket(record.first_byte_us // 1000)] += 1


def bucket(latency_ms: int) -> int:
    """Return the index of the histogram bucket of a latency."""
    return bisect.bisect_left(LATENCY_BUCKETS_MS, latency_ms)

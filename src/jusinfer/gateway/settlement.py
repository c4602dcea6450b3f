"""The end of a completion's money: reservation ended, record written, counts kept, exactly once."""

import bisect
from typing import Final

from jusinfer.domain.journal import Admitted, Ended
from jusinfer.domain.usage import Outcome
from jusinfer.gateway.context import LATENCY_BUCKETS_MS, Context
from jusinfer.gateway.holds import NO_HOLD, Hold
from jusinfer.gateway.journal import Segment
from jusinfer.gateway.leases import Reservation

UNWRITTEN_MAX: Final = 100_000


class Opening:
    """What an admitted completion holds until it ends.

    Its reservation of credit, its journal file, and, where limits or caps apply, its permits and
    its reservations under hard caps.
    """

    __slots__ = ("admitted", "hold", "is_open", "reservation", "segment")

    def __init__(
        self, admitted: Admitted, reservation: Reservation, segment: Segment, hold: Hold
    ) -> None:
        self.admitted = admitted
        self.reservation = reservation
        self.segment = segment
        self.hold = hold
        self.is_open = True


def settle(context: Context, opening: Opening, record: Ended) -> None:
    """End the reservation with the charge and write the ended record.

    There is no await in here, so nothing can be cancelled half-way. A disk that refuses the
    record keeps it in memory, to be written as soon as it can be, and no new money is spent
    until then.
    """
    if not opening.is_open:
        raise AssertionError("a completion was settled twice")
    opening.is_open = False
    overrun_nano = opening.reservation.end(record.charge_nano)
    if opening.hold is not NO_HOLD:
        opening.hold.end(record)
    counters = context.counters
    if overrun_nano > 0:
        counters.overruns += 1
        context.purses.overrun_nano += overrun_nano
    try:
        context.journal.end(opening.segment, record)
    except OSError:
        counters.journal_failures += 1
        context.journal.is_shedding = True
        context.unwritten.append((opening.segment, record))
    count(context, record)


def write_unwritten(context: Context) -> None:
    """Try again to write the records that the disk refused, in their order."""
    while context.unwritten:
        segment, record = context.unwritten[0]
        try:
            context.journal.end(segment, record)
        except OSError:
            return
        context.unwritten.pop(0)


def count(context: Context, record: Ended) -> None:
    """Keep the counters that `/metrics` shows."""
    counters = context.counters
    key = (record.upstream, record.outcome)
    counters.completions[key] = counters.completions.get(key, 0) + 1
    counters.tokens_prompt += record.prompt_tokens
    counters.tokens_completion += record.completion_tokens
    if record.outcome == Outcome.CUT_BY_CALLER:
        counters.caller_cuts += 1
    if record.first_byte_us >= 0:
        counters.first_byte_ms[bucket(record.first_byte_us // 1000)] += 1


def bucket(latency_ms: int) -> int:
    """Give the index of the histogram bucket of a latency."""
    return bisect.bisect_left(LATENCY_BUCKETS_MS, latency_ms)

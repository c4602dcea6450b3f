"""What a run measures: plain values, written as JSON and judged by the report.

CPU is in microseconds per request, event or completion, by part: `own` is the proxy itself.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench.subjects import OWN


class Plain(msgspec.Struct, frozen=True):
    """Whole answers: medians of the rounds."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: dict[str, float]
    requests: int
    faults: int

    @property
    def own_us(self) -> float:
        """The proxy's own CPU per request."""
        return self.cpu_us.get(OWN, 0.0)

    @property
    def beside_us(self) -> float:
        """The CPU per request of what runs beside the proxy."""
        return sum(spent for part, spent in self.cpu_us.items() if part != OWN)


class Streamed(msgspec.Struct, frozen=True):
    """Streams: CPU per event, and how many answers were not whole."""

    streams: int
    events: int
    cpu_us: dict[str, float]
    faults: int
    fault_texts: list[str] = []

    @property
    def own_us(self) -> float:
        """The proxy's own CPU per event."""
        return self.cpu_us.get(OWN, 0.0)


class First(msgspec.Struct, frozen=True):
    """Time from a request to its first token, one stream at a time."""

    count: int
    p50_us: float
    p99_us: float
    faults: int


class Open(msgspec.Struct, frozen=True):
    """Memory with so many streams open, and what each one takes."""

    streams: int
    rss_bytes: int
    pss_bytes: int | None
    bytes_per_stream: float


class Memory(msgspec.Struct, frozen=True):
    """Memory of the proxy itself: after its first answer, and with streams open."""

    idle_rss_bytes: int
    idle_pss_bytes: int | None
    opens: list[Open] = []


class Keys(msgspec.Struct, frozen=True):
    """The cost of a request as keys become many; `first_use` is when a key was not seen before."""

    few_count: int
    many_count: int
    many_used: int
    few: Plain
    many: Plain
    first_use: Plain


class Posting(msgspec.Struct, frozen=True):
    """Posting of what was written before: records per second, CPU per completion."""

    rows: int
    per_second: float
    settler_us: float
    postgres_us: float


class Figures(msgspec.Struct):
    """Everything of one run; what was not measured is empty. Keys are names of subjects."""

    machine: dict[str, str | int | float]
    options: dict[str, int]
    versions: dict[str, str] = {}
    plain: dict[str, dict[str, Plain]] = {}
    tls: dict[str, Plain] = {}
    stream: dict[str, Streamed] = {}
    ttft: dict[str, First] = {}
    memory: dict[str, Memory] = {}
    keys: Keys | None = None
    settler: Posting | None = None


EMPTY: Final = Plain(0.0, 0.0, 0.0, {}, 0, 0)


def median(rounds: Sequence[Plain]) -> Plain:
    """Give the median of each figure by itself; requests and faults are added up."""
    if not rounds:
        return EMPTY

    def middle(figure: Callable[[Plain], float]) -> float:
        return statistics.median(figure(one) for one in rounds)

    return Plain(
        per_second=middle(lambda one: one.per_second),
        p50_us=middle(lambda one: one.p50_us),
        p99_us=middle(lambda one: one.p99_us),
        cpu_us={
            part: statistics.median(one.cpu_us[part] for one in rounds) for part in rounds[0].cpu_us
        },
        requests=sum(one.requests for one in rounds),
        faults=sum(one.faults for one in rounds),
    )


def percentile(values: Sequence[int], percent: int) -> float:
    """Give the smallest value that so many per cent do not exceed; 0 when there is none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return float(ordered[max(-(-len(ordered) * percent // 100), 1) - 1])


def per_unit_us(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, float]:
    """Divide the CPU seconds spent between two readings by a count, in microseconds."""
    return {part: (after[part] - before[part]) * 1e6 / max(count, 1) for part in before}

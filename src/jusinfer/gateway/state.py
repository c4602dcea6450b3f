"""What the parts of one gateway worker share: its loop, its parts, its bounds and its counters."""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import msgspec

from jusinfer.domain.identity import Mode
from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.upstream_health import Health
from jusinfer.gateway.accounting.credit_leases import CreditBalances
from jusinfer.gateway.accounting.journal_writer import Journal, Segment
from jusinfer.gateway.accounting.key_cache import KeyCache
from jusinfer.gateway.accounting.request_holds import RequestHolds
from jusinfer.gateway.cache_affinity import Affinity
from jusinfer.gateway.http.buffered_answers import Collected
from jusinfer.gateway.http.connection_pool import Pool
from jusinfer.gateway.http.server_interface import UNREAD_BYTES_TOTAL_MAX
from jusinfer.gateway.off_loop import Heavy
from jusinfer.gateway.runtime_config import Snapshot
from jusinfer.observability import Events

LATENCY_BUCKETS_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000)


class WorkerLimits(msgspec.Struct, frozen=True):
    """The gateway's own bounds, with their units."""

    worker_id: str
    keep_alive_seconds: float = 15.0
    answer_bytes_max: int = 64 * 1024 * 1024
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    country_header: bytes = b"cf-ipcountry"


class ActiveRequest(Protocol):
    """A completion under way, as the worker's clock and drain see it."""

    @property
    def collected_bytes(self) -> int:
        """What it holds of a whole answer."""
        ...

    def tick(self, now: float) -> None:
        """Look at its deadlines."""
        ...

    def stop(self) -> None:
        """End it honestly."""
        ...


class Counters:
    """Counts of this worker since it began; read by `/metrics`, never labelled by a person."""

    __slots__ = (
        "attempts_failed",
        "client_cuts",
        "completions",
        "events_dropped",
        "first_byte_ms",
        "forwarded",
        "journal_failures",
        "overruns",
        "refusals",
        "stream_events",
        "tokens_completion",
        "tokens_prompt",
        "unbilled_pico",
    )

    def __init__(self) -> None:
        self.completions: dict[tuple[str, ...], int] = {}
        self.refusals: dict[str, int] = {}
        self.attempts_failed: dict[tuple[str, ...], int] = {}
        self.first_byte_ms = [0] * (len(LATENCY_BUCKETS_MS) + 1)
        self.client_cuts = 0
        self.events_dropped = 0
        self.forwarded = 0
        self.journal_failures = 0
        self.overruns = 0
        self.stream_events = 0
        self.tokens_completion = 0
        self.tokens_prompt = 0
        self.unbilled_pico = 0


class WorkerState:
    """One worker's parts, handed to whatever serves a request."""

    __slots__ = (
        "active",
        "affinity",
        "balances",
        "bounds",
        "clock_us",
        "collected",
        "counters",
        "events",
        "health",
        "heavy",
        "holds",
        "journal",
        "keys",
        "loop",
        "new_id",
        "pending_records",
        "pool",
        "snapshot",
        "spawn",
    )

    loop: asyncio.AbstractEventLoop
    bounds: WorkerLimits
    clock_us: Callable[[], int]
    events: Events
    counters: Counters
    pool: Pool
    keys: KeyCache
    balances: CreditBalances
    holds: RequestHolds
    journal: Journal
    snapshot: Snapshot
    spawn: Callable[[Coroutine[None, None, None]], None]

    def __init__(self, bounds: WorkerLimits) -> None:
        self.bounds = bounds
        self.counters = Counters()
        self.new_id = IdSource()
        self.affinity = Affinity()
        self.health = Health(random.random)
        self.heavy = Heavy()
        self.collected = Collected(UNREAD_BYTES_TOTAL_MAX)
        self.active: set[ActiveRequest] = set()
        self.pending_records: list[tuple[Segment, RequestEnded]] = []

    def is_live(self, mode: str) -> bool:
        """Tell whether a mode reaches real upstreams."""
        return mode == Mode.LIVE


class IdSource:
    """Gives ids of 128 random bits, asking the system for many at once."""

    __slots__ = ("_at", "_pool")

    POOL_BYTES: Final = 4_096
    ID_BYTES: Final = 16

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def __call__(self) -> str:
        """Give 32 hexadecimal characters that nobody can guess."""
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(self.POOL_BYTES).hex()
            at = 0
        self._at = end = at + 2 * self.ID_BYTES
        return self._pool[at:end]

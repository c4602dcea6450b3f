"""What is measured together: each group starts its programs, measures, and ends them."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench import bodies, load, machine, memory, nginx, peers, settings, streams, tenants
from bench.memory import Memory
from bench.report import PRODUCT
from bench.rounds import DIRECT, FAULTS, Cell, Cells, Row, play, reason
from bench.subjects import Stage, Subject

PLAIN: Final = "plain answer, 32 connections"
PACED: Final = "stream, 64 at once, 100 events 10 ms apart"
CLIENT_APIS: Final = "stream, 64 at once, by client API and provider"
TENANTS: Final = 1_000
STREAMS_HELD: Final = (1_000, 10_000)
OTHER: Final = "other"
FIRST: Final = "to the first content"

Say = Callable[[str], None]


class Plan(msgspec.Struct):
    """How much is measured."""

    rounds: int
    seconds: float
    is_quick: bool
    has_peers: bool
    against: Path | None = None


class Outcome(msgspec.Struct):
    """What a group of rows came to, and what was left out for which reason."""

    rows: list[Row]
    cells: dict[str, Cells]
    not_tried: list[str]


@contextmanager
def staged() -> Iterator[Stage]:
    """Give a stage in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ji-bench-") as name, Stage(Path(name)) as stage:
        yield stage


def against(stage: Stage, config: str, plan: Plan) -> Subject | None:
    """Start the product of another checkout beside this one, where one is named."""
    if plan.against is None:
        return None
    program = [str(plan.against / ".venv" / "bin" / "python"), "-m", "jusinfer"]
    return stage.product(OTHER, config, program)


def started_peers(
    stage: Stage, plan: Plan, static: int, upstream: int
) -> tuple[list[peers.Peer], list[str]]:
    """Start the other gateways that can be had; gives them, and why the rest cannot."""
    found: list[peers.Peer] = []
    missing: list[str] = []
    if not plan.has_peers:
        return found, missing
    for name, start in (
        ("LiteLLM", peers.litellm),
        ("Portkey", peers.portkey),
        ("SMG", peers.smg),
    ):
        try:
            found.append(start(stage, static, upstream))
        except FAULTS as error:
            missing.append(f"{name} was not tried: {reason(error)}")
    return found, missing


def main(plan: Plan, say: Say) -> Outcome:
    """Measure requests of several sizes, streams, routing, and TLS to the provider."""
    with staged() as stage:
        upstream = stage.upstream()
        pair, ca_file = stage.authority()
        static, static_tls = nginx.static(stage), nginx.static(stage, pair=pair)
        config = settings.config(static, upstream, tls=(static_tls, ca_file))
        product = stage.product(PRODUCT, config)
        other = against(stage, config, plan)
        others, missing = started_peers(stage, plan, static, upstream)
        buffered = nginx.proxy(stage, "proxy", static, is_buffered=True)
        unbuffered = nginx.proxy(stage, "proxy-streams", upstream, is_buffered=False)
        long = nginx.proxy(stage, "proxy-long", upstream, is_buffered=True)
        to_tls = nginx.proxy(stage, "proxy-tls", static_tls, is_buffered=True, is_tls_to=True)

        def everyone(model: str, floor: Subject) -> list[Subject]:
            ours = [one.asked(model) for one in (product, other) if one is not None]
            return [floor.asked(model), *ours, *(peer.asked(model) for peer in others)]

        def alone(model: str) -> list[Subject]:
            # So few streams begin and end that their posting is lost in what is idle work.
            found = everyone(model, unbuffered)
            return [msgspec.structs.replace(one, beside={}) for one in found]

        direct = Subject(DIRECT, static, "bench/model", [])
        direct_streams = Subject(DIRECT, upstream, "bench/short", [])
        plain = everyone("bench/model", buffered)
        auto = product.asked("jusinfer/auto:bench/model,bench/strong", "jusinfer, routed")
        rows = [
            _plain(stage, PLAIN, 32, [direct, *plain, auto], bodies.tiny),
            _plain(stage, "plain answer, 1 connection", 1, [direct, *plain], bodies.tiny),
            *_sized(stage, plan, [*plain, auto]),
            Row(PACED, "event", alone("bench/paced"), _paced, FIRST),
            Row(
                "stream, 8 at once, 2,000 events, 20 in each write",
                "event",
                alone("bench/burst"),
                partial(streams.streamed, streams=8, events=2_000),
                FIRST,
            ),
        ]
        if not plan.is_quick:
            rows += [
                Row(
                    "first content of short streams, one after the other",
                    "stream",
                    [direct_streams, *everyone("bench/short", unbuffered)],
                    streams.one_by_one,
                    FIRST,
                ),
                Row(CLIENT_APIS, "event", _surfaces(product), _by_surface, FIRST),
                _plain(
                    stage,
                    "answer of 100 KB, 8 connections",
                    8,
                    everyone("bench/big", long),
                    partial(bodies.tiny, output_tokens_max=30_000),
                ),
                _plain(
                    stage,
                    "TLS to the provider, 32 connections",
                    32,
                    [to_tls, product.asked("bench/tls")],
                    bodies.tiny,
                ),
            ]
        return Outcome(rows, play(rows, plan.rounds, plan.seconds, say), missing)


def _plain(
    stage: Stage,
    name: str,
    connections: int,
    subjects: list[Subject],
    body: Callable[[str], bytes],
) -> Row:
    def measure(subject: Subject, seconds: float) -> Cell:
        return load.plain(
            subject, stage.folder, body(subject.model), connections=connections, seconds=seconds
        )

    return Row(name, "request", subjects, measure)


def _sized(stage: Stage, plan: Plan, subjects: list[Subject]) -> list[Row]:
    """Give the rows of larger requests."""
    long = partial(bodies.agent, messages=1_001, size=bodies.LONG_AGENT_BYTES)
    found = [_plain(stage, "agent: 201 KB, 1,001 messages, 20 tools", 8, subjects, long)]
    if plan.is_quick:
        return found
    short = partial(bodies.agent, messages=101, size=bodies.AGENT_BYTES)
    return [
        _plain(stage, "agent: 51 KB, 101 messages, 20 tools", 8, subjects, short),
        *found,
        _plain(stage, "one text of 202 KB", 8, subjects, bodies.text),
    ]


_paced = partial(streams.streamed, streams=64, events=100)


def _surfaces(product: Subject) -> list[Subject]:
    product = msgspec.structs.replace(product, beside={})
    return [
        product.asked("bench/paced", "chat over chat"),
        product.asked("bench/claude", "messages over messages"),
        product.asked("bench/claude", "chat over messages"),
        product.asked("bench/paced", "messages over chat"),
    ]


def _by_surface(subject: Subject, seconds: float) -> Cell:
    is_messages = subject.name.startswith("messages")
    return _paced(subject, seconds, client_api=streams.MESSAGES if is_messages else streams.CHAT)


def tls(plan: Plan, say: Say) -> Outcome:
    """Measure TLS from clients, which a product offers at its one port or does not."""
    with staged() as stage:
        upstream = stage.upstream()
        pair, _ = stage.authority()
        static = nginx.static(stage)
        config = settings.config(static, upstream, listen_pair=pair)
        product = stage.product(PRODUCT, config, tls=pair)
        floor = nginx.proxy(stage, "proxy", static, is_buffered=True, pair=pair)
        rows = [
            _plain(stage, "TLS from clients, 32 connections", 32, [floor, product], bodies.tiny)
        ]
        return Outcome(rows, play(rows, plan.rounds, plan.seconds, say), [])


def many_tenants(plan: Plan, say: Say) -> Outcome:
    """Measure requests of one tenant and of many that are active at once."""
    with staged() as stage:
        static, upstream = nginx.static(stage), stage.upstream()
        config = settings.config(static, upstream)
        product = stage.product(PRODUCT, config)
        other = against(stage, config, plan)
        floor = nginx.proxy(stage, "proxy", static, is_buffered=True)
        subjects = [floor]
        for one in (product, other):
            if one is not None:
                keys = tenants.create(stage.folder / one.name, TENANTS)
                many = msgspec.structs.replace(one, keys=keys, name=f"{one.name}, {TENANTS:,}")
                subjects += [one, many]
        row = _plain(
            stage, f"1 or {TENANTS:,} active tenants, 32 connections", 32, subjects, bodies.tiny
        )
        # Each tenant's key and credit is to be known to the worker when measuring begins.
        row.warm_seconds = max(plan.seconds, 6.0)
        return Outcome([row], play([row], plan.rounds, plan.seconds, say), [])


class Quiet(msgspec.Struct):
    """What idle processes and open streams cost."""

    idle_ms: dict[str, float]
    memory: dict[str, list[Memory]]
    not_tried: list[str]


def quiet(plan: Plan, say: Say) -> Quiet:
    """Measure a product that nobody calls, then the memory of many open streams."""
    with staged() as stage:
        upstream, static = stage.upstream(), nginx.static(stage)
        config = settings.config(static, upstream)
        product = stage.product(PRODUCT, config)
        machine.wait_until_quiet([*product.pids, *product.beside["PostgreSQL"]])
        idle_ms = memory.idle(product, 5.0 if plan.is_quick else 20.0)
        say("idle: measured")
        if plan.is_quick:
            return Quiet(idle_ms, {}, [])
        other = against(stage, config, plan)
        others, missing = started_peers(stage, plan, static, upstream)
        floor = nginx.proxy(stage, "proxy-streams", upstream, is_buffered=False)
        found: dict[str, list[Memory]] = {}
        for subject, counts, after in (
            (floor, STREAMS_HELD, 5.0),
            *((one, STREAMS_HELD, 60.0) for one in (product, other) if one is not None),
            *((peer.asked("bench/held"), STREAMS_HELD[:1], 5.0) for peer in others),
        ):
            held = subject.asked("bench/held")
            idle_mb = memory.resident_mb(held)
            found[subject.name] = []
            for count in counts:
                one = memory.held(held, upstream, count, after, idle_mb)
                found[subject.name].append(one)
                say(f"memory: {subject.name}: {one.streams} of {count}: {one.kb_each:.1f} KB each")
        return Quiet(idle_ms, found, missing)

"""Builds one gateway worker from its settings; this process holds no secret but upstream keys."""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from jusinfer import config
from jusinfer.gateway.context import Bounds, Context
from jusinfer.gateway.server import ServerLimits
from jusinfer.gateway.snapshot import Snapshot
from jusinfer.gateway.worker import Worker, WorkerSettings
from jusinfer.observability import Events
from jusinfer.rules import RuleFiles
from jusinfer.store.gateway_link import GatewayLink

GC_THRESHOLD: Final = 20_000
FOREIGN_PREFIXES: Final = ("STRIPE_", "FIREBASE_", "RESEND_")


class ForeignSecret(Exception):
    """A secret of the other plane is in this process's environment."""


def main(arguments: list[str]) -> None:
    """Run one worker, named by its id and index, until it is told to stop."""
    worker_id, index = arguments
    settings = config.load(config.Overrides())
    config.require_variables(settings)
    run(settings, config.gateway_child(settings, worker_id, int(index)))


def run(settings: config.Settings, child: config.GatewayChild) -> None:
    """Run one worker until it is told to stop."""
    foreign = sorted(name for name in os.environ if name.startswith(FOREIGN_PREFIXES))
    if foreign:
        raise ForeignSecret(f"the gateway must not see {', '.join(foreign)}; unset it there")
    context, worker = build(settings, child)
    context.events.emit("gateway_starting", worker_id=child.worker_id)
    # What is loaded now stays for good: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    uvloop.run(worker.run())


def build(settings: config.Settings, child: config.GatewayChild) -> tuple[Context, Worker]:
    """Put a worker together; nothing is opened yet."""
    gateway, listen = settings.gateway, settings.listen
    bounds = Bounds(
        worker_id=child.worker_id,
        workers=child.workers,
        keep_alive_seconds=gateway.keep_alive_seconds,
        cors_origins=listen.cors_origins,
        trusted_proxies=listen.trusted_proxies,
        country_header=listen.country_header.lower().encode("ascii"),
    )
    context = Context(bounds)
    context.clock_us = _clock_us
    context.events = Events("gateway", sys.stderr)
    rules = RuleFiles(settings.rules_dir)
    context.snapshot = Snapshot(config.offers(settings, child.sandbox_port), rules.active().table)
    run_dir = Path(child.run_dir)
    worker = WorkerSettings(
        worker_id=child.worker_id,
        index=child.index,
        journal_dir=str(settings.journal_dir),
        control_socket=str(run_dir / f"gateway-{child.index}.sock"),
        console_socket=str(run_dir / "console.sock"),
        host=listen.host,
        port=listen.port,
        tls_certificate=listen.tls_certificate,
        tls_key=listen.tls_key,
        drain_seconds=gateway.drain_seconds,
        journal_bytes_max=gateway.journal_bytes_max,
        requests_per_minute=gateway.requests_per_minute,
        tokens_per_minute=gateway.tokens_per_minute,
        upstream_connections_max=gateway.upstream_connections_max,
        ready_descriptor=child.ready_descriptor,
        parent_descriptor=child.parent_descriptor,
    )
    limits = ServerLimits(
        body_bytes_max=gateway.body_bytes_max,
        idle_seconds=gateway.idle_seconds,
        connections_max=gateway.connections_max,
    )
    link = GatewayLink(child.dsn, child.worker_id)
    return context, Worker(worker, limits, context, link, rules)


def _clock_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    main(sys.argv[1:])

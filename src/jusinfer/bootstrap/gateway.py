"""Builds one gateway worker from its part; this process holds no secret but upstream keys."""

import gc
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvloop

from jusinfer import config
from jusinfer.bootstrap import parts
from jusinfer.domain.limits import KeyRates
from jusinfer.gateway.http.server import ServerLimits
from jusinfer.gateway.request_origin import LOOPBACK_HOSTS, Origins, name_of
from jusinfer.gateway.runtime_config import Snapshot
from jusinfer.gateway.state import WorkerLimits, WorkerState
from jusinfer.gateway.worker import Worker, WorkerSettings
from jusinfer.observability import Events
from jusinfer.rules import RulesStore
from jusinfer.store.gateway_client import GatewayLink

GC_THRESHOLD: Final = 20_000


def main() -> None:
    """Run one worker until it is told to stop."""
    part, pipes = parts.receive(parts.GatewayPart)
    context, worker = build(part, pipes)
    context.events.emit("gateway_starting", worker_id=part.worker_id)
    # What is loaded now stays for good: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    uvloop.run(worker.run())


def build(part: parts.GatewayPart, pipes: parts.Descriptors) -> tuple[WorkerState, Worker]:
    """Put a worker together; nothing is opened yet."""
    settings = part.settings
    gateway, listen = settings.gateway, settings.listen
    bounds = WorkerLimits(
        worker_id=part.worker_id,
        keep_alive_seconds=gateway.keep_alive_seconds,
        cors_origins=listen.cors_origins,
        trusted_proxies=listen.trusted_proxies,
        country_header=listen.country_header.lower().encode("ascii"),
    )
    context = WorkerState(bounds)
    context.clock_us = _clock_us
    context.events = Events("gateway", sys.stderr)
    rules = RulesStore(settings.rules_dir)
    context.snapshot = Snapshot(config.offers(settings, part.sandbox_port), rules.active().table)
    run_dir = Path(part.run_dir)
    worker = WorkerSettings(
        worker_id=part.worker_id,
        index=part.index,
        journal_dir=str(settings.journal_dir),
        control_socket=str(run_dir / f"gateway-{part.index}.sock"),
        console_socket=str(run_dir / "console.sock"),
        host=listen.host,
        port=listen.port,
        tls_certificate=listen.tls_certificate,
        tls_key=listen.tls_key,
        origins=origins(listen, part.peer_secret),
        drain_seconds=gateway.drain_seconds,
        journal_bytes_max=gateway.journal_bytes_max,
        upstream_connections_max=gateway.upstream_connections_max,
        ready_descriptor=pipes.ready,
        parent_descriptor=pipes.parent,
    )
    limits = ServerLimits(
        body_bytes_max=gateway.body_bytes_max,
        request_bytes_total_max=gateway.request_bytes_total_max,
        unread_bytes_total_max=gateway.unread_bytes_total_max,
        idle_seconds=gateway.idle_seconds,
        connections_max=gateway.connections_max,
    )
    rates = KeyRates(gateway.requests_per_minute, gateway.tokens_per_minute)
    link = GatewayLink(part.dsn, part.worker_id, key_rates=rates)
    return context, Worker(worker, limits, context, link, rules)


def origins(listen: config.ListenSettings, secret: bytes) -> Origins:
    """Tell the names under which this server has pages, and whom it believes."""
    public = urlsplit(listen.public_url)
    own = f"[{listen.host}]" if ":" in listen.host else listen.host
    names = (own, public.netloc, *listen.allowed_hosts)
    return Origins(
        scheme="https" if listen.tls_certificate is not None else "http",
        public_scheme=public.scheme,
        public_host=public.netloc,
        hosts=LOOPBACK_HOSTS | {name_of(name) for name in names if name},
        trusted_proxies=frozenset(listen.trusted_proxies),
        secret=secret,
    )


def _clock_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    main()

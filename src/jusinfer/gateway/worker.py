"""One gateway worker: its loop, its listening sockets, its parts, and its draining."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

import msgspec

from jusinfer.domain.catalog_loader import tariffs
from jusinfer.domain.errors import JusinferError
from jusinfer.domain.identity import Mode
from jusinfer.domain.limits import Limit, QuotaGrant, QuotaRequest
from jusinfer.domain.routing.rules_parser import RuleFileError
from jusinfer.gateway.accounting.credit_leases import CreditBalances, GrantedLease
from jusinfer.gateway.accounting.journal_writer import SYNC_SECONDS, Journal
from jusinfer.gateway.accounting.key_cache import KeyCache
from jusinfer.gateway.accounting.rate_limiter import RateLimiter
from jusinfer.gateway.accounting.request_holds import RequestHolds
from jusinfer.gateway.api.account import AccountApi
from jusinfer.gateway.api.console_proxy import ConsoleForward
from jusinfer.gateway.api.router import Gateway
from jusinfer.gateway.http.connection_pool import Pool, PoolLimits, Target
from jusinfer.gateway.http.listeners import TlsReloader, make_socket, unix_socket
from jusinfer.gateway.http.server import HttpServer, ServerLimits
from jusinfer.gateway.inference.settlement import write_unwritten
from jusinfer.gateway.metrics import ControlPage
from jusinfer.gateway.request_origin import Origins
from jusinfer.gateway.state import WorkerState
from jusinfer.rules import RulesStore
from jusinfer.store.gateway_client import DatabaseUnavailable, GatewayLink, Shortfall

TICK_SECONDS: Final = 0.25
HEARTBEAT_SECONDS: Final = 1.0
HOUSEKEEPING_SECONDS: Final = 5.0
LINK_RETRY_SECONDS: Final = 1.0
DRAIN_GRACE_SECONDS: Final = 2.0
RETURNS_SECONDS: Final = 3.0
RULES_SECONDS: Final = 0.5


class WorkerSettings(msgspec.Struct, frozen=True):
    """What one worker needs to know of itself and of its place."""

    worker_id: str
    index: int
    journal_dir: str
    control_socket: str
    console_socket: str
    host: str
    port: int
    tls_certificate: str | None
    tls_key: str | None
    origins: Origins
    drain_seconds: float
    journal_bytes_max: int
    upstream_connections_max: int
    ready_descriptor: int | None
    parent_descriptor: int | None


class CreditSource:
    """Leases credit through the gateway's client of the database."""

    def __init__(self, link: GatewayLink) -> None:
        self._link = link

    async def take(self, tenant_id: str, mode: str, need_nano: int) -> GrantedLease | int:
        """Take a lease, or give what is available."""
        taken = await self._link.take_credit(tenant_id, mode, need_nano)
        return taken.available_nano if isinstance(taken, Shortfall) else taken

    async def give_back(self, lease_id: str, amount_nano: int) -> None:
        """Return a part of a lease."""
        await self._link.return_credit(lease_id, amount_nano)


class SpendLimitSource:
    """Lets balances borrow under hard spend limits, by a limit's id and its period's end."""

    def __init__(self, link: GatewayLink) -> None:
        self._link = link

    async def take(self, tenant_id: str, mode: str, need_nano: int) -> GrantedLease | int:  # noqa: ARG002 (the period's end only names the balance)
        """Take a lease under a spend limit, or give what is available."""
        taken = await self._link.take_spend_limit(tenant_id, need_nano)
        return taken.available_nano if isinstance(taken, Shortfall) else taken

    async def give_back(self, lease_id: str, amount_nano: int) -> None:
        """Return a part of a lease under a spend limit."""
        await self._link.return_spend_limit(lease_id, amount_nano)


class LimitSource:
    """Takes quota through the gateway's client of the database."""

    def __init__(self, link: GatewayLink) -> None:
        self._link = link

    async def take(self, asks: list[QuotaRequest]) -> list[QuotaGrant]:
        """Take permits of several limits in one call."""
        return await self._link.take_permits(asks)

    async def give_back(self, limit: Limit, amount: int, within_ms: int) -> None:
        """Return permits within their minute."""
        await self._link.give_permits(limit, amount, within_ms)


class Worker:
    """Runs until it is told to stop, then drains and closes in order."""

    def __init__(
        self,
        settings: WorkerSettings,
        limits: ServerLimits,
        context: WorkerState,
        link: GatewayLink,
        rules: RulesStore,
    ) -> None:
        self._rules = rules
        self._settings = settings
        self._context = context
        self._limits = limits
        self._link = link
        self._stop = asyncio.Event()
        self._tls: TlsReloader | None = None

    async def run(self) -> None:
        """Serve until stopped; every child of the group ends in a catch-all or a bounded loop."""
        context = self._context
        context.loop = asyncio.get_running_loop()
        context.loop.set_exception_handler(context.events.loop_failed)
        self._handle_signals()
        async with asyncio.TaskGroup() as tasks:
            self._assemble(tasks)
            await self._begin()
            background = [
                tasks.create_task(self._listen_for_invalidations()),
                tasks.create_task(self._tick()),
                tasks.create_task(self._sync()),
                tasks.create_task(self._maintenance_loop()),
                tasks.create_task(self._watch_rules()),
            ]
            server, listeners = await self._serve()
            self._notify_ready()
            await self._stop.wait()
            await self._drain(server, listeners)
            for task in background:
                task.cancel()
            await self._close()

    # ------------------------------------------------------------------ beginning

    def _assemble(self, tasks: asyncio.TaskGroup) -> None:
        context, settings = self._context, self._settings

        def spawn(coroutine: Coroutine[None, None, None]) -> None:
            tasks.create_task(self._guarded(coroutine))

        context.spawn = spawn
        context.pool = Pool(
            context.loop,
            PoolLimits(connections_max=settings.upstream_connections_max),
            tasks,
        )
        context.keys = KeyCache(
            lambda key, is_known: self._link.principal(key, is_known=is_known), DatabaseUnavailable
        )
        context.balances = CreditBalances(CreditSource(self._link), DatabaseUnavailable, spawn)
        context.holds = RequestHolds(
            RateLimiter(LimitSource(self._link), DatabaseUnavailable),
            CreditBalances(SpendLimitSource(self._link), DatabaseUnavailable, spawn),
            context.loop.time,
        )

    async def _guarded(self, coroutine: Coroutine[None, None, None]) -> None:
        """Keep one request's fault from ending the others: a group cancels all its children."""
        try:
            await coroutine
        except JusinferError as error:
            self._context.events.emit("request_failed", code=error.code)
        except Exception as error:  # noqa: BLE001 (the end of a connection: one of three places)
            self._context.events.emit("request_failed", error=type(error).__name__)

    async def _begin(self) -> None:
        """Connect to the database, with patience, and open the journal."""
        context, settings = self._context, self._settings
        while not self._stop.is_set():
            try:
                await self._link.connect()
                break
            except DatabaseUnavailable:
                context.events.emit("database_away", worker_id=settings.worker_id)
                await asyncio.sleep(LINK_RETRY_SECONDS)
        context.journal = Journal(
            Path(settings.journal_dir), settings.worker_id, settings.journal_bytes_max
        )
        name = context.journal.open(context.clock_us())
        while not self._stop.is_set():
            try:
                await self._link.register(name)
                await self._publish_prices()
                break
            except DatabaseUnavailable:
                await asyncio.sleep(LINK_RETRY_SECONDS)

    async def _publish_prices(self) -> None:
        """Keep the prices in force in the database before the first receipt names them."""
        snapshot = self._context.snapshot
        for mode, catalog in ((Mode.LIVE, snapshot.live), (Mode.TEST, snapshot.test)):
            said = msgspec.json.encode(tariffs(catalog))
            await self._link.note_prices(catalog.version, mode, said)

    async def _serve(self) -> tuple[HttpServer, list[asyncio.Server]]:
        context, settings = self._context, self._settings
        console = Target(
            host="console", port=80, is_tls=False, is_local=True, unix_path=settings.console_socket
        )
        records = AccountApi(context, self._link, DatabaseUnavailable)
        gateway = Gateway(context, ConsoleForward(context.pool, console, settings.origins), records)
        server = HttpServer(
            gateway,
            self._limits,
            context.loop,
            on_fault=lambda place: context.events.emit("request_failed", error=place),
            collected=context.collected,
        )
        tls = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            self._tls = TlsReloader(settings.tls_certificate, settings.tls_key)
            tls = self._tls.context
        public = await context.loop.create_server(
            server.protocol_factory,
            sock=make_socket(settings.host, settings.port),
            ssl=tls,
            backlog=1024,
        )
        page = HttpServer(ControlPage(context, settings.index), ServerLimits(), context.loop)
        control = await context.loop.create_unix_server(
            page.protocol_factory, sock=unix_socket(settings.control_socket, 0o600)
        )
        return server, [public, control]

    def _handle_signals(self) -> None:
        loop = self._context.loop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        parent = self._settings.parent_descriptor
        if parent is not None:
            loop.add_reader(parent, self._parent_died)

    def _reload(self) -> None:
        if self._tls is None:
            return
        try:
            self._tls.reload()
            self._context.events.emit("certificate_reloaded")
        except (OSError, ValueError) as error:
            self._context.events.emit("certificate_refused", error=type(error).__name__)

    def _parent_died(self) -> None:
        if os.read(self._settings.parent_descriptor or 0, 1) == b"":
            self._context.loop.remove_reader(self._settings.parent_descriptor or 0)
            self._stop.set()

    def _notify_ready(self) -> None:
        context, settings = self._context, self._settings
        context.events.emit("gateway_ready", worker_id=settings.worker_id, port=settings.port)
        if settings.ready_descriptor is not None:
            os.write(settings.ready_descriptor, b"1")
            os.close(settings.ready_descriptor)

    # ------------------------------------------------------------------ background

    async def _listen_for_invalidations(self) -> None:
        """Forget keys as soon as the database says that they changed."""
        keys = self._context.keys
        while True:
            try:
                async for notice in self._link.notices():
                    if notice.fingerprint is not None:
                        keys.invalidate(notice.fingerprint)
                    else:
                        keys.expire_all(self._context.loop.time())
            except DatabaseUnavailable:
                keys.expire_all(self._context.loop.time())
                await asyncio.sleep(LINK_RETRY_SECONDS)

    async def _tick(self) -> None:
        """Look at every deadline a few times a second."""
        context = self._context
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = context.loop.time()
            context.collected.weigh(context.active)
            for completion in tuple(context.active):
                completion.tick(now)
            context.pool.expire_idle(now)

    async def _sync(self) -> None:
        """Ask for a sync of the journal every 50 ms; the disk is waited for elsewhere."""
        context = self._context
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            context.journal.sync_soon()
            if context.pending_records:
                write_unwritten(context)

    async def _maintenance_loop(self) -> None:
        """Beat, measure the journal, and return what idle leases hold."""
        context = self._context
        measured_at = 0.0
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._link.heartbeat()
                now = context.loop.time()
                if now - measured_at >= HOUSEKEEPING_SECONDS:
                    measured_at = now
                    for lease_id, amount_nano in context.balances.idle_returns(now):
                        await self._link.return_credit(lease_id, amount_nano)
                    for lease_id, amount_nano in context.holds.spend_limits.idle_returns(now):
                        await self._link.return_spend_limit(lease_id, amount_nano)
                await context.holds.permits.return_idle(now)
            except DatabaseUnavailable:
                context.events.emit("database_away", worker_id=self._settings.worker_id)
            if not context.pending_records:
                context.journal.measure()

    async def _watch_rules(self) -> None:
        """Take another rule table as soon as it is put in force; keep this one if it is unsound."""
        context, rules = self._context, self._rules
        while True:
            await asyncio.sleep(RULES_SECONDS)
            if not rules.has_changed():
                continue
            try:
                table = rules.active().table
            except RuleFileError:
                context.events.emit("rules_refused", worker_id=self._settings.worker_id)
                continue
            context.snapshot = context.snapshot.with_table(table)
            context.events.emit("rules_activated", name=table.version)

    # ------------------------------------------------------------------ ending

    async def _drain(self, server: HttpServer, listeners: list[asyncio.Server]) -> None:
        """Take no new requests, let running ones finish for a while, then end them honestly."""
        context = self._context
        listeners[0].close()
        server.begin_drain()
        context.events.emit("draining", connections=server.connections)
        if not await server.drained(self._settings.drain_seconds):
            for completion in tuple(context.active):
                completion.stop()
            await server.drained(DRAIN_GRACE_SECONDS)
            server.abort_all()
        listeners[1].close()

    async def _close(self) -> None:
        """Give back what is left, write what is unwritten, and let go of the journal."""
        context = self._context
        try:
            async with asyncio.timeout(RETURNS_SECONDS):
                for lease_id, amount_nano in context.balances.take_all_free():
                    await self._link.return_credit(lease_id, amount_nano)
                for lease_id, amount_nano in context.holds.spend_limits.take_all_free():
                    await self._link.return_spend_limit(lease_id, amount_nano)
                await context.holds.permits.return_idle(context.loop.time(), is_last=True)
        except (TimeoutError, DatabaseUnavailable):
            # What is not returned is reclaimed once the journal has been posted to its end.
            context.events.emit("database_away", worker_id=self._settings.worker_id)
        write_unwritten(context)
        context.journal.close()
        context.pool.close()
        context.heavy.close()
        try:
            async with asyncio.timeout(RETURNS_SECONDS):
                await self._link.deregister()
                await self._link.close()
        except (TimeoutError, DatabaseUnavailable):
            context.events.emit("database_away", worker_id=self._settings.worker_id)
        context.events.emit("gateway_stopped", worker_id=self._settings.worker_id)

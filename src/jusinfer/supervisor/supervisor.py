"""`jusinfer serve`: starts and watches every process of the product, and stops them in order."""

import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from jusinfer import config
from jusinfer.bootstrap import data_directory, managed_database, parts
from jusinfer.observability import Events, Metric
from jusinfer.supervisor import admin_server, startup_message
from jusinfer.supervisor.child_process import Child, ProcessSpec, stop_all

POLL_SECONDS: Final = 0.05
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 15.0
MONTHS_MISSING: Final = (
    "usage_months_ahead: the next month of usage has no table; the settler makes it every ten"
    " seconds, so look at the settler's log"
)


class StartFailed(Exception):
    """A process of the product did not come up; the text says which and where to look."""


class Supervisor:
    """Owns the processes; synchronous, one loop, every wait bounded."""

    def __init__(self, settings: config.Settings, events: Events) -> None:
        self._settings = settings
        self._events = events
        self._stop_count = 0
        self._children: dict[str, Child] = {}
        self._workers: list[Child] = []
        self._reserved: socket.socket | None = None
        self._database: managed_database.ManagedDatabase | None = None
        self._run_dir = Path()
        self._peer_secret = secrets.token_bytes(32)
        self._started_at = time.monotonic()

    def run(self) -> None:
        """Start everything, say that it is ready, watch it until a signal, stop it in order."""
        settings = self._settings
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._reload)
        self._run_dir = data_directory.prepare(settings)
        if config.file_is_open(settings):
            self._events.emit(
                "settings_readable_by_others",
                path=settings.config_file,
                hint="it may hold a secret; chmod 600",
            )
        key = settings.listen.tls_key
        if key is not None and Path(key).exists() and config.is_open(key):
            self._events.emit("tls_key_readable_by_others", path=key, hint="chmod 600")
        with contextlib.ExitStack() as ends:
            ends.callback(data_directory.DataDirLock(Path(settings.data_dir)).close)
            listen = settings.listen
            self._reserved = ends.enter_context(
                reserve(listen.host, listen.port, "port", "--port or JUSINFER_PORT")
            )
            pages = ends.enter_context(self._operator_pages())
            ends.callback(pages.shutdown)
            ends.callback(self._stop)
            first_key = self._start()
            startup_message.ready(
                settings,
                self._port,
                startup_message.shown_key(settings, first_key, sys.stdout),
                sys.stdout,
            )
            self._events.emit("ready", url=startup_message.base_url(settings, self._port))
            while self._stop_count == 0:
                self._watch()
                time.sleep(POLL_SECONDS)

    # ------------------------------------------------------------------ starting

    @property
    def _port(self) -> int:
        if self._reserved is None:
            raise AssertionError("no port has been reserved")
        return int(self._reserved.getsockname()[1])

    def _operator_pages(self) -> admin_server.Pages:
        listen = self._settings.listen
        hint = "listen.operator_port or JUSINFER_OPERATOR_PORT"
        reserve(listen.operator_host, listen.operator_port, "operator port", hint).close()
        pages = admin_server.listen(listen.operator_host, listen.operator_port, self._state)
        self._events.emit("operator_listening", port=int(pages.server_address[1]))
        return pages

    def _start(self) -> str | None:
        """Bring everything up; gives the first test key when this is the first start."""
        settings = self._settings
        # Gateways know the sandbox by its port: one that starts again takes the same.
        ports: list[str] = []

        def arguments() -> list[str]:
            return [*_program("sandbox.app"), *(("--port", ports[0]) if ports else ())]

        # Noted at once, as whatever fails after this must stop it.
        sandbox = self._child("sandbox", arguments, None, drain_seconds=2.0)
        self._children["sandbox"] = sandbox
        self._database = managed_database.ManagedDatabase(settings, self._events)
        first_key = managed_database.first_run(self._database.dsn)
        self._wait([sandbox])
        port = int(msgspec.json.decode(sandbox.said)["port"])
        ports.append(str(port))
        self._events.emit("sandbox_ready", port=port)
        logins = self._database.logins
        self._children["settler"] = self._told(
            "settler",
            _program("bootstrap.settler"),
            parts.SettlerPart(logins.dsn_of("settler"), str(settings.journal_dir)),
        )
        self._children["console"] = self._told(
            "console",
            _program("bootstrap.console"),
            parts.console_part(settings, logins.dsn_of("console"), self._run_dir),
        )
        asked = tuple(config.reporting_upstreams(settings))
        if asked:
            self._children["reconciler"] = self._told(
                "reconciler",
                _program("bootstrap.reconciler"),
                parts.ReconcilerPart(logins.dsn_of("reconciler"), asked),
            )
        own = logins.dsn_of("gateway")
        self._workers = [
            self._worker(index, own, port) for index in range(config.worker_count(settings))
        ]
        self._wait([*self._children.values(), *self._workers])
        return first_key

    def _child(
        self,
        name: str,
        arguments: Callable[[], list[str]],
        part: Callable[[], bytes] | None,
        drain_seconds: float = 5.0,
    ) -> Child:
        child = Child(ProcessSpec(name, arguments, part, drain_seconds), self._events)
        child.start(time.monotonic())
        return child

    def _told(self, name: str, program: list[str], part: parts.Part) -> Child:
        message = parts.encode(part)
        return self._child(name, lambda: program, lambda: message)

    def _worker(self, index: int, dsn: str, sandbox_port: int) -> Child:
        settings = msgspec.structs.replace(
            self._settings,
            database_url="",
            listen=msgspec.structs.replace(self._settings.listen, port=self._port),
        )

        def part() -> bytes:
            # A worker that starts again is a new worker: its journal and leases are its own.
            return parts.encode(
                parts.GatewayPart(
                    worker_id=secrets.token_hex(16),
                    index=index,
                    dsn=dsn,
                    run_dir=str(self._run_dir),
                    sandbox_port=sandbox_port,
                    peer_secret=self._peer_secret,
                    settings=settings,
                )
            )

        return self._child(
            f"gateway-{index}",
            lambda: _program("bootstrap.gateway"),
            part,
            drain_seconds=settings.gateway.drain_seconds + 8.0,
        )

    def _wait(self, children: list[Child]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if sum(child.poll_ready() for child in children) == len(children):
                return
            for child in children:
                if not child.is_running and not child.is_ready:
                    raise StartFailed(
                        f"{child.recipe.name} ended while starting; its lines above say why"
                    )
            if time.monotonic() > deadline or self._stop_count:
                waiting = [child.recipe.name for child in children if not child.is_ready]
                raise StartFailed(f"{', '.join(waiting)} did not become ready in time")
            time.sleep(POLL_SECONDS / 5)

    # ------------------------------------------------------------------ running

    def _watch(self) -> None:
        now = time.monotonic()
        for child in (*self._children.values(), *self._workers):
            child.watch(now)
        if self._database is not None:
            self._database.watch(now)

    def _state(self) -> admin_server.State:
        database = self._database
        is_database_up = database is not None and database.answers()
        ready_workers = [child for child in self._workers if child.is_ready and child.is_running]
        detail: dict[str, object] = {
            "database": "ok" if is_database_up else "away",
            "gateway_workers_ready": len(ready_workers),
            **{
                name: "ok" if child.is_running and child.is_ready else "away"
                for name, child in self._children.items()
            },
        }
        months = None if database is None or not is_database_up else database.months_ahead()
        if months is not None:
            detail["usage_months_ahead"] = months
            if months < 1:
                detail["warnings"] = [MONTHS_MISSING]
        settler = self._children.get("settler")
        is_ready = bool(
            is_database_up and ready_workers and settler is not None and settler.is_running
        )
        return admin_server.State(
            is_ready=is_ready,
            detail={"status": "ok" if is_ready else "not ready", **detail},
            metrics=self._metrics(months, is_database_up=is_database_up),
            sockets=tuple(
                str(self._run_dir / f"gateway-{index}.sock") for index in range(len(self._workers))
            ),
        )

    def _metrics(self, months: int | None, *, is_database_up: bool) -> tuple[Metric, ...]:
        children = (*self._children.values(), *self._workers)
        up = tuple(
            ((("process", child.recipe.name),), float(child.is_running and child.is_ready))
            for child in children
        )
        restarts = tuple(
            ((("process", child.recipe.name),), float(child.restart_count)) for child in children
        )
        lag = None if self._database is None else self._database.settler_lag()
        metrics = [
            Metric("jusinfer_process_up", "gauge", "1 while a process is ready.", up),
            Metric("jusinfer_process_restarts_total", "counter", "Restarts.", restarts),
            Metric(
                "jusinfer_database_up",
                "gauge",
                "1 while the database answers.",
                (((), float(is_database_up)),),
            ),
        ]
        if lag is not None:
            text = "Bytes of journal not yet posted."
            metrics.append(Metric("jusinfer_settler_lag_bytes", "gauge", text, (((), float(lag)),)))
        if months is not None:
            text = "Months of usage made after this one; below 1, make them: see the settler's log."
            metrics.append(
                Metric("jusinfer_usage_months_ahead", "gauge", text, (((), float(months)),))
            )
        if self._database is not None and "reconciler" in self._children:
            counts = self._database.provider_reports().items()
            samples = tuple(((("state", state),), float(count)) for state, count in counts)
            text = "Completions whose provider is asked later what they cost, by state."
            metrics.append(Metric("jusinfer_provider_reports", "gauge", text, samples))
        return tuple(metrics)

    # ------------------------------------------------------------------ stopping

    def _asked_to_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stop_count += 1
        if self._stop_count == 1:
            self._events.emit("stopping", signal=signal.Signals(number).name)

    def _is_hurried(self) -> bool:
        return self._stop_count >= 2  # noqa: PLR2004 (asked twice)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        for child in self._workers:
            child.signal(signal.SIGHUP)

    def _stop(self) -> None:
        """Stop in order: clients first, then what answers pages and what posts, then data."""
        stop_all(((child, child.recipe.drain_seconds) for child in self._workers), self._is_hurried)
        seconds = {"settler": SETTLE_SECONDS}
        stop_all(
            ((child, seconds.get(name, STOP_SECONDS)) for name, child in self._children.items()),
            self._is_hurried,
        )
        if self._database is not None:
            self._database.close()
        self._events.emit("stopped", seconds=round(time.monotonic() - self._started_at, 1))


def _program(module: str) -> list[str]:
    """Give how to run a module of ours; each process loads only what its module needs."""
    return [sys.executable, "-m", f"jusinfer.{module}"]


def reserve(host: str, port: int, what: str, where: str) -> socket.socket:
    """Hold a port for the workers, or refuse with its name and how to choose another.

    The first bind is exclusive and shows whether anyone else is there; the second shares the
    port with the workers. It never listens, so it takes no connections from them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
            port = port or int(probe.getsockname()[1])
        with contextlib.ExitStack() as undo:
            held = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
            undo.pop_all()
    except OSError as error:
        raise config.ConfigError(
            f"{what} {port} on {host} cannot be used ({error.strerror});"
            f" choose another with {where}"
        ) from error
    return held

"""Persistent connections to upstreams: bounded, checked, retired when idle.

When a connection is idle an exchange begins at once, in the same call; otherwise a connection is
made in the background, within deadlines, and the exchange waits in a bounded queue.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Final

import msgspec

from jusinfer.gateway.http.address_filter import is_public
from jusinfer.gateway.http.client_connection import (
    ClientLimits,
    Failure,
    FailureKind,
    ResponseListener,
    UpstreamConnection,
)

__all__ = ["Exchange", "Failure", "FailureKind", "Pool", "PoolLimits", "ResponseListener", "Target"]

ADDRESSES_MAX: Final = 8
RELEASE_SECONDS: Final = 1.0


class Target(msgspec.Struct, frozen=True):
    """Where connections go; the key of a pool."""

    host: str
    port: int
    is_tls: bool
    is_local: bool = False
    unix_path: str | None = None
    ca_file: str | None = None
    connect_seconds: float | None = None


class PoolLimits(msgspec.Struct, frozen=True):
    """Bounds of each target's pool and of the answers from it."""

    connections_max: int = 512
    waiting_max: int = 1_024
    waiting_seconds: float = 10.0
    connect_seconds: float = 5.0
    tls_seconds: float = 5.0
    idle_seconds: float = 30.0
    answer: ClientLimits = ClientLimits()


class Exchange:
    """One request under way or waiting; the handle to stop or slow it."""

    __slots__ = ("_head_body", "_room", "connection", "expires_at", "is_over", "listener")

    def __init__(
        self,
        room: "TargetPool",
        head: bytes,
        body: bytes,
        listener: ResponseListener,
        expires_at: float,
    ) -> None:
        self._room = room
        self._head_body: tuple[bytes, bytes] | None = (head, body)
        self.listener = listener
        self.expires_at = expires_at
        self.connection: UpstreamConnection | None = None
        self.is_over = False

    def begin(self, connection: UpstreamConnection) -> None:
        """Send the request on a connection."""
        if self._head_body is None:
            raise AssertionError("an exchange begins once")
        head, body = self._head_body
        self._head_body = None
        self.connection = connection
        connection.send(head, body, self)

    def cancel(self) -> None:
        """Stop; the listener hears nothing more, and the upstream sees the connection close."""
        if self.is_over:
            return
        self.is_over = True
        if self.connection is not None:
            self.connection.cancel()
        else:
            self._room.forget(self)

    def release(self) -> None:
        """Hear nothing more, but let the connection come to the end of its answer and be kept.

        A stream says that it has ended before HTTP does; what does not end soon after is closed.
        """
        if self.connection is None:
            self.cancel()
        elif not self.is_over:
            self.is_over = True
            self._room.release(self.connection, self)

    def pause(self) -> None:
        """Stop reading the answer until `resume`."""
        if self.connection is not None and not self.is_over:
            self.connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self.connection is not None and not self.is_over:
            self.connection.resume()

    def fail(self, failure: Failure) -> None:
        """End an exchange that could not begin."""
        if not self.is_over:
            self.is_over = True
            self.listener.upstream_failed(failure)

    # The connection speaks to the exchange, so that nothing is heard after its end.

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Hand on the head."""
        if not self.is_over:
            self.listener.upstream_head(status, headers)

    def upstream_body(self, data: bytes) -> None:
        """Hand on a piece of the body."""
        if not self.is_over:
            self.listener.upstream_body(data)

    def upstream_end(self) -> None:
        """Hand on the end."""
        if not self.is_over:
            self.is_over = True
            self.listener.upstream_end()

    def upstream_failed(self, failure: Failure) -> None:
        """Hand on the failure."""
        if not self.is_over:
            self.is_over = True
            self.listener.upstream_failed(failure)


class TargetPool:
    """The connections of one target."""

    __slots__ = ("_pool", "busy", "connecting_count", "idle", "target", "waiting")

    def __init__(self, pool: "Pool", target: Target) -> None:
        self._pool = pool
        self.target = target
        self.idle: list[UpstreamConnection] = []
        self.busy: set[UpstreamConnection] = set()
        self.waiting: deque[Exchange] = deque()
        self.connecting_count = 0

    def open(self, head: bytes, body: bytes, listener: ResponseListener) -> Exchange:
        """Begin an exchange now, or let it wait for a connection."""
        pool = self._pool
        exchange = Exchange(
            self, head, body, listener, pool.loop.time() + pool.limits.waiting_seconds
        )
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                self.busy.add(connection)
                exchange.begin(connection)
                return exchange
        if len(self.waiting) >= pool.limits.waiting_max:
            pool.loop.call_soon(exchange.fail, Failure(FailureKind.POOL_FULL))
            return exchange
        self.waiting.append(exchange)
        self.connect_if_needed()
        return exchange

    def connect_if_needed(self) -> None:
        """Make a connection for each exchange that waits, within the bound."""
        pool = self._pool
        while (
            self.connecting_count < len(self.waiting)
            and self.connecting_count + len(self.busy) + len(self.idle)
            < pool.limits.connections_max
        ):
            self.connecting_count += 1
            pool.tasks.create_task(self._connect())

    async def _connect(self) -> None:
        connection: UpstreamConnection | None = None
        failure = Failure(FailureKind.CONNECT_REFUSED)
        try:
            connection = await self._pool.connect(self)
        except ConnectFailed as failed:
            failure = failed.failure
        finally:
            self.connecting_count -= 1
        if connection is not None:
            self._assign(connection)
        else:
            self._fail_next(failure)
        self.connect_if_needed()

    def _assign(self, connection: UpstreamConnection) -> None:
        while self.waiting:
            exchange = self.waiting.popleft()
            if not exchange.is_over:
                self.busy.add(connection)
                exchange.begin(connection)
                return
        connection.idle_since = self._pool.loop.time()
        self.idle.append(connection)

    def _fail_next(self, failure: Failure) -> None:
        while self.waiting:
            exchange = self.waiting.popleft()
            if not exchange.is_over:
                exchange.fail(failure)
                return

    def connection_free(self, connection: UpstreamConnection) -> None:
        """Give a free connection to who waits longest, or keep it."""
        self.busy.discard(connection)
        if self.waiting:
            # Not at once: the end of the exchange before it has still to be told.
            self._pool.loop.call_soon(self._reuse, connection)
            connection.idle_since = self._pool.loop.time()
            return
        connection.idle_since = self._pool.loop.time()
        self.idle.append(connection)

    def _reuse(self, connection: UpstreamConnection) -> None:
        if connection.is_open:
            self._assign(connection)
        else:
            self.connect_if_needed()

    def release(self, connection: UpstreamConnection, exchange: Exchange) -> None:
        """Close a connection whose answer does not end within a moment."""
        connection.resume()
        self._pool.loop.call_later(RELEASE_SECONDS, self._close_late, connection, exchange)

    @staticmethod
    def _close_late(connection: UpstreamConnection, exchange: Exchange) -> None:
        if connection.serves(exchange):
            connection.close()

    def on_connection_lost(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is lost."""
        self.busy.discard(connection)
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)
        if self.waiting:
            self._pool.loop.call_soon(self.connect_if_needed)

    def forget(self, exchange: Exchange) -> None:
        """Take an exchange that no longer waits out of the queue."""
        with contextlib.suppress(ValueError):
            self.waiting.remove(exchange)

    def expire_idle(self, now: float) -> None:
        """Retire idle connections and fail exchanges that have waited too long."""
        bound = now - self._pool.limits.idle_seconds
        old = [connection for connection in self.idle if connection.idle_since < bound]
        for connection in old:
            self.idle.remove(connection)
            connection.close()
        while self.waiting and self.waiting[0].expires_at < now:
            self.waiting.popleft().fail(Failure(FailureKind.POOL_FULL))


class ConnectFailed(Exception):
    """A connection could not be made."""

    def __init__(self, kind: FailureKind, detail: str = "") -> None:
        super().__init__(kind.value)
        self.failure = Failure(kind, detail=detail)


class Pool:
    """All connections of a worker to upstreams and to the console."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: PoolLimits, tasks: asyncio.TaskGroup
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.tasks = tasks
        self._rooms: dict[Target, TargetPool] = {}
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    def open(
        self, target: Target, head: bytes, body: bytes, listener: ResponseListener
    ) -> Exchange:
        """Send a request; the listener is never called before this returns."""
        room = self._rooms.get(target)
        if room is None:
            room = self._rooms[target] = TargetPool(self, target)
        return room.open(head, body, listener)

    def expire_idle(self, now: float) -> None:
        """Retire what is idle and end what has waited too long; call it a few times a second."""
        for room in self._rooms.values():
            room.expire_idle(now)

    def counts(self) -> dict[Target, tuple[int, int, int]]:
        """Give (idle, busy, waiting) for each target."""
        return {
            target: (len(room.idle), len(room.busy), len(room.waiting))
            for target, room in self._rooms.items()
        }

    def close(self) -> None:
        """Close every connection."""
        for room in self._rooms.values():
            for connection in (*room.idle, *room.busy):
                connection.close()
            room.waiting.clear()

    # ------------------------------------------------------------------ connecting

    async def connect(self, room: TargetPool) -> UpstreamConnection:
        """Make one connection to a target; raises ConnectFailed."""
        target = room.target

        def protocol() -> UpstreamConnection:
            return UpstreamConnection(
                self.limits.answer, room.connection_free, room.on_connection_lost
            )

        try:
            async with asyncio.timeout(target.connect_seconds or self.limits.connect_seconds):
                if target.unix_path is not None:
                    _, connection = await self.loop.create_unix_connection(
                        protocol, target.unix_path
                    )
                    return connection
                connected = await self._connected(target)
        except TimeoutError as error:
            raise ConnectFailed(FailureKind.CONNECT_TIMEOUT) from error
        except OSError as error:
            raise ConnectFailed(FailureKind.CONNECT_REFUSED) from error
        try:
            async with asyncio.timeout(self.limits.tls_seconds):
                _, connection = await self.loop.create_connection(
                    protocol,
                    sock=connected,
                    ssl=self._context(target) if target.is_tls else None,
                    server_hostname=target.host if target.is_tls else None,
                )
        except TimeoutError as error:
            connected.close()
            raise ConnectFailed(FailureKind.CONNECT_TIMEOUT) from error
        except (ssl.SSLError, ssl.CertificateError, OSError) as error:
            connected.close()
            raise ConnectFailed(FailureKind.TLS, type(error).__name__) from error
        return connection

    async def _connected(self, target: Target) -> socket.socket:
        """Connect a socket to a checked address: the very one that was checked."""
        last: OSError | None = None
        for family, address in await self._addresses(target):
            made = socket.socket(family, socket.SOCK_STREAM)
            made.setblocking(False)  # noqa: FBT003 (its signature)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await self.loop.sock_connect(made, address)
            except OSError as error:
                made.close()
                last = error
            except asyncio.CancelledError:
                made.close()
                raise
            else:
                return made
        raise last or ConnectFailed(FailureKind.CONNECT_REFUSED)

    async def _addresses(self, target: Target) -> list[tuple[int, tuple[str, int]]]:
        try:
            found = await self.loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise ConnectFailed(FailureKind.DNS) from error
        addresses = [(family, address) for family, _, _, _, address in found][:ADDRESSES_MAX]
        if not target.is_local and any(not is_public(str(a[0])) for _, a in addresses):
            raise ConnectFailed(FailureKind.ADDRESS_REFUSED)
        if not addresses:
            raise ConnectFailed(FailureKind.DNS)
        return addresses  # type: ignore[return-value] # (address, port, …) of either family

    def _context(self, target: Target) -> ssl.SSLContext:
        context = self._contexts.get(target.ca_file)
        if context is None:
            # An authority of the operator's own takes the place of the system's: no other may
            # vouch for that upstream.
            context = ssl.create_default_context(cafile=target.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            self._contexts[target.ca_file] = context
        return context

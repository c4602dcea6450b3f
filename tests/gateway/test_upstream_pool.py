"""The pool of connections to upstreams, over real sockets that misbehave on purpose."""

import asyncio
import itertools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from jusinfer.gateway.http.address_filter import is_public
from jusinfer.gateway.http.client_connection import (
    ClientLimits,
    Failure,
    FailureKind,
    UpstreamConnection,
)
from jusinfer.gateway.http.connection_pool import Exchange, Pool, PoolLimits, Target

HEAD = b"POST /x HTTP/1.1\r\nhost: u\r\ncontent-length: 2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Ear:
    """Hears an exchange; `told` is the story in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.body = b""
        self.done = asyncio.Event()
        self.begun = asyncio.Event()

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.told.append(status)
        self.headers = headers

    def upstream_body(self, data: bytes) -> None:
        self.body += data
        self.begun.set()

    def upstream_end(self) -> None:
        self.told.append("end")
        self.done.set()

    def upstream_failed(self, failure: Failure) -> None:
        self.told.append(failure.kind)
        self.failure = failure
        self.done.set()


class Bench:
    """A pool and a server in one loop."""

    def __init__(self, pool: Pool, port: int) -> None:
        self.pool = pool
        self.target = Target("127.0.0.1", port, is_tls=False, is_local=True)

    def open(self, target: Target | None = None) -> tuple[Ear, Exchange]:
        ear = Ear()
        return ear, self.pool.open(target or self.target, HEAD, b"{}", ear)

    async def ask(self, target: Target | None = None) -> Ear:
        ear, _ = self.open(target)
        await asyncio.wait_for(ear.done.wait(), 10)
        return ear


def run(
    story: Callable[[Bench], Awaitable[None]],
    serve: Serve,
    limits: PoolLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(noted, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        try:
            async with asyncio.TaskGroup() as tasks:
                pool = Pool(asyncio.get_running_loop(), limits or PoolLimits(), tasks)
                try:
                    await story(Bench(pool, port))
                finally:
                    pool.close()
        finally:
            for writer in writers:
                writer.transport.abort()
            server.close()
            await asyncio.sleep(0.05)

    uvloop.run(main())


async def request(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.readexactly(len(HEAD) + 2)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


def always(answer: bytes, *, keep: bool = True) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            writer.write(answer)
            if not keep:
                break
        writer.close()

    return serve


def test_a_connection_is_used_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await always(OK)(reader, writer)

    async def story(bench: Bench) -> None:
        for _ in range(3):
            ear = await bench.ask()
            assert (ear.told, ear.body) == ([200, "end"], b"hello")
        assert bench.pool.counts()[bench.target] == (1, 0, 0)

    run(story, serve)
    assert connections == 1


def test_what_is_over_the_bound_waits_its_turn_and_no_longer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            await asyncio.sleep(0.05)
            writer.write(OK)

    async def story(bench: Bench) -> None:
        opened = [bench.open() for _ in range(5)]
        for ear, _ in opened[:4]:
            await asyncio.wait_for(ear.done.wait(), 10)
            assert ear.told[-1] == "end"
        last = opened[4][0]
        await asyncio.wait_for(last.done.wait(), 10)
        assert last.told == [FailureKind.POOL_FULL]
        hanging, _ = bench.open()
        await asyncio.sleep(0)
        bench.pool.expire_idle(asyncio.get_running_loop().time() + 1_000)
        await asyncio.wait_for(hanging.done.wait(), 10)

    run(story, serve, PoolLimits(connections_max=2, waiting_max=4))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf", FailureKind.TRUNCATED),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            FailureKind.TRUNCATED,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-le", FailureKind.TRUNCATED),
        (b"\x00\x01nonsense\r\n\r\n", FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", "malformed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", "malformed"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", FailureKind.HEAD_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"z" * 2000, "body_too_large"),
        (b"", FailureKind.RESET),
    ],
)
def test_an_answer_that_is_not_whole_or_not_sound_is_a_failure(
    answer: bytes, kind: FailureKind
) -> None:
    async def story(bench: Bench) -> None:
        ear = await bench.ask()
        assert ear.told[-1] == kind
        assert bench.pool.counts()[bench.target][0] == 0

    limits = PoolLimits(answer=ClientLimits(body_bytes_max=1_000))
    run(story, always(answer, keep=False), limits)


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    async def story(bench: Bench) -> None:
        ear = await bench.ask()
        assert (ear.told, ear.body) == ([200, "end"], b"to the end")

    run(story, always(b"HTTP/1.1 200 OK\r\n\r\nto the end", keep=False))


def test_interim_answers_are_passed_over_and_redirects_are_only_answers() -> None:
    early = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n"
    moved = b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n"

    async def story(bench: Bench) -> None:
        ear = await bench.ask()
        assert ear.told == [302, "end"]
        assert b"link" not in dict(ear.headers)

    run(story, always(early + moved))


def test_a_kept_connection_that_closes_as_it_is_used_may_be_tried_again() -> None:
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await request(reader):
            served += 1
            if served == 2:
                break
            writer.write(OK)
        writer.close()

    async def story(bench: Bench) -> None:
        await bench.ask()
        ear = await bench.ask()
        assert ear.failure == Failure(FailureKind.RESET, is_reused=True)
        assert (await bench.ask()).told == [200, "end"]

    run(story, serve)


def test_a_kept_connection_that_speaks_out_of_turn_is_dropped() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            writer.write(OK)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nghost")

    async def story(bench: Bench) -> None:
        for _ in range(3):
            assert (await bench.ask()).body == b"hello"
            await asyncio.sleep(0.15)
            assert bench.pool.counts()[bench.target][0] == 0

    run(story, serve)


def test_a_cancelled_exchange_hears_nothing_and_the_upstream_sees_it_close() -> None:
    closed = asyncio.Event

    async def story(bench: Bench) -> None:
        ear, exchange = bench.open()
        await asyncio.wait_for(ear.begun.wait(), 10)
        heard = list(ear.told)
        exchange.cancel()
        exchange.cancel()
        await asyncio.wait_for(seen.wait(), 5)
        assert ear.told == heard

    seen = closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\nfirst")
        try:
            if not await reader.read(1):
                seen.set()
        except ConnectionError:
            seen.set()
        writer.close()

    run(story, serve)


@pytest.mark.parametrize("does_end", [True, False])
def test_a_released_exchange_keeps_its_connection_only_if_its_answer_ends(
    *, does_end: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request(reader):
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n")
            await writer.drain()
            await asyncio.sleep(0.1)
            if does_end:
                writer.write(b"0\r\n\r\n")

    async def story(bench: Bench) -> None:
        ear, exchange = bench.open()
        await asyncio.wait_for(ear.begun.wait(), 10)
        exchange.release()
        await asyncio.sleep(0.3)
        assert ear.told == [200]
        assert bench.pool.counts()[bench.target] == ((1, 0, 0) if does_end else (0, 1, 0))
        if not does_end:
            await asyncio.sleep(1)
            assert bench.pool.counts()[bench.target] == (0, 0, 0)

    run(story, serve)


def test_a_paused_exchange_reads_no_more_than_a_little() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 64 << 20:
                writer.write(b"x" * 65_536)
                sent += 65_536
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def story(bench: Bench) -> None:
        ear, exchange = bench.open()
        await asyncio.wait_for(ear.begun.wait(), 10)
        exchange.pause()
        await asyncio.sleep(0.3)
        held = len(ear.body)
        await asyncio.sleep(0.2)
        assert len(ear.body) == held
        assert sent < 32 << 20
        exchange.resume()
        ear.begun.clear()
        await asyncio.wait_for(ear.begun.wait(), 10)
        exchange.cancel()

    run(story, serve, PoolLimits(answer=ClientLimits(body_bytes_max=1 << 30)))


def test_idle_connections_retire() -> None:
    async def story(bench: Bench) -> None:
        await bench.ask()
        now = asyncio.get_running_loop().time()
        bench.pool.expire_idle(now + 1)
        assert bench.pool.counts()[bench.target][0] == 1
        bench.pool.expire_idle(now + 31)
        assert bench.pool.counts()[bench.target][0] == 0

    run(story, always(OK))


def test_nobody_at_home_and_no_such_host_are_told_apart() -> None:
    async def story(bench: Bench) -> None:
        nobody = Target("127.0.0.1", 1, is_tls=False, is_local=True)
        assert (await bench.ask(nobody)).told == [FailureKind.CONNECT_REFUSED]
        nowhere = Target("no-such-host.invalid", 1, is_tls=False)
        assert (await bench.ask(nowhere)).told == [FailureKind.DNS]

    run(story, always(OK))


def test_a_public_upstream_never_reaches_a_private_address() -> None:
    async def story(bench: Bench) -> None:
        for host in ("127.0.0.1", "localhost", "0x7f000001", "2130706433", "::1"):
            target = Target(host, bench.target.port, is_tls=False)
            (told,) = (await bench.ask(target)).told
            assert told in {FailureKind.ADDRESS_REFUSED, FailureKind.DNS}, host

    run(story, always(OK))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.9.9.9", False),
        ("169.254.169.254", False),
        ("172.31.255.255", False),
        ("172.32.0.1", True),
        ("192.168.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("2002:0a00:0001::", False),
        ("fd00:ec2::254", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
        ("not an address", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:  # noqa: FBT001 (a case)
    assert is_public(address) is expected


@pytest.mark.parametrize("kind", ["good", "unknown", "wrong-name"])
def test_certificates_are_always_verified(tmp_path: Path, kind: str) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    issuer = stranger if kind == "unknown" else authority
    name = "other.example" if kind == "wrong-name" else "localhost"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)

    async def story(bench: Bench) -> None:
        port = bench.target.port
        target = Target("localhost", port, is_tls=True, is_local=True, ca_file=str(ca_file))
        ear = await bench.ask(target)
        assert ear.told == ([200, "end"] if kind == "good" else [FailureKind.TLS])

    run(story, always(OK), tls=context)


STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\ntrailer: x\r\n\r\n"
)


class Pipe:
    """As much of a transport as a connection asks for."""

    def write(self, _: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    def close(self) -> None: ...


@settings(max_examples=150, deadline=None)
@given(cuts=st.lists(st.integers(1, len(STREAM) - 1), max_size=12))
def test_however_an_answer_is_cut_the_same_is_heard(cuts: list[int]) -> None:
    connection = UpstreamConnection(ClientLimits(), lambda _: None, lambda _: None)
    connection.connection_made(Pipe())  # type: ignore[arg-type]

    async def feed() -> Ear:
        ear = Ear()
        connection.send(HEAD, b"{}", ear)
        marks = [0, *sorted(set(cuts)), len(STREAM)]
        for start, end in itertools.pairwise(marks):
            connection.data_received(STREAM[start:end])
        return ear

    ear = asyncio.run(feed())
    assert (ear.told, ear.body) == ([200, "end"], b"hello world")
    assert [name for name, _ in ear.headers] == [b"content-type", b"transfer-encoding"]

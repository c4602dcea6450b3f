"""What a provider may do when it is asked what a completion cost: all of it is bounded."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.provider_report import NoReport
from jusinfer.gateway.http.connection_pool import Pool
from jusinfer.gateway.inference.generation_client import LIMITS, ask
from jusinfer.gateway.runtime_config import UpstreamTarget

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b'{"data":{"id":"gen-1","total_cost":0.5}}'


def asked(
    serve: Serve, *, seconds: float = 5.0, **upstream: object
) -> tuple[tuple[int, bytes] | str, bytes]:
    """Ask a server that does as told; gives the answer or the failure's code, and the request."""
    heard = bytearray()

    async def listened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.extend(await reader.readuntil(b"\r\n\r\n"))
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.transport.abort()

    async def main() -> tuple[int, bytes] | str:
        server = await asyncio.start_server(listened, "127.0.0.1", 0)
        values: dict[str, object] = {
            "name": "open",
            "host": "127.0.0.1",
            "port": server.sockets[0].getsockname()[1],
            "is_tls": False,
            "base_path": "/api/v1",
            "api_key": "secret-key",
            "is_local": True,
        }
        dispatch = UpstreamTarget(Upstream(**(values | upstream)))  # type: ignore[arg-type]
        try:
            async with asyncio.TaskGroup() as tasks:
                pool = Pool(asyncio.get_running_loop(), LIMITS, tasks)
                try:
                    return await ask(pool, dispatch, "gen-1", "c" * 32, seconds)
                except NoReport as failure:
                    return failure.code
                finally:
                    pool.close()
        finally:
            server.close()
            await asyncio.sleep(0.05)

    return uvloop.run(main()), bytes(heard)


def answering(*pieces: bytes, pause: float = 0.0) -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        await asyncio.sleep(30 if pause else 0.05)

    return serve


def head(status: int = 200, length: int = len(GOOD), more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n" % (status, length, more)


def test_a_question_is_a_get_with_the_key_and_nothing_else() -> None:
    answer, request = asked(answering(head() + GOOD))
    assert answer == (200, GOOD)
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /api/v1/generation?id=gen-1 HTTP/1.1"
    names = sorted(line.partition(":")[0] for line in lines[1:] if line)
    assert names == ["accept", "accept-encoding", "authorization", "host", "user-agent"]
    assert "authorization: Bearer secret-key" in lines


def test_behind_ai_gateway_it_names_the_gateways_token_and_nobody() -> None:
    answer, request = asked(
        answering(head() + GOOD), gateway_token="aig", query="a=b", headers=(("x-title", "t"),)
    )
    assert answer == (200, GOOD)
    assert request.startswith(b"GET /api/v1/generation?a=b&id=gen-1 HTTP/1.1\r\n")
    assert b"\r\ncf-aig-authorization: Bearer aig\r\n" in request
    assert b"\r\ncf-aig-collect-log-payload: false\r\n" in request
    assert b"\r\nx-title: t\r\n" in request
    assert b"metadata" not in request


def test_an_answer_in_chunks_is_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    assert asked(answering(chunked % (len(GOOD), GOOD)))[0] == (200, GOOD)


def test_a_redirect_is_not_followed() -> None:
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen()
        elsewhere.settimeout(0)
        place = b"location: http://127.0.0.1:%d/\r\n" % elsewhere.getsockname()[1]
        assert asked(answering(head(302, 0, place)))[0] == (302, b"")
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize(
    ("serve", "code"),
    [
        (answering(head(length=10**9) + b"x" * 100_000), "body_too_large"),
        (answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 200_000), "body_too_large"),
        (answering(head(more=b"x: %b\r\n" % (b"y" * 60_000))), "head_too_large"),
        (answering(head(more=b"x: y\r\n" * 150)), "head_too_large"),
        (answering(head() + GOOD[:9]), "reset"),
        (answering(b"SSH-2.0-none\r\n"), "malformed"),
        (answering(), "reset"),
    ],
)
def test_whatever_else_comes_is_a_failure_with_a_code(serve: Serve, code: str) -> None:
    answer, _ = asked(serve)
    assert answer == code or {answer, code} == {"reset", "truncated"}


@pytest.mark.parametrize(
    "serve",
    [
        answering(pause=30),
        answering(*[bytes([byte]) for byte in head() + GOOD], pause=0.05),
        answering(head(), *[bytes([byte]) for byte in GOOD], pause=0.1),
    ],
)
def test_a_slow_answer_ends_at_the_deadline_however_it_drips(serve: Serve) -> None:
    assert asked(serve, seconds=0.5)[0] == "timeout"


def test_a_public_upstream_never_reaches_a_private_address() -> None:
    assert asked(answering(head() + GOOD), is_local=False) == ("address_refused", b"")

"""The operator's listener: for this machine's own names only, bounded, without a banner."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from jusinfer.supervisor import admin_server


@pytest.fixture
def port() -> Iterator[int]:
    state = admin_server.State(is_ready=True, detail={"status": "ok"}, metrics=(), sockets=())
    pages = admin_server.listen("127.0.0.1", 0, lambda: state)
    yield int(pages.server_address[1])
    pages.shutdown()
    pages.server_close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8788", 200), ("localhost", 200), ("[::1]:1", 200), ("evil.example", 403),
        ("evil.example:8788", 403), ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403), ("", 403),
        ("localhost:1@evil.example", 403), ("[::1]@evil.example", 403), ("localhost/x", 403),
        ("localhost:evil", 403), ("localhost\t:1 evil", 403), ("localhost:", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_only_names_of_this_machine_are_answered(
    port: int, host: str, status: int, path: str
) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"host": host}, timeout=10)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
def test_no_answer_names_the_server(port: int, method: str, path: str) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{port}{path}", timeout=10)
    assert "server" not in answer.headers
    assert "Python" not in answer.text
    assert "BaseHTTP" not in answer.text


def test_connections_that_say_nothing_keep_nobody_out(port: int) -> None:
    silent = [
        socket.create_connection(("127.0.0.1", port), 10)
        for _ in range(admin_server.CONNECTIONS_MAX * 3)
    ]
    try:
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200
        # The oldest were ended for those that came later.
        silent[0].settimeout(10)
        assert silent[0].recv(1) == b""
    finally:
        for one in silent:
            one.close()

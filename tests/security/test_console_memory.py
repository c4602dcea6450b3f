"""The console holds nothing of what clients send that leave `/v1` out of their base URL."""

import contextlib
import json
import os
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running import Running
from tests.e2e.test_e2e_secrets import memory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what the processes hold"),
]
PATHS = (
    "/chat/completions",
    "/completions",
    "/messages",
    "/responses",
    "/embeddings",
    "/",
    "/docs",
    "/health",
    "/static/app.css",
    "/v2/chat/completions",
    "/openai/deployments/x/chat/completions",
    "//v1/chat/completions",
    "/docs/../v1/chat/completions",
)
METHODS = ("POST", "GET", "PUT", "HEAD", "PATCH", "DELETE", "OPTIONS")
WAIT_SECONDS = 10.0


class Marks:
    """Makes marks that stand nowhere else, and finds any eight letters of them."""

    def __init__(self) -> None:
        self._random = random.Random(13)  # noqa: S311 (marks, not secrets)
        self.made: list[str] = []
        self.what: dict[str, str] = {}

    def mark(self, what: str) -> str:
        self.made.append("".join(self._random.choice("GHJKMNPQRTUVWXYZ") for _ in range(24)))
        self.what[self.made[-1]] = what
        return self.made[-1]

    def found_in(self, data: bytes) -> list[str]:
        pieces = {
            run[at : at + 8]
            for run in re.findall(rb"[GHJKMNPQRTUVWXYZ]{8,}", data)
            for at in range(len(run) - 7)
        }
        return [
            f"{self.what[mark]} {mark}"
            for mark in self.made
            if any(mark[at : at + 8].encode() in pieces for at in range(17))
        ]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("console")) as running:
        yield running


def asked(port: int, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Ask as any client might, also against the rules; gives the answer's first bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode()
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
        # Refused before all of it was read: what can be sent is sent.
        with contextlib.suppress(OSError):
            connection.sendall(head + body)
        with contextlib.suppress(OSError):
            return connection.recv(65_536)
    return b""


def test_a_body_and_a_key_without_v1_are_nowhere_in_the_console(product: Running) -> None:
    marks = Marks()
    statuses = set()
    for path in PATHS:
        for method in METHODS:
            for size in (1, 2_000):
                what = f"body {method} {path}"
                content = " ".join(marks.mark(what) for _ in range(size // 1_000 + 1))
                text = {"role": "user", "content": content + "x" * size}
                body = json.dumps({"model": marks.mark(what), "messages": [text]}).encode()
                headers = {
                    "authorization": f"Bearer ji_live_{marks.mark('ji_live_')}",
                    "x-api-key": f"sk-{marks.mark('sk-')}",
                    "x-title": marks.mark("x-title"),
                    "content-type": "application/json",
                }
                answer = asked(product.port, method, path, headers, body)
                statuses.add(answer[9:12])
    assert {b"200", b"404", b"405"} <= statuses
    (console,) = product.pids("bootstrap.console")
    held = memory(console)
    # That it is the console's memory which was looked at: it has served these.
    assert b"/openapi.json" in held
    assert marks.found_in(held) == []


def test_the_search_finds_what_a_gateway_holds(product: Running) -> None:
    marks = Marks()
    body = {
        "model": "sandbox/slow?ms=200&n=40",
        "messages": [{"role": "user", "content": marks.mark("content")}],
        "stream": True,
    }
    with product.client().chat.completions.create(**body) as stream:  # type: ignore[call-overload]
        next(iter(stream))
        (gateway,) = product.gateways
        assert marks.found_in(memory(gateway)) == [f"content {one}" for one in marks.made]
    assert Path(f"/proc/{gateway}").exists()

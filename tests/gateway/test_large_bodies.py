"""Large bodies are read and written beside the event loop, whatever path they come in by."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.golden.harness import Line, asked, staged

from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.gateway.api import router
from jusinfer.gateway.api.router import Gateway
from jusinfer.gateway.http.response_writer import Responder
from jusinfer.gateway.inference import handler
from jusinfer.gateway.off_loop import LARGE_BYTES_MIN

LONG = "words and words " * (LARGE_BYTES_MIN // 16)
TURNS = [{"role": "user", "content": LONG}]
LOCAL = "chat/model"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": LOCAL, "messages": TURNS},
    "/v1/completions": {"model": LOCAL, "prompt": LONG},
    "/v1/messages": {"model": LOCAL, "max_tokens": 5, "messages": TURNS},
    "/v1/responses": {"model": LOCAL, "input": LONG},
    "/v1/embeddings": {"model": "embeddings/model", "input": LONG},
    "/v1/messages/count_tokens": {"model": LOCAL, "messages": TURNS},
    "/v1/route": {"model": LOCAL, "messages": TURNS},
}
SENT = [path for path in BODIES if path not in {"/v1/messages/count_tokens", "/v1/route"}]


class Played:
    """One request on a loop of its own; `meanwhile` happens while its body waits to be read."""

    def __init__(self, path: str, body: bytes, meanwhile: Callable[[Responder], None]) -> None:
        self.line = Line()
        self.sent = b""
        self.ticks = 0
        asyncio.run(self._run(path, body, meanwhile))

    async def _run(self, path: str, body: bytes, meanwhile: Callable[[Responder], None]) -> None:
        tasks: list[asyncio.Future[None]] = []
        context, pool, _ = staged(lambda later: tasks.append(asyncio.ensure_future(later)))
        responder = Responder(self.line, minor=1, keep=True, is_head=False)
        gateway = Gateway(context, cast("Any", None), cast("Any", None))
        gateway.handle(asked(path, body, {}), responder)
        meanwhile(responder)
        while pending := [task for task in tasks if not task.done()]:
            await asyncio.wait(pending, timeout=30)
        self.faults = [task.exception() for task in tasks if task.exception() is not None]
        self.sent = pool.body
        context.heavy.close()


def nothing(responder: Responder) -> None:
    del responder


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Note on which thread bodies are read and written."""
    seen: list[tuple[str, str]] = []

    def noted(module: Any, name: str) -> None:
        work = getattr(module, name)

        def noting(*given: Any) -> Any:
            seen.append((name, threading.current_thread().name.split("_")[0]))
            return work(*given)

        monkeypatch.setattr(module, name, noting)

    noted(handler, "read")
    noted(router, "read")
    noted(router, "_counted")
    noted(handler, "write_request")
    return seen


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_large_body_is_read_and_written_beside_the_loop(
    path: str, *, is_stream: bool, threads: list[tuple[str, str]]
) -> None:
    body = BODIES[path] | ({"stream": True} if is_stream and path in SENT[:4] else {})
    played = Played(path, json.dumps(body).encode(), nothing)
    assert not played.faults
    assert threads
    assert {thread for _, thread in threads} == {"large-bodies"}
    if path in SENT:
        assert LONG.encode() in played.sent
        assert [name for name, _ in threads] == ["read", "write_request"]
    else:
        assert played.line.data.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", BODIES)
def test_a_small_body_takes_no_other_thread(path: str, threads: list[tuple[str, str]]) -> None:
    Played(path, json.dumps(BODIES[path]).replace(LONG, "Hello").encode(), nothing)
    assert {thread for _, thread in threads} == {"MainThread"}


@pytest.mark.parametrize("path", BODIES)
def test_a_large_body_at_fault_is_refused(path: str) -> None:
    played = Played(path, json.dumps(BODIES[path]).encode()[:-1], nothing)
    assert not played.faults
    assert played.line.data.startswith(b"HTTP/1.1 400 ")
    assert not played.sent


@pytest.mark.parametrize("path", SENT)
def test_nothing_is_sent_for_a_client_that_left_meanwhile(path: str) -> None:
    def leave(responder: Responder) -> None:
        responder.is_gone = True
        assert responder.client is not None
        responder.client.client_disconnected()

    played = Played(path, json.dumps(BODIES[path]).encode(), leave)
    assert not played.faults
    assert (played.sent, played.line.data) == (b"", b"")


@pytest.mark.parametrize("name", ["read", "write_request"])
def test_a_fault_in_reading_or_writing_is_told_to_the_client(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> CompletionRequest:
        raise LookupError("played")

    monkeypatch.setattr(handler, name, broken)
    played = Played(SENT[0], json.dumps(BODIES[SENT[0]]).encode(), nothing)
    assert [type(fault) for fault in played.faults] == [LookupError]
    assert played.line.data.startswith(b"HTTP/1.1 503 ")
    assert not played.sent


def test_the_loop_runs_on_while_a_body_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # The work ends only after the loop has been seen to run: on the loop it would never end.
    is_seen = threading.Event()
    read = handler.read

    def waiting(*given: Any) -> CompletionRequest:
        assert is_seen.wait(30)
        return read(*given)

    monkeypatch.setattr(handler, "read", waiting)

    def run_on(responder: Responder) -> None:
        del responder
        asyncio.get_running_loop().call_soon(is_seen.set)

    played = Played(SENT[0], json.dumps(BODIES[SENT[0]]).encode(), run_on)
    assert LONG.encode() in played.sent

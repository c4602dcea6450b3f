import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from jusinfer.sandbox.server import IDLE_SECONDS, Server
from jusinfer.sandbox.upstream import Upstream

PATIENCE_SECONDS = 10
COMMAND = [sys.executable, "-m", "jusinfer.sandbox.app"]


def request(model: str, *, stream: bool = True, extra: str = "", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": model, "messages": messages, "stream": stream, **fields}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n"
    return f"{head}{extra}content-length: {len(body)}\r\n\r\n".encode() + body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    return data


def listen(connection: socket.socket, heard: bytearray) -> None:
    while piece := connection.recv(65_536):
        heard += piece


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = bytearray()
    while mark not in data[-65_536 - len(mark) :]:
        piece = connection.recv(65_536)
        assert piece, data[-1_000:]
        data += piece
    return bytes(data)


def told(port: int, data: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def client(port: int) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": "Bearer x"},
        timeout=PATIENCE_SECONDS,
        trust_env=False,
    )


def counts(port: int, model: str) -> dict[str, int]:
    with client(port) as http:
        found: dict[str, int] = http.get("/sandbox/counts").json().get(model, {})
    return found


def eventually(check: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def ask(http: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "Hello"}]
    return http.post("/v1/chat/completions", json={"model": model, "messages": messages, **fields})


def test_a_connection_is_kept_between_answers(port: int) -> None:
    with connect(port) as connection:
        for stream, end in ((False, b"}}}"), (True, b"0\r\n\r\n"), (False, b"}}}")):
            connection.sendall(request("kept", stream=stream))
            assert read_until(connection, end).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    models = [f"pipelined-{number}" for number in range(100)]
    data = b"".join(request(model, stream=False) for model in models)
    with connect(port) as connection:
        connection.sendall(data + request("last", stream=False, extra="connection: close\r\n"))
        answers = read_to_end(connection).decode()
    places = [answers.index(f'"model":"{model}"') for model in [*models, "last"]]
    assert places == sorted(places)


def test_a_request_in_single_bytes_is_understood(port: int) -> None:
    with connect(port) as connection:
        for byte in request("bytes", stream=False, extra="connection: close\r\n"):
            connection.sendall(bytes((byte,)))
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_chunked_request_and_100_continue(port: int) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: x\r\n"
    with connect(port) as connection:
        connection.sendall(head + b"transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n")
        read_until(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert read_until(connection, b"}}}").startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_closed_after_the_answer(port: int) -> None:
    data = request("old").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = told(port, data)
    assert b"chunked" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


def test_what_is_not_http_is_refused(port: int) -> None:
    assert told(port, b"amber basin\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    long = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * (2 << 20)
    with connect(port) as connection:
        try:
            connection.sendall(long)
            assert b" 431 " in connection.recv(100)
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused before all was sent


def test_a_body_that_is_declared_too_large_is_refused_before_it_comes(port: int) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"
    assert told(port, head).startswith(b"HTTP/1.1 413 ")


def test_a_connection_without_requests_is_closed_in_the_end() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = Server(loop, Upstream())
        listener = await loop.create_server(server.connect, "127.0.0.1", 0)
        own_port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", own_port)
        writer.write(request("idle", stream=False))
        await reader.readuntil(b"}}}")
        (connection,) = server.connections
        assert not connection.is_idle_since(loop.time() - IDLE_SECONDS)
        assert connection.is_idle_since(loop.time() + 1)
        connection._heard_at -= IDLE_SECONDS + 1
        server._sweep()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        writer.close()
        server.close()
        listener.close()

    asyncio.run(run())


def test_cut_is_a_clean_end(port: int) -> None:
    answer = told(port, request("sandbox/cut?after=3"))
    assert answer.count(b'"content":"') == 1 + 3
    assert not answer.endswith(b"0\r\n\r\n")


def test_reset_is_a_reset_after_what_was_said(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(request("sandbox/reset?after=3"))
        heard = bytearray()
        with pytest.raises(ConnectionResetError):
            listen(connection, heard)
    assert heard.count(b'"content":"') == 1 + 3


def test_close_and_garbage(port: int) -> None:
    assert told(port, request("sandbox/close_before_answer")) == b""
    assert told(port, request("sandbox/garbage"))[:5] != b"HTTP/"


def test_stall_is_silence_and_leaving_is_counted(port: int) -> None:
    model = "sandbox/stall?after=4"
    with connect(port) as connection:
        connection.sendall(request(model))
        data = b""
        while data.count(b'"content":"') < 1 + 4:
            data += connection.recv(65_536)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    eventually(lambda: counts(port, model).get("cancelled") == 1)
    assert counts(port, model) == {
        "cancelled": 1,
        "faults": 1,
        "finished": 0,
        "started": 1,
        "tokens": 4,
    }


def test_what_a_vanished_caller_did_not_get_is_not_produced(port: int) -> None:
    model = "sandbox/slow?ms=20&n=200000"
    with connect(port) as connection:
        connection.sendall(request(model))
        read_until(connection, b'"content":" ')
    eventually(lambda: counts(port, model).get("cancelled") == 1)
    produced = counts(port, model)["tokens"]
    time.sleep(0.1)
    assert counts(port, model)["tokens"] == produced < 1_000


def test_a_slow_reader_holds_the_production(port: int) -> None:
    model = "sandbox/big?tokens=60000"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", port))
        connection.sendall(request(model))
        connection.recv(1)
        before = -1
        while counts(port, model)["tokens"] != before:
            before = counts(port, model)["tokens"]
            time.sleep(0.2)
        assert before < 50_000
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        read_until(connection, b"[DONE]")
    assert counts(port, model)["tokens"] == 60_000


def test_slow_tokens_leave_one_by_one(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(request("sandbox/slow?ms=30&n=4"))
        pieces = []
        while not (pieces and b"[DONE]" in pieces[-1]):
            pieces.append(connection.recv(65_536))
    assert len([piece for piece in pieces if b'"content":" ' in piece]) == 3


def test_a_long_wait_before_the_answer_ends_when_the_caller_leaves(port: int) -> None:
    model = "sandbox/delay?ms=3000000"
    with connect(port) as connection:
        connection.sendall(request(model))
        eventually(lambda: counts(port, model).get("started") == 1)
    eventually(lambda: counts(port, model).get("cancelled") == 1)


def test_first_fails_so_often_and_then_answers(port: int) -> None:
    with client(port) as http:
        model = "sandbox/status?code=503&first=2"
        got = [ask(http, model).status_code for _ in range(3)]
        http.headers["x-sandbox-scope"] = "another"
        assert (got, ask(http, model).status_code) == ([503, 503, 200], 503)


def test_faults_by_header_and_by_body(port: int) -> None:
    with client(port) as http:
        assert ask(http, "m", sandbox={"fault": "status", "code": 418}).status_code == 418
        http.headers["x-sandbox-fault"] = "status?code=529"
        assert ask(http, "m").status_code == 529


def test_the_books_are_open_and_can_be_closed(port: int) -> None:
    with client(port) as http:
        http.post("/sandbox/reset")
        ask(http, "booked", stream=True, stream_options={"include_usage": True}, store=False)
        row = http.get("/sandbox/last").json()[-1]
        assert row["keys"] == ["messages", "model", "store", "stream", "stream_options"]
        assert (row["store"], row["stream_options"]) == (False, {"include_usage": True})
        assert "authorization" in row["headers"]
        assert counts(port, "booked") == {
            "cancelled": 0,
            "faults": 0,
            "finished": 1,
            "started": 1,
            "tokens": 16,
        }
        http.post("/sandbox/reset")
        assert http.get("/sandbox/counts").json() == {}
        assert http.get("/sandbox/last").json() == []


def test_no_content_is_remembered(port: int) -> None:
    secret = "canary-7f3a"
    with client(port) as http:
        http.headers["authorization"] = f"Bearer {secret}"
        http.headers["x-note"] = secret
        ask(http, "m", user=secret, metadata={"a": secret}, provider={"order": [secret]})
        pages = [http.get(f"/sandbox/{name}").text for name in ("last", "counts")]
    assert not any(secret in page for page in pages)


def test_many_streams_at_once(port: int) -> None:
    connections = [connect(port) for _ in range(200)]
    for connection in connections:
        connection.sendall(request("sandbox/slow?ms=5&n=10", extra="connection: close\r\n"))
    answers = [read_to_end(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert all(answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for answer in answers)


def test_it_listens_on_a_unix_socket_and_speaks_on_a_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    read, write = os.pipe()
    command = [*COMMAND, "--unix", str(path), "--ready-fd", str(write)]
    with subprocess.Popen(command, pass_fds=(write,), stdout=subprocess.PIPE) as process:
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            said = json.loads(ready.read())
        assert said["event"] == "sandbox_ready"
        assert said["port"] > 0
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(str(path))
            connection.sendall(request("unix", extra="connection: close\r\n"))
            assert read_to_end(connection).startswith(b"HTTP/1.1 200 ")
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert not path.exists()


def test_it_tells_its_supervisor_and_ends_when_that_is_gone() -> None:
    life_read, life_write = os.pipe()
    ready_read, ready_write = os.pipe()
    own = {"JUSINFER_PARENT_FD": str(life_read), "JUSINFER_READY_FD": str(ready_write)}
    env = {**os.environ, **own}
    with subprocess.Popen(COMMAND, env=env, pass_fds=(life_read, ready_write)) as process:
        os.close(life_read)
        os.close(ready_write)
        with os.fdopen(ready_read, "rb") as ready:
            assert json.loads(ready.read())["port"] > 0
        os.close(life_write)
        assert process.wait(PATIENCE_SECONDS) == 0


def test_sigterm_ends_it_in_the_middle_of_an_answer() -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with connect(port) as connection:
            connection.sendall(request("sandbox/stall?after=1"))
            connection.recv(10)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(OSError, match="refused"):
            connect(port)


def test_a_reset_of_the_caller_is_a_cancellation(port: int) -> None:
    model = "sandbox/stall?after=2"
    connection = connect(port)
    connection.sendall(request(model))
    read_until(connection, b'"content":" ')
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    eventually(lambda: counts(port, model).get("cancelled") == 1)

"""The provider and the client of the benchmark's streams, over real sockets."""

import asyncio
import http.client
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import groups, peers, streams
from bench.groups import Plan
from bench.load import RequestsFailed
from bench.streams import CHAT, MESSAGES, Stream
from bench.subjects import NoFigure, Stage, Subject
from bench.upstream import BIG_BYTES, Upstream, listen, plans


@pytest.fixture
def port() -> Iterator[int]:
    listener = listen(0)
    number = int(listener.getsockname()[1])
    over = threading.Event()
    upstream = Upstream(listener)
    thread = threading.Thread(target=upstream.run, args=(over.is_set,))
    thread.start()
    yield number
    over.set()
    thread.join(10)
    upstream.close()
    assert not thread.is_alive()


def _ask(port: int, model: str, path: str = CHAT.path) -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request("POST", path, f'{{"model": "{model}", "stream": true}}')
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


@pytest.mark.parametrize(("model", "events"), [("bench/short", 5), ("bench/paced", 100)])
def test_a_stream_has_as_many_contents_as_its_row_says(port: int, model: str, events: int) -> None:
    status, text = _ask(port, model)
    assert status == 200
    assert text.count('"content":" tok') == events
    assert text.endswith("data: [DONE]\n\n")
    status, text = _ask(port, model, MESSAGES.path)
    assert status == 200
    assert text.count('"text":" tok') == events
    assert text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_twenty_events_are_in_each_write_and_each_is_a_chunk_of_its_own() -> None:
    plan = plans()[False, b"bench/burst"]
    assert len(plan.writes) == 100
    for write in plan.writes:
        assert write.count(b'"content":" tok') == 20
    assert plan.writes[50].count(b"\r\ndata: ") == 20


def test_a_client_that_reads_late_gets_everything(port: int) -> None:
    whole = b"".join(plans()[False, b"bench/burst"].writes)
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(20)
        link.connect(("127.0.0.1", port))
        body = b'{"model":"bench/burst"}'
        link.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        # Others are served in the meantime.
        assert _ask(port, "bench/paced")[0] == 200
        got = b""
        while len(got) < len(whole):
            got += link.recv(65_536)
    assert got == whole


def test_requests_on_one_connection_are_answered_in_turn(port: int) -> None:
    whole = b"".join(plans()[False, b"bench/paced"].writes)
    asked = b'POST / HTTP/1.1\r\nContent-Length: 23\r\n\r\n{"model":"bench/paced"}'
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b'17\r\n{"model":"bench/paced"}\r\n0\r\n\r\n'
    with socket.create_connection(("127.0.0.1", port), 20) as link:
        link.sendall(asked + chunked)
        got = b""
        while len(got) < 2 * len(whole):
            got += link.recv(65_536)
    assert got == whole * 2


def test_a_long_answer_is_of_100_kb_and_an_unknown_model_is_told(port: int) -> None:
    status, text = _ask(port, "bench/big")
    assert status == 200
    assert BIG_BYTES - 500 < len(text.encode()) <= BIG_BYTES
    status, text = _ask(port, "bench/none")
    assert status == 404
    assert "no such model" in text


def test_the_client_reads_streams_to_their_end(port: int) -> None:
    subject = Subject("direct", port, "bench/short", [])
    cell = streams.streamed(subject, 0.0, streams=8, events=5)
    assert cell.per_second > 0
    assert 0 < cell.p50_ms <= cell.p99_ms
    assert streams.one_by_one(subject, 0.0).per_second > 0
    assert streams.streamed(subject, 0.0, streams=2, events=5, client_api=MESSAGES).p50_ms > 0


def test_a_refusal_is_no_stream(port: int) -> None:
    subject = Subject("direct", port, "bench/none", [])
    with pytest.raises(RequestsFailed, match="2 of 2 streams failed: answered 404"):
        streams.streamed(subject, 0.0, streams=2, events=5)


def test_held_streams_end_when_they_are_told_to(port: int) -> None:
    subject = Subject("direct", port, "bench/held", [])
    found = groups.memory.held(subject, port, 150, 0.0, 0.0)
    assert (found.streams, found.note) == (150, "")


def test_a_limit_of_files_and_a_fault_are_both_told(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups.machine, "open_files", lambda: 1_020)
    subject = Subject("direct", port, "bench/none", [])
    found = groups.memory.held(subject, port, 150, 0.0, 0.0)
    assert found.streams == 0
    assert "allows 10 of 150" in found.note
    assert "answered 404" in found.note


class _Transport(asyncio.Transport):
    def write(self, data: bytes | bytearray | memoryview) -> None:
        del data

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("reads", "fault"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\ndata: to", b"k\n\nda", b"ta: [DO", b"NE]\n\n"], ""),
        ([b"HTTP/1.1 2", b"00 OK\r\n\r\ndata: tok data: [DONE]"], ""),
        ([b"HTTP/1.1 200 OK\r\n\r\ndata: [DONE]\n\n"], "no content"),
        ([b"HTTP/1.1 402 Payment Required\r\n\r\ndata: tok\n\ndata: [DONE]"], "answered 402"),
        ([b"HTTP/1.1 4", b"02 No\r\n\r\ndata: tok\n\ndata: [DONE]"], "answered 402"),
        ([b"HTTP/1.1 200 OK\r\n\r\ndata: tok\n\n"], "cut"),
        ([], "cut"),
    ],
)
def test_what_a_read_cuts_is_still_seen(reads: list[bytes], fault: str) -> None:
    async def feed() -> str:
        stream = Stream(b"", CHAT.end)
        stream.connection_made(_Transport())
        for data in reads:
            stream.data_received(data)
        stream.connection_lost(None)
        return await stream.has_ended

    told = asyncio.run(feed())
    assert fault in told
    assert bool(fault) == bool(told)


def test_a_stream_that_nobody_waits_for_any_more_goes_on() -> None:
    async def feed() -> str:
        stream = Stream(b"", CHAT.end)
        stream.connection_made(_Transport())
        stream.has_begun.cancel()
        stream.data_received(b"HTTP/1.1 200 OK\r\n\r\ndata: tok\n\n")
        stream.data_received(b"data: [DONE]\n\n")
        return await stream.has_ended

    assert asyncio.run(feed()) == ""


def test_a_peer_that_cannot_be_installed_is_told_with_the_reason() -> None:
    with pytest.raises(NoFigure, match="could not be installed: no such package"):
        peers._install([sys.executable, "-c", "raise SystemExit('no such package')"])
    with pytest.raises(NoFigure, match="FileNotFoundError"):
        peers._install(["/nonexistent/program"])


def test_peers_that_are_missing_leave_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(stage: Stage, static: int, upstream: int) -> peers.Peer:
        del stage, static, upstream
        raise NoFigure("not to be had")

    def there(stage: Stage, static: int, upstream: int) -> peers.Peer:
        del stage, static, upstream
        return peers.Peer("there", {})

    monkeypatch.setattr(peers, "litellm", missing)
    monkeypatch.setattr(peers, "portkey", there)
    monkeypatch.setattr(peers, "smg", missing)
    plan = Plan(rounds=1, seconds=1, is_quick=True, has_peers=True)
    with Stage(tmp_path) as stage:
        found, reasons = groups.started_peers(stage, plan, 1, 2)
    assert [peer.name for peer in found] == ["there"]
    assert reasons == [
        "LiteLLM was not tried: not to be had",
        "SMG was not tried: not to be had",
    ]


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        stage.start([sys.executable, "-c", "raise SystemExit('no such option')"], "broken")
        with pytest.raises(NoFigure, match="broken ended with 1: no such option"):
            stage.wait_for_port("broken", 9)

"""What is read of strangers, what all requests hold together, and what slow clients are kept."""

import asyncio
import time
from typing import cast

import pytest
from tests.gateway.conftest import Held, Serve

from jusinfer.gateway.http.write_backlog import Unread

KIB = 1024
MIB = 1024 * KIB
SMALL = 4 * KIB


def post(path: str, size: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode()


def eventually(is_so: object, seconds: float = 5.0) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stranger_is_turned_away_before_its_body(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post("/stranger", 10 * MIB) + b"x" * 100)
    answer = wire.answer()
    assert (answer.status, answer.body) == (401, b"who are you?")
    assert answer.headers["connection"] == "close"
    assert wire.until_close() == b""
    assert server.app.requests == []
    assert server.call(lambda: server.server.held_bytes) == 0


def test_a_stranger_that_waits_for_a_word_is_not_told_to_go_on(serve: Serve) -> None:
    head = post("/stranger", 100).replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    assert serve().dial().send(head).answer().status == 401


def test_little_of_a_body_is_read_before_its_sender_is_known(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post("/pending", 8 * MIB))
    eventually(lambda: server.app.greeted)
    wire.line.settimeout(0.3)
    sent = 0
    try:
        while sent < 8 * MIB:
            sent += wire.line.send(b"b" * 64 * KIB)
    except TimeoutError:
        pass
    # What is more than it waits in the kernel's buffers, as with any client.
    assert server.call(lambda: server.server.held_bytes) <= 64 * KIB + 256 * KIB
    wire.line.settimeout(5)
    request, visitor = server.app.greeted[0]
    server.call(lambda: visitor.admit(request, 10 * MIB))
    wire.send(b"b" * (8 * MIB - sent))
    answer = wire.answer()
    assert answer.status == 200
    assert len(server.app.requests[0].body) == 8 * MIB
    eventually(lambda: server.call(lambda: server.server.held_bytes) == 0)


def test_who_is_found_out_later_is_turned_away_in_the_body(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post("/pending", 8 * MIB) + b"b" * 200 * KIB)
    eventually(lambda: server.app.greeted)
    request, visitor = server.app.greeted[0]
    server.call(lambda: visitor.turn_away(request, 401, b"", b"no"))
    assert wire.answer().status == 401
    # A late word about a request that is gone changes nothing.
    server.call(lambda: visitor.admit(request, 1))
    assert server.dial().send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").answer().status == 200


def test_a_small_body_that_is_whole_waits_for_nobody(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post("/pending", 5))
    eventually(lambda: server.app.greeted)
    assert wire.send(b"hello").answer().body.endswith(b"hello")
    request, visitor = server.app.greeted[0]
    server.call(lambda: visitor.turn_away(request, 401, b"", b"no"))
    assert wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").answer().status == 200


def test_a_path_may_take_less_than_the_server(serve: Serve) -> None:
    server = serve()
    answer = server.dial().send(post("/bound?100", 200)).answer()
    assert (answer.status, answer.cause) == (413, "body_too_large")
    chunked = b"POST /bound?100 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    wire = server.dial().send(chunked)
    wire.send(b"80\r\n" + b"c" * 128)
    assert wire.answer().status == 413
    assert server.dial().send(post("/bound?100", 100)).send(b"x" * 100).answer().status == 200


def test_all_bodies_together_have_a_bound(serve: Serve) -> None:
    server = serve(request_bytes_total_max=100_000)
    first = server.dial().send(post("/a", 90_000) + b"x" * 80_000)
    eventually(lambda: server.call(lambda: server.server.held_bytes) == 80_000)
    for one in (post("/b", 50_000) + b"y" * 50_000, post("/b", 60_000) + b"y" * 50_000):
        answer = server.dial().send(one).answer()
        assert (answer.status, answer.cause) == (503, "request_memory")
        assert answer.headers["retry-after"] == "1"
    assert b'"path": "/b"' in answer.body
    first.reset()
    eventually(lambda: server.call(lambda: server.server.held_bytes) == 0)
    assert server.dial().send(post("/b", 50_000) + b"y" * 50_000).answer().status == 200
    assert server.call(lambda: server.server.held_bytes) == 0


def test_strangers_and_readers_of_pages_leave_most_to_those_who_are_known(serve: Serve) -> None:
    server = serve(request_bytes_total_max=400_000)
    slow = []
    for count, path in enumerate(("/bound?60000", "/pending")):
        slow.append(server.dial().send(post(path, 60_000) + b"x" * 40_000))
        held = 40_000 * (count + 1)
        eventually(lambda held=held: server.call(lambda: server.server.stranger_bytes) == held)
    # The next one takes the place of whoever has waited longest.
    slow.append(server.dial().send(post("/pending", 60_000) + b"x" * 40_000))
    answer = slow[0].answer()
    assert (answer.status, answer.cause) == (503, "request_memory")
    assert server.call(lambda: server.server.stranger_bytes) == 80_000
    for wire in slow[1:]:
        wire.reset()
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 0)
    assert server.call(lambda: server.server.held_bytes) == 0
    assert server.call(lambda: len(server.server.strangers)) == 0


def test_strangers_take_nothing_from_those_who_are_known(serve: Serve) -> None:
    server = serve(request_bytes_total_max=400_000)
    wire = server.dial().send(post("/pending", 100_000) + b"x" * 40_000)
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 40_000)
    known = server.dial().send(post("/a", 300_000)).send(b"y" * 300_000)
    assert known.answer().status == 200
    # Who is found out to be known is counted among them, with what has come.
    request, visitor = server.app.greeted[0]
    server.call(lambda: visitor.admit(request, 10 * MIB))
    assert server.call(lambda: (server.server.stranger_bytes, server.server.held_bytes)) == (
        0,
        40_000,
    )
    server.dial().send(post("/pending", 150_000) + b"x" * 50_000)
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 50_000)
    assert wire.send(b"x" * 60_000).answer().status == 200


def test_a_body_counts_until_its_request_is_answered(serve: Serve) -> None:
    server = serve(request_bytes_total_max=100_000)
    wire = server.dial().send(post("/hold", 60_000) + b"x" * 60_000)
    held: Held = server.app.wait_held()
    assert server.dial().send(post("/", 50_000) + b"x" * 50_000).answer().status == 503
    server.call(lambda: held.responder.send(200, b"", b"done"))
    assert wire.answer().body == b"done"
    assert server.dial().send(post("/", 50_000) + b"x" * 50_000).answer().status == 200


def test_a_client_that_takes_nothing_is_cut_below_the_high_water_mark_too(serve: Serve) -> None:
    server = serve(
        client_write_stall_seconds=0.5,
        write_high_water_bytes=64 * MIB,
        write_low_water_bytes=MIB,
    )
    streamed = server.dial(SMALL).send(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n")
    held = server.app.wait_held()
    server.call(lambda: held.responder.start(200, b""))
    server.call(lambda: held.responder.write(b"s" * 10 * MIB))
    whole = server.dial(SMALL).send(f"GET /big?{10 * MIB} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    eventually(lambda: server.connections() == 0)
    assert held.gone.is_set()
    assert streamed is not whole


class Line:
    """A transport that holds what its client has not taken."""

    def __init__(self) -> None:
        self.waiting_bytes = 0

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def get_extra_info(self, name: str) -> None:
        assert name == "socket"


@pytest.mark.parametrize(("taken_bytes", "is_kept"), [(1, False), (16, False), (18, True)])
def test_a_few_bytes_now_and_then_are_nothing(taken_bytes: int, *, is_kept: bool) -> None:
    unread, line = Unread(), Line()
    transport = cast("asyncio.Transport", line)
    unread.put_bytes = line.waiting_bytes = 100_000
    stalled = []
    for second in range(600):
        assert unread.is_waiting(transport, second)
        stalled.append(unread.stalled_seconds(second))
        line.waiting_bytes -= taken_bytes
    assert (max(stalled) < 60) is is_kept
    # What was taken to the end is no stall.
    line.waiting_bytes = 0
    assert not unread.is_waiting(transport, 1_000)
    line.waiting_bytes = unread.put_bytes = 100
    assert unread.is_waiting(transport, 2_000)
    assert unread.stalled_seconds(2_000) == 0


def test_what_waits_for_slow_clients_has_a_bound_and_the_slowest_goes_first(serve: Serve) -> None:
    server = serve(unread_bytes_total_max=24 * MIB)
    ask = f"GET /big?{16 * MIB} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    idle = server.dial(SMALL).send(ask)
    eventually(lambda: server.call(lambda: server.server.collected.unread_bytes) > 8 * MIB)
    time.sleep(2.2)
    reading = server.dial().send(ask)
    answer = reading.answer()
    assert (answer.status, len(answer.body)) == (200, 16 * MIB)
    other = server.dial(SMALL).send(ask)
    eventually(lambda: server.connections() <= 2)
    eventually(lambda: server.call(lambda: server.server.collected.unread_bytes) <= 24 * MIB)
    # The one that had taken nothing for longest is gone, with its answer unfinished.
    assert len(idle.until_close()) < 16 * MIB
    assert other.line.fileno() >= 0


def test_a_slow_client_is_cut_where_whole_answers_have_no_room(serve: Serve) -> None:
    server = serve(unread_bytes_total_max=24 * MIB)
    idle = server.dial(SMALL).send(f"GET /big?{16 * MIB} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    eventually(lambda: server.call(lambda: server.server.collected.unread_bytes) > 8 * MIB)
    time.sleep(2.2)
    assert server.connections() == 1

    def collect() -> None:
        server.server.collected.held_bytes = 20 * MIB

    server.call(collect)
    eventually(lambda: server.connections() == 0)
    eventually(lambda: server.call(lambda: server.server.collected.unread_bytes) == 0)
    assert len(idle.until_close()) < 16 * MIB


def test_a_key_that_sends_most_gives_room_up_for_others(serve: Serve) -> None:
    server = serve(request_bytes_total_max=400_000, stranger_bytes_max=1)
    slow = []
    for count in range(4):
        slow.append(server.dial().send(post("/key?greedy", 95_000) + b"x" * 90_000))
        held = 90_000 * (count + 1)
        eventually(lambda held=held: server.call(lambda: server.server.held_bytes) == held)
    # It takes nothing from itself.
    answer = server.dial().send(post("/key?greedy", 95_000) + b"x" * 90_000).answer()
    assert (answer.status, answer.cause) == (503, "request_memory")
    for name in ("other", "third"):
        wire = server.dial().send(post(f"/key?{name}", 90_000)).send(b"y" * 90_000)
        assert wire.answer().status == 200
    # The oldest made room for both of them: they came one after the other.
    answer = slow[0].answer()
    assert (answer.status, answer.cause) == (503, "request_memory")
    assert server.call(lambda: [one.owner for one in server.server.uploads]) == ["greedy"] * 3
    for wire in slow[1:]:
        assert wire.send(b"x" * 5_000).answer().status == 200
    assert server.call(lambda: (server.server.held_bytes, len(server.server.uploads))) == (0, 0)


def test_no_key_loses_its_share_to_others(serve: Serve) -> None:
    server = serve(request_bytes_total_max=400_000, stranger_bytes_max=1)
    slow = [server.dial().send(post(f"/key?{n}", 99_000) + b"x" * 95_000) for n in range(4)]
    eventually(lambda: server.call(lambda: server.server.held_bytes) == 380_000)
    answer = server.dial().send(post("/key?late", 50_000) + b"y" * 40_000).answer()
    assert (answer.status, answer.cause) == (503, "request_memory")
    for wire in slow:
        assert wire.send(b"x" * 4_000).answer().status == 200


def test_what_is_pipelined_counts_with_all_bodies(serve: Serve) -> None:
    server = serve(request_bytes_total_max=100_000)
    ask = b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n"
    wire = server.dial().send(ask)
    held: Held = server.app.wait_held()
    wire.send(post("/a", 50_000) + b"x" * 20_000)
    eventually(lambda: server.call(lambda: server.server.held_bytes) > 20_000)
    other = server.dial().send(ask)
    other_held = server.app.wait_held(2)
    other.send(b"z" * 90_000)
    assert other_held.gone.wait(5)
    assert other.line.fileno() >= 0
    server.call(lambda: held.responder.send(200, b"", b"done"))
    assert wire.answer().body == b"done"
    assert wire.send(b"x" * 30_000).answer().status == 200
    assert server.call(lambda: server.server.held_bytes) == 0


def test_heads_that_are_not_whole_count_with_the_bodies_of_strangers(serve: Serve) -> None:
    server = serve(request_bytes_total_max=400_000)
    begun = b"GET / HTTP/1.1\r\nhost: a\r\nx: "
    slow = []
    for count in range(3):
        slow.append(server.dial().send(begun + b"x" * (30_000 - len(begun))))
        held = 30_000 * (count + 1)
        eventually(lambda held=held: server.call(lambda: server.server.stranger_bytes) == held)
    assert server.call(lambda: server.server.held_bytes) == 90_000
    # What comes in pieces is counted once.
    slow[1].send(b"y" * 2_000)
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 92_000)
    # The one that began first makes room, for bodies too; whoever is known is served.
    slow.append(server.dial().send(post("/pending", 60_000) + b"x" * 30_000))
    answer = slow[0].answer()
    assert (answer.status, answer.cause) == (503, "request_memory")
    known = server.dial().send(post("/a", 300_000)).send(b"y" * 300_000)
    assert known.answer().status == 200
    # A head that becomes whole, one that is refused and one whose client leaves count no more.
    assert slow[1].send(b"\r\n\r\n").answer().status == 200
    assert slow[2].send(b"z\n").answer().cause == "bare_newline"
    slow[3].reset()
    late = server.dial().send(begun)
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == len(begun))
    late.reset()
    eventually(lambda: server.call(lambda: server.server.held_bytes) == 0)
    assert server.call(lambda: (server.server.stranger_bytes, server.server.strangers)) == (0, {})


def test_a_head_after_blank_lines_counts_too(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(b"\r")
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 1)
    wire.send(b"\nGET / HT")
    eventually(lambda: server.call(lambda: server.server.stranger_bytes) == 8)
    assert wire.send(b"TP/1.1\r\nhost: a\r\n\r\n").answer().status == 200
    assert server.call(lambda: (server.server.held_bytes, server.server.strangers)) == (0, {})


def test_what_is_pipelined_counts_while_its_client_takes_nothing(serve: Serve) -> None:
    server = serve()
    wire = server.dial(SMALL).send(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n")
    held = server.app.wait_held()
    wire.send(post("/a", 50_000) + b"x" * 20_000)
    eventually(lambda: server.call(lambda: server.server.held_bytes) > 20_000)
    waiting = server.call(lambda: server.server.held_bytes)
    server.call(lambda: held.responder.send(200, b"", b"b" * 8 * MIB))
    assert server.call(lambda: server.server.held_bytes) == waiting
    assert len(wire.answer().body) == 8 * MIB
    assert wire.send(b"x" * 30_000).answer().status == 200
    assert server.call(lambda: server.server.held_bytes) == 0

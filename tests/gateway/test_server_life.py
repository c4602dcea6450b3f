"""How connections end: deadlines, slow and vanished clients, half-close, bounds, draining."""

import time
from collections.abc import Callable

import pytest
from tests.gateway.conftest import Serve

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n"
BODY_TO_COME = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
CHUNKS_TO_COME = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE_BYTES = 16_384


def flood(pieces: int, minor: int = 1) -> bytes:
    return b"GET /flood?%d HTTP/1.%d\r\nhost: x\r\n\r\n" % (pieces, minor)


def eventually(check: Callable[[], object]) -> None:
    """Wait until something has become true."""
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


# ---------------------------------------------------------------------- deadlines


def test_a_slow_head_is_answered_with_408(serve: Serve) -> None:
    wire = serve(head_seconds=0.2).dial().send(b"GET /a HTTP/1.1\r\nhost:")
    answer = wire.answer()
    assert (answer.status, answer.cause) == (408, "slow_head")
    assert wire.until_close() == b""


def test_a_head_that_drips_does_not_get_more_time(serve: Serve) -> None:
    wire = serve(head_seconds=0.2).dial()
    begun = time.monotonic()
    wire.line.settimeout(0.02)
    for byte in b"GET /a HTTP/1.1\r\nx: " + b"x" * 300:
        try:
            wire.send(bytes([byte]))
            wire.rest += wire.line.recv(1000)
        except TimeoutError:
            continue
        break
    wire.line.settimeout(5)
    assert wire.answer().status == 408
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("raw", [BODY_TO_COME + b"he", CHUNKS_TO_COME + b"5\r\nhe"])
def test_a_slow_body_is_answered_with_408(serve: Serve, raw: bytes) -> None:
    wire = serve(body_seconds=0.2).dial().send(raw)
    answer = wire.answer()
    assert (answer.status, answer.cause) == (408, "slow_body")
    assert wire.until_close() == b""


def test_an_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    server = serve(idle_seconds=0.2)
    wire = server.dial().send(GET)
    assert wire.answer().status == 200
    assert wire.until_close() == b""
    assert server.connections() == 0


def test_a_connection_that_never_asks_is_closed_without_a_word(serve: Serve) -> None:
    assert serve(head_seconds=0.1).dial().until_close() == b""


def test_a_second_head_has_its_own_deadline(serve: Serve) -> None:
    wire = serve(head_seconds=0.2, idle_seconds=60.0).dial().send(GET)
    assert wire.answer().status == 200
    assert wire.send(b"GET /a").answer().cause == "slow_head"


def test_a_long_answer_outlives_every_deadline(serve: Serve) -> None:
    server = serve(head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1)
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    time.sleep(0.8)
    server.call(lambda: held.responder.send(200, b"", b"late"))
    assert wire.answer().body == b"late"


# ---------------------------------------------------------------------- slow readers


def test_a_slow_reader_pauses_the_producer_and_gets_everything(serve: Serve) -> None:
    server = serve()
    pieces = 1024
    wire = server.dial(receive_bytes=65_536).send(flood(pieces))
    held = server.app.wait_held()
    assert held.paused.wait(5)
    time.sleep(0.3)
    assert held.written_bytes < 12 * 1024 * 1024
    assert server.call(lambda: held.responder.is_paused)
    answer = wire.answer()
    assert held.resumed.is_set()
    assert (len(answer.body), answer.is_whole) == (pieces * PIECE_BYTES, True)
    assert wire.send(GET).answer().status == 200


def test_a_client_that_reads_nothing_is_cut(serve: Serve) -> None:
    server = serve(client_write_stall_seconds=0.3)
    server.dial(receive_bytes=65_536).send(flood(4096))
    held = server.app.wait_held()
    assert held.gone.wait(5)
    assert server.connections() == 0


@pytest.mark.parametrize("raw", [flood(1024), flood(1024, minor=0)])
def test_a_client_that_reads_slowly_is_not_cut(serve: Serve, raw: bytes) -> None:
    server = serve(client_write_stall_seconds=0.4)
    wire = server.dial(receive_bytes=65_536).send(raw)
    held = server.app.wait_held()
    assert held.paused.wait(5)
    got = bytearray()
    for _ in range(30):
        time.sleep(0.05)
        got += wire.line.recv(400_000)
    wire.rest = got
    assert len(wire.answer().body) == 1024 * PIECE_BYTES


def test_a_whole_answer_is_flushed_to_a_slow_reader_before_closing(serve: Serve) -> None:
    server = serve(client_write_stall_seconds=0.5)
    size = 24 * 1024 * 1024
    wire = server.dial(receive_bytes=65_536)
    wire.send(b"GET /big?%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % size)
    got = bytearray()
    for _ in range(40):
        time.sleep(0.07)
        got += wire.line.recv(400_000)
    wire.rest = got
    assert len(wire.answer().body) == size
    assert wire.until_close() == b""


def test_a_closing_connection_that_nobody_reads_is_cut(serve: Serve) -> None:
    server = serve(client_write_stall_seconds=0.3)
    wire = server.dial(receive_bytes=65_536)
    wire.send(b"GET /big?50000000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    eventually(lambda: server.app.requests)
    eventually(lambda: server.connections() == 0)


# ---------------------------------------------------------------------- vanished clients


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_reset_is_told_at_once(serve: Serve, pieces: int) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    if pieces:
        server.call(lambda: held.responder.start(200, b""))
    wire.reset()
    assert held.gone.wait(5)

    def late() -> None:
        assert held.responder.is_gone
        if not pieces:
            held.responder.start(200, b"")
        held.responder.write(b"nobody hears it")
        held.responder.finish()
        held.responder.abort()

    server.call(late)
    assert server.connections() == 0


def test_a_whole_answer_to_nobody_is_nothing(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    wire.reset()
    assert held.gone.wait(5)
    server.call(lambda: held.responder.send(200, b"", b"nobody"))


def test_a_client_that_closes_while_it_waits_is_noticed(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    wire.line.close()
    assert held.gone.wait(5)


def test_a_client_that_closes_while_it_is_answered_is_noticed_by_writing(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    server.call(lambda: held.responder.start(200, b""))
    wire.line.close()
    for _ in range(100):
        server.call(lambda: held.responder.write(b"more"))
        if held.gone.wait(0.02):
            break
    assert held.gone.is_set()


def test_a_client_that_vanishes_with_much_pipelined_is_noticed(serve: Serve) -> None:
    server = serve(pipelined_bytes_max=1000)
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    wire.send(GET * 3000)
    (connection,) = server.call(lambda: list(server.server.open))
    eventually(lambda: connection._is_reading_paused)
    wire.reset()
    assert held.gone.wait(5)


def test_a_client_that_vanishes_while_sending_leaves_nothing(serve: Serve) -> None:
    server = serve()
    for raw in (b"GET", BODY_TO_COME + b"h", CHUNKS_TO_COME + b"5\r\nh"):
        server.dial().send(raw).reset()
    eventually(lambda: server.connections() == 0)
    assert not server.app.requests


# ---------------------------------------------------------------------- half-close


def test_a_client_that_has_finished_sending_gets_its_answer(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD).shut()
    held = server.app.wait_held()
    time.sleep(0.05)
    server.call(lambda: held.responder.send(200, b"", b"answer"))
    assert wire.answer().body == b"answer"
    assert wire.until_close() == b""


def test_a_half_closed_client_that_waits_long_gets_its_answer(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD).shut()
    held = server.app.wait_held()
    assert wire.interim() == b"HTTP/1.1 102 Processing\r\n\r\n"
    assert not held.gone.is_set()
    server.call(lambda: held.responder.send(200, b"", b"answer"))
    assert wire.answer().body == b"answer"
    assert wire.until_close() == b""


def test_a_half_closed_client_of_1_0_is_told_nothing_in_between(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(b"GET /hold HTTP/1.0\r\n\r\n").shut()
    held = server.app.wait_held()
    time.sleep(1.0)
    server.call(lambda: held.responder.send(200, b"", b"answer"))
    assert wire.answer().body == b"answer"


def test_everything_pipelined_before_a_half_close_is_answered(serve: Serve) -> None:
    wire = serve().dial().send(GET * 20).shut()
    for _ in range(20):
        assert wire.answer().status == 200
    assert wire.until_close() == b""


@pytest.mark.parametrize("raw", [b"GET /", BODY_TO_COME + b"he", CHUNKS_TO_COME + b"5\r\nhe"])
def test_half_a_request_and_an_end_is_no_request(serve: Serve, raw: bytes) -> None:
    server = serve()
    wire = server.dial().send(GET + raw).shut()
    assert wire.answer().status == 200
    assert wire.until_close() == b""
    assert server.dial().send(raw).shut().until_close() == b""
    eventually(lambda: server.connections() == 0)
    assert len(server.app.requests) == 1


# ---------------------------------------------------------------------- cutting off


def test_an_answer_cut_off_delivers_what_was_written_and_no_end(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    responder = server.app.wait_held().responder

    def cut() -> None:
        responder.start(200, b"")
        responder.write(b"last words")
        responder.abort()
        responder.write(b"never")
        responder.finish()

    server.call(cut)
    answer = wire.answer()
    assert (answer.body, answer.is_whole) == (b"last words", False)
    assert not server.app.held[0].gone.is_set()


def test_an_answer_cut_off_on_1_0_is_reset(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(b"GET /hold HTTP/1.0\r\n\r\n")
    responder = server.app.wait_held().responder
    server.call(lambda: responder.start(200, b""))
    server.call(lambda: responder.write(b"last words"))
    server.call(responder.abort)
    with pytest.raises(ConnectionResetError):
        wire.answer()


def test_a_request_can_be_left_without_an_answer(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    server.call(server.app.wait_held().responder.abort)
    assert wire.until_close() == b""


# ---------------------------------------------------------------------- bounds and draining


def test_connections_over_the_bound_are_told_to_come_back(serve: Serve) -> None:
    server = serve(connections_max=2)
    first, second = server.dial(), server.dial()
    assert first.send(GET).answer().status == 200
    assert second.send(GET).answer().status == 200
    third = server.dial()
    answer = third.answer()
    assert (answer.status, answer.cause) == (503, "too_many_connections")
    assert answer.headers["retry-after"] == "1"
    assert third.until_close() == b""
    third.line.close()
    first.line.close()
    eventually(lambda: server.connections() == 1)
    assert server.dial().send(GET).answer().status == 200


def test_draining_closes_idle_connections_and_finishes_the_rest(serve: Serve) -> None:
    server = serve()
    idle = server.dial().send(GET)
    assert idle.answer().status == 200
    silent = server.dial()
    plain = server.dial().send(HOLD)
    plain_held = server.app.wait_held(1)
    streamed = server.dial().send(HOLD)
    streamed_held = server.app.wait_held(2)
    server.call(lambda: streamed_held.responder.start(200, b""))
    uploading = server.dial().send(BODY_TO_COME + b"he")
    half_a_head = server.dial().send(b"GET /a HTT")
    eventually(lambda: server.connections() == 6)
    eventually(lambda: server.call(lambda: any(c._buffer for c in server.server.open)))
    eventually(lambda: server.call(lambda: any(c._body for c in server.server.open)))
    server.call(server.server.begin_drain)
    assert idle.until_close() == b""
    assert silent.until_close() == b""
    answer = half_a_head.answer()
    assert (answer.status, answer.cause, answer.headers["retry-after"]) == (503, "draining", "1")
    assert not server.call(lambda: server.server.drained(0.1))
    newcomer = server.dial().answer()
    assert (newcomer.status, newcomer.cause) == (503, "draining")
    server.call(lambda: plain_held.responder.send(200, b"", b"plain"))
    answer = plain.answer()
    assert (answer.body, answer.headers["connection"]) == (b"plain", "close")
    server.call(lambda: streamed_held.responder.write(b"streamed"))
    server.call(streamed_held.responder.finish)
    answer = streamed.answer()
    assert (answer.body, answer.is_whole) == (b"streamed", True)
    assert streamed.until_close() == b""
    assert uploading.send(b"llo").answer().headers["connection"] == "close"
    for wire in server.wires:
        wire.line.close()
    assert server.call(lambda: server.server.drained(3.0))


def test_what_is_pipelined_on_a_draining_connection_is_not_begun(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD + GET)
    held = server.app.wait_held()
    server.call(server.server.begin_drain)
    server.call(lambda: held.responder.send(200, b"", b"last"))
    assert wire.answer().headers["connection"] == "close"
    assert wire.until_close() == b""
    assert len(server.app.requests) == 1


def test_everything_can_be_cut_at_once(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(HOLD)
    held = server.app.wait_held()
    server.call(server.server.abort_all)
    assert held.gone.wait(5)
    assert wire.until_close() == b""

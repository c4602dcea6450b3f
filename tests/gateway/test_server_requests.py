"""What well-behaved clients get: keep-alive, order, bodies in each framing, HTTP/1.0."""

import re

import pytest
from tests.gateway.conftest import Serve

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"


def post(body: bytes, *lines: bytes, path: bytes = b"/a") -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (
        path,
        head,
        len(body),
        body,
    )


def chunked(payload: bytes, path: bytes = b"/a") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%b" % (path, payload)


def test_a_connection_serves_many_requests(serve: Serve) -> None:
    wire = serve().dial()
    for body in (b"first", b"", b"third"):
        answer = wire.send(post(body)).answer()
        assert (answer.status, answer.body) == (200, b"POST /a " + body)
        assert "connection" not in answer.headers


def test_every_answer_is_dated(serve: Serve) -> None:
    answer = serve().dial().send(GET).answer()
    pattern = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
    assert re.fullmatch(pattern, answer.headers["date"])


def test_connection_close_is_honoured_and_said(serve: Serve) -> None:
    wire = serve().dial()
    wire.send(b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: foo, Close\r\n\r\n")
    assert wire.answer().headers["connection"] == "close"
    assert wire.until_close() == b""


def test_http_1_0_closes_unless_asked_to_stay(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(b"GET /a HTTP/1.0\r\n\r\n")
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert wire.until_close() == b""
    wire = server.dial()
    for _ in range(2):
        answer = wire.send(b"GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").answer()
        assert answer.headers["connection"] == "keep-alive"


def test_streams_are_chunked_on_1_1_and_closed_on_1_0(serve: Serve) -> None:
    server = serve()
    wire = server.dial()
    for _ in range(2):
        answer = wire.send(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").answer()
        assert (answer.body, answer.is_whole) == (b"onetwo", True)
        assert "content-length" not in answer.headers
    old = server.dial().send(b"GET /stream HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").answer()
    assert "transfer-encoding" not in old.headers
    assert (old.headers["connection"], old.body) == ("close", b"onetwo")


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    wire = serve().dial()
    wire.send(b"".join(post(b"%d" % number) for number in range(50)))
    for number in range(50):
        assert wire.answer().body == b"POST /a %d" % number


def test_a_pipelined_request_waits_for_the_answer_before_it(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post(b"slow", path=b"/hold") + post(b"fast"))
    held = server.app.wait_held()
    assert len(server.app.requests) == 1
    server.call(lambda: held.responder.send(200, b"", b"slow one"))
    assert wire.answer().body == b"slow one"
    assert wire.answer().body == b"POST /a fast"


def test_what_is_pipelined_is_bounded_by_reading_no_more(serve: Serve) -> None:
    server = serve(pipelined_bytes_max=4096)
    wire = server.dial().send(post(b"", path=b"/hold"))
    held = server.app.wait_held()
    request = post(b"r" * 1000)
    wire.line.settimeout(0.3)
    with pytest.raises(TimeoutError):
        wire.send(request * 64_000)
    wire.line.settimeout(5)
    (connection,) = server.call(lambda: list(server.server.open))
    assert server.call(lambda: len(connection._buffer)) < 512 * 1024
    server.call(lambda: held.responder.send(200, b"", b"held"))
    assert wire.answer().body == b"held"
    for _ in range(20):
        assert wire.answer().body == b"POST /a " + b"r" * 1000


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b'A;name="v; w"\r\n0123456789\r\n0;x\r\n\r\n', b"0123456789"),
        (b"00000001\r\nx\r\n0000\r\n\r\n", b"x"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"1\r\nx\r\n0\r\ncontent-length: 7\r\nhost: evil\r\n\r\n", b"x"),
    ],
)
def test_chunked_bodies(serve: Serve, payload: bytes, body: bytes) -> None:
    server = serve()
    wire = server.dial().send(chunked(payload) + GET)
    assert wire.answer().body == b"POST /a " + body
    assert wire.answer().body == b"GET /a "
    headers = server.app.requests[0].headers
    assert headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    "raw",
    [GET, post(b"hello"), chunked(b"5;e=1\r\nhello\r\n0\r\nt: 1\r\n\r\n")],
    ids=["head", "length", "chunks"],
)
def test_a_request_may_come_byte_by_byte(serve: Serve, raw: bytes) -> None:
    wire = serve().dial().send_bytewise(raw + raw)
    first = wire.answer()
    assert first.status == 200
    assert wire.answer().body == first.body


def test_large_bodies_arrive_whole(serve: Serve) -> None:
    body = bytes(range(256)) * 4096 * 3
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 9999]), body[at : at + 9999])
        for at in range(0, len(body), 9999)
    )
    wire = serve().dial()
    assert wire.send(post(body)).answer().body == b"POST /a " + body
    assert wire.send(chunked(pieces + b"0\r\n\r\n")).answer().body == b"POST /a " + body


def test_a_body_of_exactly_the_bound_passes(serve: Serve) -> None:
    server = serve(body_bytes_max=100)
    wire = server.dial()
    assert wire.send(post(b"x" * 100)).answer().status == 200
    assert wire.send(chunked(b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n")).answer().status == 200


def test_expect_continue_is_answered_before_the_body(serve: Serve) -> None:
    wire = serve().dial()
    wire.send(b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\n")
    assert wire.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.send(b"hello").answer().body == b"POST /a hello"


def test_expect_continue_is_ignored_on_1_0(serve: Serve) -> None:
    wire = serve().dial()
    wire.send(b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    assert wire.send(b"hello").answer().body == b"POST /a hello"


def test_head_gets_no_body(serve: Serve) -> None:
    wire = serve().dial()
    for path in (b"/a", b"/stream"):
        wire.send(b"HEAD %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
        assert wire.answer(is_head=True).status == 200
    assert not wire.rest
    assert wire.send(GET).answer().body == b"GET /a "


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_answers_that_have_no_body_have_no_length(serve: Serve, status: bytes) -> None:
    wire = serve().dial()
    wire.send(b"GET /status?%b HTTP/1.1\r\nhost: x\r\n\r\n" % status)
    answer = wire.answer()
    assert answer.status == int(status)
    assert "content-length" not in answer.headers
    assert wire.send(GET).answer().body == b"GET /a "


def test_a_stream_without_a_body_sends_no_chunks(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post(b"", path=b"/hold") + GET)
    responder = server.app.wait_held().responder

    def answer() -> None:
        responder.start(304, b"")
        responder.write(b"nothing")
        responder.finish()

    server.call(answer)
    assert wire.answer().status == 304
    assert wire.answer().body == b"GET /a "


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH"])
def test_methods_arrive_as_they_are(serve: Serve, method: str) -> None:
    server = serve()
    server.dial().send(f"{method} /a?b=1&c HTTP/1.1\r\nhost: x\r\n\r\n".encode()).answer()
    (request,) = server.app.requests
    assert (request.method, request.path, request.query) == (method, "/a", "b=1&c")


def test_an_asterisk_is_for_options(serve: Serve) -> None:
    server = serve()
    assert server.dial().send(b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").answer().status == 200
    assert server.app.requests[0].path == "*"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://right:80/p?q", "/p", "q"),
        (b"HTTPS://right:80", "/", ""),
        (b"http://right:80?q", "/", "q"),
    ],
)
def test_an_absolute_target_brings_its_host(
    serve: Serve, target: bytes, path: str, query: str
) -> None:
    server = serve()
    server.dial().send(b"GET %b HTTP/1.1\r\nHost: wrong\r\n\r\n" % target).answer()
    (request,) = server.app.requests
    assert (request.path, request.query) == (path, query)
    assert [value for name, value in request.headers if name == b"host"] == [b"right:80"]


def test_headers_are_lower_case_and_bare_of_blanks(serve: Serve) -> None:
    server = serve()
    server.dial().send(b"GET /a HTTP/1.1\r\nHOST:x\r\nX-Odd: \t a b\t \r\nx-odd:2\r\n\r\n").answer()
    (request,) = server.app.requests
    assert request.headers == [(b"host", b"x"), (b"x-odd", b"a b"), (b"x-odd", b"2")]
    assert request.header(b"x-odd") == b"a b"
    assert request.header(b"missing") is None


def test_what_is_shown_of_a_request_is_its_shape(serve: Serve) -> None:
    server = serve()
    server.dial().send(post(b"a secret", b"authorization: key", path=b"/token")).answer()
    (request,) = server.app.requests
    assert request.peer == "127.0.0.1"
    assert repr(request) == "Request(POST, 3 headers, 8 bytes)"


def test_a_blank_line_before_a_request_is_forgiven(serve: Serve) -> None:
    wire = serve().dial()
    assert wire.send(b"\r\n" + GET).answer().status == 200
    assert wire.send_bytewise(b"\r\n" + GET).answer().status == 200


def test_a_fault_ends_only_its_own_request(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(b"GET /fault HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = wire.answer()
    assert (answer.status, answer.cause) == (503, "fault")
    assert b"words" not in answer.body
    assert wire.until_close() == b""
    answer = server.dial().send(b"GET /late_fault HTTP/1.1\r\nhost: x\r\n\r\n").answer()
    assert (answer.body, answer.is_whole) == (b"begun", False)
    assert server.dial().send(GET).answer().status == 200
    assert server.server.fault_count == 2
    assert [fault.split(":")[0] for fault in server.faults] == ["KeyError at conftest.py"] * 2


def test_an_answer_cannot_be_given_twice(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post(b"", path=b"/hold"))
    responder = server.app.wait_held().responder

    def misuse() -> None:
        with pytest.raises(AssertionError):
            responder.write(b"too early")
        with pytest.raises(AssertionError):
            responder.finish()
        responder.send(200, b"", b"once")
        with pytest.raises(AssertionError):
            responder.send(200, b"", b"twice")
        with pytest.raises(AssertionError):
            responder.start(200, b"")
        with pytest.raises(AssertionError):
            responder.write(b"too late")
        responder.finish()
        responder.abort()

    server.call(misuse)
    assert wire.answer().body == b"once"
    assert wire.send(GET).answer().body == b"GET /a "


def test_headers_may_be_promised_before_the_answer(serve: Serve) -> None:
    server = serve()
    wire = server.dial().send(post(b"", path=b"/hold"))
    responder = server.app.wait_held().responder
    server.call(lambda: responder.add_headers(b"x-early: 1\r\n"))
    server.call(lambda: responder.send(200, b"x-late: 2\r\n", b""))
    headers = wire.answer().headers
    assert (headers["x-early"], headers["x-late"]) == ("1", "2")

"""What no client may send: each ambiguity is refused by name and closes the connection."""

import pytest
from tests.gateway.conftest import Serve

from jusinfer.gateway.http.request_parser import ChunkReader, HttpErrorRaised, parse_head

NEXT = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


def head(*lines: bytes, first: bytes = b"POST /a HTTP/1.1", host: bytes = b"host: x") -> bytes:
    wanted = [first, *([host] if host else []), *lines]
    return b"\r\n".join(wanted) + b"\r\n\r\n"


def chunks(payload: bytes) -> bytes:
    return head(b"transfer-encoding: chunked") + payload


ATTACKS = {
    "both framings": (
        head(b"content-length: 3", b"transfer-encoding: chunked"),
        "length_and_coding",
    ),
    "both, other order": (
        head(b"transfer-encoding: chunked", b"content-length: 3"),
        "length_and_coding",
    ),
    "unknown coding": (head(b"transfer-encoding: gzip"), "bad_coding"),
    "two codings": (head(b"transfer-encoding: gzip, chunked"), "bad_coding"),
    "coding twice": (
        head(b"transfer-encoding: chunked", b"transfer-encoding: chunked"),
        "bad_coding",
    ),
    "chunked twice": (head(b"transfer-encoding: chunked, chunked"), "bad_coding"),
    "identity": (head(b"transfer-encoding: identity"), "bad_coding"),
    "empty coding": (head(b"transfer-encoding:"), "bad_coding"),
    "almost chunked": (head(b"transfer-encoding: xchunked"), "bad_coding"),
    "quoted coding": (head(b'transfer-encoding: "chunked"'), "bad_coding"),
    "coding on 1.0": (
        head(b"transfer-encoding: chunked", first=b"POST /a HTTP/1.0"),
        "coding_on_1_0",
    ),
    "lengths differ": (head(b"content-length: 3", b"content-length: 4"), "second_length"),
    "lengths agree": (head(b"content-length: 3", b"Content-Length: 3"), "second_length"),
    "list of lengths": (head(b"content-length: 3, 3"), "bad_length"),
    "plus": (head(b"content-length: +3"), "bad_length"),
    "minus": (head(b"content-length: -3"), "bad_length"),
    "padded with zeros": (head(b"content-length: 003"), "bad_length"),
    "hexadecimal": (head(b"content-length: 0x3"), "bad_length"),
    "underscore": (head(b"content-length: 1_0"), "bad_length"),
    "fraction": (head(b"content-length: 3.0"), "bad_length"),
    "empty length": (head(b"content-length:"), "bad_length"),
    "blank in length": (head(b"content-length: 1 0"), "bad_length"),
    "other digits": (head("content-length: ٣".encode()), "bad_length"),
    "bare newline": (b"GET /a HTTP/1.1\nhost: x\n\n", "bare_newline"),
    "one bare newline": (b"GET /a HTTP/1.1\r\nhost: x\nb: 1\r\n\r\n", "bare_newline"),
    "bare newline at the end": (b"GET /a HTTP/1.1\r\nhost: x\r\n\n", "bare_newline"),
    "newline first": (b"\n" + NEXT, "bare_newline"),
    "bare carriage return": (head(b"a: b\rc: d"), "control_byte"),
    "folded": (head(b"a: b", b" c"), "folded_header"),
    "folded with a tab": (head(b"a: b", b"\tcontent-length: 3"), "folded_header"),
    "folded first": (b"GET /a HTTP/1.1\r\n host: x\r\n\r\n", "folded_header"),
    "blank before colon": (head(b"content-length : 3"), "blank_before_colon"),
    "tab before colon": (head(b"transfer-encoding\t: chunked"), "blank_before_colon"),
    "NUL in value": (head(b"a: b\x00c"), "control_byte"),
    "NUL in name": (head(b"a\x00: b"), "control_byte"),
    "NUL in target": (head(first=b"GET /a\x00 HTTP/1.1"), "control_byte"),
    "delete": (head(b"a: \x7f"), "control_byte"),
    "vertical tab": (head(b"transfer-encoding:\x0bchunked"), "control_byte"),
    "no name": (head(b": b"), "malformed_head"),
    "no colon": (head(b"content-length"), "malformed_head"),
    "byte in name": (head(b"a\xff: b"), "malformed_head"),
    "no host": (head(host=b""), "missing_host"),
    "second host": (head(b"Host: y"), "second_host"),
    "same host twice": (head(b"host: x"), "second_host"),
    "host with a path": (head(host=b"host: x/y"), "bad_host"),
    "host with a person": (head(host=b"host: me@x"), "bad_host"),
    "two hosts in one": (head(host=b"host: x y"), "bad_host"),
    "small method": (head(first=b"get /a HTTP/1.1"), "malformed_head"),
    "long method": (head(first=b"G" * 17 + b" /a HTTP/1.1"), "malformed_head"),
    "no method": (head(first=b" /a HTTP/1.1"), "malformed_head"),
    "two blanks": (head(first=b"GET  /a HTTP/1.1"), "malformed_head"),
    "blank in target": (head(first=b"GET /a b HTTP/1.1"), "malformed_head"),
    "blank after version": (head(first=b"GET /a HTTP/1.1 "), "malformed_head"),
    "no version": (head(first=b"GET /a"), "malformed_head"),
    "small version": (head(first=b"GET /a http/1.1"), "malformed_head"),
    "byte in target": (head(first=b"GET /\xc3\xa9 HTTP/1.1"), "malformed_head"),
    "relative target": (head(first=b"GET a HTTP/1.1"), "bad_target"),
    "fragment": (head(first=b"GET /a#b HTTP/1.1"), "bad_target"),
    "asterisk": (head(first=b"GET * HTTP/1.1"), "bad_target"),
    "authority": (head(first=b"CONNECT x:443 HTTP/1.1"), "bad_target"),
    "no host in target": (head(first=b"GET http:///a HTTP/1.1"), "bad_target"),
    "person in target": (head(first=b"GET http://me@x/a HTTP/1.1"), "bad_target"),
    "other scheme": (head(first=b"GET ftp://x/a HTTP/1.1"), "bad_target"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "control_byte"),
    "blank lines": (b"\r\n\r\n\r\n" + NEXT, "blank_lines"),
    "chunk size signed": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "chunk size prefixed": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "chunk size empty": (chunks(b"\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "chunk size padded": (chunks(b" 5\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "chunk size overflows": (chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "chunk size underscored": (chunks(b"1_0\r\n"), "chunk_size"),
    "chunk too short": (chunks(b"4\r\nhello\r\n0\r\n\r\n"), "chunk_end"),
    "chunk too long": (chunks(b"6\r\nhello\r\n0\r\n\r\n"), "bare_newline"),
    "chunk with bare newline": (chunks(b"5\nhello\r\n0\r\n\r\n"), "bare_newline"),
    "chunk's data with bare newline": (chunks(b"5\r\nhello\n0\r\n\r\n"), "bare_newline"),
    "control byte in extension": (chunks(b"5;a=\x00\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "carriage return in extension": (chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), "chunk_size"),
    "long extension": (chunks(b"5;" + b"e" * 2000 + b"\r\nhello\r\n0\r\n\r\n"), "chunk_line"),
    "endless size line": (chunks(b"0" * 5000), "chunk_line"),
    "many extensions": (
        chunks(b"".join(b"1;%b\r\nx\r\n" % (b"e" * 900) for _ in range(100))),
        "chunk_extensions",
    ),
    "malformed trailer": (chunks(b"0\r\nno colon\r\n\r\n"), "bad_trailer"),
    "folded trailer": (chunks(b"0\r\na: b\r\n c\r\n\r\n"), "bad_trailer"),
    "long trailer": (chunks(b"0\r\na: " + b"t" * 9000 + b"\r\n\r\n"), "chunk_line"),
    "many trailers": (chunks(b"0\r\n" + b"a: b\r\n" * 5000 + b"\r\n"), "chunk_line"),
}


@pytest.mark.parametrize(("raw", "cause"), ATTACKS.values(), ids=ATTACKS.keys())
def test_ambiguous_framing_is_refused_and_closes(serve: Serve, raw: bytes, cause: str) -> None:
    server = serve()
    wire = server.dial().send(raw + NEXT)
    answer = wire.answer()
    assert (answer.status, answer.cause) == (400, cause)
    assert answer.headers["connection"] == "close"
    assert wire.until_close() == b""
    assert not server.app.requests


@pytest.mark.parametrize(
    ("raw", "status", "cause"),
    [
        (head(first=b"GET /a HTTP/2.0"), 505, "version"),
        (head(first=b"GET /a HTTP/1.2"), 505, "version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
        (head(b"expect: 200-ok"), 417, "expectation"),
        (head(b"expect: 100-continue", b"expect: 100-continue"), 417, "expectation"),
        (head(*[b"a: b"] * 100), 431, "too_many_lines"),
        (head(b"a: " + b"v" * 33_000), 431, "head_too_large"),
        (b"GET /" + b"u" * 40_000, 431, "head_too_large"),
        (head(b"content-length: 20971521"), 413, "body_too_large"),
        (head(b"content-length: " + b"9" * 5000), 413, "body_too_large"),
        (head(b"expect: 100-continue", b"content-length: 99999999"), 413, "body_too_large"),
        (chunks(b"1400001\r\n"), 413, "body_too_large"),
        (chunks(b"ffffffff\r\n"), 413, "body_too_large"),
    ],
    ids=str,
)
def test_what_is_too_much_or_unknown_is_refused_by_its_status(
    serve: Serve, raw: bytes, status: int, cause: str
) -> None:
    server = serve()
    wire = server.dial().send(raw)
    answer = wire.answer()
    assert (answer.status, answer.cause) == (status, cause)
    assert wire.until_close() == b""
    assert not server.app.requests


def test_the_bounds_are_exact(serve: Serve) -> None:
    server = serve(head_bytes_max=200, head_lines_max=3)
    exact = head(b"a: " + b"v" * (200 - len(head(b"a: "))))
    assert len(exact) == 200
    assert server.dial().send(exact).answer().status == 200
    assert server.dial().send(exact.replace(b"vv", b"vvv", 1)).answer().status == 431
    assert server.dial().send(head(b"a: b", b"a: b")).answer().status == 200
    assert server.dial().send(head(b"a: b", b"a: b", b"a: b")).answer().status == 431


def test_a_body_over_the_bound_in_small_chunks_is_refused(serve: Serve) -> None:
    server = serve(body_bytes_max=1000)
    wire = server.dial().send(chunks(b"64\r\n" + b"x" * 100 + b"\r\n"))
    for _ in range(9):
        wire.send(b"64\r\n" + b"x" * 100 + b"\r\n")
    answer = wire.send(b"1\r\nx\r\n0\r\n\r\n").answer()
    assert (answer.status, answer.cause) == (413, "body_too_large")


@pytest.mark.parametrize("more", [0, 1])
def test_what_frames_chunks_is_no_part_of_the_body(serve: Serve, more: int) -> None:
    server = serve(body_bytes_max=1000)
    wire = server.dial().send(chunks(b""))
    sizes = [1] * 500 + [500 + more]
    for size in sizes:
        wire.send(b"%x\r\n%b\r\n" % (size, b"x" * size))
    answer = wire.send(b"0\r\n\r\n").answer()
    assert answer.status == (413 if more else 200)


def test_a_refusal_waits_for_the_answer_under_way(serve: Serve) -> None:
    server = serve()
    wire = server.dial()
    wire.send(b"POST /hold HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\nNONSENSE\r\n\r\n" + NEXT)
    responder = server.app.wait_held().responder
    server.call(lambda: responder.start(200, b""))
    server.call(lambda: responder.write(b"begun "))
    server.call(lambda: responder.write(b"ended"))
    server.call(responder.finish)
    first = wire.answer()
    assert (first.body, first.is_whole) == (b"begun ended", True)
    second = wire.answer()
    assert (second.status, second.cause) == (400, "malformed_head")
    assert wire.until_close() == b""
    assert len(server.app.requests) == 1


def test_a_bad_head_is_refused_before_it_is_whole(serve: Serve) -> None:
    answer = serve().dial().send(b"GET /a HTTP/1.1\r\nhost: x\r\na: b\n").answer()
    assert (answer.status, answer.cause) == (400, "bare_newline")


def test_a_refused_upload_can_read_why(serve: Serve) -> None:
    wire = serve(body_bytes_max=1000).dial()
    wire.send(head(b"content-length: 500000") + b"x" * 500_000)
    assert wire.answer().status == 413
    assert wire.until_close() == b""


def test_whoever_sends_on_after_a_refusal_is_cut(serve: Serve) -> None:
    wire = serve().dial().send(b"NONSENSE\r\n\r\n")
    assert wire.answer().status == 400
    with pytest.raises(ConnectionError):
        wire.send(b"x" * 64 * 1024 * 1024)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_any_cutting_of_chunks_gives_the_same_body(size: int) -> None:
    payload = b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nt: 1\r\n\r\nrest"
    reader = ChunkReader(100, 100, 100)
    rest = None
    for at in range(0, len(payload), size):
        piece = payload[at : at + size]
        rest = reader.feed(piece) if rest is None else rest + piece
    assert (bytes(reader.body), rest) == (b"abc0123456789abcdef", b"rest")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [b"a:" + b" \t" * 400_000 + b"\x01", b" " * 800_000, b"a" + b" " * 800_000 + b"b"],
    ids=["blanks in a value", "blanks alone", "blanks in a name"],
)
def test_a_hostile_head_is_refused_in_linear_time(line: bytes) -> None:
    with pytest.raises(HttpErrorRaised):
        parse_head(head(line), 100)

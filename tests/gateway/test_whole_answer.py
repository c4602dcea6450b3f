"""An answer that comes in one read is heard as if it had come byte by byte."""

import asyncio
from typing import Any, cast

import pytest

from jusinfer.gateway.http.client_connection import ClientLimits, Failure, UpstreamConnection
from jusinfer.gateway.http.whole_answer import read_whole

LIMITS = ClientLimits(head_bytes_max=2_000, header_lines_max=20, body_bytes_max=1_000)
LENGTH = b"Content-Length: 5\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Type: application/json\r\n" + LENGTH + b"\r\nhello"
WHOLE = [
    GOOD,
    GOOD.replace(b"OK", b""),
    GOOD.replace(b"Server: a", b"X-A:b\r\nx-a:  c\r\nConnection: Keep-Alive"),
    GOOD.replace(b"Server: a", b"X-A: \t b: c\r\nX-B:\r\nX-C: \t\r\nX-D:\xff Connection: close"),
    GOOD.replace(b"5\r\n\r\nhello", b"0\r\n\r\n"),
    GOOD.replace(b"5\r\n\r\nhello", b"1000\r\n\r\n" + b"y" * 1000),
]
OTHERS = [
    GOOD.replace(b"200 OK", status)
    for status in (
        b"500 Bad",
        b"204 No",
        b"201 Made",
        b"100 Go",
        b"101 Up",
        b"304 Same",
        b"2000 OK",
    )
] + [
    GOOD.replace(LENGTH, lines)
    for lines in (
        b"",
        LENGTH * 2,
        b"Content-Length:\r\n" + LENGTH,
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 05\r\n",
        b"Content-Length: 4\r\n",
        b"Content-Length: 6\r\n",
        b"Content-Length: x\r\n",
        b"Content-Length:\r\n",
        LENGTH + b"Transfer-Encoding: chunked\r\n",
        LENGTH + b"Connection: close\r\n",
        LENGTH + b"Content-Encoding: gzip\r\n",
        LENGTH + b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        LENGTH + b"X: a\r\n b\r\n",
        LENGTH + b"X y: a\r\n",
        LENGTH + b"X: \x00\r\n",
        LENGTH + b"X: a\r\n" * 30,
        LENGTH + b"X: " + b"a" * 3_000 + b"\r\n",
        b"Content-Length: 1001\r\n",
    )
]
OTHERS += [
    GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    GOOD.replace(b"\r\n", b"\n"),
    GOOD + b"x",
    GOOD + GOOD,
    GOOD[:-1],
    GOOD.replace(b"5\r\n\r\nhello", b"1001\r\n\r\n" + b"y" * 1001),
]


class Heard:
    """What a listener hears of one exchange, and what becomes of the connection."""

    def __init__(self, reads: list[bytes]) -> None:
        self.told: list[object] = []
        self.body = b""
        connection = UpstreamConnection(LIMITS, self._free, lambda _: None)
        connection.connection_made(cast("asyncio.Transport", self))
        connection.send(b"POST / HTTP/1.1\r\n\r\n", b"", self)
        for one in reads:
            connection.data_received(one)

    def _free(self, connection: UpstreamConnection) -> None:
        del connection
        self.told.append("free")

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.told.append((status, headers))

    def upstream_body(self, data: bytes) -> None:
        self.body += data

    def upstream_end(self) -> None:
        self.told.append("end")

    def upstream_failed(self, failure: Failure) -> None:
        self.told.append(failure.kind)

    def write(self, data: bytes) -> None:
        """Play the transport."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if "closed" not in self.told:
            self.told.append("closed")

    def get_extra_info(self, name: str) -> Any:
        del name


@pytest.mark.parametrize("answer", WHOLE, ids=range(len(WHOLE)))
def test_a_whole_answer_is_read_in_one_go_and_as_the_parser_reads_it(answer: bytes) -> None:
    assert read_whole(answer, LIMITS.head_bytes_max, LIMITS.header_lines_max) is not None
    whole, pieces = Heard([answer]), Heard([bytes([byte]) for byte in answer])
    assert (whole.told, whole.body) == (pieces.told, pieces.body)
    assert whole.told[-2:] == ["free", "end"]


@pytest.mark.parametrize("answer", OTHERS, ids=range(len(OTHERS)))
def test_any_other_answer_is_left_to_the_parser(answer: bytes) -> None:
    read = read_whole(answer, LIMITS.head_bytes_max, LIMITS.header_lines_max)
    assert read is None or len(read[1]) > LIMITS.body_bytes_max
    at_once = Heard([answer])
    head = answer.index(b"\n") + 1
    in_two = Heard([answer[:head], answer[head:]])
    assert (at_once.told, at_once.body) == (in_two.told, in_two.body)


def test_a_listener_that_stops_in_between_hears_no_end() -> None:
    class Stopping(Heard):
        def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
            super().upstream_head(status, headers)
            self.connection.cancel()

        def __init__(self) -> None:
            self.told, self.body = [], b""
            self.connection = UpstreamConnection(LIMITS, self._free, lambda _: None)
            self.connection.connection_made(cast("asyncio.Transport", self))
            self.connection.send(b"POST / HTTP/1.1\r\n\r\n", b"", self)
            self.connection.data_received(GOOD)

    heard = Stopping()
    assert [type(one) for one in heard.told] == [tuple, str]
    assert heard.told[1] == "closed"
    assert heard.body == b""

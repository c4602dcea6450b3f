"""A remembered head is what the parser would have read, and nothing odd is taken for it."""

import pytest

from jusinfer.gateway.http.head_memory import REMEMBERED_BYTES_MAX, HeadMemory
from jusinfer.gateway.http.request_parser import HttpErrorRaised, RequestHead, parse_head

LINES_MAX = 100
GOOD = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: example.org\r\nAuthorization: Bearer key\r\n"
    b"Content-Length: 10\r\nAccept: */*\r\n\r\n"
)
ODD = [
    GOOD.replace(b"10\r\n", length + b"\r\n")
    for length in (
        b"10",
        b"11",
        b"9",
        b"123456789",
        b"1234567890",
        b"9" * 30,
        b"0",
        b"00",
        b"010",
        b"+10",
        b"-10",
        b"1_0",
        b"1e1",
        b"0x10",
        b" 10",
        b"10 ",
        b"10\t",
        b"10,10",
        b"10, 10",
        b"10;a",
        b"",
        b"\xb2",
        b"10\r\nContent-Length: 10",
        b"10\r\nContent-Length: 11",
        b"10\r\nTransfer-Encoding: chunked",
        b"10\r\nX: 1",
        b"10\r\n X: 1",
        b"10\nX: 1",
        b"10\x00",
    )
] + [
    GOOD.replace(b"Content-Length", b"content-length"),
    GOOD.replace(b"Content-Length", b"Content-Length "),
    GOOD.replace(b"Content-Length: 10\r\n", b""),
    GOOD.replace(b"Content-Length: 10", b"X-Content-Length: 10"),
    GOOD.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
    GOOD.replace(b"key", b"kez"),
    GOOD.replace(b"key", b"keyy"),
    GOOD.replace(b"?a=b", b"?a=c"),
    GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    GOOD.replace(b"POST", b"PUT"),
    GOOD.replace(b"Accept: */*", b"Connection: close"),
    GOOD.replace(b"Accept: */*", b"Expect: 100-continue"),
    GOOD.replace(b"Host: example.org\r\n", b""),
    GOOD[:-2],
    GOOD[:-4] + b"10\r\n\r\n",
    b"10\r\nAccept: */*\r\n\r\n",
]


def said(read: object) -> object:
    if isinstance(read, RequestHead):
        return {name: getattr(read, name) for name in RequestHead.__slots__ if name != "memo"}
    return read


def read(memory: HeadMemory, raw: bytes) -> object:
    try:
        return memory.read(raw, LINES_MAX)
    except HttpErrorRaised as refused:
        return refused.refusal


def parsed(raw: bytes) -> object:
    try:
        return parse_head(raw, LINES_MAX)
    except HttpErrorRaised as refused:
        return refused.refusal


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("first", [GOOD, GOOD.replace(b"10\r\n", b"1\r\n"), ODD[-3], ODD[-14]])
def test_what_is_remembered_reads_as_if_it_were_read_anew(first: bytes, raw: bytes) -> None:
    memory = HeadMemory()
    read(memory, first)
    assert said(read(memory, raw)) == said(parsed(raw))
    # Whatever that was, the first head is still read as it is.
    assert said(read(memory, first)) == said(parsed(first))


def test_the_same_bytes_are_the_same_object_and_another_length_keeps_what_was_noted() -> None:
    memory = HeadMemory()
    first = memory.read(GOOD, LINES_MAX)
    first.memo = "noted"
    assert memory.read(GOOD, LINES_MAX) is first
    longer = memory.read(GOOD.replace(b"10\r\n", b"2000\r\n"), LINES_MAX)
    assert (longer.body_bytes, longer.memo) == (2000, "noted")
    assert (b"content-length", b"2000") in longer.headers
    assert (first.body_bytes, dict(first.headers)[b"content-length"]) == (10, b"10")
    assert memory.read(GOOD.replace(b"key", b"kez"), LINES_MAX).memo is None


def test_a_long_head_is_not_kept() -> None:
    memory = HeadMemory()
    long = GOOD.replace(b"*/*", b"x" * REMEMBERED_BYTES_MAX)
    assert memory.read(long, LINES_MAX) is not memory.read(long, LINES_MAX)

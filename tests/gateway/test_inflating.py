"""Compressed answers: any cut gives the same bytes, and no ratio gives more than a bound."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.gateway.http.client_connection import ClientLimits, Failure, UpstreamConnection
from jusinfer.gateway.http.decompression import PIECE_BYTES, NotInflatable, inflater


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODINGS = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"X-GZIP", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "raw": (b"deflate", raw_deflate),
    "members": (b"gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    "padded": (b"identity, gzip", lambda data: gzip.compress(data) + b"\0" * 9),
}


@pytest.mark.parametrize("name", CODINGS)
@given(data=st.binary(max_size=2_000), size=st.integers(1, 50))
def test_any_cut_gives_what_was_compressed(name: str, data: bytes, size: int) -> None:
    coding, compress = CODINGS[name]
    found = inflater([coding])
    assert found is not None
    packed = compress(data)
    out = b""
    for start in range(0, len(packed), size):
        out += b"".join(found.pieces(packed[start : start + size]))
    assert out == data
    assert found.is_whole


def test_pieces_are_bounded_and_a_missing_end_is_seen() -> None:
    found = inflater([b"gzip"])
    assert found is not None
    packed = gzip.compress(b"a" * 10_000_000)
    sizes = [len(piece) for piece in found.pieces(packed[:-8])]
    assert sum(sizes) <= 10_000_000
    assert max(sizes) <= PIECE_BYTES
    assert not found.is_whole


@pytest.mark.parametrize("codings", [[b"br"], [b"zstd"], [b"gzip, br"], [b"gzip", b"deflate"]])
def test_other_codings_are_refused(codings: list[bytes]) -> None:
    with pytest.raises(NotInflatable):
        inflater(codings)


@pytest.mark.parametrize("codings", [[], [b""], [b"identity"], [b"Identity, "]])
def test_no_coding_needs_nothing(codings: list[bytes]) -> None:
    assert inflater(codings) is None


def test_nonsense_is_refused() -> None:
    for coding in (b"gzip", b"deflate"):
        found = inflater([coding])
        assert found is not None
        with pytest.raises(NotInflatable):
            list(found.pieces(b"\xff\xfe this is not compressed"))


class Ear:
    def __init__(self) -> None:
        self.told: list[object] = []
        self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.told.append(status)
        self.headers = headers

    def upstream_body(self, data: bytes) -> None:
        self.body += data

    def upstream_end(self) -> None:
        self.told.append("end")

    def upstream_failed(self, failure: Failure) -> None:
        self.told.append(failure.kind)


class Line:
    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False


def heard(body: bytes, coding: bytes, status: int = 200, bytes_max: int = 100_000) -> Ear:
    """Let a connection hear an answer with a length, byte by byte."""
    limits = ClientLimits(body_bytes_max=bytes_max)
    connection = UpstreamConnection(limits, lambda _: None, lambda _: None)
    connection.connection_made(Line())  # type: ignore[arg-type]
    ear = Ear()
    connection.send(b"", b"", ear)
    head = b"HTTP/1.1 %d X\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    for byte in head % (status, coding, len(body)) + body:
        connection.data_received(bytes([byte]))
    return ear


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize("name", CODINGS)
def test_answers_and_errors_are_heard_as_if_plain(name: str, status: int) -> None:
    coding, compress = CODINGS[name]
    ear = heard(compress(b"hello world"), coding, status)
    assert (ear.told, ear.body, ear.headers) == ([status, "end"], b"hello world", [])


def test_a_bomb_is_cut_and_what_is_broken_is_a_failure() -> None:
    bomb = heard(gzip.compress(b"a" * 1_000_000), b"gzip")
    assert bomb.told == [200, "body_too_large"]
    assert len(bomb.body) <= 100_000
    assert heard(gzip.compress(b"hello")[:-4], b"gzip").told == [200, "malformed"]
    assert heard(b"hello", b"br").told == ["malformed"]
    assert heard(b"hello", b"gzip").told == [200, "malformed"]
    assert heard(b"", b"gzip").told == [200, "end"]

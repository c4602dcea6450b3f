"""One connection to an upstream: an asyncio protocol over httptools' response parser."""

import asyncio
import enum
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools
import msgspec

from jusinfer.gateway.http.decompression import Inflater, NotInflatable, inflater
from jusinfer.gateway.http.whole_answer import read_whole

INTERIM_MAX: Final = 8
NO_BODY: Final = frozenset({204, 304})
SWITCHING: Final = 101
# What is no longer true of a body that was compressed.
_CODED: Final = frozenset({b"content-encoding", b"content-length"})
OK: Final = 200


class FailureKind(enum.StrEnum):
    """Why an exchange with an upstream failed."""

    DNS = "dns"
    ADDRESS_REFUSED = "address_refused"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    POOL_FULL = "pool_full"
    RESET = "reset"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    HEAD_TOO_LARGE = "head_too_large"
    BODY_TOO_LARGE = "body_too_large"


class Failure(msgspec.Struct, frozen=True):
    """A failed exchange; `is_reused` says that a kept connection was closed before any answer."""

    kind: FailureKind
    is_reused: bool = False
    detail: str = ""


class ClientLimits(msgspec.Struct, frozen=True):
    """Bounds of an upstream's answer."""

    head_bytes_max: int = 65_536
    header_lines_max: int = 200
    body_bytes_max: int = 64 * 1024 * 1024


class ResponseListener(Protocol):
    """Who hears of an answer; exactly one of the last two is called, and nothing after it."""

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The final head; names are lower-case."""
        ...

    def upstream_body(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    def upstream_end(self) -> None:
        """The answer is whole, as HTTP counts it."""
        ...

    def upstream_failed(self, failure: Failure) -> None:
        """The exchange failed."""
        ...


class UpstreamConnection(asyncio.Protocol):
    """Carries one exchange at a time; idle, it drops itself at the first unexpected byte."""

    __slots__ = (
        "_body_size",
        "_head_size",
        "_headers",
        "_inflater",
        "_interim_count",
        "_is_answering",
        "_is_close_framed",
        "_is_complete",
        "_is_head_asked",
        "_is_head_done",
        "_limits",
        "_listener",
        "_on_free",
        "_on_gone",
        "_parser",
        "_pieces",
        "_served_count",
        "_transport",
        "idle_since",
    )

    def __init__(
        self,
        limits: ClientLimits,
        on_free: Callable[["UpstreamConnection"], None],
        on_gone: Callable[["UpstreamConnection"], None],
    ) -> None:
        self._limits = limits
        self._on_free = on_free
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._listener: ResponseListener | None = None
        self._parser = httptools.HttpResponseParser(self)
        # What one read has brought of the body.
        self._pieces: list[bytes] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body_size = 0
        self._interim_count = 0
        self._inflater: Inflater | None = None
        self._is_close_framed = False
        self._is_answering = False
        self._is_head_asked = False
        self._is_head_done = False
        self._is_complete = False
        self._served_count = 0
        self.idle_since = 0.0

    # ------------------------------------------------------------------ for the pool

    @property
    def is_open(self) -> bool:
        """Whether bytes can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def serves(self, listener: ResponseListener) -> bool:
        """Whether this very exchange is still under way here."""
        return self._listener is listener

    def send(self, head: bytes, body: bytes, listener: ResponseListener) -> None:
        """Begin an exchange on an idle connection."""
        transport = self._transport
        if transport is None or self._listener is not None:
            raise AssertionError("the connection is not idle")
        self._listener = listener
        self._headers = []
        self._head_size = 0
        self._body_size = 0
        self._pieces = []
        self._interim_count = 0
        self._inflater = None
        self._is_close_framed = False
        self._is_answering = False
        # The parser cannot be told that an answer to HEAD has no body.
        self._is_head_asked = head.startswith(b"HEAD ")
        self._is_head_done = False
        self._is_complete = False
        if len(body) <= 65_536:  # noqa: PLR2004 (below it one write is cheaper than two)
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def cancel(self) -> None:
        """Let go of the exchange: the connection is of no more use and closes at once."""
        self._listener = None
        self.close()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close at once; a running exchange hears nothing more."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a running exchange that it was cut, or that its answer ended with the connection."""
        self._transport = None
        listener = self._listener
        self._listener = None
        self._on_gone(self)
        if listener is None:
            return
        if not self._is_answering:
            listener.upstream_failed(Failure(FailureKind.RESET, is_reused=self._served_count > 0))
        elif self._is_head_done and self._is_close_framed and exc is None and self._is_inflated:
            listener.upstream_end()
        else:
            kind = FailureKind.TRUNCATED if exc is None else FailureKind.RESET
            listener.upstream_failed(Failure(kind))

    def data_received(self, data: bytes) -> None:
        """Parse; whatever breaks the protocol or a bound ends the connection."""
        if self._listener is None:
            # Bytes that no request asked for: an answer to another request may be next.
            self.close()
            return
        if not self._is_answering and not self._is_head_asked:
            limits = self._limits
            whole = read_whole(data, limits.head_bytes_max, limits.header_lines_max)
            if whole is not None and len(whole[1]) <= limits.body_bytes_max:
                self._take_whole(*whole)
                return
        self._is_answering = True
        if not self._is_head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(FailureKind.MALFORMED, "not an HTTP answer")
            return
        self._hand_on_pieces()
        if not self._is_head_done and self._head_size > self._limits.head_bytes_max:
            self._fail(FailureKind.HEAD_TOO_LARGE, "the answer's head is over its bound")

    def _take_whole(self, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Hand on an answer that came whole; the connection is free again."""
        listener = self._listener
        if listener is None:
            return
        self._is_answering = self._is_head_done = self._is_complete = True
        listener.upstream_head(OK, headers)
        if body and self._listener is listener:
            listener.upstream_body(body)
        if self._listener is not listener:
            return
        self._listener = None
        self._served_count += 1
        if self._transport is not None and not self._transport.is_closing():
            self._on_free(self)
        listener.upstream_end()

    def eof_received(self) -> bool | None:
        """Close; `connection_lost` then judges."""
        return None

    # ------------------------------------------------------------------ httptools' calls

    def on_message_begin(self) -> None:
        """A second answer on one request is not taken."""
        if self._is_complete:
            self._fail(FailureKind.MALFORMED, "more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header of the head; trailers are dropped."""
        if not self._is_head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Judge the head, and hand it on if it is the final one."""
        listener = self._listener
        if listener is None:
            return
        status = self._parser.get_status_code()
        if status < OK:
            self._interim(status)
            return
        if len(self._headers) > self._limits.header_lines_max or self._is_head_too_large():
            self._fail(FailureKind.HEAD_TOO_LARGE, "the answer's head is over its bound")
            return
        if not self._read_framing(status):
            return
        self._is_head_done = True
        listener.upstream_head(status, self._headers)
        if self._is_head_asked and self._listener is listener:
            self._listener = None
            if self._transport is not None:
                self._transport.close()
            listener.upstream_end()

    def _is_head_too_large(self) -> bool:
        """Measure a head exactly, when the reads it came in hold more than its bound."""
        bound = self._limits.head_bytes_max
        if self._head_size <= bound:
            return False
        return sum(len(name) + len(value) + 4 for name, value in self._headers) > bound

    def on_body(self, data: bytes) -> None:
        """Hand on a piece of the body, within its bound."""
        listener = self._listener
        if listener is None:
            return
        if self._inflater is None:
            self._body_size += len(data)
            if self._body_size > self._limits.body_bytes_max:
                self._fail(FailureKind.BODY_TOO_LARGE, "the answer's body is over its bound")
            else:
                self._pieces.append(data)
            return
        try:
            for piece in self._inflater.pieces(data):
                self._hand_on(piece)
                if self._listener is None:
                    return
        except NotInflatable as error:
            self._fail(FailureKind.MALFORMED, str(error))

    def _hand_on_pieces(self) -> None:
        """Hand on the chunks of one read at once, so that their listener writes once."""
        pieces = self._pieces
        if pieces:
            self._pieces = []
            if self._listener is not None:
                whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                self._listener.upstream_body(whole)

    def _hand_on(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:
            return
        self._body_size += len(data)
        if self._body_size > self._limits.body_bytes_max:
            self._fail(FailureKind.BODY_TOO_LARGE, "the answer's body is over its bound")
            return
        listener.upstream_body(data)

    @property
    def _is_inflated(self) -> bool:
        """Whether what was compressed has come to its own end."""
        return self._inflater is None or self._inflater.is_whole

    def on_message_complete(self) -> None:
        """The answer is whole: the connection is free again, or closes."""
        self._hand_on_pieces()
        listener = self._listener
        if listener is None or not self._is_head_done:
            return
        if self._is_close_framed:
            # Its end is the connection's end; `connection_lost` tells a clean one from a cut.
            return
        if not self._is_inflated:
            self._fail(FailureKind.MALFORMED, "the compressed answer has no end")
            return
        self._is_complete = True
        self._listener = None
        self._served_count += 1
        transport = self._transport
        if transport is not None:
            if self._parser.should_keep_alive() and not transport.is_closing():
                self._on_free(self)
            else:
                transport.close()
        listener.upstream_end()

    # ------------------------------------------------------------------ judgements

    def _interim(self, status: int) -> None:
        self._interim_count += 1
        self._headers = []
        if status == SWITCHING or self._interim_count > INTERIM_MAX:
            self._fail(FailureKind.MALFORMED, "an interim answer that was not asked for")

    def _read_framing(self, status: int) -> bool:
        """See how the body is framed and coded, and refuse what is ambiguous or not known."""
        lengths: list[bytes] = []
        codings: list[bytes] = []
        is_chunked = False
        for name, value in self._headers:
            if name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                is_chunked = True
            elif name == b"content-encoding":
                codings.append(value)
        if len(lengths) > 1 or (lengths and (is_chunked or not lengths[0].isdigit())):
            self._fail(FailureKind.MALFORMED, "the answer's length is ambiguous")
            return False
        if codings:
            try:
                self._inflater = inflater(codings)
            except NotInflatable as error:
                self._fail(FailureKind.MALFORMED, str(error))
                return False
            self._headers = [one for one in self._headers if one[0] not in _CODED]
        self._is_close_framed = not lengths and not is_chunked and status not in NO_BODY
        return True

    def _fail(self, kind: FailureKind, detail: str) -> None:
        self._hand_on_pieces()
        listener = self._listener
        self._listener = None
        if self._transport is not None:
            self._transport.abort()
        if listener is not None:
            listener.upstream_failed(Failure(kind, detail=detail))

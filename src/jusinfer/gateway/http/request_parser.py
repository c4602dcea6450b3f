"""One unambiguous HTTP/1.1 request from bytes, or the name of what is wrong with it.

The head is held to the grammar by one regular expression; a lenient parser would let through what
another party on the way may read differently, which is how requests are smuggled.
"""

import re
from typing import Final

import msgspec

BLANK_LINES_MAX: Final = 2
METHOD_CHARS_MAX: Final = 16
LENGTH_DIGITS_MAX: Final = 12
LENGTH_BYTES_MAX: Final = 10**LENGTH_DIGITS_MAX
CHUNK_DIGITS_MAX: Final = 8

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD: Final = re.compile(
    rb"([A-Z]{1,%d}) ([!-~]+) HTTP/1\.([01])\r\n((?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
    % (METHOD_CHARS_MAX, _TOKEN)
)
_VERSION: Final = re.compile(rb"[^\r\n]* HTTP/(\d+\.\d+)\r\n")
_BARE_LF: Final = re.compile(rb"(?:^|[^\r])\n")
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]*")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]+)([/?].*)?")
_CHUNK: Final = re.compile(
    rb"([0-9A-Fa-f]{1,%d})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?" % CHUNK_DIGITS_MAX
)
_TRAILER: Final = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*" % _TOKEN)
_SPECIAL: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"host", b"connection", b"expect"}
)


class HttpError(msgspec.Struct, frozen=True):
    """What the server itself refuses: a status, a cause for counting, and words for the client."""

    status: int
    cause: str
    message: str
    hint: str | None = None


class HttpErrorRaised(Exception):
    """Carries a refusal out of the parser."""

    def __init__(self, refusal: HttpError) -> None:
        super().__init__(refusal.cause)
        self.refusal = refusal


def bad_request(cause: str, message: str) -> HttpErrorRaised:
    """Make the refusal of a request whose framing cannot be trusted."""
    return HttpErrorRaised(HttpError(400, cause, message))


class RequestHead:
    """A request's head: what it asks for and how long its body is (None: chunked)."""

    __slots__ = (
        "body_bytes",
        "expects_continue",
        "headers",
        "http_minor",
        "keep_alive",
        "memo",
        "method",
        "path",
        "query",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, minor: bytes) -> None:
        self.method = method.decode("ascii")
        self.target = target
        self.http_minor = 1 if minor == b"1" else 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body_bytes: int | None = 0
        self.keep_alive = minor == b"1"
        self.expects_continue = False
        self.path = ""
        self.query = ""
        # What the application has read from it; it holds for every request with the same head.
        self.memo: object | None = None

    def with_length(self, digits: bytes) -> "RequestHead":
        """Return the same head but for its Content-Length, of so many bytes."""
        made = RequestHead.__new__(RequestHead)
        made.method = self.method
        made.target = self.target
        made.http_minor = self.http_minor
        made.headers = [
            (name, digits if name == b"content-length" else value) for name, value in self.headers
        ]
        made.body_bytes = int(digits)
        made.keep_alive = self.keep_alive
        made.expects_continue = self.expects_continue
        made.path = self.path
        made.query = self.query
        made.memo = self.memo
        return made


def parse_head(raw: bytes, lines_max: int) -> RequestHead:
    """Read a complete head (up to and with its blank line); raises Refused."""
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise _diagnosis(raw)
    method, target, minor, block = match.groups()
    head = RequestHead(method, target, minor)
    special: dict[bytes, list[bytes]] = {}
    lines = block.split(b"\r\n")
    if len(lines) > lines_max + 1:
        raise HttpErrorRaised(
            HttpError(431, "too_many_lines", f"more than {lines_max} header lines")
        )
    headers = head.headers
    for line in lines[:-1]:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        headers.append((name, value))
        if name in _SPECIAL:
            special.setdefault(name, []).append(value)
    _read_target(head, special)
    _read_framing(head, special)
    _read_connection_options(head, special)
    return head


def _read_target(head: RequestHead, special: dict[bytes, list[bytes]]) -> None:
    hosts = special.get(b"host", [])
    if len(hosts) > 1:
        raise bad_request("second_host", "the request has more than one Host header")
    if not hosts and head.http_minor == 1:
        raise bad_request("missing_host", "the request has no Host header")
    if hosts and hosts[0] and not _HOST.fullmatch(hosts[0]):
        raise bad_request("bad_host", "the Host header is not a host")
    target = head.target
    if target.startswith(b"/") or (target == b"*" and head.method == "OPTIONS"):
        rest = target
    else:
        rest = _read_absolute(head, target)
    if b"#" in rest:
        raise bad_request("bad_target", "the request target holds a fragment")
    path, _, query = rest.partition(b"?")
    head.path = path.decode("ascii")
    head.query = query.decode("ascii")


def _read_absolute(head: RequestHead, target: bytes) -> bytes:
    """Read an absolute target: its host counts, whatever the Host header says."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _HOST.fullmatch(match[1]):
        raise bad_request("bad_target", "the request target is neither a path nor an absolute URL")
    head.headers = [(name, value) for name, value in head.headers if name != b"host"]
    head.headers.append((b"host", match[1]))
    rest = match[2] or b"/"
    return rest if rest.startswith(b"/") else b"/" + rest


def _read_framing(head: RequestHead, special: dict[bytes, list[bytes]]) -> None:
    lengths = special.get(b"content-length")
    codings = special.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:
            raise bad_request(
                "length_and_coding", "both Content-Length and Transfer-Encoding were sent"
            )
        if head.http_minor == 0:
            raise bad_request("coding_on_1_0", "Transfer-Encoding does not exist in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise bad_request("bad_coding", "the only transfer coding here is a single `chunked`")
        head.body_bytes = None
    elif lengths is not None:
        if len(lengths) > 1:
            raise bad_request("second_length", "more than one Content-Length was sent")
        if not _LENGTH.fullmatch(lengths[0]):
            raise bad_request("bad_length", "Content-Length is not a plain whole number")
        # Python refuses to read very long numbers; whatever is that long is over every bound.
        digits = lengths[0]
        head.body_bytes = LENGTH_BYTES_MAX if len(digits) > LENGTH_DIGITS_MAX else int(digits)


def _read_connection_options(head: RequestHead, special: dict[bytes, list[bytes]]) -> None:
    for value in special.get(b"connection", ()):
        tokens = {token.strip() for token in value.lower().split(b",")}
        if b"close" in tokens:
            head.keep_alive = False
        elif b"keep-alive" in tokens and head.http_minor == 0:
            head.keep_alive = True
    expected = special.get(b"expect")
    if expected is not None:
        if len(expected) != 1 or expected[0].lower() != b"100-continue":
            raise HttpErrorRaised(
                HttpError(417, "expectation", "only `Expect: 100-continue` is known here")
            )
        head.expects_continue = head.http_minor == 1


def has_bare_newline(data: bytes, start: int = 0) -> bool:
    """Tell whether some line from `start` on ends without its carriage return."""
    return _BARE_LF.search(data, start) is not None


def _diagnosis(raw: bytes) -> HttpErrorRaised:
    """Name what is wrong with a head that does not fit the grammar."""
    version = _VERSION.match(raw)
    if version is not None and version[1] not in {b"1.0", b"1.1"}:
        return HttpErrorRaised(
            HttpError(505, "version", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        )
    if has_bare_newline(raw):
        return bad_request("bare_newline", "a line of the head ends without a carriage return")
    if re.search(rb"\r\n[ \t]", raw):
        return bad_request("folded_header", "a header is folded over two lines")
    if re.search(rb"\r\n[^:\r\n]*[ \t]:", raw):
        return bad_request("blank_before_colon", "a header has a blank before its colon")
    if re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)", raw):
        return bad_request("control_byte", "the head holds a control byte")
    return bad_request("malformed_head", "the head is not a well-formed HTTP request")


class ChunkReader:
    """Reads a chunked body strictly; bounded in data, extensions and trailers."""

    __slots__ = (
        "_at",
        "_buffer",
        "_extension_max",
        "_left",
        "_overhead",
        "_size_max",
        "_state",
        "_trailer",
        "body",
        "size",
    )

    OVERHEAD_BYTES_MAX: Final = 65_536

    def __init__(
        self, body_bytes_max: int, trailer_bytes_max: int, extension_bytes_max: int
    ) -> None:
        self._buffer = b""
        self._at = 0
        self._left = 0
        self._size_max = body_bytes_max
        self._trailer = trailer_bytes_max
        self._extension_max = extension_bytes_max
        self._overhead = 0
        self._state = "size"
        # One growing buffer, not a list: chunks of a byte each must not cost forty in memory.
        self.body = bytearray()
        self.size = 0

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; gives what follows the body once it is whole, else None; raises Refused."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0
        while True:
            if self._state == "data":
                if not self._take_data():
                    return None
                continue
            line = self._line()
            if line is None:
                return None
            if self._state == "size":
                self._read_size(line)
            elif self._state == "data_end":
                if line:
                    raise bad_request("chunk_end", "a chunk does not end where its size says")
                self._state = "size"
            elif not line:
                return self._buffer[self._at :]
            elif not _TRAILER.fullmatch(line):
                raise bad_request("bad_trailer", "a trailer is not a well-formed header")

    def _take_data(self) -> bool:
        piece = self._buffer[self._at : self._at + self._left]
        if piece:
            self.body += piece
            self._left -= len(piece)
            self._at += len(piece)
        if self._left:
            return False
        self._state = "data_end"
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._at)
        bound = self._trailer if self._state == "trailer" else self._extension_max
        if (len(self._buffer) if end < 0 else end) - self._at > bound:
            raise bad_request("chunk_line", "a chunk extension or trailer is over its bound")
        if end < 0:
            return None
        line = self._buffer[self._at : end]
        if not line.endswith(b"\r"):
            raise bad_request(
                "bare_newline", "a line of the chunked body ends without a carriage return"
            )
        self._at = end + 1
        if self._state == "trailer":
            self._trailer -= len(line)
        return line[:-1]

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise bad_request("chunk_size", "a chunk's size is not a plain hexadecimal number")
        size = int(match[1], 16)
        self._overhead += len(line) - len(match[1])
        if self._overhead > self.OVERHEAD_BYTES_MAX:
            raise bad_request(
                "chunk_extensions", "the chunk extensions are over their bound together"
            )
        self.size += size
        if self.size > self._size_max:
            raise too_large(self._size_max)
        self._left = size
        self._state = "data" if size else "trailer"


def without_blank_lines(data: bytes, passed: int) -> tuple[bytes, int]:
    """Pass over blank lines before a head, after `passed` others; gives the rest and their count.

    Raises Refused for too many of them.
    """
    while data.startswith(b"\r\n"):
        passed += 1
        if passed > BLANK_LINES_MAX:
            raise HttpErrorRaised(
                HttpError(400, "blank_lines", "too many blank lines before a request")
            )
        data = data[2:]
    return data, passed


def head_too_large(head_bytes_max: int) -> HttpErrorRaised:
    """Make the refusal of a head over its bound."""
    return HttpErrorRaised(
        HttpError(431, "head_too_large", f"the head is larger than {head_bytes_max} bytes")
    )


def too_large(body_bytes_max: int) -> HttpErrorRaised:
    """Make the refusal of a body over its bound."""
    return HttpErrorRaised(
        HttpError(
            413,
            "body_too_large",
            f"the body is larger than {body_bytes_max} bytes",
            "Send less at once.",
        )
    )

"""What the console is told of where a request came from and which address it was sent to.

Nothing of this is taken from the client's own headers, except what a trusted proxy says.
"""

import hashlib
import re
from typing import Final

import msgspec

from jusinfer.domain.networks import network_of
from jusinfer.gateway.accounting.unknown_keys import address_of
from jusinfer.gateway.http.response_writer import Request

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROTOCOLS: Final = frozenset({b"http", b"https"})
# A client may have a whole network of this size to itself, and rotate through it.
IPV6_PREFIX_BITS: Final = 64
IPV4_PREFIX_BITS: Final = 32
PEER_KEY_BYTES: Final = 16
_HOST: Final = re.compile(r"(\[[0-9a-f:.%]{2,64}\]|[^\s\[\]:/?#@\\]{1,255})(?::[0-9]{1,5})?")


class Origins(msgspec.Struct, frozen=True):
    """The names and proxies of this server.

    `public_scheme` and `public_host` are empty where no public URL is configured. `hosts` are
    lower-case names without a port. `secret` makes rate keys that only this start knows.
    """

    scheme: str
    public_scheme: str
    public_host: str
    hosts: frozenset[str]
    trusted_proxies: frozenset[str]
    secret: bytes

    def serves(self, host: bytes | None) -> bool:
        """Tell whether a Host is one of this server's names; one without a Host asks for any."""
        return host is None or name_of(host.decode("latin-1")) in self.hosts

    def lines(self, request: Request) -> list[bytes]:
        """Write the header lines that tell the console of the origin; names are lower-case."""
        host = request.header(b"host") or b"localhost"
        scheme = self.scheme.encode("ascii")
        if request.peer in self.trusted_proxies:
            said = request.header(b"x-forwarded-proto")
            scheme = said if said in PROTOCOLS and said is not None else scheme
        if self.public_host:
            host = self.public_host.encode("ascii")
            scheme = self.public_scheme.encode("ascii")
        return [
            b"x-forwarded-host: " + host,
            b"x-forwarded-proto: " + scheme,
            b"x-jusinfer-peer: " + self.rate_key(request),
        ]

    def rate_key(self, request: Request) -> bytes:
        """Give an opaque name of the client's network, the same for all requests of this start."""
        address = address_of(request, self.trusted_proxies) or ""
        try:
            network = str(network_of(address, IPV4_PREFIX_BITS, IPV6_PREFIX_BITS))
        except ValueError:
            network = address
        digest = hashlib.blake2b(network.encode(), key=self.secret, digest_size=PEER_KEY_BYTES)
        return digest.hexdigest().encode("ascii")


def name_of(host: str) -> str:
    """Give a Host without its port, in lower case; empty for what is no host and port."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1].removesuffix(".") if match is not None else ""


def country_of(request: Request, header: bytes, trusted: tuple[str, ...]) -> str:
    """Give the client's country from a header that only a trusted proxy may set; else empty."""
    if not trusted or request.peer not in trusted:
        return ""
    value = request.header(header)
    if value is None or value in {b"XX", b"ZZ"}:
        return ""
    if value == b"T1":
        return "T1"
    is_country = len(value) == 2 and value.isalpha() and value.isupper()  # noqa: PLR2004
    return value.decode("ascii") if is_country else ""

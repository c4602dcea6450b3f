"""What the console is told of where a request came from and which address it was sent to.

Nothing of this is taken from the caller's own headers, except what a trusted proxy says.
"""

import hashlib
import ipaddress
import re
from typing import Final

import msgspec

from jusinfer.gateway.responder import Request

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROTOCOLS: Final = frozenset({b"http", b"https"})
# A caller may have a whole network of this size to itself, and rotate through it.
IPV6_PREFIX_BITS: Final = 64
PEER_KEY_BYTES: Final = 16
FORWARDED_BYTES_MAX: Final = 1_024
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
        proxied = request.peer in self.trusted_proxies
        if proxied:
            said = request.header(b"x-forwarded-proto")
            scheme = said if said in PROTOCOLS and said is not None else scheme
        if self.public_host:
            host = self.public_host.encode("ascii")
            scheme = self.public_scheme.encode("ascii")
        return [
            b"x-forwarded-host: " + host,
            b"x-forwarded-proto: " + scheme,
            b"x-jusinfer-peer: " + self.rate_key(request, is_proxied=proxied),
        ]

    def rate_key(self, request: Request, *, is_proxied: bool) -> bytes:
        """Give an opaque name of the caller's network, the same for all requests of this start."""
        address = request.peer or ""
        if is_proxied:
            address = self._behind(request) or address
        try:
            found = ipaddress.ip_address(address.split("%", 1)[0])
        except ValueError:
            network = address
        else:
            bits = found.max_prefixlen if found.version == 4 else IPV6_PREFIX_BITS  # noqa: PLR2004
            network = str(ipaddress.ip_network((found, bits), strict=False))
        digest = hashlib.blake2b(network.encode(), key=self.secret, digest_size=PEER_KEY_BYTES)
        return digest.hexdigest().encode("ascii")

    def _behind(self, request: Request) -> str:
        """Give the last address that a trusted proxy saw and that is no trusted proxy itself."""
        said = request.header(b"x-forwarded-for") or b""
        for part in reversed(said[-FORWARDED_BYTES_MAX:].decode("latin-1").split(",")):
            address = part.strip()
            if address not in self.trusted_proxies:
                return address
        return ""


def name_of(host: str) -> str:
    """Give a Host without its port, in lower case; empty for what is no host and port."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1].removesuffix(".") if match is not None else ""

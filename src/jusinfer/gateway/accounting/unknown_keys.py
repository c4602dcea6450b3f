"""How many keys that nobody knows may be looked up, by the network that they come from.

A token bucket stands for each /24 of IPv4 and each /56 of IPv6. Addresses are kept in memory only,
as a keyed hash whose key is made when the process begins.
"""

import hashlib
import os
from collections.abc import Collection
from typing import Final

from jusinfer.domain import networks
from jusinfer.domain.errors import RateLimited
from jusinfer.gateway.http.response_writer import Request

BURST: Final = 200
PER_SECOND: Final = 20.0
NETWORKS_MAX: Final = 20_000
IPV4_BITS: Final = 24
IPV6_BITS: Final = 56
_FORWARDED: Final = b"x-forwarded-for"


class TokenBucket:
    """What one network may still ask."""

    __slots__ = ("filled_at", "tokens")

    def __init__(self, now: float) -> None:
        self.tokens = float(BURST)
        self.filled_at = now

    def give_back(self) -> None:
        """Return a token that was not needed."""
        self.tokens = min(self.tokens + 1, BURST)


class Strangers:
    """The buckets of the networks that sent unknown keys lately; the oldest is dropped first."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._buckets: dict[bytes, TokenBucket] = {}

    def __len__(self) -> int:
        """How many networks are counted."""
        return len(self._buckets)

    def take(self, address: str | None, now: float) -> TokenBucket:
        """Take one look-up of a network's; raises RateLimited with the time to wait.

        Whoever turns out to have a good key gives it back.
        """
        name = hashlib.blake2b(network_of(address), key=self._key, digest_size=16).digest()
        bucket = self._buckets.pop(name, None)
        if bucket is None:
            while len(self._buckets) >= NETWORKS_MAX:
                del self._buckets[next(iter(self._buckets))]
            bucket = TokenBucket(now)
        self._buckets[name] = bucket
        bucket.tokens = min(bucket.tokens + (now - bucket.filled_at) * PER_SECOND, BURST)
        bucket.filled_at = now
        if bucket.tokens < 1:
            raise RateLimited(
                "too many unknown API keys have come from this network",
                hint="Check the key that your programs send; try again in a moment.",
                retry_after_seconds=1,
            )
        bucket.tokens -= 1
        return bucket


def network_of(address: str | None) -> bytes:
    """Give the network that an address belongs to; what is no address is one network."""
    try:
        return str(networks.network_of(address or "", IPV4_BITS, IPV6_BITS)).encode("ascii")
    except ValueError:
        return b""


def address_of(request: Request, trusted: Collection[str]) -> str | None:
    """Give the address of a client: the peer's, or what a trusted proxy says that it saw."""
    if request.peer not in trusted:
        return request.peer
    values = [value for name, value in request.headers if name == _FORWARDED]
    hops = b",".join(values).decode("latin-1").split(",")
    for hop in reversed(hops):
        if hop.strip() and hop.strip() not in trusted:
            return hop.strip()
    return request.peer

"""Remembers for ten minutes who has a conversation's beginning in its cache.

What is kept is a keyed digest that only this process can make; nothing of the text.
"""

import hashlib
import os
from typing import Final

from jusinfer.domain.routing.features import CacheAffinity

KEPT_SECONDS: Final = 600.0
CONVERSATIONS_MAX: Final = 20_000
DIGEST_BYTES: Final = 16


class Affinity:
    """Digests of conversations with who served them last; the oldest go first."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._warm: dict[bytes, tuple[CacheAffinity, float]] = {}

    def digest(self, tenant_id: str, mode: str, beginning: bytes) -> bytes:
        """Give the digest of a conversation's beginning, apart for each tenant and mode."""
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES, key=self._secret)
        digest.update(f"{tenant_id}\0{mode}\0".encode("ascii"))
        digest.update(beginning)
        return digest.digest()

    def warm(self, digest: bytes, now: float) -> CacheAffinity | None:
        """Give who served a conversation lately, if somebody did."""
        found = self._warm.get(digest)
        if found is None:
            return None
        warm, until = found
        if until <= now:
            del self._warm[digest]
            return None
        return warm

    def note(self, digest: bytes, warm: CacheAffinity, now: float) -> None:
        """Remember who served a conversation."""
        self._warm.pop(digest, None)
        if len(self._warm) >= CONVERSATIONS_MAX:
            del self._warm[next(iter(self._warm))]
        self._warm[digest] = (warm, now + KEPT_SECONDS)

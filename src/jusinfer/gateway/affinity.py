"""Remembers for ten minutes which upstream has a conversation's beginning in its cache.

What is kept is a keyed digest that only this process can make; nothing of the text.
"""

import hashlib
import os
from typing import Final

KEPT_SECONDS: Final = 600.0
CONVERSATIONS_MAX: Final = 20_000
DIGEST_BYTES: Final = 16


class Affinity:
    """Digests of conversations with the upstream that served them last; the oldest go first."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._warm: dict[bytes, tuple[str, float]] = {}

    def digest(self, tenant_id: str, beginning: bytes) -> bytes:
        """Give the digest of a conversation's beginning, apart for each tenant."""
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES, key=self._secret)
        digest.update(tenant_id.encode("ascii") + b"\0")
        digest.update(beginning)
        return digest.digest()

    def warm(self, digest: bytes, now: float) -> str:
        """Give the upstream that served a conversation lately; empty when there is none."""
        found = self._warm.get(digest)
        if found is None:
            return ""
        upstream, until = found
        if until <= now:
            del self._warm[digest]
            return ""
        return upstream

    def note(self, digest: bytes, upstream: str, now: float) -> None:
        """Remember who served a conversation."""
        self._warm.pop(digest, None)
        if len(self._warm) >= CONVERSATIONS_MAX:
            del self._warm[next(iter(self._warm))]
        self._warm[digest] = (upstream, now + KEPT_SECONDS)

"""Fingerprint to principal for a bounded time; unknown keys too; emptied by a revocation notice.

One look-up per key is under way at a time, and all clients of that key wait for it. A key that was
never seen costs its network a token (`strangers.py`), which a good key gives back. While the
database is away a known key is served stale for a bounded time; an unknown one is refused with
503, never with 401.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Final

from jusinfer.domain.errors import InvalidKey, Unavailable
from jusinfer.domain.identity import Principal
from jusinfer.gateway.accounting.unknown_keys import Strangers

FRESH_SECONDS: Final = 60.0
STALE_SECONDS_MAX: Final = 3600.0
UNKNOWN_SECONDS: Final = 2.0
KNOWN_COUNT_MAX: Final = 200_000
UNKNOWN_COUNT_MAX: Final = 10_000
# All look-ups of keys that were never seen go through one connection, in a millisecond or so each.
WAITING_COUNT_MAX: Final = 1_000


# Asks the database for a key; one that was known before does not wait behind the others.
KeyLookup = Callable[[bytes, bool], Awaitable[Principal | None]]


class Entry:
    """One known key: who it is, and until when that is believed."""

    __slots__ = ("fingerprint", "fresh_until", "principal", "stale_until")

    def __init__(self, fingerprint: bytes, principal: Principal, now: float) -> None:
        self.fingerprint = fingerprint
        self.principal = principal
        self.fresh_until = now + FRESH_SECONDS
        self.stale_until = now + STALE_SECONDS_MAX


class KeyCache:
    """What this worker knows of keys; `look` asks the database and raises `outage` when away."""

    def __init__(self, look: KeyLookup, outage: type[Exception]) -> None:
        self._look = look
        self._outage = outage
        self._known: dict[bytes, Entry] = {}
        self._unknown: dict[bytes, float] = {}
        self._waiting: dict[bytes, asyncio.Future[Principal | None]] = {}
        self._generation = 0
        self._strangers = Strangers()

    def get(self, fingerprint: bytes, now: float) -> Principal | None:
        """Give the principal when it is known and fresh; None means that `fetch` must be asked."""
        entry = self._known.get(fingerprint)
        if entry is None or entry.fresh_until < now:
            return None
        if not compare_digest(entry.fingerprint, fingerprint):
            return None
        return entry.principal

    async def fetch(self, fingerprint: bytes, now: float, address: str | None = None) -> Principal:
        """Ask the database once for all waiting clients.

        Raises InvalidKey, Unavailable, or RateLimited when the network of the address has sent
        too many keys that nobody knows.
        """
        if self._unknown.get(fingerprint, 0.0) > now:
            raise _unknown_key()
        running = self._waiting.get(fingerprint)
        if running is not None:
            return _principal(await asyncio.shield(running))
        is_known = fingerprint in self._known
        give_back = _nothing if is_known else self._counted(address, now)
        future: asyncio.Future[Principal | None] = asyncio.get_running_loop().create_future()
        self._waiting[fingerprint] = future
        generation = self._generation
        try:
            found = await self._look(fingerprint, is_known)
        except self._outage as error:
            give_back()
            found = self._stale(fingerprint, now)
            if found is None:
                future.set_exception(_outage())
                future.exception()
                raise _outage() from error
        except asyncio.CancelledError:
            future.set_exception(_outage())
            future.exception()
            raise
        else:
            # A notice that came meanwhile may be about this very key: do not keep what was read.
            if generation == self._generation:
                self._keep(fingerprint, found, now)
        finally:
            del self._waiting[fingerprint]
        if found is not None:
            give_back()
        if not future.done():
            future.set_result(found)
        return _principal(found)

    def invalidate(self, fingerprint: bytes | None = None) -> None:
        """Drop one key, or all of them, so that the next use asks the database again."""
        self._generation += 1
        if fingerprint is None:
            self._known.clear()
            self._unknown.clear()
            return
        self._known.pop(fingerprint, None)
        self._unknown.pop(fingerprint, None)

    def expire_all(self, now: float) -> None:
        """Believe nothing without asking again, but keep it to fall back on in an outage."""
        self._generation += 1
        for entry in self._known.values():
            entry.fresh_until = min(entry.fresh_until, now)
        self._unknown.clear()

    @property
    def known_count(self) -> int:
        """How many keys are known."""
        return len(self._known)

    def _counted(self, address: str | None, now: float) -> Callable[[], None]:
        """Count a look-up of a key that was never seen; gives what takes the count back."""
        if len(self._waiting) >= WAITING_COUNT_MAX:
            raise Unavailable("too many keys are being looked up", retry_after_seconds=1)
        return self._strangers.take(address, now).give_back

    def _stale(self, fingerprint: bytes, now: float) -> Principal | None:
        entry = self._known.get(fingerprint)
        return entry.principal if entry is not None and entry.stale_until > now else None

    def _keep(self, fingerprint: bytes, found: Principal | None, now: float) -> None:
        if found is None:
            self._known.pop(fingerprint, None)
            while len(self._unknown) >= UNKNOWN_COUNT_MAX:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[fingerprint] = now + UNKNOWN_SECONDS
            return
        self._unknown.pop(fingerprint, None)
        while len(self._known) >= KNOWN_COUNT_MAX:
            del self._known[next(iter(self._known))]
        self._known[fingerprint] = Entry(fingerprint, found, now)


def _principal(found: Principal | None) -> Principal:
    if found is None:
        raise _unknown_key()
    return found


def _unknown_key() -> InvalidKey:
    return InvalidKey("this API key is unknown or was revoked")


def _outage() -> Unavailable:
    return Unavailable("keys cannot be checked right now", retry_after_seconds=2)


def _nothing() -> None:
    """Take nothing back."""

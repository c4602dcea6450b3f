"""The worker's balances of credit: spent at once, refilled in the background before they run out.

A balance belongs to one tenant in one mode. All its arithmetic is synchronous, so that nothing can
be cancelled in the middle of it. What is free may be reserved; a reservation ends exactly once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Protocol

from jusinfer.domain.errors import Unavailable
from jusinfer.domain.journal import NO_LEASE_ID

REFILL_SHARE: Final = 4
IDLE_RETURN_SECONDS: Final = 60.0
LEASES_PER_BALANCE_MAX: Final = 64


class GrantedLease(Protocol):
    """A lease as the database gives it."""

    @property
    def lease_id(self) -> str:
        """Its id."""
        ...

    @property
    def granted_nano(self) -> int:
        """What was lent."""
        ...


class CreditLeaseSource(Protocol):
    """What a balance asks of the database; None means that the credit does not cover the need."""

    def take(self, tenant_id: str, mode: str, need_nano: int) -> Awaitable["GrantedLease | int"]:
        """Take a lease of at least the need, or give what is available (an int)."""
        ...

    def give_back(self, lease_id: str, amount_nano: int) -> Awaitable[None]:
        """Return a part of a lease."""
        ...


class Lease:
    """One lease in a balance: what is free of it, and how many reservations are open on it."""

    __slots__ = ("free_nano", "granted_nano", "lease_id", "open_count", "used_at")

    def __init__(self, lease_id: str, granted_nano: int, now: float) -> None:
        self.lease_id = lease_id
        self.granted_nano = granted_nano
        self.free_nano = granted_nano
        self.open_count = 0
        self.used_at = now


class Reservation:
    """A bound granted from a lease; ends settled or released, exactly once."""

    __slots__ = ("bound_nano", "is_open", "lease")

    def __init__(self, lease: Lease, bound_nano: int) -> None:
        self.lease = lease
        self.bound_nano = bound_nano
        self.is_open = True

    @property
    def lease_id(self) -> str:
        """The lease that the bound was granted from."""
        return self.lease.lease_id

    def end(self, charge_nano: int) -> int:
        """Spend the charge, give the rest back to the lease, and give the overrun (0 if none)."""
        if not self.is_open:
            raise AssertionError("a reservation ended twice")
        self.is_open = False
        self.lease.open_count -= 1
        overrun_nano = charge_nano - self.bound_nano
        if overrun_nano <= 0:
            self.lease.free_nano -= overrun_nano
            return 0
        covered = min(overrun_nano, self.lease.free_nano)
        self.lease.free_nano -= covered
        return overrun_nano - covered


def nothing_reserved(now: float) -> Reservation:
    """Give the reservation of what is free: of nothing, from no lease of anybody's."""
    return Reservation(Lease(NO_LEASE_ID, 0, now), 0)


class CreditBalance:
    """The credit lent to this worker for one tenant in one mode."""

    __slots__ = ("leases", "mode", "refill", "tenant_id")

    def __init__(self, tenant_id: str, mode: str) -> None:
        self.tenant_id = tenant_id
        self.mode = mode
        self.leases: list[Lease] = []
        self.refill: asyncio.Future[None] | None = None

    @property
    def free_nano(self) -> int:
        """What may still be reserved in all leases together."""
        return sum(lease.free_nano for lease in self.leases)

    def reserve(self, bound_nano: int, now: float) -> Reservation | None:
        """Take a bound from one lease that covers it; None when none does."""
        for lease in self.leases:
            if lease.free_nano >= bound_nano:
                lease.free_nano -= bound_nano
                lease.open_count += 1
                lease.used_at = now
                return Reservation(lease, bound_nano)
        return None

    @property
    def is_low(self) -> bool:
        """Whether the last lease is nearly spent, so that a refill should begin."""
        if not self.leases:
            return True
        last = self.leases[-1]
        return last.free_nano * REFILL_SHARE < last.granted_nano


class CreditBalances:
    """All balances of this worker. `spawn` runs a coroutine in the worker's task group."""

    def __init__(
        self,
        source: CreditLeaseSource,
        outage: type[Exception],
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._source = source
        self._outage = outage
        self._spawn = spawn
        self._balances: dict[tuple[str, str], CreditBalance] = {}
        self.overrun_nano = 0

    def balance(self, tenant_id: str, mode: str) -> CreditBalance:
        """Give the balance of a tenant in a mode, made on first use."""
        balance = self._balances.get((tenant_id, mode))
        if balance is None:
            balance = self._balances[tenant_id, mode] = CreditBalance(tenant_id, mode)
        return balance

    async def refill(self, balance: CreditBalance, need_nano: int, now: float) -> int | None:
        """Take one more lease; gives None, or what is available when that is below the need.

        Clients that come while a refill is under way wait for it and then try again themselves.
        """
        while balance.refill is not None:
            await asyncio.shield(balance.refill)
            if any(lease.free_nano >= need_nano for lease in balance.leases):
                return None
        if len(balance.leases) >= LEASES_PER_BALANCE_MAX:
            self._compact(balance)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        balance.refill = future
        try:
            granted = await self._take(balance, need_nano)
        except self._outage as error:
            raise Unavailable(
                "credit cannot be checked right now", retry_after_seconds=2
            ) from error
        finally:
            balance.refill = None
            if not future.done():
                future.set_result(None)
        if isinstance(granted, int):
            return granted + balance.free_nano
        balance.leases.append(Lease(granted.lease_id, granted.granted_nano, now))
        return None

    async def _take(self, balance: CreditBalance, need_nano: int) -> GrantedLease | int:
        granted = await self._source.take(balance.tenant_id, balance.mode, need_nano)
        if not isinstance(granted, int) or granted + balance.free_nano < need_nano:
            return granted
        # Enough is there, but in pieces: give the pieces back and take them as one.
        for lease in balance.leases:
            amount_nano, lease.free_nano = lease.free_nano, 0
            if amount_nano > 0:
                await self._source.give_back(lease.lease_id, amount_nano)
        return await self._source.take(balance.tenant_id, balance.mode, need_nano)

    def refill_in_background(self, balance: CreditBalance, need_nano: int, now: float) -> None:
        """Begin a refill in the background when the balance is nearly empty."""
        if balance.refill is None:
            self._spawn(self._refill_now(balance, need_nano, now))

    async def _refill_now(self, balance: CreditBalance, need_nano: int, now: float) -> None:
        try:
            await self.refill(balance, need_nano, now)
        except Unavailable:
            # The next request that needs credit will ask again and say so to its client.
            return

    def _compact(self, balance: CreditBalance) -> None:
        balance.leases = [lease for lease in balance.leases if lease.open_count or lease.free_nano]

    def idle_returns(self, now: float) -> list[tuple[str, int]]:
        """Take what idle leases still hold out of their balances: (lease id, amount) to return.

        A lease leaves its balance only when nothing is reserved on it, so that a settlement can
        always find it.
        """
        returns: list[tuple[str, int]] = []
        for key, balance in list(self._balances.items()):
            kept: list[Lease] = []
            for lease in balance.leases:
                is_spare = lease is not balance.leases[-1] and lease.free_nano == 0
                is_idle = now - lease.used_at > IDLE_RETURN_SECONDS
                if lease.open_count == 0 and (is_spare or is_idle):
                    returns.append((lease.lease_id, lease.free_nano))
                    lease.free_nano = 0
                else:
                    kept.append(lease)
            balance.leases = kept
            if not kept and balance.refill is None:
                del self._balances[key]
        return returns

    def take_all_free(self) -> list[tuple[str, int]]:
        """Take everything free out of every balance, for a worker that stops."""
        returns = [
            (lease.lease_id, lease.free_nano)
            for balance in self._balances.values()
            for lease in balance.leases
        ]
        self._balances.clear()
        return returns

    def free_total_nano(self) -> int:
        """Sum what is free in all balances (a metric)."""
        return sum(balance.free_nano for balance in self._balances.values())

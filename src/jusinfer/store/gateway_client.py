"""The gateway's only client of PostgreSQL: keys, leases, heartbeats, notices. psycopg alone.

Every call is a function of the database that the gateway's login may execute; it can read and
change nothing else. Every call ends within a deadline, and any outage is `DatabaseUnavailable`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import msgspec
import psycopg

from jusinfer.domain.identity import KeyId, MemberId, Mode, Principal, TenantId
from jusinfer.domain.leases import CHUNK_DIVISOR, CHUNK_NANO_MAX
from jusinfer.domain.limits import (
    KeyRates,
    Limit,
    QuotaGrant,
    QuotaRequest,
    SpendLimit,
    with_key_rates,
)
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy
from jusinfer.domain.usage import KeyUsageSummary

# Credit, limits and heartbeats must never wait behind keys that nobody has seen before.
CREDIT_CONNECTIONS: Final = 3
KEY_CONNECTIONS: Final = 1
STRANGER_CONNECTIONS: Final = 1
RECORD_CONNECTIONS: Final = 1
CONNECT_SECONDS: Final = 3
NOTICE_PING_SECONDS: Final = 5.0

PRINCIPAL: Final = "SELECT * FROM jusinfer_principal_2(%s)"
TAKE: Final = "SELECT * FROM jusinfer_take_credit(%s, %s, %s, %s, %s, %s, %s)"
RETURN: Final = "SELECT jusinfer_return_credit(%s, %s, %s)"
REGISTER: Final = "SELECT jusinfer_register(%s, %s)"
HEARTBEAT: Final = "SELECT jusinfer_heartbeat(%s)"
DEREGISTER: Final = "SELECT jusinfer_deregister(%s)"
PERMITS: Final = """
SELECT * FROM jusinfer_take_permits(%s, %s, %s::uuid[], %s, %s::bigint[], %s::bigint[],
  %s::bigint[])
"""
GIVE_PERMITS: Final = "SELECT jusinfer_give_permits(%s, %s, %s, %s, %s, %s)"
TAKE_SPEND_LIMIT: Final = "SELECT * FROM jusinfer_take_spend_limit(%s, %s, %s, %s, %s, %s)"
RETURN_SPEND_LIMIT: Final = "SELECT jusinfer_return_spend_limit(%s, %s, %s)"
NOTE_PRICES: Final = "SELECT jusinfer_note_prices(%s, %s, %s)"
OWN_COMPLETION: Final = "SELECT jusinfer_own_completion(%s, %s, %s)"
OWN_CREDITS: Final = "SELECT * FROM jusinfer_own_credits(%s, %s)"
OWN_KEY: Final = "SELECT * FROM jusinfer_own_key(%s)"
LISTEN: Final = "LISTEN jusinfer_keys"

NO_RATES: Final = KeyRates()

_Row = TypeVar("_Row", Limit, SpendLimit)


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time."""


class TakenLease(msgspec.Struct, frozen=True):
    """A lease that was granted."""

    lease_id: str
    granted_nano: int


class Shortfall(msgspec.Struct, frozen=True):
    """What is available when it does not cover the need."""

    available_nano: int


class KeyInvalidation(msgspec.Struct, frozen=True):
    """A key changed; without a fingerprint, anything may have."""

    fingerprint: bytes | None


class Lane:
    """The connections that one kind of call may use; no other kind takes their place."""

    __slots__ = ("idle", "places")

    def __init__(self, connections: int) -> None:
        self.idle: list[psycopg.AsyncConnection[tuple[object, ...]]] = []
        self.places = asyncio.Semaphore(connections)


class GatewayLink:
    """A few connections, each used by one call at a time; they come back by themselves."""

    def __init__(
        self,
        dsn: str,
        worker_id: str,
        *,
        statement_seconds: float = 2.0,
        key_rates: KeyRates = NO_RATES,
    ) -> None:
        self._key_rates = key_rates
        self._dsn = dsn
        self._worker_id = worker_id
        self._seconds = statement_seconds
        self._credit = Lane(CREDIT_CONNECTIONS)
        self._keys = Lane(KEY_CONNECTIONS)
        self._strangers = Lane(STRANGER_CONNECTIONS)
        self._records = Lane(RECORD_CONNECTIONS)

    async def connect(self) -> None:
        """Open the first connection; raises LinkDown."""
        await self._call("SELECT 1", ())

    async def close(self) -> None:
        """Close what is idle."""
        for lane in (self._credit, self._keys, self._strangers, self._records):
            while lane.idle:
                await lane.idle.pop().close()

    async def register(self, journal_name: str) -> None:
        """Say that this worker lives."""
        await self._call(REGISTER, (self._worker_id, journal_name))

    async def heartbeat(self) -> None:
        """Say that this worker still lives."""
        await self._call(HEARTBEAT, (self._worker_id,))

    async def deregister(self) -> None:
        """Say that this worker stops in good order."""
        await self._call(DEREGISTER, (self._worker_id,))

    async def principal(self, fingerprint: bytes, *, is_known: bool = False) -> Principal | None:
        """Give who a key belongs to; None when it is unknown or revoked.

        A key that was known before does not wait behind keys that may be made up.
        """
        lane = self._keys if is_known else self._strangers
        row = await self._call(PRINCIPAL, (fingerprint,), lane)
        if row is None:
            return None
        (
            tenant_id,
            member_id,
            key_id,
            mode,
            requests,
            tokens,
            price_list,
            limits,
            spend_limits,
            policy,
        ) = row
        return Principal(
            tenant_id=TenantId(_hex(tenant_id)),
            member_id=MemberId(_hex(member_id)),
            key_id=KeyId(_hex(key_id)),
            mode=Mode(str(mode)),
            price_list=str(price_list),
            limits=with_key_rates(
                _rows(limits, Limit),
                _hex(key_id),
                _count(requests),
                _count(tokens),
                self._key_rates,
            ),
            spend_limits=_rows(spend_limits, SpendLimit),
            policy=_policy(policy),
        )

    async def take_credit(
        self, tenant_id: str, mode: str, need_nano: int
    ) -> TakenLease | Shortfall:
        """Take a lease of at least the need by one conditional update."""
        chunk = (CHUNK_DIVISOR, 1, CHUNK_NANO_MAX)
        row = await self._call(TAKE, (self._worker_id, tenant_id, mode, need_nano, *chunk))
        if row is None:
            raise DatabaseUnavailable("no answer to a request for credit")
        lease_id, granted, available = row
        if lease_id is None:
            return Shortfall(available_nano=_count(available) or 0)
        return TakenLease(lease_id=_hex(lease_id), granted_nano=_count(granted) or 0)

    async def return_credit(self, lease_id: str, amount_nano: int) -> None:
        """Give back a part of a lease that is free."""
        await self._call(RETURN, (self._worker_id, lease_id, amount_nano))

    async def take_permits(self, asks: list[QuotaRequest]) -> list[QuotaGrant]:
        """Take permits of several limits; they come back in the order of the asks."""
        found = await self._call_all(
            PERMITS,
            (
                self._worker_id,
                [ask.limit.scope for ask in asks],
                [ask.limit.scope_id for ask in asks],
                [ask.limit.kind for ask in asks],
                [ask.limit.amount for ask in asks],
                [ask.need for ask in asks],
                [ask.want for ask in asks],
            ),
        )
        ordered = sorted(found, key=lambda row: int(str(row[0])))
        return [QuotaGrant(*(int(str(value)) for value in row[1:])) for row in ordered]

    async def give_permits(self, limit: Limit, amount: int, within_ms: int) -> None:
        """Give permits back within their minute, or slots."""
        values = (self._worker_id, limit.scope, limit.scope_id, limit.kind, amount, within_ms)
        await self._call(GIVE_PERMITS, values)

    async def take_spend_limit(self, spend_limit_id: str, need_nano: int) -> TakenLease | Shortfall:
        """Take a lease under a hard spend limit of at least the need."""
        chunk = (CHUNK_DIVISOR, 1, CHUNK_NANO_MAX)
        row = await self._call(
            TAKE_SPEND_LIMIT, (self._worker_id, spend_limit_id, need_nano, *chunk)
        )
        if row is None:
            raise DatabaseUnavailable("no answer to a request under a spend limit")
        lease_id, granted, available, _ = row
        if lease_id is None:
            return Shortfall(available_nano=_count(available) or 0)
        return TakenLease(lease_id=_hex(lease_id), granted_nano=_count(granted) or 0)

    async def return_spend_limit(self, lease_id: str, amount_nano: int) -> None:
        """Give back a part of a lease under a spend limit."""
        await self._call(RETURN_SPEND_LIMIT, (self._worker_id, lease_id, amount_nano))

    async def own_completion(
        self, member_id: str, mode: str, completion_id: str
    ) -> dict[str, object] | None:
        """Give the usage row of a completion of a member; None when there is none yet."""
        row = await self._call(OWN_COMPLETION, (member_id, mode, completion_id), self._records)
        return None if row is None or row[0] is None else msgspec.convert(row[0], dict[str, object])

    async def own_credits(self, tenant_id: str, mode: str) -> tuple[int, int]:
        """Give what a tenant was given and what is left of it, in nano-USD."""
        row = await self._call(OWN_CREDITS, (tenant_id, mode), self._records)
        return (0, 0) if row is None else (_count(row[0]) or 0, _count(row[1]) or 0)

    async def own_key(self, key_id: str) -> KeyUsageSummary | None:
        """Give what a key has spent."""
        row = await self._call(OWN_KEY, (key_id,), self._records)
        names = KeyUsageSummary.__struct_fields__
        return (
            None
            if row is None
            else msgspec.convert(dict(zip(names, row, strict=True)), KeyUsageSummary)
        )

    async def note_prices(self, version: str, mode: str, tariffs: bytes) -> None:
        """Keep the prices of a catalog, so that its receipts can always be explained."""
        await self._call(NOTE_PRICES, (version, mode, tariffs.decode()))

    async def notices(self) -> AsyncIterator[KeyInvalidation]:
        """Hear of changed keys; begins with a notice that anything may have changed.

        A connection that says nothing is asked now and then whether it is still there.
        """
        connection = await self._open()
        try:
            async with asyncio.timeout(self._seconds):
                await connection.execute(LISTEN)
            yield KeyInvalidation(None)
            while True:
                async for heard in connection.notifies(timeout=NOTICE_PING_SECONDS):
                    yield KeyInvalidation(_fingerprint(heard.payload))
                async with asyncio.timeout(self._seconds):
                    await connection.execute("SELECT 1")
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise DatabaseUnavailable(type(error).__name__) from error
        finally:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    # ------------------------------------------------------------------ inside

    async def _call(
        self, statement: str, values: tuple[object, ...], lane: Lane | None = None
    ) -> tuple[object, ...] | None:
        found = await self._call_all(statement, values, lane)
        return found[0] if found else None

    async def _call_all(
        self, statement: str, values: tuple[object, ...], lane: Lane | None = None
    ) -> list[tuple[object, ...]]:
        lane = lane or self._credit
        try:
            async with asyncio.timeout(self._seconds + CONNECT_SECONDS), lane.places:
                return await self._on_a_connection(statement, values, lane)
        except TimeoutError as error:
            raise DatabaseUnavailable("the database did not answer in time") from error

    async def _on_a_connection(
        self, statement: str, values: tuple[object, ...], lane: Lane
    ) -> list[tuple[object, ...]]:
        connection = lane.idle.pop() if lane.idle else await self._open()
        is_good = False
        try:
            async with asyncio.timeout(self._seconds):
                cursor = await connection.execute(statement, values)
                rows = await cursor.fetchall()
            is_good = True
        except (psycopg.Error, OSError, TimeoutError) as error:
            # Every idle connection of the lane is as old as this one: let them all go.
            stale, lane.idle = lane.idle, []
            for other in stale:
                await other.close()
            raise DatabaseUnavailable(type(error).__name__) from error
        finally:
            if is_good:
                lane.idle.append(connection)
            else:
                await connection.close()
        return rows

    async def _open(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS
                )
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise DatabaseUnavailable(type(error).__name__) from error


def _hex(value: object) -> str:
    return str(value).replace("-", "")


def _policy(value: object) -> TenantPolicy:
    """Read a tenant's policy; one that cannot be understood serves nobody."""
    if not value:
        return NO_POLICY
    try:
        return msgspec.convert(value, TenantPolicy)
    except msgspec.ValidationError as error:
        raise DatabaseUnavailable("this account's policy cannot be read") from error


def _rows(found: object, kind: type[_Row]) -> tuple[_Row, ...]:
    """Read rows that the database gives as arrays of JSON; its ids are written with dashes."""
    names = kind.__struct_fields__
    return tuple(
        msgspec.convert(
            {
                name: _hex(value) if isinstance(value, str) else value
                for name, value in zip(names, row, strict=True)
            },
            kind,
        )
        for row in msgspec.convert(found or [], list[list[str | int]])
    )


def _count(value: object) -> int | None:
    return None if value is None else int(str(value))


def _fingerprint(payload: str) -> bytes | None:
    try:
        return bytes.fromhex(payload) or None
    except ValueError:
        return None

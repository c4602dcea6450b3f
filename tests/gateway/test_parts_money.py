"""The worker's balances, key cache and journal, without a socket."""

import asyncio
import fcntl
import os
import resource
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.errors import InvalidKey, RateLimited, Unavailable
from jusinfer.domain.identity import KeyId, MemberId, Mode, Principal, TenantId
from jusinfer.domain.journal import FrameDecoder, RequestAdmitted
from jusinfer.gateway.accounting.credit_leases import CreditBalance, CreditBalances, Lease
from jusinfer.gateway.accounting.journal_writer import Journal, JournalUnwritable
from jusinfer.gateway.accounting.key_cache import FRESH_SECONDS, STALE_SECONDS_MAX, KeyCache
from jusinfer.gateway.accounting.unknown_keys import (
    BURST,
    NETWORKS_MAX,
    PER_SECOND,
    Strangers,
    network_of,
)

WHO = Principal(TenantId("t"), MemberId("m"), KeyId("k"), Mode.TEST)


class Away(Exception):
    pass


class GrantedLease(msgspec.Struct):
    lease_id: str
    granted_nano: int


class Bank:
    """Lends what it has, in pieces of the need."""

    def __init__(self, nano: int) -> None:
        self.nano = nano
        self.calls = 0

    async def take(self, tenant_id: str, mode: str, need_nano: int) -> GrantedLease | int:
        await asyncio.sleep(0)
        self.calls += 1
        if need_nano > self.nano:
            return self.nano
        self.nano -= need_nano
        return GrantedLease(f"{tenant_id}{mode}{self.calls}", need_nano)

    async def give_back(self, lease_id: str, amount_nano: int) -> None:
        assert lease_id
        self.nano += amount_nano


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 500)), max_size=30))
def test_what_is_lent_is_free_reserved_or_charged(steps: list[tuple[int, int]]) -> None:
    balance = CreditBalance("t", "live")
    balance.leases = [Lease("a", 1_000, 0.0), Lease("b", 500, 0.0)]
    charged = 0
    for bound, cost in steps:
        reservation = balance.reserve(bound, 0.0)
        if reservation is not None:
            overrun = reservation.end(cost)
            assert 0 <= overrun <= max(cost - bound, 0)
            charged += cost - overrun
        assert all(lease.free_nano >= 0 and lease.open_count == 0 for lease in balance.leases)
        assert balance.free_nano + charged == 1_500


def test_a_reservation_ends_once() -> None:
    balance = CreditBalance("t", "live")
    balance.leases = [Lease("a", 10, 0.0)]
    reservation = balance.reserve(10, 0.0)
    assert reservation is not None
    assert balance.reserve(1, 0.0) is None
    reservation.end(3)
    with pytest.raises(AssertionError):
        reservation.end(3)
    assert balance.free_nano == 7


def test_pieces_are_given_back_and_taken_as_one() -> None:
    async def run() -> None:
        bank = Bank(4)
        balances = CreditBalances(bank, Away, lambda _: None)
        balance = balances.balance("t", "live")
        balance.leases = [Lease("a", 5, 0.0)]
        assert await balances.refill(balance, 8, 0.0) is None
        assert balance.reserve(8, 0.0) is not None
        assert await balances.refill(balance, 8, 0.0) == 1

    asyncio.run(run())


def test_idle_leases_are_returned_but_never_one_in_use() -> None:
    balances = CreditBalances(Bank(0), Away, lambda _: None)
    balance = balances.balance("t", "live")
    balance.leases = [Lease("a", 10, 0.0), Lease("b", 10, 0.0)]
    used = balance.reserve(4, 0.0)
    assert used is not None
    assert balances.idle_returns(61.0) == [("b", 10)]
    used.end(4)
    assert balances.idle_returns(122.0) == [("a", 6)]


def test_one_look_up_answers_all_who_wait() -> None:
    calls = 0

    async def look(_: bytes, _is_known: object) -> Principal | None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return WHO

    async def run() -> None:
        cache = KeyCache(look, Away)
        found = await asyncio.gather(*[cache.fetch(b"f", 0.0) for _ in range(10)])
        assert found == [WHO] * 10
        assert cache.get(b"f", FRESH_SECONDS - 1) == WHO
        assert cache.get(b"f", FRESH_SECONDS + 1) is None

    asyncio.run(run())
    assert calls == 1


def test_an_outage_is_never_a_refusal_of_the_key() -> None:
    is_away = False

    async def look(_: bytes, _is_known: object) -> Principal | None:
        if is_away:
            raise Away
        return WHO

    async def run() -> None:
        nonlocal is_away
        cache = KeyCache(look, Away)
        await cache.fetch(b"known", 0.0)
        is_away = True
        assert await cache.fetch(b"known", FRESH_SECONDS + 1) == WHO
        with pytest.raises(Unavailable):
            await cache.fetch(b"known", STALE_SECONDS_MAX + 1)
        with pytest.raises(Unavailable):
            await cache.fetch(b"unknown", 0.0)

    asyncio.run(run())


def test_a_notice_during_a_look_up_is_not_forgotten() -> None:
    async def run() -> None:
        cache: KeyCache

        async def look(_: bytes, _is_known: object) -> Principal | None:
            cache.invalidate(b"f")
            return WHO

        cache = KeyCache(look, Away)
        await cache.fetch(b"f", 0.0)
        assert cache.get(b"f", 0.0) is None

    asyncio.run(run())


def test_an_unknown_key_is_remembered_for_a_moment() -> None:
    calls = 0

    async def look(_: bytes, _is_known: object) -> Principal | None:
        nonlocal calls
        calls += 1
        return None

    async def run() -> None:
        cache = KeyCache(look, Away)
        for now in (0.0, 1.0, 3.0):
            with pytest.raises(InvalidKey):
                await cache.fetch(b"f", now)

    asyncio.run(run())
    assert calls == 2


def test_unknown_keys_of_a_network_run_out_and_good_ones_do_not_count() -> None:
    asked: list[object] = []

    async def look(fingerprint: bytes, is_known: object) -> Principal | None:
        asked.append(is_known)
        return WHO if fingerprint.startswith(b"good") else None

    async def run() -> None:
        cache = KeyCache(look, Away)
        for number in range(2 * BURST):
            await cache.fetch(b"good%d" % number, 0.0, "192.0.2.1")
        for number in range(BURST):
            with pytest.raises(InvalidKey):
                await cache.fetch(b"bad%d" % number, 0.0, f"192.0.2.{number % 250}")
        count = len(asked)
        with pytest.raises(RateLimited) as caught:
            await cache.fetch(b"bad", 0.0, "::ffff:192.0.2.9")
        assert caught.value.retry_after_seconds == 1
        assert len(asked) == count
        # Another network, a key that is known here, and a later time are free of it.
        with pytest.raises(InvalidKey):
            await cache.fetch(b"bad", 0.0, "2001:db8::1")
        await cache.fetch(b"good1", FRESH_SECONDS + 1, "192.0.2.1")
        assert asked[-1] is True
        with pytest.raises(InvalidKey):
            await cache.fetch(b"worse", 2 / PER_SECOND, "192.0.2.1")

    asyncio.run(run())


def test_an_outage_uses_up_nothing() -> None:
    async def look(_: bytes, _is_known: object) -> Principal | None:
        raise Away

    async def run() -> None:
        cache = KeyCache(look, Away)
        for number in range(2 * BURST):
            with pytest.raises(Unavailable):
                await cache.fetch(b"%d" % number, 0.0, "192.0.2.1")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:0:1::1", "2001:db8:0:ff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:100::1", False),
        ("::ffff:192.0.2.1", "192.0.2.7", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("nonsense", None, True),
    ],
)
def test_addresses_are_counted_by_their_network(one: str, other: str, *, is_same: bool) -> None:
    assert (network_of(one) == network_of(other)) is is_same


def test_the_table_of_networks_is_bounded() -> None:
    strangers = Strangers()
    for number in range(NETWORKS_MAX + 100):
        strangers.take(f"10.{number >> 8 & 255}.{number & 255}.{number >> 16}", 0.0)
        strangers.take(f"{number >> 8 & 255}.{number & 255}.7.1", 0.0)
    assert len(strangers) == NETWORKS_MAX


def admitted(name: str) -> RequestAdmitted:
    return RequestAdmitted(name, "t", "m", "k", "test", "l", 1, "m", "u:m", "v", 5)


def test_a_journal_is_locked_appended_and_let_go(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w", 1 << 20)
    name = journal.open(1)
    journal.admit(admitted("a" * 32))
    records = list(FrameDecoder().records((tmp_path / name).read_bytes()))
    assert len(records) == 2
    with (tmp_path / name).open("rb") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        journal.sync_soon()
        journal.close()
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_disk_that_refuses_a_new_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jusinfer.gateway.accounting.journal_writer.SEGMENT_BYTES", 1)
    journal = Journal(tmp_path, "w", 1 << 20)
    first = journal.open(1)
    before = set(Path("/proc/self/fd").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        for _ in range(3):
            with pytest.raises(JournalUnwritable):
                journal.admit(admitted("a" * 32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == [first]
    segment = journal.admit(admitted("b" * 32))
    assert segment.path.name != first
    journal.close()


def test_a_journal_sheds_load_before_it_forgets_money(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w", 100)
    journal.open(1)
    for _ in range(3):
        journal.admit(admitted("a" * 32))
    assert journal.measure() > 100
    with pytest.raises(JournalUnwritable) as caught:
        journal.admit(admitted("a" * 32))
    assert caught.value.retry_after_seconds
    journal.close()


def test_a_disk_that_refuses_is_a_503_and_no_admission(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w", 1 << 20)
    journal.open(1)
    segment = journal._segment
    assert segment is not None
    real = segment.descriptor
    segment.descriptor = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(JournalUnwritable):
        journal.admit(admitted("a" * 32))
    assert segment.open_count == 0
    os.close(segment.descriptor)
    segment.descriptor = real
    journal.close()

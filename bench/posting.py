"""How fast the settler posts what gateways have written down, into one PostgreSQL of its own."""

import itertools
import time
import uuid
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from bench import machine
from bench.figures import Posting
from bench.subjects import BenchError
from jusinfer.bootstrap import control
from jusinfer.domain.identity import Mode
from jusinfer.domain.journal import FORMAT_VERSION, Admitted, Ended, FrameEncoder, Opened
from jusinfer.observability import Events
from jusinfer.services import accounts, billing
from jusinfer.services.billing import Terms
from jusinfer.settler.process import Settler
from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres

JOURNALS: Final = 8
TENANTS: Final = 20
CHARGE_NANO: Final = 57_000
PICO_PER_NANO: Final = 1_000
BOUND_NANO: Final = 200_000
GRANT_NANO: Final = 10**15
LOOKS_MAX: Final = 10_000
LEASE: Final = "SELECT lease_id FROM jusinfer_take_credit(%s, %s, 'live', %s, 1000, 1, %s)"


class Owner(msgspec.Struct, frozen=True):
    """Whose completions a journal holds, and the lease that covers them."""

    tenant_id: str
    member_id: str
    key_id: str
    lease_id: str


def posting(folder: Path, completions: int) -> Posting:
    """Write so many completions of several tenants into several journals, and post them."""
    postgres = EmbeddedPostgres(folder)
    migrate(postgres.start())
    try:
        journals = folder / "journal"
        journals.mkdir()
        count = completions // JOURNALS
        tenants = _make_tenants(postgres.dsn)
        for _ in range(JOURNALS):
            worker_id = uuid.uuid4().hex
            owners = _owners(postgres.dsn, worker_id, tenants, count)
            write_journal(journals, worker_id, owners, count)
        return _post(postgres.dsn, folder, journals)
    finally:
        postgres.stop()


def _make_tenants(dsn: str) -> list[str]:
    world = control.world(dsn)
    try:
        made = [accounts.create_tenant(world, f"bench {number}") for number in range(TENANTS)]
        for row in made:
            billing.grant(world, row.tenant_id, GRANT_NANO, Mode.LIVE, "bench", Terms())
    finally:
        world.database.close()
    return [row.tenant_id for row in made]


def _owners(dsn: str, worker_id: str, tenants: list[str], completions: int) -> list[Owner]:
    """Take a lease from each tenant that covers its part of a journal."""
    need_nano = CHARGE_NANO * (completions // len(tenants) + 1)
    owners = []
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        for tenant_id in tenants:
            row = connection.execute(LEASE, (worker_id, tenant_id, need_nano, need_nano)).fetchone()
            if row is None or row[0] is None:
                raise BenchError("a tenant's credit does not cover what is to be posted")
            lease_id = str(row[0]).replace("-", "")
            owners.append(Owner(tenant_id, uuid.uuid4().hex, uuid.uuid4().hex, lease_id))
    return owners


def write_journal(folder: Path, worker_id: str, owners: list[Owner], completions: int) -> Path:
    """Write a journal as a worker would leave it: each completion admitted and ended."""
    encode = FrameEncoder().frame
    now_us = time.time_ns() // 1000
    path = folder / f"{worker_id}-000000.journal"
    with path.open("wb") as stream:
        stream.write(encode(Opened(FORMAT_VERSION, worker_id, now_us)))
        for number, owner in zip(range(completions), itertools.cycle(owners), strict=False):
            admitted = _admitted(owner, now_us + number)
            stream.write(encode(admitted) + encode(_ended(admitted)))
    return path


def _admitted(owner: Owner, now_us: int) -> Admitted:
    return Admitted(
        completion_id=uuid.uuid4().hex,
        tenant_id=owner.tenant_id,
        member_id=owner.member_id,
        key_id=owner.key_id,
        mode="live",
        lease_id=owner.lease_id,
        bound_nano=BOUND_NANO,
        requested_model="bench/plain",
        route_id="bench:bench/plain",
        price_version="bench",
        admitted_at_us=now_us,
    )


def _ended(admitted: Admitted) -> Ended:
    return Ended(
        completion_id=admitted.completion_id,
        request_id=uuid.uuid4().hex,
        tenant_id=admitted.tenant_id,
        member_id=admitted.member_id,
        key_id=admitted.key_id,
        mode=admitted.mode,
        lease_id=admitted.lease_id,
        admitted_at_us=admitted.admitted_at_us,
        first_byte_us=900,
        latency_us=2_000,
        requested_model=admitted.requested_model,
        served_model=admitted.requested_model,
        upstream="bench",
        reasons="explicit",
        price_version=admitted.price_version,
        prompt_tokens=140,
        cached_prompt_tokens=0,
        cache_write_tokens=0,
        completion_tokens=60,
        reasoning_tokens=0,
        is_estimated=False,
        is_stream=False,
        cost_pico=CHARGE_NANO * PICO_PER_NANO,
        charge_nano=CHARGE_NANO,
        bound_nano=admitted.bound_nano,
        attempts=1,
        outcome="completed",
        status=200,
        country="",
        error_text="",
    )


def _post(dsn: str, folder: Path, journals: Path) -> Posting:
    postmaster = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    with Path("/dev/null").open("w") as nowhere:
        settler = Settler(dsn, journals, Events("settler", nowhere))
        before = machine.cpu_seconds([postmaster])
        began_at, own = time.perf_counter(), time.process_time()
        rows = 0
        for _ in range(LOOKS_MAX):
            count = settler.run_once()
            rows += count
            if not count:
                break
        seconds, own = time.perf_counter() - began_at, time.process_time() - own
        spent = machine.cpu_seconds([postmaster]) - before
        settler.close()
    return Posting(
        rows=rows,
        per_second=rows / seconds,
        settler_us=own * 1e6 / max(rows, 1),
        postgres_us=spent * 1e6 / max(rows, 1),
    )

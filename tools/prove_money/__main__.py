"""`python -m tools.prove_money`: the whole product under load, faults and kills, then its books."""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from tests.e2e.running import Running, wait_until
from tests.money import assert_books_are_right
from tools.prove_money.clients import Caller, Tally

from jusinfer.adapters import system
from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, audit, billing, keys
from jusinfer.services.keys import Rates
from jusinfer.services.world import World
from jusinfer.store.database import Database

EDGE_NANO: Final = (2_000, 50_000, 400_000, 5_000_000, 1_000_000_000, 100_000_000_000)
GIVEN_NANO: Final = 1_000 * 10**9
SETTLE_SECONDS: Final = 90.0
CHARGES: Final = """
SELECT replace(completion_id::text, '-', ''), charge_nano, outcome FROM usage_record
"""
SUMS: Final = """
SELECT
  (SELECT COALESCE(sum(charge_nano), 0) FROM usage_record),
  (SELECT COALESCE(sum(amount_nano), 0) FROM ledger_transfer WHERE code = 'usage'),
  (SELECT count(*) FROM usage_record),
  (SELECT count(DISTINCT completion_id) FROM usage_record),
  (SELECT COALESCE(sum(leased_nano), 0) FROM ledger_account),
  (SELECT COALESCE(sum(held_nano), 0) FROM credit_lot),
  (SELECT count(*) FROM ledger_account WHERE kind = 'debt'
     AND debits_posted_nano > credits_posted_nano),
  (SELECT count(*) FROM usage_record WHERE outcome = 'interrupted'),
  (SELECT count(*) FROM ledger_transfer)
"""


@contextlib.contextmanager
def world_of(dsn: str) -> Iterator[World]:
    """Give the services on the running product's database."""
    world = World(Database(dsn), system.new_id, system.new_secret)
    try:
        yield world
    finally:
        world.database.close()


def make_tenants(dsn: str, count: int, rng: random.Random) -> list[str]:
    """Make tenants whose test credit is at the edge; gives their keys."""
    made = []
    with world_of(dsn) as world:
        for index in range(count):
            tenant = accounts.create_tenant(world, f"edge-{index}")
            left = rng.choice(EDGE_NANO)
            billing.adjust(world, tenant.tenant_id, left - GIVEN_NANO, Mode.TEST, "to the edge")
            made.append(keys.issue(world, tenant.tenant_id, Mode.TEST, "", Rates()).secret)
    return made


class Chaos:
    """Kills a random process every second, and PostgreSQL twice."""

    def __init__(self, product: Running, seconds: float, rng: random.Random) -> None:
        self._product = product
        self._rng = rng
        self._postgres_at = [seconds / 3, seconds * 2 / 3]
        self.kills: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Kill until told to stop."""
        begun = time.monotonic()
        while not stop.is_set():
            await asyncio.sleep(1.0)
            if self._postgres_at and time.monotonic() - begun > self._postgres_at[0]:
                self._postgres_at.pop(0)
                self._kill_postgres()
                continue
            kind = self._rng.choice(["gateway"] * 6 + ["settler"] * 3 + ["sandbox"])
            pids = self._product.pids(f"jusinfer.bootstrap.{kind}") or self._product.pids(
                f"jusinfer.{kind}"
            )
            if pids:
                self._kill(self._rng.choice(pids), kind)

    def _kill_postgres(self) -> None:
        pid_file = next(self._product.data_dir.rglob("postmaster.pid"), None)
        if pid_file is not None:
            self._kill(int(pid_file.read_text().split()[0]), "postgres")

    def _kill(self, pid: int, kind: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[kind] = self.kills.get(kind, 0) + 1


async def load(
    product: Running, made: list[str], seconds: float, callers: int, rng: random.Random
) -> tuple[Tally, Chaos]:
    """Let callers ask while processes die, for so many seconds."""
    tally, chaos, stop = Tally(), Chaos(product, seconds, rng), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for index in range(callers):
            own = random.Random(rng.random() + index)  # noqa: S311 (a load, not a secret)
            tasks.create_task(Caller(product.port, made, tally, own).run(stop))
        tasks.create_task(chaos.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
    return tally, chaos


def judge(dsn: str, tally: Tally, chaos: Chaos) -> list[str]:
    """Compare what callers were given with what was metered and charged; gives what is wrong."""
    wrong = []
    with psycopg.connect(dsn) as connection:
        rows = {name: (charge, outcome) for name, charge, outcome in connection.execute(CHARGES)}
        sums = connection.execute(SUMS).fetchone()
    if sums is None:
        raise AssertionError("the sums are not there")
    charged, transferred, count, distinct, leased, held, in_debt, interrupted, transfers = sums
    missing = [name for name in tally.delivered if name not in rows]
    differing = [
        name for name, cost in tally.delivered.items() if name in rows and rows[name][0] != cost
    ]
    delivered = sum(tally.delivered.values())
    metered = sum(rows[name][0] for name in tally.delivered if name in rows)
    table = (
        ("requests sent", tally.asked),
        ("  answered, by status", dict(sorted(tally.statuses.items()))),
        ("  callers who hung up", tally.left),
        ("  answers broken by a fault or a kill", tally.broken),
        ("processes killed", chaos.kills),
        ("completions given whole to a caller", len(tally.delivered)),
        ("  delivered, nano-USD", delivered),
        ("  metered for the same, nano-USD", metered),
        ("completions on record", count),
        ("  of which interrupted by a kill, free", interrupted),
        ("  metered in all, nano-USD", int(charged)),
        ("  charged in all, nano-USD", int(transferred)),
        ("ledger transfers", transfers),
        ("delivered and not on record", len(missing)),
        ("delivered at another cost", len(differing)),
        ("posted twice", count - distinct),
        ("tenants overspent", in_debt),
        ("leaked leases, nano-USD", int(leased)),
        ("leaked holds, nano-USD", int(held)),
    )
    for what, value in table:
        sys.stdout.write(f"{what:<42}{value}\n")
    checks = (
        ("something that was delivered is not on record", bool(missing)),
        ("a delivered completion has another cost on record", bool(differing)),
        ("what was metered is not what was charged", charged != transferred),
        ("a completion was posted twice", count != distinct),
        ("a tenant overspent", in_debt > 0),
        ("a lease leaked", leased != 0),
        ("a hold leaked", held != 0),
        ("nothing was delivered", not tally.delivered),
    )
    wrong += [what for what, is_so in checks if is_so]
    return wrong


def settled(dsn: str) -> bool:
    """Tell whether no lease is open and no journal is left to be posted."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM lease WHERE state = 'open'),"
            " (SELECT count(*) FROM gateway_worker WHERE state <> 'reclaimed')"
        ).fetchone()
    return row is not None and row[0] == 0


def prove(seconds: float, workers: int, tenants: int, callers: int, seed: int) -> list[str]:
    """Run the proof in a folder of its own; gives what is wrong."""
    rng = random.Random(seed)  # noqa: S311 (a load, not a secret)
    with tempfile.TemporaryDirectory(prefix="prove-money-") as folder:
        product = Running(Path(folder), workers=workers)
        with product:
            made = make_tenants(product.dsn, tenants, rng)
            tally, chaos = asyncio.run(load(product, made, seconds, callers, rng))
            wait_until(product.ready, SETTLE_SECONDS)
        # Started again, the settler finishes what the last workers left; nobody asks any more.
        product.start()
        try:
            wait_until(lambda: settled(product.dsn), SETTLE_SECONDS)
            wrong = judge(product.dsn, tally, chaos)
            assert_books_are_right(product.dsn)
            with world_of(product.dsn) as world:
                report = audit.verify(world)
            wrong += [f"{f.name}: {f.offenders}" for f in report.findings if not f.holds]
        finally:
            product.stop()
    return wrong


def main() -> int:
    """Read the options, prove, and say what came of it."""
    parser = argparse.ArgumentParser(prog="prove-money", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    wrong = prove(options.seconds, options.workers, options.tenants, options.callers, options.seed)
    for what in wrong:
        sys.stdout.write(f"WRONG: {what}\n")
    sys.stdout.write("the books are right\n" if not wrong else "the books are WRONG\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psycopg
from tests.e2e.running import Running, wait_until
from tests.money import assert_books_are_right
from tools.prove_money.clients import NO_CREDIT, STEADY_MODEL, Client, Tally, ask
from tools.prove_money.verdict import Steady, read_books, verdict

from jusinfer.adapters import system
from jusinfer.domain.actor import Operator
from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, billing, keys, ledger_proof
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.store.database import Database

EDGE_NANO: Final = (2_000, 50_000, 400_000, 5_000_000, 1_000_000_000, 100_000_000_000)
GIVEN_NANO: Final = 1_000 * 10**9
OPERATOR: Final = Operator("prove-money")
SETTLE_SECONDS: Final = 90.0
# Some of the tenants have credit for exactly so many requests of one cost, and no more.
STEADY_REQUESTS: Final = (1, 2, 3, 5, 8, 13, 21, 34)
SWEEPS_MAX: Final = 400
QUICK: Final[Mapping[str, float]] = {"seconds": 25, "workers": 3, "tenants": 60, "clients": 16}
MEASURED: Final = """
SELECT charge_nano, bound_nano FROM usage_record ORDER BY admitted_at LIMIT 1
"""


@contextlib.contextmanager
def world_of(dsn: str) -> Iterator[Services]:
    """Give the services on the running product's database."""
    world = Services(Database(dsn), system.new_id, system.new_secret)
    try:
        yield world
    finally:
        world.database.close()


def make_tenants(
    product: Running, count: int, tally: Tally, rng: random.Random
) -> tuple[list[str], list[Steady]]:
    """Make tenants whose test credit is at the edge; gives their keys and who may count on N."""
    cost_nano, bound_nano = measured(product, tally)
    made, steady = [], []
    with world_of(product.dsn) as world:
        for index in range(count):
            tenant_id = accounts.create_tenant(world, OPERATOR, f"edge-{index}").tenant_id
            key = keys.issue(world, OPERATOR.on_behalf(tenant_id), Mode.TEST, "", Rates()).secret
            left = rng.choice(EDGE_NANO)
            if index < len(STEADY_REQUESTS):
                requests = STEADY_REQUESTS[index]
                # The last one still finds its whole bound; one more would not.
                left = cost_nano * (requests - 1) + bound_nano
                steady.append(Steady(tenant_id, key, requests, cost_nano))
            billing.adjust(
                world, OPERATOR.on_behalf(tenant_id), left - GIVEN_NANO, Mode.TEST, "to the edge"
            )
            made.append(key)
    return made, steady


def measured(product: Running, tally: Tally) -> tuple[int, int]:
    """Ask once, and give what it was charged and what was reserved for it."""
    asyncio.run(ask(product.port, product.key, STEADY_MODEL, tally))
    found: list[tuple[int, int]] = []

    def is_posted() -> bool:
        with psycopg.connect(product.dsn) as connection:
            found.extend((int(row[0]), int(row[1])) for row in connection.execute(MEASURED))
        return bool(found)

    wait_until(is_posted, SETTLE_SECONDS)
    return found[0]


def use_up(product: Running, steady: list[Steady], tally: Tally) -> None:
    """Let who may count on N requests ask until the credit is gone, of one worker."""
    for tenant in steady:
        for _ in range(SWEEPS_MAX):
            status = asyncio.run(ask(product.port, tenant.key, STEADY_MODEL, tally))
            if status == NO_CREDIT:
                break
        else:
            raise AssertionError("the credit for a counted number of requests does not end")


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
    product: Running, clients: list[Client], seconds: float, rng: random.Random
) -> Mapping[str, int]:
    """Let clients ask while processes die, for so many seconds; gives what was killed."""
    chaos, stop = Chaos(product, seconds, rng), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.run(stop))
        tasks.create_task(chaos.run(stop))
        await asyncio.sleep(seconds)
        stop.set()
    return chaos.kills


def settled(dsn: str) -> bool:
    """Tell whether no lease is open and no journal is left to be posted."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM lease WHERE state = 'open'),"
            " (SELECT count(*) FROM gateway_worker WHERE state <> 'reclaimed')"
        ).fetchone()
    return row is not None and row[0] == 0


def prove(seconds: float, workers: int, tenants: int, clients: int, seed: int) -> list[str]:
    """Run the proof in a folder of its own; gives what is wrong."""
    rng = random.Random(seed)  # noqa: S311 (a load, not a secret)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="prove-money-") as folder:
        product = Running(Path(folder), workers=workers)
        with product:
            made, steady = make_tenants(product, tenants, tally, rng)
            counted = frozenset(tenant.key for tenant in steady)
            asking = [
                Client(product.port, made, counted, tally, random.Random(rng.random()))  # noqa: S311 (a load)
                for _ in range(clients)
            ]
            kills = asyncio.run(load(product, asking, seconds, rng))
            wait_until(product.ready, SETTLE_SECONDS)
        # Started again with one worker, which alone lends what is left; then nobody asks any more.
        product.workers = 1
        with started(product):
            wait_until(lambda: settled(product.dsn), SETTLE_SECONDS)
            use_up(product, steady, tally)
        with started(product):
            wait_until(lambda: settled(product.dsn), SETTLE_SECONDS)
            lines = verdict(tally, read_books(product.dsn), kills, clients, steady)
            assert_books_are_right(product.dsn)
            with world_of(product.dsn) as world:
                report = ledger_proof.verify(world, OPERATOR)
    for line in lines:
        mark = "  <-- WRONG" if line.is_wrong else ""
        sys.stdout.write(f"{line.what:<42}{line.value}{mark}\n")
    broken = [f"{found.name}: {found.offenders}" for found in report.findings if not found.holds]
    return [f"{line.what}: {line.value}" for line in lines if line.is_wrong] + broken


@contextlib.contextmanager
def started(product: Running) -> Iterator[None]:
    """Start a product that was stopped, for a while."""
    product.start()
    try:
        yield
    finally:
        product.stop()


def main() -> int:
    """Read the options, prove, and say what came of it."""
    parser = argparse.ArgumentParser(prog="prove-money", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--quick", action="store_true", help="25 seconds with fewer of all")
    if "--quick" in sys.argv:
        parser.set_defaults(**QUICK)
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    wrong = prove(given.seconds, given.workers, given.tenants, given.clients, given.seed)
    for what in wrong:
        sys.stdout.write(f"WRONG: {what}\n")
    sys.stdout.write("the books are right\n" if not wrong else "the books are WRONG\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

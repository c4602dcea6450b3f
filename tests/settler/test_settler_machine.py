"""The money path as a machine: leases, journals, settlers and grants in any order, with crashes.

After every step the books must be right; at the end all workers die, everything is posted, and
what was charged is exactly what was written down as ended, with nothing held and nothing lost.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.money import assert_books_are_right
from tests.people import OPERATOR, acting
from tests.postgres import fresh_database, sign_in
from tests.settler.test_settler_posts import STEPS, Killed, Writer, run_dry, settler

from jusinfer.adapters import system
from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, billing, ledger_proof
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.store.database import Database
from jusinfer.store.embedded import EmbeddedPostgres

PICO = 1_000
# `--hypothesis-profile money-long` tries for minutes what every run tries for seconds.
SHORT, LONG = "money-short", "money-long"


class MoneyMachine(RuleBasedStateMachine):
    """Two tenants, any number of workers, one settler at a time."""

    dsn: str
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ji-machine-"))
        self.world = Services(
            Database(sign_in(self.dsn, "operator")), system.new_id, system.new_secret
        )
        self.tenants = [
            accounts.create_tenant(self.world, OPERATOR, system.new_id()).tenant_id
            for _ in range(2)
        ]
        self.alive: list[Writer] = []
        self.charged = dict.fromkeys(self.tenants, 0)
        self.given = dict.fromkeys(self.tenants, 0)
        # What each worker wrote down as ended: where its record ends in the file, and the charge.
        self.ended: dict[Writer, list[tuple[int, int]]] = {}

    @rule(which=st.integers(0, 1), amount=st.integers(1, 100_000), lapses=st.booleans())
    def grant(self, which: int, amount: int, lapses: bool) -> None:  # noqa: FBT001 (drawn)
        """Give credit, some of which is over at once."""
        tenant_id = self.tenants[which]
        transfer = billing.grant(
            self.world, acting(tenant_id), amount, Mode.LIVE, "test", GrantTerms()
        )
        self.given[tenant_id] += amount
        if lapses:
            self._run(
                "UPDATE credit_grant SET effective_at = now() - interval '1 hour',"
                " expires_at = now() WHERE transfer_id = %s",
                (transfer,),
            )

    @rule()
    def expire(self) -> None:
        """Take what is free of credit grants whose time is over."""
        self._run("SELECT * FROM jusinfer_expire_grants(100)", ())

    @rule(target=workers, which=st.integers(0, 1), need=st.integers(1, 20_000))
    def lend(self, which: int, need: int) -> Writer:
        """Start a worker with a lease of its own, or with none when the credit is too small."""
        tenant_id = self.tenants[which]
        writer = Writer(self.folder, tenant_id, "f" * 32)
        self._run("SELECT jusinfer_register(%s, 'j')", (writer.worker_id,))
        row = self._run(
            "SELECT lease_id, granted_nano FROM jusinfer_take_credit(%s, %s, 'live', %s, 8, 1,"
            " 1000000)",
            (writer.worker_id, tenant_id, need),
        )
        if row[0] is not None:
            assert int(row[1]) >= need
            writer.lease_id = str(row[0]).replace("-", "")
        self.alive.append(writer)
        return writer

    @rule(writer=workers, charge=st.integers(0, 30_000), is_ended=st.booleans())
    def complete(self, writer: Writer, charge: int, is_ended: bool) -> None:  # noqa: FBT001 (drawn)
        """Admit a completion and perhaps end it, within its lease or over it."""
        if writer not in self.alive:
            return
        completion_id = writer.admit()
        if is_ended:
            writer.end(completion_id, charge * PICO)
            self.charged[writer.tenant_id] += charge
            self.ended.setdefault(writer, []).append((writer.path.stat().st_size, charge))

    @rule(writer=workers, amount=st.integers(0, 5_000))
    def give_back(self, writer: Writer, amount: int) -> None:
        """Return a part of a lease; more than is left is refused."""
        self._run(
            "SELECT jusinfer_return_credit(%s, %s, %s)",
            (writer.worker_id, writer.lease_id, amount),
        )

    @rule(writer=consumes(workers), garbage=st.binary(max_size=40))
    def die(self, writer: Writer, garbage: bytes) -> None:
        """Kill a worker in the middle of a write."""
        if writer in self.alive:
            self.alive.remove(writer)
            with contextlib.suppress(OSError):
                os.write(writer.descriptor, garbage)
            writer.die()

    @rule(writer=consumes(workers), part=st.floats(0, 1))
    def die_torn(self, writer: Writer, part: float) -> None:
        """Kill a worker whose last records, none of them posted yet, are lost from somewhere on."""
        if writer not in self.alive:
            return
        self.alive.remove(writer)
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute(
                "SELECT offset_bytes FROM journal_cursor WHERE journal = %s", (writer.path.name,)
            ).fetchone()
        kept = max(0 if row is None else int(row[0]), writer.opened_bytes)
        cut = kept + int((writer.path.stat().st_size - kept) * part)
        os.truncate(writer.path, cut)
        for end, charge in self.ended.get(writer, []):
            if end > cut:
                self.charged[writer.tenant_id] -= charge
        writer.die()

    @rule()
    def settle(self) -> None:
        """Post what there is."""
        worker = settler(self.dsn, self.folder)
        worker._looked_at = 0.0
        worker.run_once()
        worker.close()

    @rule(step=st.sampled_from(STEPS), after=st.integers(0, 3))
    def settle_and_crash(self, step: str, after: int) -> None:
        """Kill the settler between two steps of one of its batches."""
        left = [after]

        def kill(name: str) -> None:
            if name == step:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1

        dying = settler(self.dsn, self.folder, kill)
        with contextlib.suppress(Killed):
            dying.run_once()
        dying.close()

    @rule()
    @precondition(lambda self: bool(self.alive))
    def reclaim_too_early(self) -> None:
        """Reclaim the leases of a worker that only seemed dead: its records still post."""
        self._run("SELECT * FROM jusinfer_reclaim(%s)", (self.alive[0].worker_id,))

    @invariant()
    def books_are_right(self) -> None:
        """Hold the sums of the ledger."""
        assert_books_are_right(self.dsn)

    def teardown(self) -> None:
        """Let every worker die, post everything twice over, and compare."""
        for writer in self.alive:
            writer.die()
        for _ in range(2):
            worker = settler(self.dsn, self.folder)
            run_dry(worker)
            worker.close()
        with psycopg.connect(self.dsn) as connection:
            for tenant_id in self.tenants:
                row = connection.execute(
                    "SELECT COALESCE(sum(charge_nano), 0) FROM usage_record WHERE tenant_id = %s",
                    (tenant_id,),
                ).fetchone()
                assert row == (self.charged[tenant_id],)
                row = connection.execute(
                    "SELECT sum(leased_nano), sum(credits_posted_nano - debits_posted_nano)"
                    " FROM ledger_account WHERE tenant_id = %s AND mode = 'live'",
                    (tenant_id,),
                ).fetchone()
                expired = connection.execute(
                    "SELECT COALESCE(sum(amount_nano), 0) FROM ledger_transfer"
                    " WHERE tenant_id = %s AND code = 'expiry'",
                    (tenant_id,),
                ).fetchone()
                assert row is not None
                assert expired is not None
                left = self.given[tenant_id] - self.charged[tenant_id] - int(expired[0])
                assert (int(row[0]), int(row[1])) == (0, left)
        report = ledger_proof.verify(self.world, OPERATOR)
        assert report.holds, [found for found in report.findings if not found.holds]
        self.world.database.close()
        shutil.rmtree(self.folder)

    def _run(self, statement: str, values: tuple[object, ...]) -> Any:
        with psycopg.connect(self.dsn) as connection:
            return (
                connection.execute(statement, values).fetchone()
                if "SELECT" in statement[:6]
                else connection.execute(statement, values)
            )


@pytest.mark.slow
def test_the_books_are_right_whatever_happens_in_whatever_order(
    postgres: EmbeddedPostgres,
) -> None:
    is_long = settings.get_current_profile_name() == LONG
    with fresh_database(postgres) as dsn:
        machine = type("Machine", (MoneyMachine,), {"dsn": dsn})
        run_state_machine_as_test(
            machine,
            settings=settings(
                settings.get_profile(LONG if is_long else SHORT),
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

"""Journals damaged anywhere, read again and again, and read by two at once."""

import io
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.money import assert_books_are_right, balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in
from tests.settler.test_settler_posts import Writer, run_dry

from jusinfer.adapters import system
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.observability import Events
from jusinfer.services import accounts, billing
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.settler.journal_reader import JournalReader
from jusinfer.settler.main_loop import Settler
from jusinfer.settler.poster import CursorMoved, Posted, post_batch
from jusinfer.store.database import Database

ROWS = "SELECT replace(completion_id::text, '-', ''), outcome, charge_nano FROM usage_record"
BOOKS = """
SELECT
  (SELECT array_agg(t.*::text ORDER BY t.transfer_id) FROM ledger_transfer t),
  (SELECT array_agg(a.*::text ORDER BY a.account_id) FROM ledger_account a),
  (SELECT array_agg(l.*::text ORDER BY l.lease_id) FROM lease l),
  (SELECT array_agg(u.*::text ORDER BY u.completion_id) FROM usage_record u)
"""
Plan = list[tuple[int | None, bool]]
# Each completion: its cost in pico-USD, None if it never ends; and whether others come between.
PLANS: st.SearchStrategy[Plan] = st.lists(
    st.tuples(st.none() | st.integers(0, 9_000), st.booleans()), min_size=1, max_size=6
)
EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Frame(NamedTuple):
    """One record of a journal: where it begins and ends, and what it says."""

    start: int
    end: int
    kind: str
    completion_id: str
    cost_pico: int


class Written:
    """A journal of a dead worker, with what it holds, told apart from the product's reader."""

    def __init__(self, dsn: str, folder: Path, tenant_id: str, plan: Plan) -> None:
        self.writer = Writer(folder, tenant_id, "")
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT jusinfer_register(%s, 'j')", (self.writer.worker_id,))
            row = connection.execute(
                "SELECT lease_id FROM jusinfer_take_credit(%s, %s, 'live', 100000, 8, 1, 100000)",
                (self.writer.worker_id, tenant_id),
            ).fetchone()
        assert row is not None
        self.writer.lease_id = str(row[0]).replace("-", "")
        self.path = self.writer.path
        self.frames = [Frame(0, self.size, "opened", "", 0)]
        waiting: list[tuple[str, int]] = []
        for cost_pico, is_mixed in plan:
            start = self.size
            completion_id = self.writer.admit()
            self.frames.append(Frame(start, self.size, "admitted", completion_id, 0))
            if cost_pico is not None:
                waiting.append((completion_id, cost_pico))
            if not is_mixed:
                self._end(waiting)
        self._end(waiting)

    def _end(self, waiting: list[tuple[str, int]]) -> None:
        while waiting:
            completion_id, cost_pico = waiting.pop()
            start = self.size
            self.writer.end(completion_id, cost_pico)
            self.frames.append(Frame(start, self.size, "ended", completion_id, cost_pico))

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def expected(self, intact_bytes: int) -> dict[str, tuple[str, int]]:
        """Give what the records before a place come to."""
        rows: dict[str, tuple[str, int]] = {}
        for frame in self.frames:
            if frame.end <= intact_bytes and frame.kind != "opened":
                is_ended = frame.kind == "ended"
                charge_nano = (frame.cost_pico + 999) // 1_000
                rows[frame.completion_id] = (
                    ("completed", charge_nano) if is_ended else ("interrupted", 0)
                )
        return rows


class Bench(NamedTuple):
    """A database with one rich tenant, and an empty folder of journals."""

    dsn: str
    tenant_id: str
    folder: Path


def prepared(dsn: str, folder: Path) -> Bench:
    world = Services(Database(sign_in(dsn, "operator")), system.new_id, system.new_secret)
    tenant = accounts.create_tenant(world, OPERATOR, system.new_id())
    billing.grant(world, acting(tenant.tenant_id), NANO_PER_USD, Mode.LIVE, "test", GrantTerms())
    world.database.close()
    return Bench(dsn, tenant.tenant_id, folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    # One for each example would be made by hypothesis only once: examples empty it themselves.
    found = Path(tempfile.mkdtemp(prefix="ji-replay-"))
    yield found
    shutil.rmtree(found)


def post_all(bench: Bench) -> list[dict[str, Any]]:
    """Let a new settler post everything; gives the events that it wrote."""
    said = io.StringIO()
    worker = Settler(
        sign_in(bench.dsn, "settler"), bench.folder, Events("settler", said, is_strict=True)
    )
    run_dry(worker)
    run_dry(worker)
    worker.close()
    return [json.loads(line) for line in said.getvalue().splitlines()]


def rows_of(bench: Bench) -> dict[str, tuple[str, int]]:
    with psycopg.connect(bench.dsn) as connection:
        found = connection.execute(f"{ROWS} WHERE tenant_id = %s", (bench.tenant_id,)).fetchall()
    return {str(name): (str(outcome), int(charge)) for name, outcome, charge in found}


def books_of(dsn: str) -> object:
    with psycopg.connect(dsn) as connection:
        return connection.execute(BOOKS).fetchone()


def torn_at(events: list[dict[str, Any]]) -> list[int]:
    return [event["offset_bytes"] for event in events if event["event"] == "journal_torn"]


def assert_everything_came_back(bench: Bench, rows: dict[str, tuple[str, int]]) -> None:
    charged = sum(charge for _, charge in rows.values())
    assert balance(bench.dsn, bench.tenant_id) == (NANO_PER_USD - charged, 0)
    assert_books_are_right(bench.dsn)


@EXAMPLES
@given(plan=PLANS, data=st.data())
def test_a_flipped_bit_is_reported_where_it_is_and_all_before_it_is_posted(
    dsn: str, folder: Path, plan: Plan, data: st.DataObject
) -> None:
    bench = prepared(dsn, folder)
    journal = Written(dsn, folder, bench.tenant_id, plan)
    whole = bytearray(journal.path.read_bytes())
    place = data.draw(st.integers(journal.frames[0].end, len(whole) - 1), label="place")
    whole[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    journal.path.write_bytes(bytes(whole))
    journal.writer.die()
    damaged = next(frame for frame in journal.frames if frame.start <= place < frame.end)
    events = post_all(bench)
    expected = journal.expected(damaged.start)
    assert rows_of(bench) == expected
    assert torn_at(events) == [damaged.start]
    assert_everything_came_back(bench, expected)
    journal.path.unlink()


@EXAMPLES
@given(plan=PLANS, data=st.data())
def test_a_tail_cut_anywhere_is_reported_where_it_begins_and_all_before_it_is_posted(
    dsn: str, folder: Path, plan: Plan, data: st.DataObject
) -> None:
    bench = prepared(dsn, folder)
    journal = Written(dsn, folder, bench.tenant_id, plan)
    cut = data.draw(st.integers(journal.frames[0].end, journal.size), label="cut")
    os.truncate(journal.path, cut)
    journal.writer.die()
    last_end = max(frame.end for frame in journal.frames if frame.end <= cut)
    events = post_all(bench)
    expected = journal.expected(cut)
    assert rows_of(bench) == expected
    assert torn_at(events) == ([] if cut == last_end else [last_end])
    assert_everything_came_back(bench, expected)
    journal.path.unlink()


@EXAMPLES
@given(plan=PLANS, looks=st.integers(0, 3))
def test_a_journal_posted_twice_changes_nothing(
    dsn: str, folder: Path, plan: Plan, looks: int
) -> None:
    """A settler looks while the journal grows; later ones find the same file, or get it back."""
    bench = prepared(dsn, folder)
    journal = Written(dsn, folder, bench.tenant_id, plan)
    for _ in range(looks):
        post_all(bench)
    journal.writer.die()
    post_all(bench)
    expected = journal.expected(journal.size)
    assert rows_of(bench) == expected
    before, kept = books_of(dsn), journal.path.read_bytes()
    post_all(bench)
    assert books_of(dsn) == before
    # Removed, and put back from a copy with more at its end than was ever posted.
    journal.path.unlink()
    post_all(bench)
    journal.path.write_bytes(kept + kept[journal.frames[0].end :])
    post_all(bench)
    assert books_of(dsn) == before
    assert_everything_came_back(bench, expected)
    journal.path.unlink()


@pytest.mark.parametrize("pause", ["cursor", "money", "usage", "commit"])
def test_two_who_post_the_same_part_at_once_post_it_once(
    dsn: str, folder: Path, pause: str
) -> None:
    """The one waits in the middle of its transaction until the other has begun its own."""
    bench = prepared(dsn, folder)
    journal = Written(dsn, folder, bench.tenant_id, [(5_000, False), (7_001, True)])
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO journal_cursor (journal, worker_id) VALUES (%s, %s)",
            (journal.path.name, journal.writer.worker_id),
        )
    has_begun, results = threading.Event(), list[Posted | None]()

    def post(step: str) -> None:
        reader = JournalReader(journal.path)

        def wait(name: str) -> None:
            if name == step:
                has_begun.wait(0.5)

        with psycopg.connect(dsn, autocommit=True) as connection:
            if not step:
                has_begun.set()
            try:
                results.append(post_batch(connection, reader, reader.read(), step=wait))
            except CursorMoved:
                results.append(None)

    threads = [threading.Thread(target=post, args=(step,)) for step in (pause, "")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(posted is None for posted in results) == [False, True]
    assert assert_books_are_right(dsn) == 2
    assert balance(dsn, bench.tenant_id)[0] == NANO_PER_USD - 5 - 8
    journal.writer.die()
    post_all(bench)
    assert_everything_came_back(bench, journal.expected(journal.size))


def test_the_records_that_tests_write_are_those_of_the_product(dsn: str, folder: Path) -> None:
    bench = prepared(dsn, folder)
    journal = Written(dsn, folder, bench.tenant_id, [(1, False), (None, False)])
    batch = JournalReader(journal.path).read()
    assert batch.torn is None
    assert batch.end == journal.frames[-1].end
    assert [msgspec.structs.asdict(row)["cost_pico"] for row in batch.rows] == [1]
    journal.writer.die()

"""From journal to ledger, exactly once, wherever the settler is stopped."""

import fcntl
import os
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from tests.money import assert_books_are_right, balance
from tests.people import OPERATOR, acting
from tests.postgres import sign_in

from jusinfer.domain.identity import Mode
from jusinfer.domain.journal import (
    FORMAT_VERSION,
    FrameEncoder,
    RequestAdmitted,
    RequestEnded,
    SegmentHeader,
)
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.observability import Events
from jusinfer.services import accounts, billing
from jusinfer.services.billing import GrantTerms
from jusinfer.services.dependencies import Services
from jusinfer.settler.main_loop import SETTLER_LOCK, Settler

NOW_US = 1_790_000_000_000_000
STEPS = ("cursor", "partitions", "money", "spend_limits", "usage", "commit")


class Killed(Exception):
    pass


class Writer:
    """Writes a journal as a gateway worker does."""

    def __init__(self, folder: Path, tenant_id: str, lease_id: str) -> None:
        self.worker_id = uuid.uuid4().hex
        self.path = folder / f"{self.worker_id}-000000.journal"
        self.tenant_id = tenant_id
        self.lease_id = lease_id
        self._encoder = FrameEncoder()
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        self._put(SegmentHeader(FORMAT_VERSION, self.worker_id, NOW_US))
        self.opened_bytes = self.path.stat().st_size

    def _put(self, record: SegmentHeader | RequestAdmitted | RequestEnded) -> None:
        os.write(self.descriptor, self._encoder.frame(record))

    def admit(self, at_us: int = NOW_US) -> str:
        completion_id = uuid.uuid4().hex
        self._put(
            RequestAdmitted(
                completion_id,
                self.tenant_id,
                "2" * 32,
                "3" * 32,
                "live",
                self.lease_id,
                1_000,
                "m",
                "u:m",
                "v",
                at_us,
            )
        )
        return completion_id

    def end(self, completion_id: str, cost_pico: int, at_us: int = NOW_US, text: str = "") -> None:
        self._put(
            RequestEnded(
                completion_id=completion_id,
                request_id=uuid.uuid4().hex,
                tenant_id=self.tenant_id,
                member_id="2" * 32,
                key_id="3" * 32,
                mode="live",
                lease_id=self.lease_id,
                admitted_at_us=at_us,
                first_byte_us=-1,
                latency_us=5,
                requested_model="m\t\\x\n",
                served_model="m",
                upstream="u",
                reasons="explicit",
                price_version="v",
                prompt_tokens=1,
                cached_prompt_tokens=0,
                cache_write_tokens=0,
                completion_tokens=1,
                reasoning_tokens=0,
                is_estimated=False,
                is_stream=False,
                cost_pico=cost_pico,
                charge_nano=-(-cost_pico // 1000),
                bound_nano=1_000,
                attempts=1,
                outcome="completed",
                status=200,
                country="",
                error_text=text,
            )
        )

    def die(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def tenant_id(world: Services) -> str:
    made = accounts.create_tenant(world, OPERATOR, "settled")
    billing.grant(world, acting(made.tenant_id), NANO_PER_USD, Mode.LIVE, "test", GrantTerms())
    return made.tenant_id


@pytest.fixture
def writer(dsn: str, tenant_id: str, tmp_path: Path) -> Writer:
    writer = Writer(tmp_path, tenant_id, "")
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT lease_id FROM jusinfer_take_credit(%s, %s, 'live', 100000, 8, 1, 100000)",
            (writer.worker_id, tenant_id),
        ).fetchone()
    assert row is not None
    writer.lease_id = str(row[0]).replace("-", "")
    return writer


def settler(dsn: str, folder: Path, step: object = None) -> Settler:
    made = Settler(sign_in(dsn, "settler"), folder, Events("settler", is_strict=True))
    if step is not None:
        made._step = step  # type: ignore[assignment]
    return made


def run_dry(worker: Settler) -> int:
    rows = 0
    for _ in range(20):
        worker._looked_at = 0.0
        posted = worker.run_once()
        rows += posted
        if not posted:
            break
    return rows


def test_what_has_ended_is_posted_to_the_nano_dollar(
    dsn: str, writer: Writer, tenant_id: str, tmp_path: Path
) -> None:
    before, _ = balance(dsn, tenant_id)
    for cost_pico in (1, 999, 1_000, 1_001, 0):
        writer.end(writer.admit(), cost_pico)
    worker = settler(dsn, tmp_path)
    assert run_dry(worker) == 5
    assert run_dry(worker) == 0
    worker.close()
    assert before - balance(dsn, tenant_id)[0] == 1 + 1 + 1 + 2
    assert assert_books_are_right(dsn) == 5
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT requested_model, charge_nano, transfer_id FROM usage_record"
        )
        for model, charge, transfer in rows:
            assert model == "m\t\\x\n"
            assert (charge > 0) == (transfer is not None)


@pytest.mark.parametrize("step", STEPS)
def test_a_settler_killed_between_any_two_steps_posts_once(
    dsn: str, writer: Writer, tenant_id: str, tmp_path: Path, step: str
) -> None:
    for _ in range(3):
        writer.end(writer.admit(), 5_000)

    def kill(name: str) -> None:
        if name == step:
            raise Killed

    dying = settler(dsn, tmp_path, kill)
    with pytest.raises(Killed):
        run_dry(dying)
    dying.close()
    assert assert_books_are_right(dsn) == 0
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    worker.close()
    assert assert_books_are_right(dsn) == 3
    assert balance(dsn, tenant_id)[0] == NANO_PER_USD - 15


def test_two_settlers_on_one_journal_post_once(dsn: str, writer: Writer, tmp_path: Path) -> None:
    writer.end(writer.admit(), 5_000)
    first = settler(dsn, tmp_path)
    run_dry(first)
    # The second believes that nothing has been posted: it reads from an old position.
    reader = next(iter(first._readers.values()))
    reader.offset = 0
    assert first.run_once() == 0
    first.close()
    second = settler(dsn, tmp_path)
    run_dry(second)
    second.close()
    assert assert_books_are_right(dsn) == 1


def test_a_torn_tail_is_left_and_all_before_it_is_posted(
    dsn: str, writer: Writer, tmp_path: Path
) -> None:
    writer.end(writer.admit(), 5_000)
    whole = writer.path.stat().st_size
    writer.end(writer.admit(), 7_000)
    os.truncate(writer.path, writer.path.stat().st_size - 3)
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    assert assert_books_are_right(dsn) == 1
    assert next(iter(worker._readers.values())).offset > whole
    writer.die()
    run_dry(worker)
    worker.close()
    assert assert_books_are_right(dsn) == 2
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT outcome, charge_nano FROM usage_record ORDER BY 1")
        assert rows.fetchall() == [("completed", 5), ("interrupted", 0)]


def test_a_dead_workers_journal_is_finished_and_its_lease_comes_back(
    dsn: str, writer: Writer, tenant_id: str, tmp_path: Path
) -> None:
    writer.end(writer.admit(), 5_000)
    writer.admit()
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    assert balance(dsn, tenant_id)[1] > 0
    writer.die()
    run_dry(worker)
    assert balance(dsn, tenant_id) == (NANO_PER_USD - 5, 0)
    assert assert_books_are_right(dsn) == 2
    assert run_dry(worker) == 0
    worker.close()
    again = settler(dsn, tmp_path)
    assert run_dry(again) == 0
    again.close()


def test_a_settler_that_starts_anew_still_knows_what_is_in_flight(
    dsn: str, writer: Writer, tmp_path: Path
) -> None:
    writer.admit()
    first = settler(dsn, tmp_path)
    run_dry(first)
    first.close()
    writer.die()
    second = settler(dsn, tmp_path)
    run_dry(second)
    second.close()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT outcome FROM usage_record").fetchall() == [
            ("interrupted",)
        ]


def test_a_charge_above_the_lease_is_an_overrun_and_posted_in_full(
    dsn: str, writer: Writer, tenant_id: str, tmp_path: Path
) -> None:
    writer.end(writer.admit(), 2 * NANO_PER_USD * 1_000)
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    worker.close()
    assert balance(dsn, tenant_id) == (-NANO_PER_USD, 0)
    assert_books_are_right(dsn)


def test_a_tenant_that_is_gone_does_not_hold_up_the_others(
    dsn: str, writer: Writer, tenant_id: str, tmp_path: Path
) -> None:
    writer.end(writer.admit(), 5_000)
    writer.tenant_id = uuid.uuid4().hex
    writer.end(writer.admit(), 3_000)
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    worker.close()
    assert assert_books_are_right(dsn) == 2
    assert balance(dsn, tenant_id)[0] == NANO_PER_USD - 5


def test_a_batch_over_the_turn_of_a_month_goes_into_both(
    dsn: str, writer: Writer, tmp_path: Path
) -> None:
    turn_us = 1_793_491_200_000_000  # 1 November 2026, 00:00 UTC
    writer.end(writer.admit(turn_us - 1), 5_000, turn_us - 1)
    writer.end(writer.admit(turn_us), 5_000, turn_us)
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    worker.close()
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT tableoid::regclass::text, admitted_at AT TIME ZONE 'UTC' FROM usage_record"
            " ORDER BY 2"
        ).fetchall()
    assert [row[0] for row in rows] == ["usage_record_2026_10", "usage_record_2026_11"]
    assert str(rows[0][1]) == "2026-10-31 23:59:59.999999"


def test_an_error_text_of_any_kind_reaches_its_column_whole(
    dsn: str, writer: Writer, tmp_path: Path
) -> None:
    text = "a\\N\tb\nc\r\\.\\u0000 é 🌊"
    writer.end(writer.admit(), 1, text=text)
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    worker.close()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT error_text FROM usage_record").fetchall() == [(text,)]


def test_closed_journals_are_removed_after_a_while(
    dsn: str, writer: Writer, tmp_path: Path
) -> None:
    writer.end(writer.admit(), 1)
    writer.die()
    worker = settler(dsn, tmp_path)
    run_dry(worker)
    assert writer.path.exists()
    worker._closed[writer.path.name] = time.monotonic() - 61
    worker.run_once()
    worker.close()
    assert not writer.path.exists()


def test_a_settler_that_may_not_begin_lets_its_connection_go(dsn: str, tmp_path: Path) -> None:
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        # The other settler is at work; this one gives up waiting for its turn.
        connection.execute("SELECT pg_advisory_lock(%s)", (SETTLER_LOCK,))
        waiting = settler(f"{dsn}&options=-c%20lock_timeout%3D100", tmp_path)
        # What was caught holds the frames, so only a close ends the connection.
        with pytest.raises(psycopg.OperationalError) as caught:
            waiting.run_once()
        deadline = time.monotonic() + 10
        while connection.execute(others).fetchone() != (0,):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert isinstance(caught.value, psycopg.errors.LockNotAvailable)

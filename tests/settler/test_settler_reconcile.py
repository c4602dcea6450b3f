"""What broke off before its cost was said: noted when posted, asked for later, never charged."""

import asyncio
import uuid
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests.money import assert_books_are_right
from tests.people import OPERATOR
from tests.postgres import sign_in
from tests.settler.test_settler_posts import STEPS, Killed, Writer, run_dry, settler

from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.provider_report import NoReport, ProviderReport
from jusinfer.observability import Events
from jusinfer.services import accounts
from jusinfer.services.dependencies import Services
from jusinfer.settler.reconcile import BATCH_ROWS, Reconciler
from jusinfer.store.report_link import Due, ReportLink


class Asked(Writer):
    """Writes ends whose provider can be asked."""

    def cut(self, generation_id: str, at_us: int = 1_790_000_000_123_457) -> str:
        completion_id = self.admit(at_us)
        end = RequestEnded(
            completion_id=completion_id,
            request_id=uuid.uuid4().hex,
            tenant_id=self.tenant_id,
            member_id="2" * 32,
            key_id="3" * 32,
            mode="live",
            lease_id="0" * 32,
            admitted_at_us=at_us,
            first_byte_us=5,
            latency_us=9,
            requested_model="m",
            served_model="m",
            upstream="open",
            reasons="explicit",
            price_version="v",
            prompt_tokens=4,
            cached_prompt_tokens=0,
            cache_write_tokens=0,
            completion_tokens=3,
            reasoning_tokens=0,
            is_estimated=True,
            is_stream=True,
            cost_pico=0,
            charge_nano=0,
            bound_nano=0,
            attempts=1,
            outcome="upstream_cut",
            status=200,
            country="",
            error_text="",
        )
        self._put(msgspec.structs.replace(end, provider_generation_id=generation_id))
        return completion_id


@pytest.fixture
def writer(world: Services, tmp_path: Path) -> Asked:
    return Asked(tmp_path, accounts.create_tenant(world, OPERATOR, "asked").tenant_id, "0" * 32)


def rows(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT replace(r.completion_id::text, '-', ''), u.provider_generation_id, r.upstream,"
            " r.asked_count, r.reported_cost_pico, r.failure FROM provider_report r"
            " JOIN usage_record u USING (completion_id, admitted_at) ORDER BY 2"
        ).fetchall()


def due_now(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE provider_report SET next_at = now() WHERE next_at IS NOT NULL")


def post(dsn: str, folder: Path) -> None:
    worker = settler(dsn, folder)
    run_dry(worker)
    worker.close()


def test_only_what_can_be_asked_for_is_noted_with_its_usage(
    dsn: str, writer: Asked, tmp_path: Path
) -> None:
    named = writer.cut("gen-1")
    for text in ("", "no id", "x" * 129, "tab\tid", "\\N"):
        writer.cut(text)
    post(dsn, tmp_path)
    assert rows(dsn) == [(named, "gen-1", "open", 0, None, None)]
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT count(*), count(provider_generation_id) FROM usage_record"
        ).fetchone()
        wait = connection.execute(
            "SELECT round(extract(epoch FROM next_at - created_at)) FROM provider_report"
        ).fetchone()
    assert (found, wait) == ((6, 1), (5,))
    assert_books_are_right(dsn)


@pytest.mark.parametrize("step", STEPS)
def test_a_settler_killed_between_any_two_steps_notes_it_once(
    dsn: str, writer: Asked, tmp_path: Path, step: str
) -> None:
    writer.cut("gen-1")

    def kill(name: str) -> None:
        if name == step:
            raise Killed

    dying = settler(dsn, tmp_path, kill)
    with pytest.raises(Killed):
        run_dry(dying)
    dying.close()
    assert rows(dsn) == []
    post(dsn, tmp_path)
    assert len(rows(dsn)) == 1


def reconciler(link: ReportLink) -> Reconciler:
    return Reconciler(link, ["open"], Events("reconciler", is_strict=True))


def test_a_report_is_recorded_and_the_ledger_untouched(
    dsn: str, writer: Asked, tmp_path: Path
) -> None:
    writer.cut("gen-1")
    writer.cut("gen-2")
    post(dsn, tmp_path)
    due_now(dsn)
    heard: list[str] = []

    async def ask(due: Due) -> ProviderReport:
        heard.append(due.generation_id)
        if due.generation_id == "gen-2":
            raise NoReport("not_found")
        return ProviderReport(77_000, 4, 9)

    link = ReportLink(sign_in(dsn, "reconciler"))
    worker = reconciler(link)
    assert asyncio.run(worker.run_once(ask)) == 2
    assert asyncio.run(worker.run_once(ask)) == 0
    due_now(dsn)
    assert asyncio.run(worker.run_once(ask)) == 1
    link.close()
    assert sorted(heard) == ["gen-1", "gen-2", "gen-2"]
    assert [row[3:] for row in rows(dsn)] == [(1, 77_000, None), (2, None, "not_found")]
    assert worker.reported_count == 1
    with psycopg.connect(dsn) as connection:
        money = connection.execute(
            "SELECT (SELECT count(*) FROM ledger_transfer WHERE code = 'usage'),"
            " (SELECT sum(charge_nano) FROM usage_record),"
            " (SELECT sum(cost_pico) FROM usage_record)"
        ).fetchone()
    assert money == (0, 0, 0)
    assert_books_are_right(dsn)


def test_one_that_dies_while_it_asks_leaves_the_question_to_the_next(
    dsn: str, writer: Asked, tmp_path: Path
) -> None:
    writer.cut("gen-1")
    post(dsn, tmp_path)
    due_now(dsn)

    async def die(due: Due) -> ProviderReport:
        raise Killed(due.generation_id)

    async def answer(due: Due) -> ProviderReport:
        return ProviderReport(len(due.generation_id))

    dying = ReportLink(sign_in(dsn, "reconciler"))
    with pytest.raises(Killed):
        asyncio.run(reconciler(dying).run_once(die))
    dying.close()
    link = ReportLink(sign_in(dsn, "reconciler"))
    assert asyncio.run(reconciler(link).run_once(answer)) == 0
    due_now(dsn)
    assert asyncio.run(reconciler(link).run_once(answer)) == 1
    link.close()
    assert [row[3:] for row in rows(dsn)] == [(2, 5, None)]


def test_a_batch_is_bounded(dsn: str, writer: Asked, tmp_path: Path) -> None:
    for number in range(BATCH_ROWS + 1):
        writer.cut(f"gen-{number}")
    post(dsn, tmp_path)
    due_now(dsn)

    async def ask(_: Due) -> ProviderReport:
        raise NoReport("status_503")

    link = ReportLink(sign_in(dsn, "reconciler"))
    worker = reconciler(link)
    assert asyncio.run(worker.run_once(ask)) == BATCH_ROWS
    assert asyncio.run(worker.run_once(ask)) == 1
    link.close()


def test_an_outage_of_the_database_is_waited_out(
    dsn: str, writer: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.cut("gen-1")
    post(dsn, tmp_path)
    due_now(dsn)
    link = ReportLink(dsn.replace("/copy_", "/away_"))

    async def story() -> None:
        asked = asyncio.Event()

        async def ask(_: Due) -> ProviderReport:
            asked.set()
            return ProviderReport(1)

        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(
                Reconciler(link, ["open"], Events("reconciler", is_strict=True)).run(ask)
            )
            await asyncio.sleep(0)
            link._dsn = dsn
            await asked.wait()
            work.cancel()

    asyncio.run(story())
    link.close()
    assert [row[3:] for row in rows(dsn)] == [(1, 1, None)]
    said = capsys.readouterr().err
    assert said.index("database_away") < said.index("reported")

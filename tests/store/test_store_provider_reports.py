"""Reports of providers in the database: the schema with rows in it, who may do what, and when."""

import itertools
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from tests.people import OPERATOR
from tests.postgres import sign_in

from jusinfer.domain.provider_report import ProviderReport
from jusinfer.services import charge_audit
from jusinfer.services.dependencies import Services
from jusinfer.store import database, tables
from jusinfer.store.embedded import EmbeddedPostgres
from jusinfer.store.report_link import ReportLink, ReportLinkDown
from jusinfer.store.roles import LOGINS

_numbers = itertools.count()
TENANT = "1" * 32
ROW = (
    "INSERT INTO usage_record (completion_id, request_id, tenant_id, member_id, key_id, mode,"
    " lease_id, admitted_at, latency_us, requested_model, served_model, upstream, reasons,"
    " price_version, prompt_tokens, cached_prompt_tokens, cache_write_tokens, completion_tokens,"
    " reasoning_tokens, is_estimated, is_stream, cost_pico, charge_nano, bound_nano, attempts,"
    " outcome, status) VALUES (%s, '', %s, %s, %s, 'live', %s, now(), 0, 'm', 'm', 'open', '',"
    " 'v', 5, 0, 0, 1, 0, true, true, 0, 0, 0, 1, 'upstream_cut', 200)"
)


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Make a database without a schema."""
    name = f"empty_{next(_numbers)}"
    admin = postgres.admin_dsn.replace("/jusinfer?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres.admin_dsn.replace("/jusinfer?", f"/{name}?")
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def upgrade(dsn: str, revision: str) -> None:
    """Make the tables of an earlier version, as the superuser, who made them then."""
    engine = sa.create_engine(database.sqlalchemy_url(dsn), poolclass=sa.NullPool)
    with engine.begin() as connection:
        config = database._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def used(connection: psycopg.Connection[tuple[object, ...]], generation_id: str | None) -> str:
    """Write a usage row whose provider can be asked, as the settler does."""
    completion_id = uuid.uuid4().hex
    connection.execute("SELECT jusinfer_ensure_partition(now()::date)")
    connection.execute(ROW, (completion_id, *[TENANT] * 4))
    connection.execute(
        "UPDATE usage_record SET provider_generation_id = %s WHERE completion_id = %s",
        (generation_id, completion_id),
    )
    connection.execute(
        "SELECT jusinfer_expect_reports(array_agg(completion_id), array_agg((extract(epoch FROM"
        " admitted_at) * 1000000)::bigint), array_agg(tenant_id), array_agg(upstream), 0)"
        " FROM usage_record WHERE completion_id = %s",
        (completion_id,),
    )
    return completion_id


def row(dsn: str, completion_id: str) -> tuple[object, ...]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT asked_count, reported_cost_pico, prompt_tokens, completion_tokens,"
            " reported_at IS NOT NULL, failure, next_at IS NOT NULL,"
            " round(extract(epoch FROM next_at - now())) FROM provider_report"
            " WHERE completion_id = %s",
            (completion_id,),
        ).fetchone()
    assert found is not None
    return found


def later(dsn: str, hours: int = 0) -> None:
    """Let every question be due, and as much older."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE provider_report SET next_at = now(),"
            " created_at = created_at - make_interval(hours => %s) WHERE next_at IS NOT NULL",
            (hours,),
        )


@pytest.fixture
def link(dsn: str) -> Iterator[ReportLink]:
    made = ReportLink(sign_in(dsn, "reconciler"))
    yield made
    made.close()


def test_rows_of_the_schema_before_are_kept_and_wait_for_nothing(empty: str) -> None:
    upgrade(empty, "0008")
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE TABLE month PARTITION OF usage_record DEFAULT")
        connection.execute(ROW, (uuid.uuid4().hex, *[TENANT] * 4))
    database.migrate(empty)
    assert database.is_current(empty)
    with psycopg.connect(empty) as connection:
        kept = connection.execute(
            "SELECT prompt_tokens, provider_generation_id FROM usage_record"
        ).fetchall()
        assert kept == [(5, None)]
        assert connection.execute("SELECT count(*) FROM provider_report").fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relowner <> 'jusinfer_owner'::regrole AND relkind IN ('r', 'p', 'S', 'i', 'I')"
        ).fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM pg_policies WHERE roles && ARRAY['postgres', 'public']::name[]"
        ).fetchone() == (0,)


@pytest.mark.parametrize("table", [tables.provider_report, tables.usage_record])
def test_the_tables_in_code_are_those_of_the_database(dsn: str, table: sa.Table) -> None:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = %s"
            " ORDER BY ordinal_position",
            (table.name,),
        ).fetchall()
    assert [name for (name,) in found] == [column.name for column in table.columns]


def test_a_question_is_counted_before_it_is_asked_and_waits_longer_each_time(
    dsn: str, link: ReportLink
) -> None:
    with psycopg.connect(dsn) as connection:
        completion_id = used(connection, "gen-1")
    waits = []
    for asked in range(1, 6):
        (due,) = link.due(["open", "other"], 20)
        assert (due.completion_id, due.upstream, due.generation_id) == (
            completion_id,
            "open",
            "gen-1",
        )
        # Nobody gets it twice at once: whoever dies now has it asked again later.
        assert link.due(["open"], 20) == []
        found = row(dsn, completion_id)
        assert (found[0], found[6]) == (asked, True)
        waits.append(int(str(found[7])))
        later(dsn)
    assert waits == [30, 300, 3_600, 3_600, 3_600]


def test_only_upstreams_that_may_be_asked_are_given_and_only_so_many(
    dsn: str, link: ReportLink
) -> None:
    with psycopg.connect(dsn) as connection:
        for number in range(3):
            used(connection, f"gen-{number}")
        used(connection, None)  # its row has been emptied meanwhile
    assert link.due(["other"], 20) == []
    assert len(link.due(["open"], 2)) == 2
    assert len(link.due(["open"], 20)) == 1


def test_a_report_is_kept_once_and_changes_no_charge(dsn: str, link: ReportLink) -> None:
    with psycopg.connect(dsn) as connection:
        completion_id = used(connection, "gen-1")
    link.due(["open"], 20)
    link.note_failure(completion_id, "not_found")
    assert row(dsn, completion_id)[4:7] == (False, "not_found", True)
    assert link.note(completion_id, ProviderReport(12_500, 7, None)) is True
    later(dsn)
    assert link.due(["open"], 20) == []
    assert link.note(completion_id, ProviderReport(1, 1, 1)) is False
    link.note_failure(completion_id, "not_found")
    assert row(dsn, completion_id) == (1, 12_500, 7, None, True, None, False, None)
    with psycopg.connect(dsn) as connection:
        charged = connection.execute("SELECT cost_pico, charge_nano FROM usage_record").fetchone()
        moved = connection.execute("SELECT count(*) FROM ledger_transfer").fetchone()
    assert (charged, moved) == ((0, 0), (0,))


def test_what_is_too_old_is_given_up_with_a_code(dsn: str, link: ReportLink) -> None:
    with psycopg.connect(dsn) as connection:
        first = used(connection, "gen-1")
        late = used(connection, "gen-2")
    assert len(link.due(["open"], 1)) == 1
    link.note_failure(first, "not_found")
    later(dsn, hours=23)
    assert link.give_up(["open"]) == 0
    later(dsn, hours=2)
    # What nobody could ask in its day, because the product was down, is still asked once.
    assert link.give_up(["open"]) == 1
    assert row(dsn, first)[4:7] == (False, "not_found", False)
    assert [due.completion_id for due in link.due(["open"], 20)] == [late]
    assert link.give_up(["open"]) == 1
    assert row(dsn, late)[4:7] == (False, "unanswered", False)
    assert link.due(["open"], 20) == []


def test_an_upstream_that_is_gone_is_given_up_unasked(dsn: str, link: ReportLink) -> None:
    with psycopg.connect(dsn) as connection:
        completion_id = used(connection, "gen-1")
    later(dsn, hours=25)
    assert link.give_up(["another"]) == 1
    assert row(dsn, completion_id)[5] == "not_asked"


def test_the_reconciler_can_do_nothing_else(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        used(connection, "gen-1")
    with psycopg.connect(sign_in(dsn, "reconciler"), autocommit=True) as connection:
        for statement in (
            "SELECT * FROM provider_report",
            "SELECT * FROM usage_record",
            "SELECT * FROM ledger_transfer",
            "SELECT * FROM api_key",
            "UPDATE provider_report SET failure = 'x'",
            "UPDATE usage_record SET charge_nano = 0",
            "INSERT INTO ledger_transfer SELECT * FROM ledger_transfer",
            "SELECT jusinfer_expect_reports('{}', '{}', '{}', '{}', 5)",
            "SELECT jusinfer_principal(NULL)",
            "SELECT * FROM jusinfer_settle_usage('x', '{}', '{}', '{}', '{}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("process", sorted({*LOGINS} - {"reconciler"}))
def test_nobody_else_answers_for_a_provider(dsn: str, process: str) -> None:
    with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
        for statement in (
            "SELECT * FROM jusinfer_due_reports('{}', '{5}', 1, 1)",
            "SELECT jusinfer_note_report(gen_random_uuid(), 1, 1, 1)",
            "UPDATE provider_report SET reported_cost_pico = 1",
            "DELETE FROM provider_report",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_tenant_sees_its_own_reports_only(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        used(connection, "gen-1")
    with psycopg.connect(sign_in(dsn, "console")) as connection:
        seen = []
        for tenant in (TENANT, "2" * 32):
            connection.execute("SELECT set_config('jusinfer.tenant_id', %s, true)", (tenant,))
            seen += connection.execute("SELECT count(*) FROM provider_report").fetchall()
    assert seen == [(1,), (0,)]


def test_a_key_is_not_shown_the_providers_name_of_its_answer(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        completion_id = used(connection, "gen-1")
        shown = connection.execute(
            "SELECT jusinfer_own_completion(%s, 'live', %s)", (TENANT, completion_id)
        ).fetchone()
    assert shown is not None
    assert "completion_id" in shown[0]
    assert "provider_generation_id" not in shown[0]


def test_the_operator_sees_sums_by_upstream(world: Services, dsn: str, link: ReportLink) -> None:
    assert charge_audit.reports(world, OPERATOR, 30) == []
    with psycopg.connect(dsn) as connection:
        for number in range(3):
            used(connection, f"gen-{number}")
    for due in link.due(["open"], 2):
        link.note(due.completion_id, ProviderReport(500, 1, 1))
    (found,) = charge_audit.reports(world, OPERATOR, 30)
    assert (found.upstream, found.mode, found.reported, found.waiting) == ("open", "live", 2, 1)
    assert (found.given_up, found.ours_pico, found.reported_pico) == (0, 0, 1_000)


def test_a_database_that_is_away_is_one_error(postgres: EmbeddedPostgres) -> None:
    link = ReportLink(sign_in(postgres.dsn, "reconciler").replace("/jusinfer?", "/nowhere?"))
    with pytest.raises(ReportLinkDown):
        link.due(["open"], 1)

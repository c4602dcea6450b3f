"""Every login of the database, signed in for real: what it may call, and what it may not get."""

import uuid
from pathlib import Path

import psycopg
import pytest
from tests.people import OPERATOR
from tests.postgres import sign_in

from jusinfer.services import accounts
from jusinfer.services.dependencies import Services
from jusinfer.store import database, schema_text
from jusinfer.store.roles import LOGINS, OWNER

# Whoever adds a function says here who may call it; nobody else can.
CLIENTS: dict[str, set[str]] = {
    "jusinfer_account": set(),
    "jusinfer_advance_audit_head": set(),
    "jusinfer_append_audit": set(),
    "jusinfer_audit_member": {"console"},
    "jusinfer_audit_operator": {"operator"},
    "jusinfer_audit_text": set(),
    "jusinfer_add_grant": set(),
    "jusinfer_check_limit": set(),
    "jusinfer_check_tenant": set(),
    "jusinfer_count_spend_limits": {"settler"},
    "jusinfer_count_keys": {"settler"},
    "jusinfer_deregister": {"gateway"},
    "jusinfer_draw_free": set(),
    "jusinfer_drop_month": {"privacy"},
    "jusinfer_ensure_months": {"settler", "operator"},
    "jusinfer_months_ahead": {"operator"},
    "jusinfer_record_payment": {"payments"},
    "jusinfer_due_reports": {"reconciler"},
    "jusinfer_ensure_partition": {"settler", "operator"},
    "jusinfer_expect_reports": {"settler"},
    "jusinfer_expire_grants": {"settler", "operator"},
    "jusinfer_fold_transfers": set(),
    "jusinfer_free_grants": set(),
    "jusinfer_free_slots": {"settler"},
    "jusinfer_give_permits": {"gateway"},
    "jusinfer_give_up_reports": {"reconciler"},
    "jusinfer_grant_credit": {"operator"},
    "jusinfer_heartbeat": {"gateway"},
    "jusinfer_move_spend_limits": {"settler"},
    "jusinfer_note_no_report": {"reconciler"},
    "jusinfer_note_prices": {"gateway"},
    "jusinfer_note_report": {"reconciler"},
    "jusinfer_own_completion": {"gateway"},
    "jusinfer_own_tenant": set(),
    "jusinfer_refuse_audit_change": set(),
    "jusinfer_own_credits": {"gateway"},
    "jusinfer_own_key": {"gateway"},
    "jusinfer_period_end": {"console", "operator"},
    "jusinfer_period_start": {"console", "operator"},
    "jusinfer_principal": {"gateway"},
    "jusinfer_principal_2": {"gateway"},
    "jusinfer_reclaim": {"settler"},
    "jusinfer_reclaim_spend_limits": {"settler"},
    "jusinfer_refuse_change": set(),
    "jusinfer_refuse_revival": set(),
    "jusinfer_register": {"gateway"},
    "jusinfer_return_spend_limit": {"gateway"},
    "jusinfer_return_credit": {"gateway"},
    "jusinfer_settle_usage": {"settler"},
    "jusinfer_take_away": {"operator"},
    "jusinfer_take_spend_limit": {"gateway"},
    "jusinfer_take_credit": {"gateway"},
    "jusinfer_take_permits": {"gateway"},
    "jusinfer_unhold": set(),
}
ESCAPES = (
    "CREATE TEMP TABLE gateway_worker (worker_id uuid)",
    "CREATE TEMP VIEW api_key AS SELECT 1",
    "CREATE TABLE public.mine (x integer)",
    "CREATE TABLE pg_temp.mine (x integer)",
    "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "DROP EXTENSION plpgsql CASCADE",
    "CREATE LANGUAGE mine HANDLER plpgsql_call_handler",
    "CREATE ROLE mine LOGIN",
    "SET ROLE postgres",
    f"SET ROLE {OWNER}",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER DATABASE jusinfer SET search_path = pg_temp",
    "ALTER FUNCTION jusinfer_refuse_change() OWNER TO CURRENT_USER",
    "ALTER FUNCTION jusinfer_refuse_change() RESET search_path",
    "CREATE OR REPLACE FUNCTION jusinfer_refuse_change() RETURNS trigger LANGUAGE sql AS ''",
    "DROP FUNCTION jusinfer_refuse_change CASCADE",
    "DROP TABLE ledger_transfer CASCADE",
    "ALTER TABLE api_key DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE ledger_transfer DISABLE TRIGGER ALL",
    "CREATE TRIGGER mine BEFORE DELETE ON api_key EXECUTE FUNCTION jusinfer_refuse_change()",
    "CREATE POLICY mine ON api_key USING (true)",
    "DROP POLICY api_key_own ON api_key",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY (SELECT 1) TO '/tmp/jusinfer-escape'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/jusinfer-escape')",
    "SELECT pg_reload_conf()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "SELECT rolpassword FROM pg_authid",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_hba_file_rules",
    "UPDATE schema_text SET sha256 = sha256",
    "UPDATE alembic_version SET version_num = '0001'",
    "TRUNCATE ledger_transfer",
    "DELETE FROM usage_record",
    "DELETE FROM tenant",
    "UPDATE api_key SET fingerprint = fingerprint",
    "UPDATE api_key SET tenant_id = tenant_id",
    "INSERT INTO usage_record SELECT * FROM usage_record LIMIT 0",
)
# For want of a right, or of a tenant.
REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidTextRepresentation,
)


def test_every_function_is_known_here(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for (name,) in found} == set(CLIENTS)
    assert len(found) == len(CLIENTS), "a function has two signatures"


@pytest.mark.parametrize("process", LOGINS)
def test_a_login_executes_its_own_functions_and_no_others(dsn: str, process: str) -> None:
    with psycopg.connect(sign_in(dsn, process)) as connection:
        found = connection.execute(
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND has_function_privilege(oid, 'EXECUTE')"
        ).fetchall()
    assert {name for (name,) in found} == {
        name for name, clients in CLIENTS.items() if process in clients
    }


def test_what_runs_as_the_owner_looks_nowhere_that_a_client_may_write(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT proname::text, proowner::regrole::text, proconfig,"
            " EXISTS (SELECT 1 FROM aclexplode(COALESCE(proacl, acldefault('f', proowner)))"
            "   WHERE grantee = 0)"
            " FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
        owner = connection.execute(
            "SELECT rolsuper, rolcanlogin, rolcreaterole, rolbypassrls FROM pg_roles"
            " WHERE rolname = %s",
            (OWNER,),
        ).fetchone()
    assert owner == (False, False, False, False)
    for name, owned_by, settings, is_public in rows:
        assert owned_by == OWNER, name
        assert settings == ["search_path=pg_catalog, public, pg_temp"], name
        assert not is_public, name


def test_the_next_function_is_not_everyones_either(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"SET ROLE {OWNER}")
        connection.execute("CREATE FUNCTION next() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        row = connection.execute(
            "SELECT has_function_privilege('jusinfer_web', 'next()', 'EXECUTE')"
        ).fetchone()
        connection.rollback()
    assert row == (False,)


def test_everything_belongs_to_the_owner(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert (
            connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relowner <> %s::regrole",
                (OWNER,),
            ).fetchall()
            == []
        )
        assert (
            connection.execute(
                "SELECT tablename FROM pg_policies WHERE NOT roles <@ %s::name[]",
                ([OWNER, *LOGINS.values()],),
            ).fetchall()
            == []
        )


def test_a_login_has_no_attribute_and_no_other_role(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert (
            connection.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) AND (rolsuper"
                " OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
                " OR NOT rolcanlogin)",
                (list(LOGINS.values()),),
            ).fetchall()
            == []
        )
        assert (
            connection.execute(
                "SELECT roleid::regrole FROM pg_auth_members"
                " WHERE member::regrole::text = ANY (%s)",
                (list(LOGINS.values()),),
            ).fetchall()
            == []
        )


@pytest.mark.parametrize("process", LOGINS)
def test_a_login_cannot_become_more_than_it_is(dsn: str, process: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("SELECT jusinfer_ensure_partition(current_date)")
    others = [f"SET ROLE {role}" for name, role in LOGINS.items() if name != process]
    with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
        for statement in (*ESCAPES, *others):
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement.encode())
            # Refused for want of a right, not because it was written wrongly.
            assert refused.value.sqlstate in {"42501", "0LP01", "58P01"}, (statement, refused.value)
        connection.execute("RESET ROLE")
        connection.execute("RESET SESSION AUTHORIZATION")
        assert connection.execute(
            "SELECT current_user, session_user, current_setting('is_superuser')"
        ).fetchone() == (LOGINS[process], LOGINS[process], "off")


@pytest.mark.parametrize("process", LOGINS)
def test_a_login_enters_no_other_database(dsn: str, process: str) -> None:
    path = dsn.rpartition("?")[0].rpartition("/")[2]
    for other in ("postgres", "template1"):
        elsewhere = sign_in(dsn, process).replace(f"/{path}?", f"/{other}?")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(elsewhere)


@pytest.mark.parametrize("process", LOGINS)
def test_nobody_comes_in_without_a_password_or_with_anothers(dsn: str, process: str) -> None:
    other = next(name for name in LOGINS if name != process)
    role = LOGINS[process]
    for address in (
        sign_in(dsn, other).replace(LOGINS[other], role),
        sign_in(dsn, process).replace(f"{role}:", f"{role}:x"),
        dsn.replace("postgres:", "postgres:x"),
    ):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(address)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"user={role} dbname=jusinfer host={_socket(dsn)}")


@pytest.mark.parametrize("process", sorted({*LOGINS} - {"operator", "settler"}))
def test_a_login_without_a_tenant_sees_nobodys_rows(
    world: Services, dsn: str, process: str
) -> None:
    accounts.create_tenant(world, OPERATOR, "mine")
    with psycopg.connect(dsn) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p')"
            ).fetchall()
        ]
    with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
        for table in tables:
            try:
                row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608 (names of the catalog)
            except REFUSALS:
                continue
            assert process == "console", table
            assert row == (0,) or table == "price_catalog", table


def test_functions_are_made_anew_where_their_text_changed(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert database.is_current(dsn)
    for path in schema_text.FOLDER.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text())
    heartbeat = tmp_path / "workers.sql"
    # Another signature, another answer, and one function less.
    heartbeat.write_text(
        heartbeat.read_text()
        .replace("jusinfer_heartbeat(worker uuid)", "jusinfer_beat(x uuid)")
        .replace("worker_id = worker\n", "worker_id = x\n", 1)
        .replace("ON FUNCTION jusinfer_heartbeat", "ON FUNCTION jusinfer_beat")
    )
    with monkeypatch.context() as patched:
        patched.setattr(schema_text, "FOLDER", tmp_path)
        assert not database.is_current(dsn)
        database.migrate(dsn)
        assert database.is_current(dsn)
        with psycopg.connect(dsn) as connection:
            assert connection.execute(
                "SELECT to_regprocedure('jusinfer_heartbeat(uuid)'),"
                " to_regprocedure('jusinfer_beat(uuid)') IS NULL"
            ).fetchone() == (None, False)
    assert not database.is_current(dsn)
    database.migrate(dsn)
    with psycopg.connect(sign_in(dsn, "gateway")) as connection:
        connection.execute("SELECT jusinfer_heartbeat(%s)", (uuid.uuid4(),))
    assert database.is_current(dsn)


def test_a_text_that_does_not_work_changes_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong.sql").write_text(
        "CREATE OR REPLACE FUNCTION jusinfer_wrong() RETURNS bigint LANGUAGE sql"
        " SET search_path = pg_catalog AS 'SELECT count(*) FROM no_such_table';"
    )
    with monkeypatch.context() as patched:
        patched.setattr(schema_text, "FOLDER", tmp_path)
        with pytest.raises(psycopg.errors.UndefinedTable):
            database.migrate(dsn)
    assert database.is_current(dsn)


def _socket(dsn: str) -> str:
    return psycopg.conninfo.conninfo_to_dict(dsn)["host"]  # type: ignore[return-value]

"""What a login may not do to others: stall them, leave settings behind, write what is no record."""

import uuid

import psycopg
import pytest
from tests.people import OPERATOR, acting, member
from tests.postgres import sign_in

from jusinfer.domain.actor import PERMITTED, Action, Role
from jusinfer.domain.identity import Mode
from jusinfer.services import accounts, keys
from jusinfer.services.dependencies import Services
from jusinfer.services.keys import Rates
from jusinfer.store import database
from jusinfer.store.roles import DEFAULTS, LOGINS

OTHERS_LOCKS = (
    "SELECT pg_advisory_lock(7219417001)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_advisory_lock_shared(1, 1)",
    "SELECT pg_try_advisory_xact_lock_shared(1)",
)
FILES_OF_NO_TABLE = (
    "SELECT lo_from_bytea(0, 'text')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_unlink(1)",
)
ODD_CALLS = (
    "jusinfer_register(gen_random_uuid(), repeat('a prompt ', 20))",
    "jusinfer_register(gen_random_uuid(), '../../etc/passwd')",
    "jusinfer_register(gen_random_uuid(), '')",
    "jusinfer_note_prices('a prompt', 'live', '{}')",
    "jusinfer_note_prices(repeat('v', 65), 'live', '{}')",
    "jusinfer_note_prices('v', 'live', '\"a prompt\"')",
    "jusinfer_note_prices('v', 'live', to_json(repeat('x', 16777217))::text)",
    (
        "jusinfer_take_permits(gen_random_uuid(), '{a prompt}', ARRAY[gen_random_uuid()],"
        " '{requests}', '{1}', '{1}', '{1}')"
    ),
    (
        "jusinfer_take_permits(gen_random_uuid(), '{key}', ARRAY[gen_random_uuid()],"
        " '{a prompt}', '{1}', '{1}', '{1}')"
    ),
    (
        "jusinfer_take_permits(gen_random_uuid(), '{key}', ARRAY[gen_random_uuid()],"
        " '{requests}', '{1}', '{-5}', '{-5}')"
    ),
    (
        "jusinfer_take_permits(gen_random_uuid(), array_fill('key'::text, '{65}'),"
        " array_fill(gen_random_uuid(), '{65}'), array_fill('requests'::text, '{65}'),"
        " array_fill(1::bigint, '{65}'), array_fill(1::bigint, '{65}'),"
        " array_fill(1::bigint, '{65}'))"
    ),
    "jusinfer_give_permits(gen_random_uuid(), 'key', gen_random_uuid(), 'requests', -5, 0)",
    "jusinfer_give_permits(gen_random_uuid(), 'key', gen_random_uuid(), 'requests', NULL, 0)",
    "jusinfer_take_credit(gen_random_uuid(), gen_random_uuid(), 'live', 1, 0, 1, 1)",
    "jusinfer_take_spend_limit(gen_random_uuid(), gen_random_uuid(), 1, 0, 1, 1)",
)


def test_a_login_cannot_stall_others_nor_keep_files_of_no_table(dsn: str) -> None:
    for process in LOGINS:
        with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
            for statement in (*OTHERS_LOCKS, *FILES_OF_NO_TABLE):
                if process == "settler" and "pg_advisory_lock(" in statement:
                    # This one is the settler's: one of two settlers waits for it.
                    connection.execute(statement.encode())
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_what_a_login_set_for_its_later_sessions_ends_at_the_next_start(dsn: str) -> None:
    path = dsn.rpartition("?")[0].rpartition("/")[2]
    for process, role in LOGINS.items():
        with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
            # Any role of PostgreSQL may do this to itself.
            connection.execute(f"ALTER ROLE {role} SET search_path = 'elsewhere'".encode())
            connection.execute(f"ALTER ROLE {role} RESET statement_timeout".encode())
            here = f"ALTER ROLE {role} IN DATABASE {path}"
            connection.execute(f"{here} SET default_transaction_read_only = on".encode())
    database.migrate(dsn)
    for process, role in LOGINS.items():
        with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
            found = connection.execute(
                "SELECT current_setting('default_transaction_read_only'),"
                " current_setting('search_path')"
            ).fetchone()
            set_for = connection.execute(
                "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = %s::regrole",
                (role,),
            ).fetchall()
        assert found == ("off", '"$user", public')
        assert dict(one.split("=") for (one,) in set_for) == DEFAULTS[process]


def test_the_gateway_writes_names_and_numbers_only(dsn: str) -> None:
    with psycopg.connect(sign_in(dsn, "gateway"), autocommit=True) as connection:
        for call in ODD_CALLS:
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute(f"SELECT {call}".encode())


def test_there_are_no_odd_months(dsn: str) -> None:
    with psycopg.connect(sign_in(dsn, "settler"), autocommit=True) as connection:
        for month in ("infinity", "-infinity", "0001-01-01 BC", "9999-12-31", None):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("SELECT jusinfer_ensure_partition(%s::date)", (month,))


def test_what_was_ended_stays_ended(world: Services, dsn: str) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "mine").tenant_id
    key = keys.issue(world, acting(tenant_id), Mode.TEST, "", Rates())
    keys.revoke(world, acting(tenant_id), key.key_id)
    with psycopg.connect(sign_in(dsn, "operator"), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO spend_limit (spend_limit_id, tenant_id, mode, scope, scope_id, period,"
            " amount_nano,"
            " action, removed_at) VALUES (%s, %s, 'live', 'tenant', %s, 'day', 5, 'warn', now())",
            (uuid.uuid4(), tenant_id, tenant_id),
        )
    for process in ("console", "operator"):
        with psycopg.connect(sign_in(dsn, process), autocommit=True) as connection:
            connection.execute("SELECT set_config('jusinfer.tenant_id', %s, false)", (tenant_id,))
            for change in (
                "UPDATE api_key SET revoked_at = NULL",
                "UPDATE api_key SET revoked_at = 'infinity'",
                "UPDATE spend_limit SET removed_at = NULL",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="stays ended"):
                    connection.execute(change.encode())


def test_the_console_writes_no_entry_that_only_an_operator_could_make(
    world: Services, dsn: str
) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "mine").tenant_id
    who = member(dsn, tenant_id, Role.OWNER)
    with psycopg.connect(sign_in(dsn, "console"), autocommit=True) as connection:
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, false)", (tenant_id,))
        for how, origin, action in (
            ("cli", "cli", "key.issue"),
            ("process", "process", "key.issue"),
            ("session", "cli", "key.issue"),
            ("session", "console", None),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "SELECT jusinfer_audit_member(%s, %s, %s, NULL, %s, 'done', 'key', 'x')",
                    (who.member_id, how, origin, action),
                )


def test_a_member_is_noted_for_every_action_that_is_its_own(world: Services, dsn: str) -> None:
    tenant_id = accounts.create_tenant(world, OPERATOR, "mine").tenant_id
    who = member(dsn, tenant_id, Role.OWNER)
    call = "SELECT jusinfer_audit_member(%s, 'session', 'console', NULL, %s, %s, 'key', 'x')"
    with psycopg.connect(sign_in(dsn, "console"), autocommit=True) as connection:
        connection.execute("SELECT set_config('jusinfer.tenant_id', %s, false)", (tenant_id,))
        for action in Action:
            for outcome in ("done", "denied"):
                values = (who.member_id, action.value, outcome)
                if outcome == "done" and not PERMITTED[action]:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(call, values)
                else:
                    connection.execute(call, values)


def test_an_operator_is_no_session_and_a_process_is_no_person(dsn: str) -> None:
    with psycopg.connect(sign_in(dsn, "operator"), autocommit=True) as connection:
        for is_process, how, origin in (
            (False, "session", "console"),
            (False, "process", "cli"),
            (True, "cli", "cli"),
            (None, "process", "process"),
            (False, "cli", "console"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "SELECT jusinfer_audit_operator(%s, 'x', %s, %s, 'key.issue', 'done', 'key',"
                    " 'x')",
                    (is_process, how, origin),
                )

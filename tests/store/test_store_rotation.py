"""Passwords that change: whoever signed in with the former ones is put out, and nobody else."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from jusinfer.store import logins
from jusinfer.store.database import migrate
from jusinfer.store.embedded import SUPERUSER_FILE, EmbeddedPostgres
from jusinfer.store.errors import StoreError
from jusinfer.store.privileges import script
from jusinfer.store.roles import LOGINS
from jusinfer.store.secret_files import write_secret
from jusinfer.store.signing_in import lets_in


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Run a server whose logins' passwords this module may change; a role of it is no superuser."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own"))
    try:
        server.start()
        with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
            admin.execute("CREATE ROLE dba LOGIN CREATEROLE PASSWORD 'x'")
            admin.execute("CREATE DATABASE mine OWNER dba")
        migrate(dba(server))
        yield server
    finally:
        server.stop()


def dba(own: EmbeddedPostgres) -> str:
    """Give what DATABASE_URL would be."""
    return logins.signed_in(own.dsn, "dba", "x").replace("/jusinfer?", "/mine?")


def superuser(own: EmbeddedPostgres) -> str:
    return own.admin_dsn.replace("/jusinfer?", "/mine?")


def signed_in(found: logins.Logins) -> dict[str, psycopg.Connection]:
    """Sign every process in, each once."""
    return {name: psycopg.connect(found.dsn_of(name), autocommit=True) for name in LOGINS}


def is_alive(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        connection.close()
        return False
    return True


def passwords(own: EmbeddedPostgres) -> dict[str, str]:
    with psycopg.connect(own.admin_dsn) as admin:
        rows = admin.execute(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY (%s)",
            (list(LOGINS.values()),),
        )
        return dict(rows.fetchall())


def test_new_passwords_put_out_whoever_has_the_former_ones_and_nobody_else(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    former = logins.renew(dba(own), tmp_path)
    sessions = signed_in(former)
    # In the middle of a transaction and of a statement they end as well.
    sessions["gateway"].execute("BEGIN")
    sessions["console"].pgconn.send_query(b"SELECT pg_sleep(30)")
    with psycopg.connect(dba(own), autocommit=True) as other:
        (tmp_path / logins.FILE_NAME).unlink()
        found = logins.keep(dba(own), tmp_path, may_replace=True)
        assert is_alive(other)
    sessions["console"].close()
    assert [name for name, one in sessions.items() if name != "console" and is_alive(one)] == []
    with psycopg.connect(superuser(own)) as admin:
        left = admin.execute(
            "SELECT usename FROM pg_stat_activity WHERE usename = ANY (%s)",
            (list(LOGINS.values()),),
        ).fetchall()
    assert left == []
    for name, role in LOGINS.items():
        assert not lets_in(former.dsn_of(name), role)
        assert lets_in(found.dsn_of(name), role)


def test_passwords_that_work_stay_and_so_do_their_sessions(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    found = logins.renew(dba(own), tmp_path)
    before = passwords(own)
    sessions = signed_in(found)
    logins.keep(dba(own), tmp_path, may_replace=True)
    assert passwords(own) == before
    for name, one in sessions.items():
        assert is_alive(one), name
        one.close()


def test_a_login_that_was_disabled_is_one_that_is_refused(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    found = logins.renew(dba(own), tmp_path)
    with psycopg.connect(superuser(own), autocommit=True) as admin:
        admin.execute("ALTER ROLE jusinfer_mail NOLOGIN")
    assert not lets_in(found.dsn_of("mail"), "jusinfer_mail")
    logins.keep(dba(own), tmp_path, may_replace=True)
    assert lets_in(found.dsn_of("mail"), "jusinfer_mail")


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (
            "ALTER ROLE jusinfer_web CONNECTION LIMIT 0",
            "ALTER ROLE jusinfer_web CONNECTION LIMIT -1",
        ),
        (
            "REVOKE CONNECT ON DATABASE mine FROM jusinfer_web",
            "GRANT CONNECT ON DATABASE mine TO jusinfer_web",
        ),
    ],
)
def test_what_is_no_refusal_of_a_password_changes_none(
    own: EmbeddedPostgres, tmp_path: Path, breaks: str, mends: str
) -> None:
    logins.renew(dba(own), tmp_path)
    before = passwords(own)
    with psycopg.connect(superuser(own), autocommit=True) as admin:
        admin.execute(breaks.encode())
        try:
            with pytest.raises(StoreError, match=r"jusinfer_web cannot sign in .*not about its"):
                logins.keep(dba(own), tmp_path, may_replace=True)
        finally:
            admin.execute(mends.encode())
    assert passwords(own) == before


def test_a_login_that_pg_hba_keeps_out_is_said_to_be(own: EmbeddedPostgres, tmp_path: Path) -> None:
    found = logins.renew(dba(own), tmp_path)
    hba = own._data / "pg_hba.conf"
    text = hba.read_text()
    with psycopg.connect(superuser(own), autocommit=True) as admin:
        hba.write_text("local all jusinfer_web reject\n" + text)
        admin.execute("SELECT pg_reload_conf()")
        try:
            with pytest.raises(StoreError, match=r"refuses the login jusinfer_web .*pg_hba"):
                wait_and_keep(own, tmp_path, found)
        finally:
            hba.write_text(text)
            admin.execute("SELECT pg_reload_conf()")


def wait_and_keep(own: EmbeddedPostgres, place: Path, found: logins.Logins) -> None:
    deadline = time.monotonic() + 10
    while lets_in(found.dsn_of("console"), "jusinfer_web") and time.monotonic() < deadline:
        time.sleep(0.02)
    logins.keep(dba(own), place, may_replace=True)


def test_a_server_that_is_away_is_said_to_be_and_no_new_secret_is_kept(tmp_path: Path) -> None:
    nowhere = f"postgresql://dba:x@/mine?host={tmp_path}"
    write_secret(tmp_path / logins.FILE_NAME, b"a secret")
    with pytest.raises(StoreError, match=r"cannot sign in \(no answer\)"):
        logins.keep(nowhere, tmp_path, may_replace=True)
    assert (tmp_path / logins.FILE_NAME).read_bytes() == b"a secret"


def test_a_command_without_the_file_replaces_nothing(own: EmbeddedPostgres, tmp_path: Path) -> None:
    logins.renew(dba(own), tmp_path)
    before = passwords(own)
    for place in (tmp_path / "none", tmp_path / "another"):
        place.mkdir()
    write_secret(tmp_path / "another" / logins.FILE_NAME, b"another secret")
    for place in ("none", "another"):
        with pytest.raises(StoreError, match="copy that file from the machine that serves"):
            logins.keep(dba(own), tmp_path / place, may_replace=False)
    assert passwords(own) == before
    assert not (tmp_path / "none" / logins.FILE_NAME).exists()


def test_what_is_printed_puts_out_former_sessions_once(
    own: EmbeddedPostgres, tmp_path: Path
) -> None:
    former = signed_in(logins.renew(dba(own), tmp_path))
    chosen = logins.choose(dba(own), tmp_path)
    text = script(chosen, "mine", "dba").encode()
    with psycopg.connect(superuser(own), autocommit=True) as admin:
        admin.execute(text)
        assert [name for name, one in former.items() if is_alive(one)] == []
        sessions = signed_in(chosen)
        admin.execute(text)
        assert is_alive(admin)
    for name, one in sessions.items():
        assert is_alive(one), name
        one.close()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    for name in (logins.FILE_NAME, SUPERUSER_FILE):
        write_secret(tmp_path / name, b"a secret")
        (tmp_path / name).chmod(mode)
    with pytest.raises(StoreError, match=f"chmod 600 {tmp_path / logins.FILE_NAME}"):
        logins.known("postgresql:///x", tmp_path)
    with pytest.raises(StoreError, match=f"chmod 600 {tmp_path / SUPERUSER_FILE}"):
        assert EmbeddedPostgres(tmp_path).admin_dsn

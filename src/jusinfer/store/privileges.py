"""What an administrator runs once where the role of DATABASE_URL may make no roles itself."""

import base64
import hashlib
import hmac
from typing import Final

from jusinfer.store.logins import Logins
from jusinfer.store.roles import LOGINS, OWNER, confinement, defaults, quoted, withdrawal

ITERATIONS: Final = 4_096
SALT_BYTES: Final = 16
END_SESSIONS: Final = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND usename = ANY (string_to_array(current_setting('jusinfer.renewed'), ' '));"
)


def verifier(password: str) -> str:
    """Give what PostgreSQL keeps of a password (SCRAM-SHA-256): enough to check it, not to use it.

    The password must be ASCII and random, as those of `logins` are. Its salt follows from it, so
    that a script which is run again finds what it set.
    """
    salt = hmac.digest(password.encode("ascii"), b"salt", "sha256")[:SALT_BYTES]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    first, second, third = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${ITERATIONS}:{first}${second}:{third}"


def script(logins: Logins, database: str, migrating_role: str) -> str:
    """Give SQL for a superuser, in the database itself; running it twice changes nothing more."""
    migrator = quoted(migrating_role)
    lines = [
        "-- Run as a superuser, in the database that DATABASE_URL names. It holds no password.",
        "SELECT set_config('jusinfer.renewed', '', false);",
        _role(OWNER),
        f"ALTER ROLE {OWNER} NOLOGIN NOINHERIT;",
    ]
    for process, role in LOGINS.items():
        secret = verifier(logins.password(process))
        lines += [_role(role), f"ALTER ROLE {role} LOGIN NOINHERIT;", _password(role, secret)]
        lines += [f"{statement};" for statement in defaults(process, database)]
    lines += [
        f"GRANT {OWNER} TO {migrator};",
        *(f"{statement};" for statement in confinement(database, migrator)),
        withdrawal(),
        "-- Whoever signed in with a former password.",
        END_SESSIONS,
    ]
    return "\n".join(lines) + "\n"


def _role(name: str) -> str:
    return (
        f"DO $$ BEGIN IF to_regrole('{name}') IS NULL THEN CREATE ROLE {name} NOLOGIN;"
        " END IF; END $$;"
    )


def _password(role: str, secret: str) -> str:
    """Give SQL that sets a verifier where it is another, and remembers that it did."""
    return (
        "DO $$ BEGIN IF (SELECT rolpassword FROM pg_authid"  # noqa: S608 (names and base64 of ours)
        f" WHERE rolname = '{role}') IS DISTINCT FROM '{secret}' THEN"
        f" ALTER ROLE {role} PASSWORD '{secret}';"
        " PERFORM set_config('jusinfer.renewed',"
        f" concat_ws(' ', current_setting('jusinfer.renewed'), '{role}'), false);"
        " END IF; END $$;"
    )

"""The functions and triggers of the database: one file for each noun in `sql/`, as it is now.

They are no migrations: whenever a file's text is not the one that was applied last, all functions
of ours are dropped and made again in one transaction, so what is there is what the files say.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Final

import psycopg

Connection = psycopg.Connection[Any]

FOLDER: Final = Path(__file__).parent / "sql"
APPLIED: Final = "SELECT name, sha256 FROM schema_text"
NOTE: Final = "INSERT INTO schema_text (name, sha256) VALUES (%s, %s)"
_BODY: Final = re.compile(
    r"^CREATE OR REPLACE FUNCTION (\w+)\(.*?AS \$\$(.*?)\$\$;", re.DOTALL | re.MULTILINE
)
TRIGGERS: Final = """
SELECT t.tgname, t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND p.pronamespace = 'public'::regnamespace
  AND p.proname LIKE 'jusinfer\\_%'
"""
FUNCTIONS: Final = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'jusinfer\\_%'
"""


def texts() -> dict[str, str]:
    """Give each file's name and text."""
    return {path.name: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.sql"))}


def bodies(name: str) -> dict[str, str]:
    """Give the name and body of each function that a file makes, as PostgreSQL keeps the body."""
    return dict(_BODY.findall((FOLDER / name).read_text("utf-8")))


def digests() -> dict[str, str]:
    """Give each file's name and the SHA-256 of its text."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts().items()}


def is_applied(connection: Connection) -> bool:
    """Tell whether the database has these very texts."""
    return dict(connection.execute(APPLIED).fetchall()) == digests()


def apply(connection: Connection) -> None:
    """Make functions and triggers anew where a text has changed; the client is their owner.

    Runs in the client's transaction. Files may call each other in any order: bodies are checked
    in a second pass, when all of them are there.
    """
    if is_applied(connection):
        return
    # A trigger cannot be dropped while checks of this transaction wait for its end.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for trigger, table in connection.execute(TRIGGERS).fetchall():
        connection.execute(f"DROP TRIGGER {trigger} ON {table}")
    for (function,) in connection.execute(FUNCTIONS).fetchall():
        connection.execute(f"DROP FUNCTION {function}")
    connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    for checks in ("off", "on"):
        connection.execute(f"SET LOCAL check_function_bodies = {checks}")
        for text in texts().values():
            connection.execute(text.encode())
    connection.execute("DELETE FROM schema_text")
    for name, digest in digests().items():
        connection.execute(NOTE, (name, digest))

"""Who may do what in the database: one login for each process, and one owner without a login.

Roles belong to the whole server, privileges to one database. Whoever migrates needs CREATEROLE, or
finds the roles made; everything else is done as the owner, which is no superuser.
"""

from collections.abc import Mapping
from typing import Any, Final

import psycopg

from jusinfer.store.errors import StoreError

Connection = psycopg.Connection[Any]

OWNER: Final = "jusinfer_owner"
# A process, and the role that it signs in as.
LOGINS: Final[Mapping[str, str]] = {
    "gateway": "jusinfer_gateway",
    "settler": "jusinfer_settler",
    "reconciler": "jusinfer_reconciler",
    "console": "jusinfer_web",
    "payments": "jusinfer_payments",
    "privacy": "jusinfer_privacy",
    "mail": "jusinfer_mail",
    "operator": "jusinfer_operator",
}
FORMER: Final = ("jusinfer_control", "jusinfer_web")
EXISTING: Final = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)"
IS_MEMBER: Final = """
SELECT pg_has_role(current_user, %s,
  CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END)
"""
IS_DATABASE_OWNER: Final = """
SELECT pg_has_role(current_user, datdba, 'USAGE') FROM pg_database
WHERE datname = current_database()
"""
# What an earlier version made as whoever migrated then; what extensions made is left alone.
NOT_OWNED: Final = """
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
  c.oid::regclass::text AS name
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'S')
  AND pg_has_role(current_user, c.relowner, 'USAGE') AND c.relowner <> %(owner)s::regrole
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.deptype IN ('e', 'a', 'i') AND c.relkind = 'S'
    OR d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT 'FUNCTION', p.oid::regprocedure::text
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'jusinfer\\_%%'
  AND p.proowner <> %(owner)s::regrole
"""
HOW: Final = (
    "give the role of DATABASE_URL the attribute CREATEROLE and the database's ownership,"
    " or let an administrator run what `jusinfer migrate --print-privileges` writes"
)


def prepare(connection: Connection) -> None:
    """Make the roles, give the schema to the owner and everything that is ours with it.

    Runs in the caller's transaction; raises StoreError where that takes more than one may do.
    """
    try:
        _make_roles(connection)
        confine(connection)
        _hand_over(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(f"the database's roles and rights cannot be set; {HOW}") from error


def confine(connection: Connection) -> None:
    """Let nobody but our logins into the database, and nobody make temporary tables in it."""
    row = connection.execute(IS_DATABASE_OWNER).fetchone()
    if row is None or not row[0]:
        return
    everyone = ", ".join((OWNER, *LOGINS.values()))
    name = psycopg.sql.Identifier(connection.info.dbname)
    for statement in (
        psycopg.sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name),
        psycopg.sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            name, psycopg.sql.SQL(everyone)
        ),
    ):
        connection.execute(statement)
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    connection.execute(f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}")
    connection.execute(f"GRANT USAGE ON SCHEMA public TO {', '.join(LOGINS.values())}")


def _make_roles(connection: Connection) -> None:
    wanted = (OWNER, *LOGINS.values())
    found = connection.execute(EXISTING, ([*wanted, FORMER[0]],)).fetchall()
    names = {str(row[0]) for row in found}
    if FORMER[0] in names and FORMER[1] not in names:
        connection.execute(f"ALTER ROLE {FORMER[0]} RENAME TO {FORMER[1]}")
        names.add(FORMER[1])
    for name in wanted:
        if name not in names:
            # A login without a password is none; `logins` gives it one.
            connection.execute(f"CREATE ROLE {name} NOLOGIN NOINHERIT")
    row = connection.execute(IS_MEMBER, (OWNER,)).fetchone()
    if row is None or not row[0]:
        connection.execute(f"GRANT {OWNER} TO CURRENT_USER")


def _hand_over(connection: Connection) -> None:
    for kind, name in connection.execute(NOT_OWNED, {"owner": OWNER}).fetchall():
        connection.execute(f"ALTER {kind} {name} OWNER TO {OWNER}")

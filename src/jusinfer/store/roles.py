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
# What a session of each login has unless it says otherwise; statements and waits of any length
# would let one process that hangs stall the others.
IDLE: Final = "idle_in_transaction_session_timeout"
DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = {
    "gateway": {"statement_timeout": "10s", IDLE: "30s"},
    "settler": {"statement_timeout": "60s", IDLE: "60s"},
    "reconciler": {"statement_timeout": "30s", IDLE: "30s"},
    "console": {"statement_timeout": "30s", IDLE: "30s"},
    "payments": {"statement_timeout": "30s", IDLE: "30s"},
    "privacy": {"statement_timeout": "600s", IDLE: "60s"},
    "mail": {"statement_timeout": "30s", IDLE: "30s"},
    "operator": {"statement_timeout": "600s", IDLE: "600s"},
}
SETTINGS: Final = """
SELECT COALESCE(array_agg((s.setdatabase <> 0)::text || ' ' || one), '{}')
FROM pg_db_role_setting s, unnest(s.setconfig) AS one
WHERE s.setrole = %s::regrole AND s.setdatabase IN
  (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
# Functions of PostgreSQL that are everyone's: locks by a number that anyone may take, so that the
# settler or a migration waits for ever, and files that belong to no table of ours.
EVERYONES: Final = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND (p.proname ~ '^pg_(try_)?advisory_|^lo_' OR p.proname IN ('loread', 'lowrite'))
  AND EXISTS (SELECT 1 FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) g
    WHERE g.grantee = 0)
"""
IS_SUPERUSER: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
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

    Runs in the client's transaction; raises StoreError where that takes more than one may do.
    """
    try:
        _make_roles(connection)
        confine(connection)
        _set_defaults(connection)
        _hand_over(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(f"the database's roles and rights cannot be set; {HOW}") from error


def confine(connection: Connection) -> None:
    """Let nobody but our logins into the database, and nobody make temporary tables in it."""
    row = connection.execute(IS_DATABASE_OWNER).fetchone()
    if row is None or not row[0]:
        return
    for statement in confinement(connection.info.dbname):
        connection.execute(statement.encode())
    _withdraw(connection)


def confinement(database: str, *others: str) -> list[str]:
    """Give SQL that lets our roles, and others as they are quoted, into a database, and no more."""
    everyone, name = ", ".join(LOGINS.values()), quoted(database)
    return [
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {', '.join((OWNER, everyone, *others))}",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}",
        f"GRANT USAGE ON SCHEMA public TO {everyone}",
    ]


def quoted(name: str) -> str:
    """Write a name as SQL takes any name."""
    return '"' + name.replace('"', '""') + '"'


def withdrawal() -> str:
    """Give SQL for a superuser: what everyone has is left to those of ours that use it."""
    return (
        f"DO $$ DECLARE one text; BEGIN FOR one IN {EVERYONES.strip()} LOOP"
        " EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one); END LOOP; END $$;\n"
        f"GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO {LOGINS['settler']};\n"
        f"GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {OWNER};"
    )


def defaults(process: str, database: str) -> list[str]:
    """Give SQL that drops what a login has set for its later sessions, and sets ours.

    Any login may set such for itself; a search path or the like would outlive a new password.
    """
    role = LOGINS[process]
    return [
        f"ALTER ROLE {role} RESET ALL",
        f"ALTER ROLE {role} IN DATABASE {quoted(database)} RESET ALL",
        *(f"ALTER ROLE {role} SET {key} = '{value}'" for key, value in DEFAULTS[process].items()),
    ]


def _withdraw(connection: Connection) -> None:
    row = connection.execute(IS_SUPERUSER).fetchone()
    if row is not None and row[0]:
        connection.execute(withdrawal().encode())


def _set_defaults(connection: Connection) -> None:
    """Set the defaults of each login where they are others."""
    for process, role in LOGINS.items():
        row = connection.execute(SETTINGS, (role,)).fetchone()
        wanted = sorted(f"false {name}={value}" for name, value in DEFAULTS[process].items())
        if row is None or sorted(row[0]) != wanted:
            for statement in defaults(process, connection.info.dbname):
                connection.execute(statement.encode())


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

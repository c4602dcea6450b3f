"""Signing in: a refusal told apart from a database that does not answer; sessions that end."""

import os
import re
import select
import time
from typing import Final

import psycopg
from psycopg import pq

from jusinfer.store.database import CONNECT_SECONDS
from jusinfer.store.errors import StoreError

# Of "invalid authorization specification": a wrong password, a role that may not sign in.
REFUSED: Final = "28"
END_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.02
# Each login ends its own: that takes no right which a role of the operator's might lack.
END_EARLIER: Final = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = session_user AND pid <> pg_backend_pid()
  AND backend_start < (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
"""
_ERROR: Final = re.compile(rb'ErrorResponse\t S "[^"]*" V "[^"]*" C "(\w{5})"')
_TRACE_BYTES_MAX: Final = 65_536


def lets_in(dsn: str, role: str) -> bool:
    """Tell whether the database lets a login in; False only where it refuses the login itself.

    Raises StoreError where that cannot be told: no answer in time, no connection left, and such.
    """
    try:
        psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        state = _state_of_refusal(dsn)
        if state is not None and state.startswith(REFUSED):
            return False
        raise StoreError(
            f"the login {role} cannot sign in ({state or 'no answer'}), which is not about its"
            " password; check that the database is up, has connections left, and lets the login"
            " connect"
        ) from error
    return True


def end_earlier_sessions(dsn: str, role: str) -> None:
    """End every session of a login that began before this one; raises StoreError."""
    deadline = time.monotonic() + END_SECONDS
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
            while left := connection.execute(END_EARLIER).fetchall():
                if time.monotonic() > deadline:
                    pids = ", ".join(str(pid) for pid, _ in left)
                    raise StoreError(
                        f"sessions of {role} that signed in with its former password do not end"
                        f" (server processes {pids}); end them, then start again"
                    )
                time.sleep(POLL_SECONDS)
    except psycopg.OperationalError as error:
        raise StoreError(f"the login {role} was cut off; start again") from error


def _state_of_refusal(dsn: str) -> str | None:
    """Sign in once more and give the SQLSTATE of the refusal; None when there is none.

    libpq keeps only the words of such a refusal, which are in the server's language; the trace of
    its protocol has the code.
    """
    connection = pq.PGconn.connect_start(dsn.encode())
    trace = os.memfd_create("sign-in") if hasattr(os, "memfd_create") else None
    try:
        if trace is None:
            _finish(connection)
            return (
                "28P01" if b"password authentication failed" in connection.error_message else None
            )
        if connection.status != pq.ConnStatus.BAD:
            connection.trace(trace)
            _finish(connection)
            connection.untrace()
        found = _ERROR.findall(os.pread(trace, _TRACE_BYTES_MAX, 0))
        return found[-1].decode() if found else None
    finally:
        connection.finish()
        if trace is not None:
            os.close(trace)


def _finish(connection: pq.abc.PGconn) -> None:
    """Carry a sign-in to its end, or to its deadline."""
    deadline = time.monotonic() + CONNECT_SECONDS
    status = pq.PollingStatus.WRITING
    while status in {pq.PollingStatus.READING, pq.PollingStatus.WRITING}:
        left = deadline - time.monotonic()
        if left <= 0 or connection.status == pq.ConnStatus.BAD:
            return
        reading = [connection.socket] if status == pq.PollingStatus.READING else []
        writing = [connection.socket] if status == pq.PollingStatus.WRITING else []
        if any(select.select(reading, writing, [], left)):
            status = pq.PollingStatus(connection.connect_poll())

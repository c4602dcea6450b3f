"""Who holds what a session waits for, seen from another session while it waits.

When the wait has ended in an error it is too late to ask.
"""

import threading
from types import TracebackType
from typing import Final, NamedTuple, Self

import psycopg

CONNECT_SECONDS: Final = 5
# A wait that is over sooner costs no connection.
POLL_SECONDS: Final = 0.5
SHOWN_MAX: Final = 10
BLOCKERS: Final = """
SELECT b.pid, a.usename, a.application_name,
  extract(epoch FROM clock_timestamp() - a.xact_start)::bigint
FROM unnest(pg_blocking_pids(%s)) AS b (pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid
ORDER BY 4 DESC NULLS LAST
"""


class Blocker(NamedTuple):
    """A session that holds a lock; what a role may not see of others is None, seconds its age."""

    pid: int
    login: str | None
    program: str | None
    seconds: int | None

    def __str__(self) -> str:
        """Name it, without what it does."""
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        known = [self.login or "another login", self.program or "", self._age()]
        return f"server process {self.pid} ({', '.join(one for one in known if one)})"

    def _age(self) -> str:
        return "" if self.seconds is None else f"in a transaction for {self.seconds} s"


class Watch:
    """Remembers whom a session last waited for; a thread of its own asks, while it is entered."""

    def __init__(self, dsn: str, pid: int) -> None:
        self._dsn = dsn
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lock waits", daemon=True)
        self._last: list[Blocker] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(CONNECT_SECONDS)

    def blockers(self) -> list[Blocker]:
        """Give those it waited for when it was last seen to wait."""
        return list(self._last)

    def _look(self) -> None:
        if self._ended.wait(POLL_SECONDS):
            return
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS
            ) as connection:
                while not self._ended.wait(POLL_SECONDS):
                    rows = connection.execute(BLOCKERS, (self._pid,)).fetchmany(SHOWN_MAX)
                    if rows:
                        self._last = [Blocker(*row) for row in rows]
        except psycopg.Error:
            return  # who waits is told without names

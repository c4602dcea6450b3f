"""The reconciler's only client of PostgreSQL: which completions to ask about, and what was said.

Every call is a function of the database that the reconciler's login may execute; it can read and
change nothing else. Every call ends within a deadline, and any outage is `ReportLinkDown`.
"""

from typing import Final

import msgspec
import psycopg

from jusinfer.domain.provider_report import DELAYS_SECONDS, GIVE_UP_SECONDS, ProviderReport

CONNECT_SECONDS: Final = 3
STATEMENT_TIMEOUT: Final = "SET statement_timeout = '5s'"
LOCK_TIMEOUT: Final = "SET lock_timeout = '3s'"
DUE: Final = "SELECT * FROM jusinfer_due_reports(%s::text[], %s::integer[], %s, %s)"
REPORTED: Final = "SELECT jusinfer_note_report(%s, %s, %s, %s)"
NOT_REPORTED: Final = "SELECT jusinfer_note_no_report(%s, %s)"
GIVE_UP: Final = "SELECT jusinfer_give_up_reports(%s::text[], %s)"


class ReportLinkDown(Exception):
    """The database does not answer, or not in time."""


class Due(msgspec.Struct, frozen=True):
    """One completion whose provider is to be asked now."""

    completion_id: str
    upstream: str
    generation_id: str


class ReportLink:
    """One connection, used by one call at a time; it comes back by itself."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def due(self, upstreams: list[str], rows_max: int) -> list[Due]:
        """Take what is to be asked now of these upstreams; each is counted as asked."""
        values = (upstreams, list(DELAYS_SECONDS), GIVE_UP_SECONDS, rows_max)
        return [
            Due(str(completion_id).replace("-", ""), str(upstream), str(generation_id))
            for completion_id, upstream, generation_id in self._rows(DUE, values)
        ]

    def note(self, completion_id: str, report: ProviderReport) -> bool:
        """Record a report; false when the completion waits for none."""
        tokens = report.prompt_tokens, report.completion_tokens
        return self._rows(REPORTED, (completion_id, report.cost_pico, *tokens))[0][0] is True

    def note_failure(self, completion_id: str, code: str) -> None:
        """Record why there is no report yet."""
        self._rows(NOT_REPORTED, (completion_id, code))

    def give_up(self, upstreams: list[str]) -> int:
        """Ask no more about what is too old; gives how many."""
        return int(str(self._rows(GIVE_UP, (upstreams, GIVE_UP_SECONDS))[0][0]))

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        try:
            return self._connected().execute(statement, values).fetchall()
        except psycopg.Error as error:
            self.close()
            raise ReportLinkDown(type(error).__name__) from error

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        if self._connection is None:
            connection: psycopg.Connection[tuple[object, ...]] = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS
            )
            try:
                for statement in (STATEMENT_TIMEOUT, LOCK_TIMEOUT):
                    connection.execute(statement)
            except psycopg.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

"""The settler's loop: follow every journal, post what is new, finish what a dead worker left."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

from jusinfer.observability import Events
from jusinfer.settler.journal_reader import BATCH_ROWS, READ_BYTES, Batch, JournalReader
from jusinfer.settler.poster import Connection, CursorMoved, Posted, post_batch
from jusinfer.settler.recovery import closing_batch, reclaim

POLL_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 0.5
LIVENESS_SECONDS: Final = 0.5
KEEP_CLOSED_SECONDS: Final = 60.0
EXPIRY_SECONDS: Final = 10.0
EXPIRED_GRANTS_MAX: Final = 1_000
CONNECT_SECONDS: Final = 3
STATEMENT_TIMEOUT: Final = "SET statement_timeout = '30s'"
SETTLER_LOCK: Final = 7_219_417_002
MONTHS_AHEAD: Final = 2
ENSURE_MONTHS: Final = "SELECT jusinfer_ensure_months(%s)"
EXPIRE: Final = "SELECT grants, amount_nano FROM jusinfer_expire_grants(%s)"
CURSOR_OPEN: Final = """
INSERT INTO journal_cursor (journal, worker_id) VALUES (%s, %s) ON CONFLICT (journal) DO NOTHING
"""
CURSOR_READ: Final = "SELECT offset_bytes, is_closed FROM journal_cursor WHERE journal = %s"


class Settler:
    """Posts the journals of one directory; only one settler of a database does at a time."""

    def __init__(
        self,
        dsn: str,
        journal_dir: Path,
        events: Events,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._dsn = dsn
        self._journal_dir = journal_dir
        self._events = events
        self._step = step
        self._connection: Connection | None = None
        self._readers: dict[str, JournalReader] = {}
        self._closed: dict[str, float] = {}
        self._looked_at = 0.0
        self._expired_at = -EXPIRY_SECONDS
        self.posted_rows = 0

    def run(self, stop: threading.Event) -> None:
        """Post until told to stop; then post once more what is left."""
        is_down = False
        while True:
            is_last = stop.is_set()
            try:
                count = self.run_once()
                if is_down:
                    self._events.emit("database_back")
                is_down = False
            except psycopg.OperationalError as error:
                self._drop()
                if not is_down:
                    self._events.emit("database_away", error=type(error).__name__)
                is_down = True
                count = 0
            if is_last and count == 0:
                break
            if count < BATCH_ROWS:
                # Small batches cost as many transactions as large ones: let some gather.
                stop.wait(RETRY_SECONDS if is_down else POLL_SECONDS)
        self.close()

    def run_once(self) -> int:
        """Look at every journal once; gives how many rows were posted."""
        connection = self._connected()
        now = time.monotonic()
        is_checking = now - self._looked_at >= LIVENESS_SECONDS
        if is_checking:
            self._looked_at = now
            self._expire(connection, now)
        rows = 0
        for path in sorted(self._journal_dir.glob("*.journal")):
            if path.name in self._closed:
                self._remove_closed(path, now)
                continue
            try:
                rows += self._follow(connection, path, is_checking=is_checking)
            except CursorMoved:
                # Someone else has posted a part: begin again from where the cursor is now.
                self._readers.pop(path.name, None)
                self._events.emit("cursor_moved", journal=path.name)
        self.posted_rows += rows
        return rows

    def _expire(self, connection: Connection, now: float) -> None:
        """Expire credit grants whose time is over, and make months ahead, now and then."""
        if now - self._expired_at < EXPIRY_SECONDS:
            return
        self._expired_at = now
        connection.execute(ENSURE_MONTHS, (MONTHS_AHEAD,))
        with connection.transaction():
            row = connection.execute(EXPIRE, (EXPIRED_GRANTS_MAX,)).fetchone()
        if row is not None and int(str(row[0])):
            self._events.emit(
                "credit_expired", count=int(str(row[0])), amount_nano=int(str(row[1]))
            )

    def close(self) -> None:
        """Let the connection go."""
        self._drop()

    # ------------------------------------------------------------------ one journal

    def _follow(self, connection: Connection, path: Path, *, is_checking: bool) -> int:
        reader = self._readers.get(path.name)
        if reader is None:
            reader = self._open(connection, path)
            if reader is None:
                return 0
        # Asked before reading: a worker that dies after this is finished the next time.
        is_written = not is_checking or reader.is_written()
        rows = 0
        batch: Batch | None = None
        while reader.size > reader.offset:
            batch = reader.read()
            if batch.end == batch.start:
                break
            rows += self._post(connection, reader, batch)
            is_small = batch.end - batch.start < READ_BYTES // 2 and len(batch.rows) < BATCH_ROWS
            if is_written and is_small:
                # Caught up: what is written meanwhile may gather until the next look.
                break
        if not is_written:
            torn = batch.torn if batch is not None and batch.end == batch.start else None
            rows += self._finish(connection, reader, is_torn=torn is not None)
        elif batch is not None and batch.torn is not None and batch.end == batch.start:
            self._report_torn(reader, batch)
        return rows

    def _open(self, connection: Connection, path: Path) -> JournalReader | None:
        reader = JournalReader(path)
        first = reader.read(limit=65_536)
        if first.end == 0:
            return None
        with connection.transaction():
            connection.execute(CURSOR_OPEN, (reader.name, reader.worker_id))
            row = connection.execute(CURSOR_READ, (reader.name,)).fetchone()
        if row is None or bool(row[1]):
            self._closed[path.name] = time.monotonic()
            return None
        reader.rewind(int(str(row[0])))
        self._readers[path.name] = reader
        return reader

    def _post(
        self, connection: Connection, reader: JournalReader, batch: Batch, *, is_last: bool = False
    ) -> int:
        posted = post_batch(connection, reader, batch, is_last=is_last, step=self._step)
        reader.accept(batch)
        self._report(reader, posted)
        return posted.rows

    def _finish(self, connection: Connection, reader: JournalReader, *, is_torn: bool) -> int:
        """End what was in flight in a journal that nobody writes any more, then reclaim."""
        if is_torn:
            self._events.emit(
                "journal_torn",
                journal=reader.name,
                offset_bytes=reader.offset,
                bytes=reader.size - reader.offset,
            )
        in_flight = len(reader.open_admissions)
        rows = self._post(connection, reader, closing_batch(reader), is_last=True)
        self._closed[reader.name] = time.monotonic()
        self._readers.pop(reader.name, None)
        siblings = [
            path
            for path in self._journal_dir.glob(f"{reader.worker_id}-*.journal")
            if path.name not in self._closed
        ]
        leases, amount_nano = (0, 0) if siblings else reclaim(connection, reader.worker_id)
        self._events.emit(
            "journal_closed",
            journal=reader.name,
            count=in_flight,
            rows=leases,
            overrun_nano=0,
            worker_id=reader.worker_id,
            bytes=amount_nano,
        )
        return rows

    def _report(self, reader: JournalReader, posted: Posted) -> None:
        if posted.overrun_nano:
            self._events.emit(
                "overrun_posted", journal=reader.name, overrun_nano=posted.overrun_nano
            )
        if posted.unknown_tenants:
            self._events.emit("suspense_posted", journal=reader.name, count=posted.unknown_tenants)

    def _report_torn(self, reader: JournalReader, batch: Batch) -> None:
        """Say once that a live worker's journal cannot be read on, unless it is mid-write."""
        torn = batch.torn
        if torn is None or torn.cause in {"frame head is cut", "frame is cut"}:
            return
        if reader.reported_torn_at != torn.offset_bytes:
            reader.reported_torn_at = torn.offset_bytes
            self._events.emit(
                "journal_torn",
                journal=reader.name,
                offset_bytes=torn.offset_bytes,
                cause=torn.cause,
            )

    def _remove_closed(self, path: Path, now: float) -> None:
        if now - self._closed[path.name] > KEEP_CLOSED_SECONDS:
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ the connection

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection: Connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=CONNECT_SECONDS
            )
            try:
                connection.execute(STATEMENT_TIMEOUT)
                connection.execute("SELECT pg_advisory_lock(%s)", (SETTLER_LOCK,))
            except psycopg.Error:
                connection.close()
                raise
            self._readers.clear()
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

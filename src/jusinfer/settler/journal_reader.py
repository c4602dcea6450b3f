"""Reads one journal file from where it was last posted, and knows what is still in flight."""

import fcntl
import os
from pathlib import Path
from typing import Final

import msgspec

from jusinfer.domain.journal import (
    CorruptTail,
    FrameDecoder,
    RequestAdmitted,
    RequestEnded,
    SegmentHeader,
)

READ_BYTES: Final = 4 * 1024 * 1024
BATCH_ROWS: Final = 5_000


class Batch(msgspec.Struct):
    """What was read beyond the cursor: rows to post, and how far the cursor goes with them."""

    start: int
    end: int
    rows: list[RequestEnded] = []
    admitted: dict[str, RequestAdmitted] = {}
    ended: set[str] = set()
    torn: CorruptTail | None = None


class JournalReader:
    """One journal; `open_admissions` are completions that have been admitted and not ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.worker_id = path.name.partition("-")[0]
        self.offset = 0
        self.open_admissions: dict[str, RequestAdmitted] = {}
        self.reported_torn_at: int | None = None
        self._decoder = FrameDecoder()

    @property
    def size(self) -> int:
        """The file's size now; 0 when it is gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def rewind(self, offset: int) -> None:
        """Begin at a cursor, having learnt from what lies before it what is in flight."""
        self.open_admissions = {}
        self.offset = 0
        while self.offset < offset:
            batch = self.read(limit=offset)
            if batch.end == batch.start:
                break
            self.accept(batch)
        self.offset = offset

    def read(self, limit: int | None = None) -> Batch:
        """Read one batch from the offset; nothing changes until it is accepted."""
        start = self.offset
        size = READ_BYTES if limit is None else min(READ_BYTES, limit - start)
        with self.path.open("rb") as stream:
            stream.seek(start)
            data = stream.read(size)
        batch = Batch(start=start, end=start)
        for found in self._decoder.records(data):
            if isinstance(found, CorruptTail):
                batch.torn = msgspec.structs.replace(found, offset_bytes=start + found.offset_bytes)
                break
            after, record = found
            batch.end = start + after
            if isinstance(record, RequestEnded):
                batch.rows.append(record)
                batch.ended.add(record.completion_id)
            elif isinstance(record, RequestAdmitted):
                batch.admitted[record.completion_id] = record
            elif isinstance(record, SegmentHeader):
                self.worker_id = record.worker_id
            if len(batch.rows) >= BATCH_ROWS:
                break
        return batch

    def accept(self, batch: Batch) -> None:
        """Move on past a batch that has been posted."""
        self.offset = batch.end
        self.open_admissions.update(batch.admitted)
        for completion_id in batch.ended:
            self.open_admissions.pop(completion_id, None)

    def is_written(self) -> bool:
        """Tell whether a worker may still write here: it holds the lock for as long."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

"""The worker's journal: one append per record, synced to disk every 50 ms, bounded in size.

A file is named `<worker id>-<number>.journal` and locked for as long as something in it can still
end, so that a free lock means: nobody will write here again. When a file is full the next one is
begun; a completion ends in the file that admitted it.
"""

import fcntl
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from jusinfer.domain.errors import Unavailable
from jusinfer.domain.journal import (
    FORMAT_VERSION,
    FrameEncoder,
    RequestAdmitted,
    RequestEnded,
    SegmentHeader,
)

SEGMENT_BYTES: Final = 64 * 1024 * 1024
SYNC_SECONDS: Final = 0.05


class JournalUnwritable(Unavailable):
    """The journal cannot take a record now, so no money may be spent."""

    code = "journal_unavailable"


class Segment:
    """One journal file, with the number of completions that may still end in it."""

    __slots__ = ("descriptor", "is_dirty", "is_full", "open_count", "path", "size_bytes")

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size_bytes = 0
        self.open_count = 0
        self.is_dirty = False
        self.is_full = False

    def append(self, frame: bytes) -> None:
        """Append a whole frame, or leave the file as it was and raise OSError."""
        written = os.write(self.descriptor, frame)
        if written != len(frame):
            os.ftruncate(self.descriptor, self.size_bytes)
            raise OSError("the disk took only a part of a journal record")
        self.size_bytes += written
        self.is_dirty = True

    def abandon(self) -> None:
        """Remove a file that holds no record, and let its lock go."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def close(self) -> None:
        """Sync and close; the lock goes with the descriptor."""
        os.fsync(self.descriptor)
        os.close(self.descriptor)


class Journal:
    """Appends records and sheds load before it forgets money. Not for use from two threads."""

    def __init__(self, directory: Path, worker_id: str, bytes_max: int) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._bytes_max = bytes_max
        self._encoder = FrameEncoder()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")
        self._sync: Future[None] | None = None
        self._number = 0
        self._old: list[Segment] = []
        self._segment: Segment | None = None
        self.kept_bytes = 0
        self.is_shedding = False
        self.sync_failed = False

    def open(self, now_us: int) -> str:
        """Begin the first file and give its name."""
        return self._begin(now_us).path.name

    def _begin(self, now_us: int) -> Segment:
        path = self._directory / f"{self._worker_id}-{self._number:06d}.journal"
        # A number is used once, also where the disk then takes nothing.
        self._number += 1
        segment = Segment(path)
        try:
            segment.append(
                self._encoder.frame(SegmentHeader(FORMAT_VERSION, self._worker_id, now_us))
            )
        except OSError:
            segment.abandon()
            raise
        self._segment = segment
        return segment

    def admit(self, record: RequestAdmitted) -> Segment:
        """Write that money may be spent; the completion must end in the segment returned."""
        segment = self._segment
        if segment is None or self.is_shedding:
            raise JournalUnwritable(
                "the journal is full or closed until it has been posted", retry_after_seconds=5
            )
        try:
            if segment.size_bytes >= SEGMENT_BYTES:
                segment = self._rotate(segment, record.admitted_at_us)
            segment.append(self._encoder.frame(record))
        except OSError as error:
            raise JournalUnwritable(
                "the journal cannot be written", retry_after_seconds=5
            ) from error
        segment.open_count += 1
        return segment

    def end(self, segment: Segment, record: RequestEnded) -> None:
        """Write how a completion ended; raises OSError when the disk refuses."""
        segment.append(self._encoder.frame(record))
        segment.open_count -= 1
        if segment.is_full and segment.open_count == 0:
            self._old.remove(segment)
            segment.close()

    def _rotate(self, segment: Segment, now_us: int) -> Segment:
        begun = self._begin(now_us)
        segment.is_full = True
        if segment.open_count == 0:
            segment.close()
        else:
            self._old.append(segment)
        return begun

    def measure(self) -> int:
        """Give the bytes of this worker's files still on disk, and decide whether to shed."""
        size = 0
        for path in self._directory.glob(f"{self._worker_id}-*.journal"):
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue
        self.kept_bytes = size
        self.is_shedding = size >= self._bytes_max
        return size

    def sync_soon(self) -> None:
        """Ask for a sync to disk in the background, unless one is under way."""
        if self._sync is not None:
            if not self._sync.done():
                return
            self.sync_failed = self._sync.exception() is not None
            self._sync = None
        dirty = [segment for segment in (self._segment, *self._old) if segment and segment.is_dirty]
        if dirty:
            for segment in dirty:
                segment.is_dirty = False
            self._sync = self._executor.submit(_sync, [segment.descriptor for segment in dirty])

    def close(self) -> None:
        """Sync and close every file, letting go of the locks."""
        self._executor.shutdown(wait=True)
        for segment in (self._segment, *self._old):
            if segment is not None:
                segment.close()
        self._segment = None
        self._old.clear()


def _sync(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.fsync(descriptor)

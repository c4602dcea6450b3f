"""The audit log as a chain: each entry's digest covers the entry and the digest before it.

What the database computes is computed again here, so that a database that lies about its own
function is found out.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

FIRST_DIGEST: Final = bytes(32)
STEPS_BACK_MAX: Final = 20
_HEAD: Final = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class Entry(msgspec.Struct, frozen=True):
    """One entry as it stands; `at_us` is UTC microseconds since 1970, `digest` 32 bytes."""

    seq: int
    at_us: int
    actor_kind: str
    actor_id: str
    how: str
    origin: str
    network: str | None
    tenant_id: str | None
    action: str
    outcome: str
    object_kind: str
    object_id: str
    digest: bytes


class Head(msgspec.Struct, frozen=True):
    """The number and digest of the last entry: what one keeps elsewhere to know the log again."""

    seq: int
    digest: bytes

    def __str__(self) -> str:
        """Write it as `12:9f86…`, which `read_head` reads."""
        return f"{self.seq}:{self.digest.hex()}"


class Fault(msgspec.Struct, frozen=True):
    """The first entry that is not what it was, and how that shows."""

    seq: int
    what: str


class StepBack(msgspec.Struct, frozen=True):
    """An entry whose time is before that of the entry before it, by so many microseconds."""

    seq: int
    by_us: int


class Verdict(msgspec.Struct, frozen=True):
    """How many entries were read, the head they come to, and what is wrong first, if anything.

    Entries stand in the order of their numbers; `steps_back` tells where the clock did not, which
    is no fault of the chain. There are the first `STEPS_BACK_MAX` of them.
    """

    entries: int
    head: Head
    fault: Fault | None
    steps_back: tuple[StepBack, ...] = ()


def read_head(text: str) -> Head:
    """Read what `str(head)` wrote; raises ValueError."""
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise ValueError("a head is a number, a colon and 64 hexadecimal characters")
    return Head(int(match[1]), bytes.fromhex(match[2]))


def digest_of(entry: Entry, before: bytes) -> bytes:
    """Give the 32 bytes that an entry must carry after an entry with the digest `before`."""
    fields = (
        before.hex(),
        str(entry.seq),
        str(entry.at_us),
        entry.actor_kind,
        entry.actor_id,
        entry.how,
        entry.origin,
        entry.network,
        entry.tenant_id,
        entry.action,
        entry.outcome,
        entry.object_kind,
        entry.object_id,
    )
    # A length before each value: no two different entries can be written as the same text.
    text = "".join("-;" if one is None else f"{len(one)}:{one};" for one in fields)
    return hashlib.sha256(f"v1;{text}".encode()).digest()


def verify(entries: Iterable[Entry], stored: Head, kept: Head | None = None) -> Verdict:
    """Follow the chain from its beginning against the stored head and one that was kept elsewhere.

    Ends at the first fault; entries come in the order of their numbers.
    """
    head = Head(0, FIRST_DIGEST)
    at_us: int | None = None
    back: list[StepBack] = []
    for entry in entries:
        fault = _fault_of(entry, head.seq + 1, head.digest, kept)
        if fault is not None:
            return Verdict(head.seq, head, fault, tuple(back))
        if at_us is not None and entry.at_us < at_us and len(back) < STEPS_BACK_MAX:
            back.append(StepBack(entry.seq, at_us - entry.at_us))
        at_us = entry.at_us
        head = Head(entry.seq, entry.digest)
    return Verdict(head.seq, head, _fault_of_end(head, stored, kept), tuple(back))


def _fault_of(entry: Entry, seq: int, before: bytes, kept: Head | None) -> Fault | None:
    if entry.seq != seq:
        return Fault(seq, f"it is missing: entry {entry.seq} stands in its place")
    if entry.digest != digest_of(entry, before):
        return Fault(seq, "it was changed, or an entry before it was: its digest does not fit")
    if kept is not None and kept.seq == seq and kept.digest != entry.digest:
        return Fault(seq, "it is not the entry that the head you keep tells of")
    return None


def _fault_of_end(head: Head, stored: Head, kept: Head | None) -> Fault | None:
    for other, whose in ((stored, "the stored head"), (kept, "the head you keep")):
        if other is not None and other.seq > head.seq:
            return Fault(head.seq + 1, f"it is missing: {whose} is at entry {other.seq}")
    if stored != head:
        return Fault(head.seq, f"the stored head is at entry {stored.seq} or has another digest")
    return None

"""Entries of the audit log, noted while a transaction runs and written as its last statements.

The log's head lets one transaction through at a time: what is written last holds it shortest,
and nobody who holds it waits for another lock.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import CIDR, UUID

from jusinfer.domain.actor import Action, Actor, Anyone, How, OnBehalf

DONE: Final = "done"
DENIED: Final = "denied"
Object = tuple[str, str]
_NOTES: Final = "jusinfer_audit_notes"


class NothingNoted(AssertionError):
    """A transaction that may change things said nothing for the audit log; it is rolled back."""


def note(tx: sa.Connection, kind: str, object_id: str) -> None:
    """Say what this transaction changed; who and by which action are the transaction's own."""
    tx.info[_NOTES].append((kind, object_id))


def begin(tx: sa.Connection) -> None:
    """Forget what an earlier transaction of the same connection noted."""
    tx.info[_NOTES] = []


def write_notes(tx: sa.Connection, who: Anyone, action: Action) -> None:
    """Write what was noted; raises NothingNoted when that is nothing."""
    noted = tx.info.pop(_NOTES)
    if not noted:
        raise NothingNoted(action.value)
    for seen in noted:
        append(tx, who, action, DONE, seen)


def append(tx: sa.Connection, who: Anyone, action: Action, outcome: str, seen: Object) -> None:
    """Write one entry."""
    tx.execute(sa.select(_call(who, action, outcome, seen)))


def _call(who: Anyone, action: Action, outcome: str, seen: Object) -> sa.Function[Any]:
    if isinstance(who, Actor):
        return sa.func.jusinfer_audit_member(
            sa.cast(who.member_id, UUID),
            who.how.value,
            who.origin.value,
            sa.cast(who.network, CIDR),
            action.value,
            outcome,
            *seen,
        )
    operator = who.operator if isinstance(who, OnBehalf) else who
    return sa.func.jusinfer_audit_operator(
        operator.how is How.PROCESS,
        operator.name,
        operator.how.value,
        operator.origin.value,
        action.value,
        outcome,
        *seen,
    )

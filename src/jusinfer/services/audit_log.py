"""The audit log: shown to those who may see it, and proved whole."""

import datetime as dt
from typing import Final

import msgspec

from jusinfer.domain import audit_chain
from jusinfer.domain.actor import Action, Anyone, Operator
from jusinfer.domain.audit_chain import Entry, Fault, Head, Verdict
from jusinfer.domain.errors import InvalidRequest
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import audit_log
from jusinfer.store.audit_note import note

ROWS_MAX: Final = 10_000
NO_HEAD: Final = Head(0, b"")


def list_entries(
    world: Services, who: Anyone, since: dt.datetime | None, rows_max: int
) -> list[Entry]:
    """Give the last entries of a tenant, or to an operator of all, in the order of the chain.

    `since` leaves out what stands before the first entry of that instant or later: where the clock
    was set back, later entries may have an earlier time.
    """
    if not 1 <= rows_max <= ROWS_MAX:
        raise InvalidRequest(f"from 1 to {ROWS_MAX} entries can be shown", param="limit")
    with reading(world, who, Action.AUDIT_READ) as (tx, scope):
        return audit_log.latest(tx, scope, since, rows_max)


def verify(world: Services, operator: Operator, kept: Head | None) -> Verdict:
    """Follow the whole chain; the verdict names the first entry that is not what it was."""
    with world.database.snapshot(operator, Action.AUDIT_VERIFY) as tx:
        gone = audit_log.missing_tables(tx)
        if gone:
            fault = Fault(1, f"what holds the log is missing: {', '.join(gone)}")
            return Verdict(0, Head(0, audit_chain.FIRST_DIGEST), fault)
        stored = audit_log.head(tx)
        verdict = audit_chain.verify(audit_log.entries(tx), stored or NO_HEAD, kept)
        missing = audit_log.missing_guards(tx)
    if verdict.fault is None and missing:
        fault = Fault(
            verdict.head.seq,
            f"what forbids change is not in force as it was made: {', '.join(missing)}",
        )
        return msgspec.structs.replace(verdict, fault=fault)
    return verdict


def head(world: Services, operator: Operator) -> Head:
    """Give the head, to be kept where nobody who can write to the database can write."""
    with world.database.read_as_operator(operator, Action.AUDIT_VERIFY) as tx:
        found = audit_log.head(tx)
    if found is None:
        raise InvalidRequest("the audit log has lost its head", hint="`jusinfer audit verify`.")
    return found


def note_rules(world: Services, operator: Operator, version: str) -> None:
    """Note that a rule table is put in force; done before it is, so that none goes unnoted."""
    with world.database.as_operator(operator, Action.RULES_ACTIVATE) as tx:
        note(tx, "rules", version)

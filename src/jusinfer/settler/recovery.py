"""Finishes the journal of a dead worker: ends what was in flight, then reclaims its leases.

The order matters: a lease reclaimed before its journal has been posted could be lent twice.
"""

from typing import Final

from jusinfer.domain.billing_rules import EndCause, StreamPhase, billing_rule
from jusinfer.domain.journal import RequestAdmitted, RequestEnded
from jusinfer.settler.journal_reader import Batch, JournalReader
from jusinfer.settler.poster import Connection

INTERRUPTED: Final = billing_rule(EndCause.WORKER_KILLED, StreamPhase.MID_STREAM)
RECLAIM: Final = "SELECT leases, amount_nano FROM jusinfer_reclaim(%s)"
RECLAIM_SPEND_LIMITS: Final = "SELECT jusinfer_reclaim_spend_limits(%s)"
FREE_SLOTS: Final = "SELECT jusinfer_free_slots(%s)"
FORGET: Final = "UPDATE gateway_worker SET state = 'reclaimed' WHERE worker_id = %s"
OPEN_JOURNALS: Final = """
SELECT count(*) FROM journal_cursor WHERE worker_id = %s AND NOT is_closed
"""


def interrupted(admitted: RequestAdmitted) -> RequestEnded:
    """Give the end of a completion that its worker did not live to end: nothing is charged."""
    route, _, model = admitted.route_id.partition(":")
    return RequestEnded(
        completion_id=admitted.completion_id,
        request_id="",
        tenant_id=admitted.tenant_id,
        member_id=admitted.member_id,
        key_id=admitted.key_id,
        mode=admitted.mode,
        lease_id=admitted.lease_id,
        admitted_at_us=admitted.admitted_at_us,
        first_byte_us=-1,
        latency_us=0,
        requested_model=admitted.requested_model,
        served_model=model,
        upstream=route,
        reasons="",
        price_version=admitted.price_version,
        prompt_tokens=0,
        cached_prompt_tokens=0,
        cache_write_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        is_estimated=False,
        is_stream=False,
        cost_pico=0,
        charge_nano=0,
        bound_nano=admitted.bound_nano,
        attempts=0,
        outcome=INTERRUPTED.outcome.value,
        status=0,
        country="",
        error_text="",
    )


def closing_batch(reader: JournalReader) -> Batch:
    """Give the last batch of a dead worker's journal: whatever was in flight is interrupted."""
    rows = [interrupted(admitted) for admitted in reader.open_admissions.values()]
    return Batch(
        start=reader.offset,
        end=reader.offset,
        rows=rows,
        ended=set(reader.open_admissions),
    )


def reclaim(connection: Connection, worker_id: str) -> tuple[int, int]:
    """Take back what a dead worker's leases still hold; gives (leases, nano-USD)."""
    with connection.transaction():
        left = connection.execute(OPEN_JOURNALS, (worker_id,)).fetchone()
        if left is None or int(str(left[0])) > 0:
            return 0, 0
        row = connection.execute(RECLAIM, (worker_id,)).fetchone()
        connection.execute(RECLAIM_SPEND_LIMITS, (worker_id,))
        connection.execute(FREE_SLOTS, (worker_id,))
        connection.execute(FORGET, (worker_id,))
    return (0, 0) if row is None else (int(str(row[0])), int(str(row[1])))

"""Counts what was spent under spend limits and by each key, and frees what leases held for it."""

from collections.abc import Callable
from typing import Final

from jusinfer.domain.journal import RequestEnded

# Every time zone's offset is a multiple of this, so no period ends within it.
SLICE_US: Final = 15 * 60 * 1_000_000
US_PER_SECOND: Final = 1_000_000
DAY_US: Final = 86_400 * US_PER_SECOND
COUNT: Final = """
SELECT jusinfer_count_spend_limits(%s::uuid[], %s::text[], %s::uuid[], %s::uuid[],
  (SELECT array_agg(to_timestamp(s) ORDER BY n) FROM unnest(%s::bigint[]) WITH ORDINALITY
     AS t (s, n)), %s::bigint[])
"""
COUNT_KEYS: Final = """
SELECT jusinfer_count_keys(%s::uuid[], %s::uuid[],
  (SELECT array_agg(date '1970-01-01' + d::integer ORDER BY n)
   FROM unnest(%s::bigint[]) WITH ORDINALITY AS t (d, n)), %s::bigint[], %s::bigint[])
"""
MOVE: Final = "SELECT jusinfer_move_spend_limits(%s::uuid[], %s::bigint[], false)"


def count_spend_limits(
    execute: Callable[[str, tuple[object, ...]], object], rows: list[RequestEnded]
) -> None:
    """Count the charges of rows; each threshold that is reached is announced once a period."""
    spent: dict[tuple[str, str, str, str, int], int] = {}
    leases: dict[str, int] = {}
    used: dict[tuple[int, str, str], tuple[int, int]] = {}
    for row in rows:
        if row.charge_nano:
            at = row.admitted_at_us - row.admitted_at_us % SLICE_US
            key = (row.tenant_id, row.mode, row.member_id, row.key_id, at // US_PER_SECOND)
            spent[key] = spent.get(key, 0) + row.charge_nano
            if row.spend_limit_leases:
                for lease_id in row.spend_limit_leases.split(","):
                    leases[lease_id] = leases.get(lease_id, 0) + row.charge_nano
        day = (row.admitted_at_us // DAY_US, row.tenant_id, row.key_id)
        charge, count = used.get(day, (0, 0))
        used[day] = (charge + row.charge_nano, count + 1)
    if leases:
        names = sorted(leases)
        execute(MOVE, (names, [leases[name] for name in names]))
    _count_keys(execute, used)
    if spent:
        owners = sorted(spent)
        tenants, modes, members, keys, ats = zip(*owners, strict=True)
        values = (tenants, modes, members, keys, ats)
        charges = [spent[owner] for owner in owners]
        execute(COUNT, (*(list(column) for column in values), charges))


def _count_keys(
    execute: Callable[[str, tuple[object, ...]], object],
    used: dict[tuple[int, str, str], tuple[int, int]],
) -> None:
    """Add to what each key has spent by UTC day."""
    if used:
        days, tenants, keys = zip(*used, strict=True)
        charges, counts = zip(*used.values(), strict=True)
        values = (tenants, keys, days, charges, counts)
        execute(COUNT_KEYS, tuple(list(column) for column in values))

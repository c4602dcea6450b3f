"""Compares what clients were given with what was metered and charged, and says what is wrong."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import psycopg
from tools.prove_money.clients import Tally

# A completion with one of these outcomes costs nothing, whatever its client saw of it.
FREE: Final = frozenset({"interrupted", "upstream_failed", "upstream_refused"})
ROWS: Final = """
SELECT replace(completion_id::text, '-', ''), replace(tenant_id::text, '-', ''), outcome,
  charge_nano, bound_nano, completion_tokens
FROM usage_record
"""
SUMS: Final = """
SELECT
  (SELECT COALESCE(sum(amount_nano), 0)::text FROM ledger_transfer WHERE code = 'usage'),
  (SELECT count(*) FROM ledger_transfer),
  (SELECT COALESCE(sum(leased_nano), 0)::text FROM ledger_account),
  (SELECT count(*) FROM lease WHERE state = 'open'),
  (SELECT COALESCE(sum(held_nano), 0)::text FROM credit_grant),
  (SELECT COALESCE(sum(GREATEST(debits_posted_nano - credits_posted_nano, 0)), 0)::text
     FROM ledger_account WHERE kind IN ('credits', 'debt') AND tenant_id IS NOT NULL)
"""


class Row(NamedTuple):
    """A usage row, as far as it is compared."""

    completion_id: str
    tenant_id: str
    outcome: str
    charge_nano: int
    bound_nano: int
    completion_tokens: int


class Books(NamedTuple):
    """What the database says at the end."""

    rows: list[Row]
    charged_nano: int
    transfers: int
    leased_nano: int
    open_leases: int
    held_nano: int
    overspent_nano: int


class Steady(NamedTuple):
    """A tenant whose balance was for exactly so many requests of one cost."""

    tenant_id: str
    key: str
    requests: int
    cost_nano: int


class Line(NamedTuple):
    """One line of the table; `is_wrong` when it may not be so."""

    what: str
    value: object
    is_wrong: bool = False


def read_books(dsn: str) -> Books:
    """Read all that is compared, in one snapshot."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = [Row(*row) for row in connection.execute(ROWS)]
        sums = connection.execute(SUMS).fetchone()
    if sums is None:
        raise AssertionError("the sums are not there")
    return Books(rows, *(int(amount) for amount in sums))


def verdict(
    tally: Tally, books: Books, kills: Mapping[str, int], clients: int, steady: list[Steady]
) -> list[Line]:
    """Give the table, line by line."""
    return [
        *_asked(tally, kills),
        *_delivered(tally, books),
        *_not_whole(tally, books, kills.get("gateway", 0) * clients),
        *_charged(books),
        *_steady(books, steady),
    ]


def _asked(tally: Tally, kills: Mapping[str, int]) -> Iterator[Line]:
    yield Line("requests sent", tally.asked)
    yield Line("  answered, by status", dict(sorted(tally.statuses.items())))
    yield Line("  clients who hung up", tally.left)
    yield Line("  answers broken by a fault or a kill", tally.broken)
    yield Line("processes killed", dict(sorted(kills.items())))


def _delivered(tally: Tally, books: Books) -> Iterator[Line]:
    """What was given whole: on record, once each, at the cost that the answer named."""
    found = {row.completion_id: row for row in books.rows}
    known = [name for name in tally.delivered if name in found]
    differing = [name for name in known if found[name].charge_nano != tally.delivered[name]]
    delivered_nano = sum(tally.delivered.values())
    metered_nano = sum(found[name].charge_nano for name in known)
    yield Line("completions given whole", len(tally.delivered), not tally.delivered)
    yield Line("  delivered, nano-USD", delivered_nano)
    yield Line("  metered, nano-USD", metered_nano, metered_nano != delivered_nano)
    missing = len(tally.delivered) - len(known)
    yield Line("  not on record", missing, missing > 0)
    yield Line("  on record at another cost", len(differing), bool(differing))


def _not_whole(tally: Tally, books: Books, interrupted_max: int) -> Iterator[Line]:
    """What was not given whole: between what its client saw of it and its bound, or free."""
    found = {row.completion_id: row for row in books.rows}
    partly = [found[name] for name in tally.partly if name in found]
    missing = len(tally.partly) - len(partly)
    short = [
        row
        for row in partly
        if row.outcome not in FREE and row.completion_tokens < tally.partly[row.completion_id]
    ]
    yield Line("completions given in part", len(tally.partly))
    yield Line("  metered, nano-USD", sum(row.charge_nano for row in partly))
    yield Line("  not on record", missing, missing > 0)
    yield Line("  metered below what was seen", len(short), bool(short))
    refused = [found[name] for name in tally.refused if name in found]
    refused_nano = sum(row.charge_nano for row in refused)
    yield Line("completions answered with an error", len(tally.refused))
    yield Line("  metered, nano-USD", refused_nano, refused_nano > 0)
    seen = tally.delivered.keys() | tally.partly.keys() | tally.refused
    unseen = [row for row in books.rows if row.completion_id not in seen]
    yield Line("completions whose client learnt no id", len(unseen), len(unseen) > tally.blind)
    yield Line("  metered, nano-USD", sum(row.charge_nano for row in unseen))
    interrupted = [row for row in books.rows if row.outcome == "interrupted"]
    yield Line(
        "completions interrupted by a kill", len(interrupted), len(interrupted) > interrupted_max
    )
    interrupted_nano = sum(row.charge_nano for row in interrupted)
    yield Line("  metered, nano-USD", interrupted_nano, interrupted_nano > 0)


def _charged(books: Books) -> Iterator[Line]:
    """All that was metered is charged, once, within its bound and within the balance."""
    outcomes: dict[str, int] = {}
    for row in books.rows:
        outcomes[row.outcome] = outcomes.get(row.outcome, 0) + 1
    metered_nano = sum(row.charge_nano for row in books.rows)
    twice = len(books.rows) - len({row.completion_id for row in books.rows})
    beyond = [row for row in books.rows if row.charge_nano > row.bound_nano]
    yield Line("completions on record", len(books.rows))
    yield Line("  by outcome", dict(sorted(outcomes.items())))
    yield Line("  metered in all, nano-USD", metered_nano)
    yield Line("  charged in all, nano-USD", books.charged_nano, books.charged_nano != metered_nano)
    yield Line("  posted twice", twice, twice > 0)
    yield Line("  charged beyond their bound", len(beyond), bool(beyond))
    yield Line("ledger transfers", books.transfers)
    yield Line("overspent, nano-USD", books.overspent_nano, books.overspent_nano > 0)
    yield Line("leaked leases", books.open_leases, books.open_leases > 0)
    yield Line("  nano-USD", books.leased_nano, books.leased_nano != 0)
    yield Line("leaked holds, nano-USD", books.held_nano, books.held_nano != 0)


def _steady(books: Books, steady: list[Steady]) -> Iterator[Line]:
    """Who had credit for exactly so many requests was charged for exactly so many."""
    charges: dict[str, list[int]] = {tenant.tenant_id: [] for tenant in steady}
    for row in books.rows:
        if row.charge_nano and row.tenant_id in charges:
            charges[row.tenant_id].append(row.charge_nano)
    wrong = [
        tenant
        for tenant in steady
        if charges[tenant.tenant_id] != [tenant.cost_nano] * tenant.requests
    ]
    yield Line("tenants with credit for exactly N", len(steady))
    yield Line("  charged for more, fewer, or other", len(wrong), bool(wrong))

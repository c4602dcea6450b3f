"""Proves the ledger's invariants on a live database: each is a query that must find nothing.

All run in one read-only snapshot, so they hold together however busy the database is.
"""

from typing import Final

import msgspec
import sqlalchemy as sa

from jusinfer.store.database import Reader

OFFENDERS_MAX: Final = 20


class Invariant(msgspec.Struct, frozen=True):
    """One rule: what it says, and a query for whatever breaks it."""

    name: str
    says: str
    offenders: str


class Finding(msgspec.Struct, frozen=True):
    """What an invariant found; no offenders means that it holds."""

    name: str
    says: str
    offenders: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing breaks the rule."""
        return not self.offenders


class Totals(msgspec.Struct, frozen=True):
    """How much was looked at."""

    transfers: int
    usage_rows: int
    grants: int
    open_leases: int


INVARIANTS: Final = (
    Invariant(
        "balanced",
        "the debits of each mode equal its credits",
        """SELECT mode FROM ledger_account GROUP BY mode
           HAVING sum(debits_posted_nano) <> sum(credits_posted_nano)""",
    ),
    Invariant(
        "accounts_fold",
        "each account's sums are those of its transfers",
        """WITH moved AS (
             SELECT account_id, sum(debit) AS debits, sum(credit) AS credits FROM (
               SELECT debit_account_id AS account_id, amount_nano AS debit, 0 AS credit
               FROM ledger_transfer
               UNION ALL SELECT credit_account_id, 0, amount_nano FROM ledger_transfer) e
             GROUP BY account_id)
           SELECT a.account_id FROM ledger_account a LEFT JOIN moved m USING (account_id)
           WHERE a.debits_posted_nano <> COALESCE(m.debits, 0)
              OR a.credits_posted_nano <> COALESCE(m.credits, 0)""",
    ),
    Invariant(
        "modes_apart",
        "no transfer joins accounts of two modes",
        """SELECT t.transfer_id FROM ledger_transfer t
           JOIN ledger_account d ON d.account_id = t.debit_account_id
           JOIN ledger_account c ON c.account_id = t.credit_account_id
           WHERE t.mode <> d.mode OR t.mode <> c.mode""",
    ),
    Invariant(
        "tenants_apart",
        "no transfer touches the account of a tenant it does not name",
        """SELECT t.transfer_id FROM ledger_transfer t
           JOIN ledger_account a ON a.account_id IN (t.debit_account_id, t.credit_account_id)
           WHERE a.tenant_id IS NOT NULL AND a.tenant_id IS DISTINCT FROM t.tenant_id""",
    ),
    Invariant(
        "leased_fold",
        "what an account has lent is the open part of its leases",
        """SELECT a.account_id FROM ledger_account a LEFT JOIN (
             SELECT tenant_id, mode, sum(granted_nano - posted_nano - returned_nano) AS open_nano
             FROM lease WHERE state = 'open' GROUP BY tenant_id, mode) l
             ON l.tenant_id = a.tenant_id AND l.mode = a.mode
           WHERE a.kind = 'credits' AND a.leased_nano <> COALESCE(l.open_nano, 0)""",
    ),
    Invariant(
        "grants_fold",
        "a tenant's credit is what remains in its credit grants",
        """SELECT a.account_id FROM ledger_account a WHERE a.kind = 'credits'
           AND a.credits_posted_nano - a.debits_posted_nano <> COALESCE((
             SELECT sum(remaining_nano) FROM credit_grant l WHERE l.remaining_nano > 0
               AND l.tenant_id = a.tenant_id AND l.mode = a.mode), 0)""",
    ),
    Invariant(
        "grants_drawn",
        "what is gone from a credit grant is what was drawn from it",
        """SELECT l.grant_id FROM credit_grant l WHERE l.granted_nano - l.remaining_nano <>
           COALESCE((SELECT sum(amount_nano) FROM grant_draw d
                     WHERE d.grant_id = l.grant_id), 0)""",
    ),
    Invariant(
        "grants_held",
        "what a credit grant holds is what open leases hold of it",
        """SELECT l.grant_id FROM credit_grant l WHERE l.held_nano <>
           COALESCE((SELECT sum(held_nano) FROM lease_grant h WHERE h.grant_id = l.grant_id), 0)""",
    ),
    Invariant(
        "leases_held",
        "a lease holds in credit grants exactly what is open of it",
        """SELECT l.lease_id FROM lease l
           WHERE l.granted_nano - l.posted_nano - l.returned_nano <>
           COALESCE((SELECT sum(held_nano) FROM lease_grant h WHERE h.lease_id = l.lease_id), 0)""",
    ),
    Invariant(
        "leases_reclaimed",
        "no lease of a worker that has been finished is open",
        """SELECT l.lease_id FROM lease l JOIN gateway_worker w USING (worker_id)
           WHERE l.state = 'open' AND w.state = 'reclaimed'""",
    ),
    Invariant(
        "spend_limits_fold",
        "what a period of a spend limit has lent is the open part of its leases",
        """SELECT p.spend_limit_id FROM spend_period p WHERE p.leased_nano <> COALESCE((
             SELECT sum(l.granted_nano - l.posted_nano - l.returned_nano) FROM spend_limit_lease l
             WHERE l.spend_limit_id = p.spend_limit_id AND l.period_start = p.period_start), 0)""",
    ),
    Invariant(
        "slots_fold",
        "the requests at once that a limit has lent are those that workers hold",
        """SELECT w.scope_id FROM rate_window w WHERE w.kind = 'concurrency'
           AND w.taken <> COALESCE((SELECT sum(s.slots) FROM rate_slot s
             WHERE s.scope = w.scope AND s.scope_id = w.scope_id), 0)""",
    ),
    Invariant(
        "usage_transfers",
        "a usage transfer is the sum of the charges of the rows that name it",
        """SELECT t.transfer_id FROM ledger_transfer t LEFT JOIN (
             SELECT transfer_id, sum(charge_nano) AS charge_nano FROM usage_record
             WHERE transfer_id IS NOT NULL GROUP BY transfer_id) u USING (transfer_id)
           WHERE t.code = 'usage' AND t.amount_nano <> COALESCE(u.charge_nano, 0)
             AND t.created_at >= (SELECT min(admitted_at) FROM usage_record)""",
    ),
    Invariant(
        "usage_named",
        "every charge names a transfer of its own tenant and mode",
        """SELECT u.completion_id FROM usage_record u
           LEFT JOIN ledger_transfer t USING (transfer_id)
           WHERE u.charge_nano > 0 AND (t.transfer_id IS NULL OR t.mode <> u.mode
             OR (t.tenant_id IS NOT NULL AND t.tenant_id <> u.tenant_id))""",
    ),
    Invariant(
        "posted_once",
        "no completion is posted twice",
        """SELECT completion_id FROM usage_record GROUP BY completion_id HAVING count(*) > 1""",
    ),
    Invariant(
        "rounded_once",
        "a charge is its cost rounded up to a nano-dollar",
        """SELECT completion_id FROM usage_record
           WHERE charge_nano * 1000 - cost_pico NOT BETWEEN 0 AND 999""",
    ),
    Invariant(
        "digests",
        "a usage transfer's digest is that of what it says",
        """SELECT transfer_id FROM ledger_transfer WHERE code = 'usage'
           AND payload_digest <> sha256(convert_to(transfer_id || '=' || amount_nano, 'UTF8'))""",
    ),
    Invariant(
        "adjustments_explained",
        "every adjustment has a reason",
        """SELECT transfer_id FROM ledger_transfer WHERE code = 'adjustment' AND reason = ''""",
    ),
    Invariant(
        "paid_for",
        "every paid grant has one payment of its tenant, mode and amount, each payment its grant",
        """SELECT COALESCE(l.grant_id, p.payment_id) FROM (
             SELECT * FROM credit_grant WHERE source = 'paid') l
           FULL JOIN payment p USING (grant_id)
           WHERE l.tenant_id IS DISTINCT FROM p.tenant_id OR l.mode IS DISTINCT FROM p.mode
              OR l.granted_nano IS DISTINCT FROM p.amount_nano""",
    ),
    Invariant(
        "append_only",
        "the triggers that forbid change are in force",
        """SELECT w.name FROM (VALUES ('ledger_transfer_append_only'), ('ledger_transfer_fold'),
             ('ledger_transfer_no_truncate'), ('grant_draw_append_only'),
             ('grant_draw_no_truncate'),
             ('payment_append_only'), ('payment_no_truncate'))
             AS w (name)
           WHERE NOT EXISTS (SELECT 1 FROM pg_trigger t
             WHERE t.tgname = w.name AND t.tgenabled IN ('O', 'A'))""",
    ),
)


def verify(tx: Reader) -> list[Finding]:
    """Look for whatever breaks a rule; every rule gives one finding."""
    return [
        Finding(
            name=rule.name,
            says=rule.says,
            offenders=[
                str(row[0]) for row in tx.exec_driver_sql(f"{rule.offenders} LIMIT {OFFENDERS_MAX}")
            ],
        )
        for rule in INVARIANTS
    ]


def totals(tx: Reader) -> Totals:
    """Count what the rules were held against."""
    row = tx.execute(
        sa.text(
            "SELECT (SELECT count(*) FROM ledger_transfer), (SELECT count(*) FROM usage_record),"
            " (SELECT count(*) FROM credit_grant),"
            " (SELECT count(*) FROM lease WHERE state = 'open')"
        )
    ).one()
    return Totals(*(int(value) for value in row))

"""What tests of money ask of the database, apart from the code under test."""

import psycopg

SUMS = """
SELECT
  (SELECT COALESCE(sum(charge_nano), 0) FROM usage_record WHERE mode = 'live'),
  (SELECT COALESCE(sum(amount_nano), 0) FROM ledger_transfer
     WHERE code = 'usage' AND mode = 'live'),
  (SELECT COALESCE(sum(debits_posted_nano - credits_posted_nano), 0) FROM ledger_account),
  (SELECT count(*) FROM usage_record),
  (SELECT count(DISTINCT completion_id) FROM usage_record)
"""
FOLD = """
SELECT account_id FROM ledger_account a WHERE
  debits_posted_nano <> COALESCE((SELECT sum(amount_nano) FROM ledger_transfer
    WHERE debit_account_id = a.account_id), 0)
  OR credits_posted_nano <> COALESCE((SELECT sum(amount_nano) FROM ledger_transfer
    WHERE credit_account_id = a.account_id), 0)
  OR leased_nano <> COALESCE((SELECT sum(granted_nano - posted_nano - returned_nano) FROM lease l
    WHERE l.tenant_id = a.tenant_id AND l.mode = a.mode AND l.state = 'open'
      AND a.kind = 'credits'), 0)
"""
GRANTS = """
SELECT a.account_id FROM ledger_account a WHERE a.kind = 'credits' AND (
  credits_posted_nano - debits_posted_nano <> COALESCE((SELECT sum(remaining_nano)
    FROM credit_grant o WHERE o.tenant_id = a.tenant_id AND o.mode = a.mode), 0)
  OR leased_nano <> COALESCE((SELECT sum(held_nano)
    FROM credit_grant o WHERE o.tenant_id = a.tenant_id AND o.mode = a.mode), 0))
"""
PER_TRANSFER = """
SELECT t.transfer_id FROM ledger_transfer t LEFT JOIN (
  SELECT transfer_id, sum(charge_nano) AS charge_nano FROM usage_record GROUP BY transfer_id
) u ON u.transfer_id = t.transfer_id
WHERE t.code = 'usage' AND t.amount_nano <> COALESCE(u.charge_nano, 0)
"""


def assert_books_are_right(dsn: str) -> int:
    """Hold the invariants of the ledger on a live database; gives the number of usage rows."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = connection.execute(SUMS).fetchone()
        assert row is not None
        charged, transferred, imbalance, rows, completions = row
        assert charged == transferred
        assert imbalance == 0
        assert rows == completions
        assert connection.execute(FOLD).fetchall() == []
        assert connection.execute(GRANTS).fetchall() == []
        assert connection.execute(PER_TRANSFER).fetchall() == []
    return int(rows)


def balance(dsn: str, tenant_id: str, mode: str = "live") -> tuple[int, int]:
    """Give (posted balance, leased) of a tenant, in nano-USD; what it owes is taken off."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT sum(credits_posted_nano - debits_posted_nano), sum(leased_nano)"
            " FROM ledger_account WHERE tenant_id = %s AND mode = %s"
            " AND kind IN ('credits', 'debt')",
            (tenant_id, mode),
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])

"""Credit in lots: granted, held by leases, drawn in one order, expired; sums kept by triggers."""

from alembic import op

revision = "0002"
down_revision = "0001"

ACCOUNTS = """
ALTER TABLE ledger_account
  DROP COLUMN last_lease_nano,
  DROP CONSTRAINT ledger_account_kind_check,
  ADD CONSTRAINT ledger_account_kind_check CHECK (kind IN
    ('credits', 'debt', 'clearing', 'revenue', 'promo', 'adjustment', 'suspense',
     'breakage', 'refunds', 'disputes', 'rounding'));
ALTER TABLE ledger_transfer
  DROP CONSTRAINT ledger_transfer_code_check,
  ADD CONSTRAINT ledger_transfer_code_check CHECK (code IN
    ('purchase', 'grant', 'subscription', 'adjustment', 'usage', 'overrun', 'repayment',
     'expiry')),
  ADD CONSTRAINT ledger_transfer_reason_check2 CHECK (code <> 'adjustment' OR reason <> '');
INSERT INTO ledger_account (tenant_id, mode, kind)
SELECT NULL, mode, kind FROM unnest(ARRAY['live', 'test']) AS m (mode),
  unnest(ARRAY['breakage', 'refunds', 'disputes', 'rounding']) AS k (kind)
WHERE EXISTS (SELECT 1 FROM ledger_account)
ON CONFLICT DO NOTHING;
"""

LOTS = """
CREATE TABLE credit_lot (
  lot_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  source text NOT NULL CHECK (source IN ('promotional', 'adjustment', 'subscription', 'paid')),
  source_rank smallint NOT NULL GENERATED ALWAYS AS (CASE source
    WHEN 'promotional' THEN 0 WHEN 'adjustment' THEN 1 WHEN 'subscription' THEN 2 ELSE 3 END)
    STORED,
  granted_nano bigint NOT NULL CHECK (granted_nano > 0),
  remaining_nano bigint NOT NULL,
  held_nano bigint NOT NULL DEFAULT 0,
  priority smallint NOT NULL DEFAULT 50 CHECK (priority BETWEEN 0 AND 100),
  effective_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  transfer_id text NOT NULL REFERENCES ledger_transfer,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (0 <= held_nano AND held_nano <= remaining_nano AND remaining_nano <= granted_nano),
  CHECK (expires_at IS NULL OR expires_at > effective_at)
);
CREATE INDEX credit_lot_open ON credit_lot (tenant_id, mode) WHERE remaining_nano > 0;
CREATE INDEX credit_lot_expiry ON credit_lot (expires_at)
  WHERE expires_at IS NOT NULL AND remaining_nano > 0;
CREATE TABLE lot_draw (
  transfer_id text NOT NULL REFERENCES ledger_transfer DEFERRABLE INITIALLY DEFERRED,
  lot_id uuid NOT NULL REFERENCES credit_lot,
  tenant_id uuid NOT NULL REFERENCES tenant,
  is_beyond_lease boolean NOT NULL DEFAULT false,
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  PRIMARY KEY (transfer_id, lot_id, is_beyond_lease)
);
CREATE INDEX lot_draw_lot ON lot_draw (lot_id);
CREATE TABLE lease_lot (
  lease_id uuid NOT NULL REFERENCES lease,
  lot_id uuid NOT NULL REFERENCES credit_lot,
  place smallint NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  held_nano bigint NOT NULL CHECK (held_nano >= 0),
  PRIMARY KEY (lease_id, lot_id)
);
CREATE INDEX lease_lot_lot ON lease_lot (lot_id) WHERE held_nano > 0;
"""

# What stood before lots were kept becomes one lot for each tenant and mode.
CARRY_OVER = """
INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id, tenant_id,
  amount_nano, code, payload_digest)
SELECT 'overrun:carried:' || c.account_id, c.mode, d.account_id, c.account_id, c.tenant_id,
  c.debits_posted_nano - c.credits_posted_nano, 'overrun', sha256(''::bytea)
FROM ledger_account c JOIN ledger_account d
  ON d.tenant_id = c.tenant_id AND d.mode = c.mode AND d.kind = 'debt'
WHERE c.kind = 'credits' AND c.debits_posted_nano > c.credits_posted_nano;
UPDATE ledger_account a SET debits_posted_nano = debits_posted_nano + t.amount_nano
  FROM ledger_transfer t WHERE t.transfer_id LIKE 'overrun:carried:%'
    AND t.debit_account_id = a.account_id;
UPDATE ledger_account a SET credits_posted_nano = credits_posted_nano + t.amount_nano
  FROM ledger_transfer t WHERE t.transfer_id LIKE 'overrun:carried:%'
    AND t.credit_account_id = a.account_id;
INSERT INTO credit_lot (lot_id, tenant_id, mode, source, granted_nano, remaining_nano, held_nano,
  transfer_id)
SELECT gen_random_uuid(), a.tenant_id, a.mode, 'promotional', g.amount_nano,
  a.credits_posted_nano - a.debits_posted_nano, a.leased_nano, g.transfer_id
FROM ledger_account a JOIN LATERAL (
  SELECT t.transfer_id, sum(t.amount_nano) OVER ()::bigint AS amount_nano FROM ledger_transfer t
  WHERE t.credit_account_id = a.account_id AND t.code = 'grant' ORDER BY t.created_at LIMIT 1
) g ON true
WHERE a.kind = 'credits' AND a.credits_posted_nano > a.debits_posted_nano;
INSERT INTO lease_lot (lease_id, lot_id, place, tenant_id, held_nano)
SELECT l.lease_id, o.lot_id, 1, l.tenant_id, l.granted_nano - l.posted_nano - l.returned_nano
FROM lease l JOIN credit_lot o ON o.tenant_id = l.tenant_id AND o.mode = l.mode
WHERE l.state = 'open';
INSERT INTO lot_draw (transfer_id, lot_id, tenant_id, amount_nano)
SELECT o.transfer_id, o.lot_id, o.tenant_id, o.granted_nano - o.remaining_nano
FROM credit_lot o WHERE o.granted_nano > o.remaining_nano;
"""

RULES = """
ALTER TABLE ledger_account
  ADD CONSTRAINT ledger_account_covers_leases CHECK (kind <> 'credits'
    OR credits_posted_nano - debits_posted_nano - leased_nano >= 0),
  ADD CONSTRAINT ledger_account_leases_credits CHECK (kind = 'credits' OR leased_nano = 0),
  ADD CONSTRAINT ledger_account_debt_is_owed CHECK (kind <> 'debt'
    OR debits_posted_nano >= credits_posted_nano);
"""

TENANT_TABLES = ("credit_lot", "lot_draw", "lease_lot")
GRANTS = """
REVOKE INSERT, UPDATE ON ledger_account, lease FROM jusinfer_settler;
REVOKE INSERT ON ledger_transfer FROM jusinfer_settler, jusinfer_web, jusinfer_operator;
REVOKE UPDATE (debits_posted_nano, credits_posted_nano) ON ledger_account
  FROM jusinfer_web, jusinfer_operator;
GRANT SELECT ON credit_lot, lot_draw, lease_lot
  TO jusinfer_settler, jusinfer_web, jusinfer_operator;
"""


def upgrade() -> None:
    """Keep credit in lots."""
    for statements in (ACCOUNTS, LOTS, CARRY_OVER, RULES, GRANTS):
        op.execute(statements)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_own ON {table} TO jusinfer_web USING "
            "(tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid)"
        )
        for role in ("jusinfer_operator", "jusinfer_settler", "CURRENT_USER"):
            name = role.removeprefix("jusinfer_").lower()
            op.execute(f"CREATE POLICY {table}_{name} ON {table} TO {role} USING (true)")

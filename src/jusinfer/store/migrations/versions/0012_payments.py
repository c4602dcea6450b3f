"""Payments, members and keys bound to the tenant they are named with, no text in statistics."""

from alembic import op

revision = "0012"
down_revision = "0011"

PAYMENT = """
SET LOCAL lock_timeout = '30s';
CREATE TABLE payment (
  payment_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  provider text NOT NULL CHECK (provider ~ '^[a-z][a-z0-9_]{0,31}$'),
  provider_ref text NOT NULL CHECK (length(provider_ref) BETWEEN 1 AND 200),
  lot_id uuid NOT NULL UNIQUE REFERENCES credit_lot DEFERRABLE INITIALLY DEFERRED,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (provider, provider_ref)
);
CREATE INDEX payment_tenant ON payment (tenant_id, created_at);
ALTER TABLE payment ENABLE ROW LEVEL SECURITY;
ALTER TABLE payment FORCE ROW LEVEL SECURITY;
CREATE POLICY payment_own ON payment TO jusinfer_web USING
  (tenant_id = (SELECT current_setting('jusinfer.tenant_id')::uuid));
CREATE POLICY payment_operator ON payment TO jusinfer_operator USING (
  (SELECT NULLIF(current_setting('jusinfer.tenant_id', true), '')) IS NULL
  OR tenant_id = (SELECT NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid));
CREATE POLICY payment_owner ON payment TO jusinfer_owner USING (true);
GRANT SELECT ON payment TO jusinfer_web, jusinfer_operator;
"""

# A member or key is named with its tenant wherever it gives rights; usage rows are written from
# journals, which may outlive a tenant, and are bound to nothing.
TOGETHER = """
ALTER TABLE member ADD CONSTRAINT member_of_tenant UNIQUE (tenant_id, member_id);
ALTER TABLE api_key ADD CONSTRAINT api_key_of_tenant UNIQUE (tenant_id, key_id),
  ADD CONSTRAINT api_key_member_of_tenant FOREIGN KEY (tenant_id, member_id)
    REFERENCES member (tenant_id, member_id);
ALTER TABLE rate_limit
  ADD COLUMN member_id uuid GENERATED ALWAYS AS
    (CASE scope WHEN 'member' THEN scope_id END) STORED,
  ADD COLUMN key_id uuid GENERATED ALWAYS AS (CASE scope WHEN 'key' THEN scope_id END) STORED,
  ADD CONSTRAINT rate_limit_of_tenant CHECK (scope <> 'tenant' OR scope_id = tenant_id),
  ADD CONSTRAINT rate_limit_member_of_tenant FOREIGN KEY (tenant_id, member_id)
    REFERENCES member (tenant_id, member_id),
  ADD CONSTRAINT rate_limit_key_of_tenant FOREIGN KEY (tenant_id, key_id)
    REFERENCES api_key (tenant_id, key_id);
ALTER TABLE spend_cap
  ADD COLUMN member_id uuid GENERATED ALWAYS AS
    (CASE scope WHEN 'member' THEN scope_id END) STORED,
  ADD COLUMN key_id uuid GENERATED ALWAYS AS (CASE scope WHEN 'key' THEN scope_id END) STORED,
  ADD CONSTRAINT spend_cap_of_tenant CHECK (scope <> 'tenant' OR scope_id = tenant_id),
  ADD CONSTRAINT spend_cap_member_of_tenant FOREIGN KEY (tenant_id, member_id)
    REFERENCES member (tenant_id, member_id),
  ADD CONSTRAINT spend_cap_key_of_tenant FOREIGN KEY (tenant_id, key_id)
    REFERENCES api_key (tenant_id, key_id);
"""

# What people wrote is not sampled into the planner's statistics, where no deletion finds it.
STATISTICS = """
DO $$
DECLARE found record;
BEGIN
  FOR found IN
    SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND (c.relname, a.attname) IN (('tenant', 'name'), ('api_key', 'name'),
        ('ledger_transfer', 'reason'), ('payment', 'provider_ref'))
      OR (c.relname LIKE 'usage_record%' AND c.relnamespace = 'public'::regnamespace
        AND c.relkind IN ('r', 'p')
        AND a.attname IN ('requested_model', 'error_text', 'attempt_log'))
  LOOP
    EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET STATISTICS 0',
      found.relname, found.attname);
    IF current_setting('server_version_num')::integer >= 180000 THEN
      PERFORM pg_clear_attribute_stats('public', found.relname, found.attname, inherited)
      FROM unnest(ARRAY[false, true]) AS s (inherited);
    END IF;
  END LOOP;
END $$;
"""


def upgrade() -> None:
    """Keep payments, and rows together that belong together."""
    for statements in (PAYMENT, TOGETHER, STATISTICS):
        op.execute(statements)

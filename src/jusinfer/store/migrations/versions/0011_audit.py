"""The audit log: who did what to whose, in one chain that only grows; no tenant, no rows."""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = r"""
SET LOCAL lock_timeout = '30s';
-- No foreign keys: an entry outlives what it tells of.
CREATE TABLE audit_entry (
  seq bigint PRIMARY KEY CHECK (seq > 0),
  at timestamptz NOT NULL,
  actor_kind text NOT NULL CHECK (actor_kind IN ('member', 'operator', 'process')),
  actor_id text NOT NULL CHECK (actor_id ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$'),
  how text NOT NULL CHECK (how IN ('session', 'key', 'cli', 'process')),
  origin text NOT NULL CHECK (origin IN ('cli', 'console', 'process')),
  network cidr CHECK (masklen(network) <= CASE family(network) WHEN 4 THEN 24 ELSE 48 END),
  tenant_id uuid,
  action text NOT NULL CHECK (action ~ '^[a-z]{1,20}[.][a-z_]{1,20}$'),
  outcome text NOT NULL CHECK (outcome IN ('done', 'denied')),
  object_kind text NOT NULL CHECK (object_kind ~ '^[a-z_]{1,20}$'),
  object_id text NOT NULL CHECK (object_id ~ '^[A-Za-z0-9._:+-]{0,120}$'),
  digest bytea NOT NULL CHECK (length(digest) = 32)
);
CREATE INDEX audit_entry_tenant ON audit_entry (tenant_id, seq);
CREATE INDEX audit_entry_at ON audit_entry (at);
CREATE TABLE audit_head (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  seq bigint NOT NULL CHECK (seq >= 0),
  digest bytea NOT NULL CHECK (length(digest) = 32)
);
INSERT INTO audit_head (seq, digest) VALUES (0, decode(repeat('00', 32), 'hex'));
"""

GRANTS = """
GRANT SELECT ON audit_entry TO jusinfer_web, jusinfer_operator;
GRANT SELECT ON audit_head TO jusinfer_operator;
-- People of a tenant set their own caps and policy; nobody but an operator gives credit.
GRANT INSERT, UPDATE (removed_at) ON spend_cap TO jusinfer_web;
GRANT UPDATE (routing_policy) ON tenant TO jusinfer_web;
"""

# A transaction of people that names no tenant fails on the cast, instead of being shown nothing.
POLICIES = """
ALTER TABLE audit_entry ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_head ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_entry_own ON audit_entry TO jusinfer_web USING (true);
CREATE POLICY audit_entry_operator ON audit_entry TO jusinfer_operator USING (true);
CREATE POLICY audit_entry_owner ON audit_entry TO CURRENT_USER USING (true);
CREATE POLICY audit_head_operator ON audit_head TO jusinfer_operator USING (true);
CREATE POLICY audit_head_owner ON audit_head TO CURRENT_USER USING (true);
DO $$
DECLARE own record;
BEGIN
  FOR own IN SELECT tablename, policyname FROM pg_policies
    WHERE schemaname = 'public' AND policyname = tablename || '_own'
  LOOP
    EXECUTE format('ALTER POLICY %I ON %I USING '
      '(tenant_id = (SELECT current_setting(''jusinfer.tenant_id'')::uuid))',
      own.policyname, own.tablename);
  END LOOP;
END $$;
"""


def upgrade() -> None:
    """Keep an audit log, and refuse transactions of people that name no tenant."""
    for statements in (TABLES, GRANTS, POLICIES):
        op.execute(statements)

"""Logins instead of roles that are put on: rights of tables, and which functions were applied."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
CREATE TABLE schema_text (
  name text PRIMARY KEY,
  sha256 text NOT NULL CHECK (length(sha256) = 64),
  applied_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON alembic_version, schema_text TO jusinfer_operator;
REVOKE INSERT ON ledger_account FROM jusinfer_web;
"""

# Policies of an earlier version name whoever migrated then.
POLICIES = """
DO $$
DECLARE found record;
BEGIN
  FOR found IN
    SELECT policyname, tablename FROM pg_policies
    WHERE schemaname = 'public' AND NOT roles <@ ARRAY[
      'jusinfer_owner', 'jusinfer_web', 'jusinfer_operator', 'jusinfer_settler']::name[]
  LOOP
    EXECUTE format('ALTER POLICY %I ON %I TO jusinfer_owner', found.policyname, found.tablename);
  END LOOP;
  -- An operator who names a tenant sees that tenant's rows only.
  FOR found IN
    SELECT policyname, tablename FROM pg_policies
    WHERE schemaname = 'public' AND roles = ARRAY['jusinfer_operator']::name[]
  LOOP
    EXECUTE format('ALTER POLICY %I ON %I USING ('
      '(SELECT NULLIF(current_setting(''jusinfer.tenant_id'', true), '''')) IS NULL'
      ' OR tenant_id = (SELECT NULLIF(current_setting(''jusinfer.tenant_id'', true), '''')::uuid))',
      found.policyname, found.tablename);
  END LOOP;
  DROP POLICY ledger_account_house ON ledger_account;
END $$;
"""


def upgrade() -> None:
    """Let each login do what is its own."""
    for statements in (TABLES, POLICIES):
        op.execute(statements)

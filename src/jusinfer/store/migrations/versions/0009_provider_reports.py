"""What providers say afterwards that completions cost us, where they broke off before saying it."""

from alembic import op

revision = "0009"
down_revision = "0008"

TABLES = """
SET LOCAL lock_timeout = '30s';
ALTER TABLE usage_record ADD COLUMN provider_generation_id text;
CREATE TABLE provider_report (
  completion_id uuid PRIMARY KEY,
  admitted_at timestamptz NOT NULL,
  tenant_id uuid NOT NULL,
  upstream text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  asked_count integer NOT NULL DEFAULT 0 CHECK (asked_count >= 0),
  next_at timestamptz,
  reported_cost_pico bigint CHECK (reported_cost_pico >= 0),
  prompt_tokens bigint CHECK (prompt_tokens >= 0),
  completion_tokens bigint CHECK (completion_tokens >= 0),
  reported_at timestamptz,
  failure text CHECK (length(failure) <= 64),
  CHECK ((reported_at IS NULL) = (reported_cost_pico IS NULL)),
  CHECK (reported_at IS NULL OR (next_at IS NULL AND failure IS NULL)),
  CHECK (num_nonnulls(next_at, reported_at, failure) > 0)
);
CREATE INDEX provider_report_due ON provider_report (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX provider_report_tenant ON provider_report (tenant_id, admitted_at);
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO jusinfer_reconciler;
GRANT SELECT ON provider_report TO jusinfer_web, jusinfer_operator;
ALTER TABLE provider_report ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_report FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_report_own ON provider_report TO jusinfer_web USING
  (tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid);
CREATE POLICY provider_report_operator ON provider_report TO jusinfer_operator USING (true);
CREATE POLICY provider_report_house ON provider_report TO CURRENT_USER USING (true);
"""


def upgrade() -> None:
    """Keep reports of providers."""
    for statements in (TABLES, GRANTS):
        op.execute(statements)

"""What a key may read of its own: one completion, the credit of its tenant, its own spending."""

from alembic import op

revision = "0006"
down_revision = "0005"

KEY_USAGE = """
CREATE TABLE key_usage (
  key_id uuid NOT NULL,
  day date NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  charge_nano bigint NOT NULL CHECK (charge_nano >= 0),
  completions bigint NOT NULL CHECK (completions >= 0),
  PRIMARY KEY (key_id, day)
);
"""

GRANTS = """
GRANT SELECT ON key_usage TO jusinfer_web, jusinfer_operator;
ALTER TABLE key_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE key_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY key_usage_own ON key_usage TO jusinfer_web USING
  (tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid);
CREATE POLICY key_usage_operator ON key_usage TO jusinfer_operator USING (true);
CREATE POLICY key_usage_house ON key_usage TO CURRENT_USER USING (true);
"""


def upgrade() -> None:
    """Let keys read what is theirs."""
    for statements in (KEY_USAGE, GRANTS):
        op.execute(statements)

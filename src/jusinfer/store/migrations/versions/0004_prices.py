"""Prices that receipts can be explained by, price lists of tenants, and what a row now tells."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
ALTER TABLE tenant
  ADD COLUMN price_list text NOT NULL DEFAULT '' CHECK (length(price_list) <= 32),
  ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC' CHECK (length(time_zone) <= 64);
ALTER TABLE usage_record
  ADD COLUMN cache_write_1h_tokens bigint NOT NULL DEFAULT 0,
  ADD COLUMN image_count bigint NOT NULL DEFAULT 0,
  ADD COLUMN reported_cost_pico bigint,
  ADD COLUMN price_list text NOT NULL DEFAULT '',
  ADD COLUMN attempt_log text NOT NULL DEFAULT '';
CREATE TABLE price_catalog (
  version text NOT NULL,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  tariffs jsonb NOT NULL,
  first_used_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (version, mode)
);
GRANT SELECT ON price_catalog TO jusinfer_web, jusinfer_operator;
GRANT UPDATE (price_list, time_zone) ON tenant TO jusinfer_operator;
"""


def upgrade() -> None:
    """Keep prices."""
    op.execute(TABLES)

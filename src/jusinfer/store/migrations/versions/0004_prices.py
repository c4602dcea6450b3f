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
CREATE FUNCTION jusinfer_note_prices(of_version text, of_mode text, of_tariffs text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO price_catalog (version, mode, tariffs)
  VALUES (of_version, of_mode, of_tariffs::jsonb) ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION jusinfer_note_prices FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_note_prices TO jusinfer_gateway;
GRANT SELECT ON price_catalog TO jusinfer_control, jusinfer_operator;
GRANT UPDATE (price_list, time_zone) ON tenant TO jusinfer_operator;
CREATE TRIGGER price_catalog_append_only BEFORE UPDATE OR DELETE ON price_catalog
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();
"""


def upgrade() -> None:
    """Keep prices."""
    op.execute(TABLES)

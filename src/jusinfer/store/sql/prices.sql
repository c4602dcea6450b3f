-- Prices that receipts can be explained by.

CREATE OR REPLACE FUNCTION jusinfer_note_prices(of_version text, of_mode text, of_tariffs text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO price_catalog (version, mode, tariffs)
  VALUES (of_version, of_mode, of_tariffs::jsonb) ON CONFLICT DO NOTHING
$$;
GRANT EXECUTE ON FUNCTION jusinfer_note_prices TO jusinfer_gateway;

CREATE OR REPLACE TRIGGER price_catalog_append_only BEFORE UPDATE OR DELETE ON price_catalog
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();

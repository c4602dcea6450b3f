-- Prices that receipts can be explained by.

CREATE OR REPLACE FUNCTION jusinfer_note_prices(of_version text, of_mode text, of_tariffs text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF of_version !~ '^[0-9A-Za-z._-]{1,64}$' OR octet_length(of_tariffs) > 16777216
    OR jsonb_typeof(of_tariffs::jsonb) <> 'object' THEN
    RAISE EXCEPTION 'prices are an object of at most 16 MiB, under the digest that names them'
      USING ERRCODE = '22023';
  END IF;
  INSERT INTO price_catalog (version, mode, tariffs)
  VALUES (of_version, of_mode, of_tariffs::jsonb) ON CONFLICT DO NOTHING;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_note_prices TO jusinfer_gateway;

CREATE OR REPLACE TRIGGER price_catalog_append_only BEFORE UPDATE OR DELETE ON price_catalog
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();

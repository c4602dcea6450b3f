-- Payments: each is written once, and each gives one paid credit grant.

-- Gives true when the payment is new, false when the very same one is there already; raises JI001
-- where the id or the provider's own reference stands for another payment.
CREATE OR REPLACE FUNCTION jusinfer_record_payment(
  new_payment uuid, of_tenant uuid, in_mode text, amount bigint, of_provider text, of_ref text)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE known payment%ROWTYPE;
DECLARE new_grant uuid := gen_random_uuid();
BEGIN
  INSERT INTO payment (payment_id, tenant_id, mode, amount_nano, provider, provider_ref, grant_id)
  VALUES (new_payment, of_tenant, in_mode, amount, of_provider, of_ref, new_grant)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    SELECT * INTO known FROM payment
      WHERE payment_id = new_payment OR (provider = of_provider AND provider_ref = of_ref) LIMIT 1;
    IF (known.payment_id, known.tenant_id, known.mode, known.amount_nano, known.provider,
        known.provider_ref) IS DISTINCT FROM
       (new_payment, of_tenant, in_mode, amount, of_provider, of_ref) THEN
      RAISE EXCEPTION 'this payment is known with other particulars' USING ERRCODE = 'JI001';
    END IF;
    RETURN false;
  END IF;
  PERFORM jusinfer_add_grant('purchase:' || new_payment, new_grant, of_tenant, in_mode, 'clearing',
    'purchase', 'paid', amount, 50::smallint, NULL, NULL, '',
    sha256(convert_to('purchase:' || new_payment || '=' || amount, 'UTF8')));
  RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_record_payment TO jusinfer_payments;

CREATE OR REPLACE TRIGGER payment_append_only BEFORE UPDATE OR DELETE ON payment
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();
CREATE OR REPLACE TRIGGER payment_no_truncate BEFORE TRUNCATE ON payment
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_change();

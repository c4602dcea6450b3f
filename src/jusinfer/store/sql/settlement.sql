-- Settlement: what completions cost, taken from leases and credit grants, written as transfers.

CREATE OR REPLACE FUNCTION jusinfer_settle_usage(
  span text, tenants uuid[], modes text[], leases uuid[], charges bigint[])
RETURNS TABLE (tenant_id uuid, mode text, charge_nano bigint, covered_nano bigint,
               owed_nano bigint, is_known boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE owner record;
DECLARE name text;
DECLARE drawn bigint;
BEGIN
  PERFORM 1 FROM ledger_account a
  WHERE (a.kind IN ('credits', 'debt') AND a.tenant_id = ANY (tenants) AND a.mode = ANY (modes))
     OR (a.tenant_id IS NULL AND a.kind IN ('revenue', 'suspense') AND a.mode = ANY (modes))
  ORDER BY a.account_id FOR UPDATE;
  FOR owner IN
    WITH spent AS (
      SELECT s.tenant_id, s.mode, s.lease_id, s.charge_nano
      FROM unnest(tenants, modes, leases, charges) AS s (tenant_id, mode, lease_id, charge_nano)
    ), locked AS (
      SELECT l.lease_id, l.tenant_id, l.mode,
        LEAST(s.charge_nano, l.granted_nano - l.posted_nano - l.returned_nano) AS covered_nano
      FROM lease l JOIN spent s ON s.lease_id = l.lease_id AND s.tenant_id = l.tenant_id
        AND s.mode = l.mode
      WHERE l.state = 'open' ORDER BY l.lease_id FOR UPDATE OF l
    ), leased AS (
      UPDATE lease l SET posted_nano = l.posted_nano + k.covered_nano,
        state = CASE WHEN l.posted_nano + l.returned_nano + k.covered_nano = l.granted_nano
                     THEN 'closed' ELSE 'open' END
      FROM locked k WHERE l.lease_id = k.lease_id
    ), held AS (
      SELECT ll.lease_id, ll.grant_id, ll.held_nano, k.tenant_id, k.mode, k.covered_nano,
        (sum(ll.held_nano) OVER (PARTITION BY ll.lease_id ORDER BY ll.place))::bigint
          - ll.held_nano AS before_nano
      FROM lease_grant ll JOIN locked k ON k.lease_id = ll.lease_id WHERE ll.held_nano > 0
    ), part AS (
      SELECT h.lease_id, h.grant_id, h.tenant_id, h.mode,
        LEAST(h.held_nano, h.covered_nano - h.before_nano) AS amount_nano
      FROM held h WHERE h.before_nano < h.covered_nano
    ), freed AS (
      UPDATE lease_grant ll SET held_nano = ll.held_nano - p.amount_nano
      FROM part p WHERE ll.lease_id = p.lease_id AND ll.grant_id = p.grant_id
    ), summed AS (
      SELECT p.grant_id, p.tenant_id, p.mode, sum(p.amount_nano)::bigint AS amount_nano
      FROM part p GROUP BY p.grant_id, p.tenant_id, p.mode
    ), drawn_grants AS (
      UPDATE credit_grant l SET remaining_nano = l.remaining_nano - s.amount_nano,
        held_nano = l.held_nano - s.amount_nano
      FROM summed s WHERE l.grant_id = s.grant_id
    ), noted AS (
      INSERT INTO grant_draw (transfer_id, grant_id, tenant_id, amount_nano)
      SELECT 'usage:' || span || ':' || replace(s.tenant_id::text, '-', '') || ':' || s.mode,
        s.grant_id, s.tenant_id, s.amount_nano FROM summed s
    ), covered AS (
      SELECT k.tenant_id, k.mode, sum(k.covered_nano)::bigint AS covered_nano
      FROM locked k GROUP BY k.tenant_id, k.mode
    ), unleased AS (
      UPDATE ledger_account a SET leased_nano = a.leased_nano - c.covered_nano
      FROM covered c
      WHERE a.tenant_id = c.tenant_id AND a.mode = c.mode AND a.kind = 'credits'
    )
    SELECT s.tenant_id, s.mode, sum(s.charge_nano)::bigint AS charge_nano,
      COALESCE(c.covered_nano, 0) AS covered_nano,
      jusinfer_account(s.tenant_id, s.mode, 'credits') AS credits,
      jusinfer_account(NULL, s.mode, 'revenue') AS revenue
    FROM spent s LEFT JOIN covered c ON c.tenant_id = s.tenant_id AND c.mode = s.mode
    GROUP BY s.tenant_id, s.mode, c.covered_nano ORDER BY s.tenant_id, s.mode
  LOOP
    name := span || ':' || replace(owner.tenant_id::text, '-', '') || ':' || owner.mode;
    tenant_id := owner.tenant_id;
    mode := owner.mode;
    charge_nano := owner.charge_nano;
    covered_nano := owner.covered_nano;
    owed_nano := 0;
    is_known := owner.credits IS NOT NULL;
    IF is_known AND charge_nano > covered_nano THEN
      owed_nano := charge_nano - covered_nano - jusinfer_draw_free(
        'usage:' || name, tenant_id, mode, charge_nano - covered_nano, true);
      IF owed_nano > 0 THEN
        INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id,
          tenant_id, amount_nano, code, payload_digest)
        VALUES ('overrun:' || name, mode, jusinfer_account(tenant_id, mode, 'debt'),
          owner.credits, tenant_id, owed_nano, 'overrun',
          sha256(convert_to('overrun:' || name || '=' || owed_nano, 'UTF8')));
      END IF;
    END IF;
    INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id,
      tenant_id, amount_nano, code, payload_digest)
    VALUES ('usage:' || name, mode,
      COALESCE(owner.credits, jusinfer_account(NULL, mode, 'suspense')), owner.revenue,
      CASE WHEN is_known THEN tenant_id END, charge_nano, 'usage',
      sha256(convert_to('usage:' || name || '=' || charge_nano, 'UTF8')));
    RETURN NEXT;
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_settle_usage TO jusinfer_settler;

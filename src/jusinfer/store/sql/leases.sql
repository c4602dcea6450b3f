-- Leases: parts of a tenant's credit that one worker may spend.

CREATE OR REPLACE FUNCTION jusinfer_take_credit(
  worker uuid, for_tenant uuid, for_mode text, need bigint,
  share bigint, chunk_min bigint, chunk_max bigint)
RETURNS TABLE (lease_id uuid, granted_nano bigint, available_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE credits bigint;
DECLARE free bigint;
DECLARE chunk bigint;
DECLARE made uuid;
BEGIN
  IF share < 1 THEN
    RAISE EXCEPTION 'a share is a part of at least one' USING ERRCODE = '22023';
  END IF;
  SELECT a.account_id INTO credits FROM ledger_account a
    WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'credits' FOR UPDATE;
  SELECT GREATEST(COALESCE(sum(f.free_nano), 0) - COALESCE((
      SELECT a.debits_posted_nano - a.credits_posted_nano FROM ledger_account a
      WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'debt'), 0), 0)::bigint
    INTO free FROM jusinfer_free_grants(for_tenant, for_mode) f;
  IF free < GREATEST(need, 1) THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, free;
    RETURN;
  END IF;
  chunk := LEAST(GREATEST(LEAST(GREATEST(free / share, chunk_min), chunk_max), need), free);
  -- Whole needs only: what is left over of several leases would serve nobody.
  chunk := chunk - chunk % GREATEST(need, 1);
  made := gen_random_uuid();
  INSERT INTO lease (lease_id, tenant_id, mode, worker_id, granted_nano)
    VALUES (made, for_tenant, for_mode, worker, chunk);
  WITH part AS (
    SELECT f.grant_id, f.place, LEAST(f.free_nano, chunk - f.before_nano) AS amount_nano
    FROM jusinfer_free_grants(for_tenant, for_mode) f WHERE f.before_nano < chunk
  ), moved AS (
    UPDATE credit_grant l SET held_nano = l.held_nano + part.amount_nano
    FROM part WHERE l.grant_id = part.grant_id
  )
  INSERT INTO lease_grant (lease_id, grant_id, place, tenant_id, held_nano)
    SELECT made, part.grant_id, part.place, for_tenant, part.amount_nano FROM part;
  UPDATE ledger_account a SET leased_nano = a.leased_nano + chunk WHERE a.account_id = credits;
  RETURN QUERY SELECT made, chunk, 0::bigint;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_take_credit TO jusinfer_gateway;

-- Frees parts of leases, the least wanted credit grants first; their accounts must be locked already.
CREATE OR REPLACE FUNCTION jusinfer_unhold(leases uuid[], amounts bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH held AS (
    SELECT ll.lease_id, ll.grant_id, ll.held_nano, g.amount_nano,
      (sum(ll.held_nano) OVER (PARTITION BY ll.lease_id ORDER BY ll.place DESC))::bigint
        - ll.held_nano AS before_nano
    FROM lease_grant ll JOIN unnest(leases, amounts) AS g (lease_id, amount_nano)
      ON g.lease_id = ll.lease_id
    WHERE ll.held_nano > 0
  ), part AS (
    SELECT h.lease_id, h.grant_id, LEAST(h.held_nano, h.amount_nano - h.before_nano) AS amount_nano
    FROM held h WHERE h.before_nano < h.amount_nano
  ), freed AS (
    UPDATE lease_grant ll SET held_nano = ll.held_nano - part.amount_nano
    FROM part WHERE ll.lease_id = part.lease_id AND ll.grant_id = part.grant_id
  )
  UPDATE credit_grant l SET held_nano = l.held_nano - s.amount_nano
  FROM (SELECT grant_id, sum(amount_nano)::bigint AS amount_nano FROM part GROUP BY grant_id) s
  WHERE l.grant_id = s.grant_id
$$;

CREATE OR REPLACE FUNCTION jusinfer_return_credit(worker uuid, from_lease uuid, amount bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE l lease%ROWTYPE;
BEGIN
  SELECT * INTO l FROM lease WHERE lease_id = from_lease AND worker_id = worker;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM 1 FROM ledger_account a
    WHERE a.tenant_id = l.tenant_id AND a.mode = l.mode AND a.kind = 'credits' FOR UPDATE;
  UPDATE lease SET returned_nano = returned_nano + amount,
    state = CASE WHEN posted_nano + returned_nano + amount = granted_nano
                 THEN 'closed' ELSE 'open' END
    WHERE lease_id = from_lease AND state = 'open' AND amount >= 0
      AND granted_nano - posted_nano - returned_nano >= amount;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM jusinfer_unhold(ARRAY[from_lease], ARRAY[amount]);
  UPDATE ledger_account a SET leased_nano = a.leased_nano - amount
    WHERE a.tenant_id = l.tenant_id AND a.mode = l.mode AND a.kind = 'credits';
  RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_return_credit TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_reclaim(dead_worker uuid)
RETURNS TABLE (leases bigint, amount_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE open_leases uuid[];
DECLARE amounts bigint[];
BEGIN
  PERFORM 1 FROM ledger_account a WHERE a.kind = 'credits' AND (a.tenant_id, a.mode) IN (
    SELECT l.tenant_id, l.mode FROM lease l WHERE l.worker_id = dead_worker AND l.state = 'open')
  ORDER BY a.account_id FOR UPDATE;
  SELECT array_agg(o.lease_id), array_agg(o.left_nano) INTO open_leases, amounts FROM (
    SELECT l.lease_id, l.granted_nano - l.posted_nano - l.returned_nano AS left_nano
    FROM lease l WHERE l.worker_id = dead_worker AND l.state = 'open'
    ORDER BY l.lease_id FOR UPDATE) o;
  IF open_leases IS NULL THEN
    RETURN QUERY SELECT 0::bigint, 0::bigint;
    RETURN;
  END IF;
  PERFORM jusinfer_unhold(open_leases, amounts);
  UPDATE ledger_account a SET leased_nano = a.leased_nano - s.left_nano
  FROM (
    SELECT l.tenant_id, l.mode,
      sum(l.granted_nano - l.posted_nano - l.returned_nano)::bigint AS left_nano
    FROM lease l WHERE l.lease_id = ANY (open_leases) GROUP BY l.tenant_id, l.mode
  ) s WHERE a.tenant_id = s.tenant_id AND a.mode = s.mode AND a.kind = 'credits';
  UPDATE lease l SET returned_nano = l.granted_nano - l.posted_nano, state = 'closed'
    WHERE l.lease_id = ANY (open_leases);
  RETURN QUERY SELECT cardinality(open_leases)::bigint,
    (SELECT sum(a)::bigint FROM unnest(amounts) AS a);
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_reclaim TO jusinfer_settler;

-- Spend limits by period: leased like credit, counted when usage is posted.

CREATE OR REPLACE FUNCTION jusinfer_period_start(period text, zone text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT date_trunc(period, at AT TIME ZONE zone) AT TIME ZONE zone
$$;
GRANT EXECUTE ON FUNCTION jusinfer_period_start TO jusinfer_web, jusinfer_operator;

CREATE OR REPLACE FUNCTION jusinfer_period_end(period text, zone text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT (date_trunc(period, at AT TIME ZONE zone) + ('1 ' || period)::interval) AT TIME ZONE zone
$$;
GRANT EXECUTE ON FUNCTION jusinfer_period_end TO jusinfer_web, jusinfer_operator;

CREATE OR REPLACE FUNCTION jusinfer_take_spend_limit(
  worker uuid, of_spend_limit uuid, need bigint, share bigint, chunk_min bigint, chunk_max bigint)
RETURNS TABLE (lease_id uuid, granted_nano bigint, available_nano bigint, left_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE own_limit record;
DECLARE begun timestamptz;
DECLARE free bigint;
DECLARE chunk bigint;
DECLARE made uuid;
BEGIN
  IF share < 1 THEN
    RAISE EXCEPTION 'a share is a part of at least one' USING ERRCODE = '22023';
  END IF;
  SELECT c.*, t.time_zone INTO own_limit FROM spend_limit c JOIN tenant t ON t.tenant_id = c.tenant_id
    WHERE c.spend_limit_id = of_spend_limit AND c.removed_at IS NULL;
  IF NOT FOUND THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, 9223372036854775807::bigint, 0::bigint;
    RETURN;
  END IF;
  begun := jusinfer_period_start(own_limit.period, own_limit.time_zone, now());
  left_ms := ceil(extract(epoch FROM
    jusinfer_period_end(own_limit.period, own_limit.time_zone, now()) - clock_timestamp()) * 1000);
  INSERT INTO spend_period (spend_limit_id, period_start, tenant_id)
    VALUES (of_spend_limit, begun, own_limit.tenant_id) ON CONFLICT DO NOTHING;
  SELECT GREATEST(own_limit.amount_nano - p.spent_nano - p.leased_nano, 0) INTO free
    FROM spend_period p WHERE p.spend_limit_id = of_spend_limit AND p.period_start = begun FOR UPDATE;
  IF free < GREATEST(need, 1) THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, free, left_ms;
    RETURN;
  END IF;
  chunk := LEAST(GREATEST(LEAST(GREATEST(free / share, chunk_min), chunk_max), need), free);
  -- Whole needs only: what is left over of several leases would serve nobody.
  chunk := chunk - chunk % GREATEST(need, 1);
  made := gen_random_uuid();
  INSERT INTO spend_limit_lease (lease_id, spend_limit_id, period_start, tenant_id, worker_id, granted_nano)
    VALUES (made, of_spend_limit, begun, own_limit.tenant_id, worker, chunk);
  UPDATE spend_period p SET leased_nano = p.leased_nano + chunk
    WHERE p.spend_limit_id = of_spend_limit AND p.period_start = begun;
  RETURN QUERY SELECT made, chunk, 0::bigint, left_ms;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_take_spend_limit TO jusinfer_gateway;

-- Moves parts of spend limit leases, by return or by posting; what is moved is leased no longer.
CREATE OR REPLACE FUNCTION jusinfer_move_spend_limits(leases uuid[], amounts bigint[], is_return boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE part record;
DECLARE moved bigint;
BEGIN
  FOR part IN
    SELECT l.lease_id, l.spend_limit_id, l.period_start, m.amount FROM spend_limit_lease l
    JOIN unnest(leases, amounts) AS m (lease_id, amount) ON m.lease_id = l.lease_id
    ORDER BY l.spend_limit_id, l.period_start, l.lease_id
  LOOP
    PERFORM 1 FROM spend_period p
      WHERE p.spend_limit_id = part.spend_limit_id AND p.period_start = part.period_start FOR UPDATE;
    SELECT LEAST(part.amount, l.granted_nano - l.posted_nano - l.returned_nano) INTO moved
      FROM spend_limit_lease l WHERE l.lease_id = part.lease_id FOR UPDATE;
    UPDATE spend_limit_lease l SET
      posted_nano = l.posted_nano + CASE WHEN is_return THEN 0 ELSE moved END,
      returned_nano = l.returned_nano + CASE WHEN is_return THEN moved ELSE 0 END
      WHERE l.lease_id = part.lease_id;
    UPDATE spend_period p SET leased_nano = p.leased_nano - moved
      WHERE p.spend_limit_id = part.spend_limit_id AND p.period_start = part.period_start;
  END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_move_spend_limits TO jusinfer_settler;

CREATE OR REPLACE FUNCTION jusinfer_return_spend_limit(worker uuid, from_lease uuid, amount bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT jusinfer_move_spend_limits(array_agg(l.lease_id), array_agg(amount), true)
  FROM spend_limit_lease l WHERE l.lease_id = from_lease AND l.worker_id = worker AND amount > 0
$$;
GRANT EXECUTE ON FUNCTION jusinfer_return_spend_limit TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_reclaim_spend_limits(dead_worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT jusinfer_move_spend_limits(array_agg(l.lease_id),
    array_agg(l.granted_nano - l.posted_nano - l.returned_nano), true)
  FROM spend_limit_lease l
  WHERE l.worker_id = dead_worker AND l.posted_nano + l.returned_nano < l.granted_nano
$$;
GRANT EXECUTE ON FUNCTION jusinfer_reclaim_spend_limits TO jusinfer_settler;

-- Counts charges under every spend limit they fall under, and announces each threshold once a period.
CREATE OR REPLACE FUNCTION jusinfer_count_spend_limits(
  tenants uuid[], modes text[], members uuid[], keys uuid[], ats timestamptz[], charges bigint[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE announced bigint;
BEGIN
  WITH part AS (
    SELECT c.spend_limit_id, c.tenant_id, jusinfer_period_start(c.period, t.time_zone, e.at) AS begun,
      sum(e.charge)::bigint AS charge
    FROM unnest(tenants, modes, members, keys, ats, charges)
      AS e (tenant_id, mode, member_id, key_id, at, charge)
    JOIN tenant t ON t.tenant_id = e.tenant_id
    JOIN spend_limit c ON c.tenant_id = e.tenant_id AND c.mode = e.mode AND c.removed_at IS NULL
      AND c.scope_id = CASE c.scope WHEN 'tenant' THEN e.tenant_id
        WHEN 'member' THEN e.member_id ELSE e.key_id END
    GROUP BY 1, 2, 3 ORDER BY 1, 3
  ), counted AS (
    INSERT INTO spend_period AS p (spend_limit_id, period_start, tenant_id, spent_nano)
    SELECT part.spend_limit_id, part.begun, part.tenant_id, part.charge FROM part
    ON CONFLICT (spend_limit_id, period_start)
      DO UPDATE SET spent_nano = p.spent_nano + EXCLUDED.spent_nano
    RETURNING p.spend_limit_id, p.period_start, p.tenant_id, p.spent_nano
  ), noticed AS (
    INSERT INTO spend_limit_notice (spend_limit_id, period_start, threshold, tenant_id)
    SELECT n.spend_limit_id, n.period_start, s.threshold, n.tenant_id
    FROM counted n JOIN spend_limit c ON c.spend_limit_id = n.spend_limit_id,
      unnest(ARRAY[50, 80, 100]::smallint[]) AS s (threshold)
    WHERE n.spent_nano::numeric * 100 >= c.amount_nano::numeric * s.threshold
    ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT count(*) INTO announced FROM noticed;
  IF announced > 0 THEN PERFORM pg_notify('jusinfer_keys', 'spend_limits'); END IF;
  RETURN announced;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_count_spend_limits TO jusinfer_settler;

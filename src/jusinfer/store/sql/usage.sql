-- Usage records: their months, and what a key may read of its own.

CREATE OR REPLACE FUNCTION jusinfer_ensure_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE first date := date_trunc('month', month)::date;
DECLARE partition_name text := 'usage_record_' || to_char(first, 'YYYY_MM');
BEGIN
  IF (first BETWEEN date '2000-01-01' AND date '2999-12-01') IS NOT TRUE THEN
    RAISE EXCEPTION 'usage has no month of %', month USING ERRCODE = '22023';
  END IF;
  IF to_regclass('public.' || partition_name) IS NULL THEN
    EXECUTE format(
      'CREATE TABLE IF NOT EXISTS public.%I PARTITION OF usage_record FOR VALUES FROM (%L) TO (%L)',
      partition_name, first::timestamp at time zone 'UTC',
      (first + interval '1 month') at time zone 'UTC');
    -- COPY does not go through row-level security, so the settler writes into the month itself.
    EXECUTE format('GRANT INSERT ON public.%I TO jusinfer_settler', partition_name);
    -- Statistics would keep what clients wrote beyond the row.
    EXECUTE format('ALTER TABLE public.%I ALTER COLUMN requested_model SET STATISTICS 0,'
      ' ALTER COLUMN error_text SET STATISTICS 0, ALTER COLUMN attempt_log SET STATISTICS 0',
      partition_name);
  END IF;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_ensure_partition TO jusinfer_settler, jusinfer_operator;

-- Makes this month and the next ones, so that no completion waits for a table at midnight.
CREATE OR REPLACE FUNCTION jusinfer_ensure_months(ahead integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT jusinfer_ensure_partition(
    (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
  FROM generate_series(0, LEAST(ahead, 12)) AS n
$$;
GRANT EXECUTE ON FUNCTION jusinfer_ensure_months TO jusinfer_settler, jusinfer_operator;

-- Counts the months after this one that are there without a gap; null when this one is not there.
CREATE OR REPLACE FUNCTION jusinfer_months_ahead() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT max(n) FROM (
    SELECT n, bool_and(to_regclass('public.usage_record_' || to_char(
      date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', 'YYYY_MM'))
      IS NOT NULL) OVER (ORDER BY n) AS is_there
    FROM generate_series(0, 12) AS n) m WHERE m.is_there
$$;
GRANT EXECUTE ON FUNCTION jusinfer_months_ahead TO jusinfer_operator;

-- Drops a month of usage that is out of use for a year at least; false when it is not there.
CREATE OR REPLACE FUNCTION jusinfer_drop_month(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE partition_name text := 'usage_record_' || to_char(month, 'YYYY_MM');
BEGIN
  IF date_trunc('month', month) > date_trunc('month', now() AT TIME ZONE 'UTC')
      - interval '13 months' THEN
    RAISE EXCEPTION 'usage is kept for 13 months: % cannot be dropped yet',
      to_char(month, 'YYYY-MM') USING ERRCODE = '22023';
  END IF;
  IF to_regclass('public.' || partition_name) IS NULL THEN RETURN false; END IF;
  EXECUTE format('DROP TABLE public.%I', partition_name);
  RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_drop_month TO jusinfer_privacy;

CREATE OR REPLACE FUNCTION jusinfer_own_completion(of_member uuid, in_mode text, wanted uuid)
RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT to_jsonb(u) - 'tenant_id' - 'member_id' - 'lease_id' - 'transfer_id' - 'country'
    - 'bound_nano' - 'reported_cost_pico' - 'provider_generation_id'
  FROM usage_record u
  WHERE u.completion_id = wanted AND u.member_id = of_member AND u.mode = in_mode
  LIMIT 1
$$;
GRANT EXECUTE ON FUNCTION jusinfer_own_completion TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_own_credits(of_tenant uuid, in_mode text)
RETURNS TABLE (granted_nano bigint, balance_nano bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT COALESCE((SELECT sum(l.granted_nano) FROM credit_grant l
      WHERE l.tenant_id = of_tenant AND l.mode = in_mode), 0)::bigint
    - COALESCE((SELECT sum(d.amount_nano) FROM grant_draw d JOIN ledger_transfer t
        ON t.transfer_id = d.transfer_id AND t.code IN ('expiry', 'adjustment')
      WHERE d.tenant_id = of_tenant AND t.mode = in_mode), 0)::bigint,
    COALESCE((SELECT sum(a.credits_posted_nano - a.debits_posted_nano) FROM ledger_account a
      WHERE a.tenant_id = of_tenant AND a.mode = in_mode), 0)::bigint
$$;
GRANT EXECUTE ON FUNCTION jusinfer_own_credits TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_own_key(of_key uuid)
RETURNS TABLE (name text, key_prefix text, total_nano bigint, day_nano bigint, week_nano bigint,
               month_nano bigint, spend_limit_nano bigint, spend_limit_left_nano bigint, spend_limit_period text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH spent AS (
    SELECT COALESCE(sum(u.charge_nano), 0)::bigint AS total,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day = today), 0)::bigint AS in_day,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day >= date_trunc('week', today)), 0)::bigint
        AS in_week,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day >= date_trunc('month', today)), 0)::bigint
        AS in_month
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) d
      LEFT JOIN key_usage u ON u.key_id = of_key
  ), own_limit AS (
    SELECT c.amount_nano, c.period, GREATEST(c.amount_nano - COALESCE(p.spent_nano, 0), 0) AS rest
    FROM spend_limit c JOIN tenant t ON t.tenant_id = c.tenant_id
    LEFT JOIN spend_period p ON p.spend_limit_id = c.spend_limit_id
      AND p.period_start = jusinfer_period_start(c.period, t.time_zone, now())
    WHERE c.scope = 'key' AND c.scope_id = of_key AND c.removed_at IS NULL
    ORDER BY rest LIMIT 1
  )
  SELECT k.name, k.key_prefix, s.total, s.in_day, s.in_week, s.in_month, own_limit.amount_nano,
    own_limit.rest, own_limit.period
  FROM api_key k CROSS JOIN spent s LEFT JOIN own_limit ON true WHERE k.key_id = of_key
$$;
GRANT EXECUTE ON FUNCTION jusinfer_own_key TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_count_keys(
  tenants uuid[], keys uuid[], days date[], charges bigint[], counts bigint[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO key_usage AS u (key_id, day, tenant_id, charge_nano, completions)
  SELECT e.key_id, e.day, e.tenant_id, sum(e.charge)::bigint, sum(e.completions)::bigint
  FROM unnest(tenants, keys, days, charges, counts)
    AS e (tenant_id, key_id, day, charge, completions)
  WHERE EXISTS (SELECT 1 FROM tenant t WHERE t.tenant_id = e.tenant_id)
  GROUP BY 1, 2, 3 ORDER BY 1, 2
  ON CONFLICT (key_id, day) DO UPDATE SET charge_nano = u.charge_nano + EXCLUDED.charge_nano,
    completions = u.completions + EXCLUDED.completions
$$;
GRANT EXECUTE ON FUNCTION jusinfer_count_keys TO jusinfer_settler;

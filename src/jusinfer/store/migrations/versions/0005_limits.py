"""Limits by the minute and at once, and caps on spending by period: leased like credit."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
CREATE TABLE rate_limit (
  scope text NOT NULL CHECK (scope IN ('tenant', 'member', 'key')),
  scope_id uuid NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  kind text NOT NULL CHECK (kind IN ('requests', 'tokens', 'concurrency')),
  amount bigint NOT NULL CHECK (amount > 0),
  PRIMARY KEY (scope, scope_id, kind)
);
CREATE TABLE rate_window (
  scope text NOT NULL,
  scope_id uuid NOT NULL,
  kind text NOT NULL,
  window_start timestamptz NOT NULL,
  taken bigint NOT NULL DEFAULT 0 CHECK (taken >= 0),
  PRIMARY KEY (scope, scope_id, kind)
);
CREATE TABLE rate_slot (
  scope text NOT NULL,
  scope_id uuid NOT NULL,
  worker_id uuid NOT NULL,
  slots bigint NOT NULL CHECK (slots >= 0),
  PRIMARY KEY (scope, scope_id, worker_id)
);
CREATE INDEX rate_slot_worker ON rate_slot (worker_id);
CREATE TABLE spend_cap (
  cap_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  scope text NOT NULL CHECK (scope IN ('tenant', 'member', 'key')),
  scope_id uuid NOT NULL,
  period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  action text NOT NULL CHECK (action IN ('warn', 'cheapest', 'slow', 'stop')),
  created_at timestamptz NOT NULL DEFAULT now(),
  removed_at timestamptz
);
CREATE INDEX spend_cap_tenant ON spend_cap (tenant_id) WHERE removed_at IS NULL;
CREATE TABLE spend_period (
  cap_id uuid NOT NULL REFERENCES spend_cap,
  period_start timestamptz NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  spent_nano bigint NOT NULL DEFAULT 0 CHECK (spent_nano >= 0),
  leased_nano bigint NOT NULL DEFAULT 0 CHECK (leased_nano >= 0),
  PRIMARY KEY (cap_id, period_start)
);
CREATE TABLE cap_lease (
  lease_id uuid PRIMARY KEY,
  cap_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  worker_id uuid NOT NULL,
  granted_nano bigint NOT NULL CHECK (granted_nano > 0),
  posted_nano bigint NOT NULL DEFAULT 0 CHECK (posted_nano >= 0),
  returned_nano bigint NOT NULL DEFAULT 0 CHECK (returned_nano >= 0),
  FOREIGN KEY (cap_id, period_start) REFERENCES spend_period,
  CHECK (posted_nano + returned_nano <= granted_nano)
);
CREATE INDEX cap_lease_open ON cap_lease (worker_id)
  WHERE posted_nano + returned_nano < granted_nano;
CREATE TABLE cap_notice (
  cap_id uuid NOT NULL,
  period_start timestamptz NOT NULL,
  threshold smallint NOT NULL CHECK (threshold IN (50, 80, 100)),
  tenant_id uuid NOT NULL REFERENCES tenant,
  reached_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cap_id, period_start, threshold),
  FOREIGN KEY (cap_id, period_start) REFERENCES spend_period
);
"""

RATES = """
-- Takes permits of the present UTC minute (or slots, which have no minute): all of the need, more
-- if it is plentiful, or nothing. Rows come back in the order of the arrays.
CREATE FUNCTION jusinfer_take_permits(
  worker uuid, scopes text[], ids uuid[], kinds text[], amounts bigint[], needs bigint[],
  wants bigint[])
RETURNS TABLE (place integer, granted bigint, remaining bigint, left_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE asked record;
DECLARE minute timestamptz;
DECLARE used bigint;
DECLARE free bigint;
BEGIN
  FOR asked IN
    SELECT a.* FROM unnest(scopes, ids, kinds, amounts, needs, wants) WITH ORDINALITY
      AS a (scope, scope_id, kind, amount, need, want, place)
    ORDER BY a.scope, a.scope_id, a.kind
  LOOP
    INSERT INTO rate_window AS w (scope, scope_id, kind, window_start)
      VALUES (asked.scope, asked.scope_id, asked.kind, date_trunc('minute', clock_timestamp()))
      ON CONFLICT DO NOTHING;
    SELECT w.taken, w.window_start INTO used, minute FROM rate_window w
      WHERE w.scope = asked.scope AND w.scope_id = asked.scope_id AND w.kind = asked.kind
      FOR UPDATE;
    IF asked.kind <> 'concurrency' AND minute < date_trunc('minute', clock_timestamp()) THEN
      minute := date_trunc('minute', clock_timestamp());
      used := 0;
    END IF;
    free := GREATEST(asked.amount - used, 0);
    granted := CASE WHEN free < asked.need THEN 0
      ELSE GREATEST(asked.need, LEAST(asked.want, free / 4)) END;
    UPDATE rate_window w SET taken = used + granted, window_start = minute
      WHERE w.scope = asked.scope AND w.scope_id = asked.scope_id AND w.kind = asked.kind;
    IF asked.kind = 'concurrency' AND granted > 0 THEN
      INSERT INTO rate_slot AS s (scope, scope_id, worker_id, slots)
        VALUES (asked.scope, asked.scope_id, worker, granted)
        ON CONFLICT (scope, scope_id, worker_id) DO UPDATE SET slots = s.slots + EXCLUDED.slots;
    END IF;
    place := asked.place;
    remaining := free - granted;
    left_ms := GREATEST(ceil(extract(epoch FROM minute + interval '1 minute'
      - clock_timestamp()) * 1000), 0)::bigint;
    RETURN NEXT;
  END LOOP;
END $$;

-- Gives back permits of the minute they were taken in, or slots.
CREATE FUNCTION jusinfer_give_permits(
  worker uuid, of_scope text, of_id uuid, of_kind text, amount bigint, within_ms bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  PERFORM 1 FROM rate_window w
    WHERE w.scope = of_scope AND w.scope_id = of_id AND w.kind = of_kind FOR UPDATE;
  IF of_kind = 'concurrency' THEN
    UPDATE rate_slot s SET slots = s.slots - amount
      WHERE s.scope = of_scope AND s.scope_id = of_id AND s.worker_id = worker
        AND s.slots >= amount;
    IF NOT FOUND THEN RETURN; END IF;
    UPDATE rate_window w SET taken = w.taken - amount
      WHERE w.scope = of_scope AND w.scope_id = of_id AND w.kind = of_kind;
    RETURN;
  END IF;
  UPDATE rate_window w SET taken = w.taken - LEAST(amount, w.taken)
    WHERE w.scope = of_scope AND w.scope_id = of_id AND w.kind = of_kind
      AND w.window_start = date_trunc('minute', clock_timestamp())
      AND clock_timestamp() + within_ms * interval '1 millisecond'
          <= w.window_start + interval '1 minute 100 milliseconds';
END $$;

CREATE FUNCTION jusinfer_free_slots(dead_worker uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE slot record;
DECLARE freed bigint := 0;
BEGIN
  FOR slot IN SELECT * FROM rate_slot s WHERE s.worker_id = dead_worker
    ORDER BY s.scope, s.scope_id
  LOOP
    PERFORM 1 FROM rate_window w WHERE w.scope = slot.scope AND w.scope_id = slot.scope_id
      AND w.kind = 'concurrency' FOR UPDATE;
    DELETE FROM rate_slot s WHERE s.scope = slot.scope AND s.scope_id = slot.scope_id
      AND s.worker_id = dead_worker;
    UPDATE rate_window w SET taken = GREATEST(w.taken - slot.slots, 0)
      WHERE w.scope = slot.scope AND w.scope_id = slot.scope_id AND w.kind = 'concurrency';
    freed := freed + slot.slots;
  END LOOP;
  RETURN freed;
END $$;
"""

CAPS = """
CREATE FUNCTION jusinfer_period_start(period text, zone text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE SET search_path = public AS $$
  SELECT date_trunc(period, at AT TIME ZONE zone) AT TIME ZONE zone
$$;
CREATE FUNCTION jusinfer_period_end(period text, zone text, at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE SET search_path = public AS $$
  SELECT (date_trunc(period, at AT TIME ZONE zone) + ('1 ' || period)::interval) AT TIME ZONE zone
$$;

CREATE FUNCTION jusinfer_take_cap(
  worker uuid, of_cap uuid, need bigint, share bigint, chunk_min bigint, chunk_max bigint)
RETURNS TABLE (lease_id uuid, granted_nano bigint, available_nano bigint, left_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE cap record;
DECLARE begun timestamptz;
DECLARE free bigint;
DECLARE chunk bigint;
DECLARE made uuid;
BEGIN
  SELECT c.*, t.time_zone INTO cap FROM spend_cap c JOIN tenant t ON t.tenant_id = c.tenant_id
    WHERE c.cap_id = of_cap AND c.removed_at IS NULL;
  IF NOT FOUND THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, 9223372036854775807::bigint, 0::bigint;
    RETURN;
  END IF;
  begun := jusinfer_period_start(cap.period, cap.time_zone, now());
  left_ms := ceil(extract(epoch FROM
    jusinfer_period_end(cap.period, cap.time_zone, now()) - clock_timestamp()) * 1000);
  INSERT INTO spend_period (cap_id, period_start, tenant_id)
    VALUES (of_cap, begun, cap.tenant_id) ON CONFLICT DO NOTHING;
  SELECT GREATEST(cap.amount_nano - p.spent_nano - p.leased_nano, 0) INTO free
    FROM spend_period p WHERE p.cap_id = of_cap AND p.period_start = begun FOR UPDATE;
  IF free < GREATEST(need, 1) THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, free, left_ms;
    RETURN;
  END IF;
  chunk := LEAST(GREATEST(LEAST(GREATEST(free / share, chunk_min), chunk_max), need), free);
  -- Whole needs only: what is left over of several leases would serve nobody.
  chunk := chunk - chunk % GREATEST(need, 1);
  made := gen_random_uuid();
  INSERT INTO cap_lease (lease_id, cap_id, period_start, tenant_id, worker_id, granted_nano)
    VALUES (made, of_cap, begun, cap.tenant_id, worker, chunk);
  UPDATE spend_period p SET leased_nano = p.leased_nano + chunk
    WHERE p.cap_id = of_cap AND p.period_start = begun;
  RETURN QUERY SELECT made, chunk, 0::bigint, left_ms;
END $$;

-- Moves parts of cap leases, by return or by posting; what is moved is leased no longer.
CREATE FUNCTION jusinfer_move_caps(leases uuid[], amounts bigint[], is_return boolean)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE part record;
DECLARE moved bigint;
BEGIN
  FOR part IN
    SELECT l.lease_id, l.cap_id, l.period_start, m.amount FROM cap_lease l
    JOIN unnest(leases, amounts) AS m (lease_id, amount) ON m.lease_id = l.lease_id
    ORDER BY l.cap_id, l.period_start, l.lease_id
  LOOP
    PERFORM 1 FROM spend_period p
      WHERE p.cap_id = part.cap_id AND p.period_start = part.period_start FOR UPDATE;
    SELECT LEAST(part.amount, l.granted_nano - l.posted_nano - l.returned_nano) INTO moved
      FROM cap_lease l WHERE l.lease_id = part.lease_id FOR UPDATE;
    UPDATE cap_lease l SET
      posted_nano = l.posted_nano + CASE WHEN is_return THEN 0 ELSE moved END,
      returned_nano = l.returned_nano + CASE WHEN is_return THEN moved ELSE 0 END
      WHERE l.lease_id = part.lease_id;
    UPDATE spend_period p SET leased_nano = p.leased_nano - moved
      WHERE p.cap_id = part.cap_id AND p.period_start = part.period_start;
  END LOOP;
END $$;

CREATE FUNCTION jusinfer_return_cap(worker uuid, from_lease uuid, amount bigint)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  SELECT jusinfer_move_caps(array_agg(l.lease_id), array_agg(amount), true)
  FROM cap_lease l WHERE l.lease_id = from_lease AND l.worker_id = worker AND amount > 0
$$;

CREATE FUNCTION jusinfer_reclaim_caps(dead_worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  SELECT jusinfer_move_caps(array_agg(l.lease_id),
    array_agg(l.granted_nano - l.posted_nano - l.returned_nano), true)
  FROM cap_lease l
  WHERE l.worker_id = dead_worker AND l.posted_nano + l.returned_nano < l.granted_nano
$$;

-- Counts charges under every cap they fall under, and announces each threshold once a period.
CREATE FUNCTION jusinfer_count_caps(
  tenants uuid[], modes text[], members uuid[], keys uuid[], ats timestamptz[], charges bigint[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE announced bigint;
BEGIN
  WITH part AS (
    SELECT c.cap_id, c.tenant_id, jusinfer_period_start(c.period, t.time_zone, e.at) AS begun,
      sum(e.charge)::bigint AS charge
    FROM unnest(tenants, modes, members, keys, ats, charges)
      AS e (tenant_id, mode, member_id, key_id, at, charge)
    JOIN tenant t ON t.tenant_id = e.tenant_id
    JOIN spend_cap c ON c.tenant_id = e.tenant_id AND c.mode = e.mode AND c.removed_at IS NULL
      AND c.scope_id = CASE c.scope WHEN 'tenant' THEN e.tenant_id
        WHEN 'member' THEN e.member_id ELSE e.key_id END
    GROUP BY 1, 2, 3 ORDER BY 1, 3
  ), counted AS (
    INSERT INTO spend_period AS p (cap_id, period_start, tenant_id, spent_nano)
    SELECT part.cap_id, part.begun, part.tenant_id, part.charge FROM part
    ON CONFLICT (cap_id, period_start)
      DO UPDATE SET spent_nano = p.spent_nano + EXCLUDED.spent_nano
    RETURNING p.cap_id, p.period_start, p.tenant_id, p.spent_nano
  ), noticed AS (
    INSERT INTO cap_notice (cap_id, period_start, threshold, tenant_id)
    SELECT n.cap_id, n.period_start, s.threshold, n.tenant_id
    FROM counted n JOIN spend_cap c ON c.cap_id = n.cap_id,
      unnest(ARRAY[50, 80, 100]::smallint[]) AS s (threshold)
    WHERE n.spent_nano::numeric * 100 >= c.amount_nano::numeric * s.threshold
    ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT count(*) INTO announced FROM noticed;
  IF announced > 0 THEN PERFORM pg_notify('jusinfer_keys', 'caps'); END IF;
  RETURN announced;
END $$;

DROP FUNCTION jusinfer_principal(bytea);
CREATE FUNCTION jusinfer_principal(wanted bytea)
RETURNS TABLE (tenant_id uuid, member_id uuid, key_id uuid, mode text,
               requests_per_minute integer, tokens_per_minute bigint, price_list text,
               limits jsonb, caps jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT k.tenant_id, k.member_id, k.key_id, k.mode, k.requests_per_minute, k.tokens_per_minute,
    t.price_list,
    (SELECT jsonb_agg(jsonb_build_array(r.scope, r.scope_id, r.kind, r.amount)
       ORDER BY r.scope, r.kind)
     FROM rate_limit r WHERE r.scope_id = CASE r.scope WHEN 'tenant' THEN k.tenant_id
       WHEN 'member' THEN k.member_id ELSE k.key_id END),
    (SELECT jsonb_agg(jsonb_build_array(c.cap_id, c.scope, c.period, c.action,
         COALESCE((SELECT max(n.threshold) FROM cap_notice n WHERE n.cap_id = c.cap_id
           AND n.period_start = jusinfer_period_start(c.period, t.time_zone, now())), 0),
         ceil(extract(epoch FROM jusinfer_period_end(c.period, t.time_zone, now())))::bigint)
       ORDER BY c.created_at, c.cap_id)
     FROM spend_cap c WHERE c.tenant_id = k.tenant_id AND c.mode = k.mode
       AND c.removed_at IS NULL AND c.scope_id = CASE c.scope WHEN 'tenant' THEN k.tenant_id
       WHEN 'member' THEN k.member_id ELSE k.key_id END)
  FROM api_key k JOIN tenant t ON t.tenant_id = k.tenant_id
  WHERE k.fingerprint = wanted AND k.revoked_at IS NULL
$$;
"""

GRANTS = """
REVOKE ALL ON FUNCTION jusinfer_take_permits, jusinfer_give_permits, jusinfer_free_slots,
  jusinfer_period_start, jusinfer_period_end, jusinfer_take_cap, jusinfer_move_caps,
  jusinfer_return_cap, jusinfer_reclaim_caps, jusinfer_count_caps, jusinfer_principal FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_take_permits, jusinfer_give_permits, jusinfer_take_cap,
  jusinfer_return_cap, jusinfer_principal TO jusinfer_gateway;
GRANT EXECUTE ON FUNCTION jusinfer_free_slots, jusinfer_reclaim_caps, jusinfer_move_caps,
  jusinfer_count_caps TO jusinfer_settler;
GRANT EXECUTE ON FUNCTION jusinfer_period_start, jusinfer_period_end
  TO jusinfer_control, jusinfer_operator;
GRANT SELECT ON rate_limit, spend_cap, spend_period, cap_notice
  TO jusinfer_control, jusinfer_operator;
GRANT SELECT ON rate_window, rate_slot, cap_lease TO jusinfer_operator;
GRANT INSERT, UPDATE, DELETE ON rate_limit TO jusinfer_operator;
GRANT INSERT ON spend_cap TO jusinfer_operator;
GRANT UPDATE (removed_at) ON spend_cap TO jusinfer_operator;
"""

TENANT_TABLES = ("rate_limit", "spend_cap", "spend_period", "cap_lease", "cap_notice")


def upgrade() -> None:
    """Keep limits and caps."""
    for statements in (TABLES, RATES, CAPS, GRANTS):
        op.execute(statements)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_own ON {table} TO jusinfer_control USING "
            "(tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid)"
        )
        for role in ("jusinfer_operator", "jusinfer_settler", "CURRENT_USER"):
            name = role.removeprefix("jusinfer_").lower()
            op.execute(f"CREATE POLICY {table}_{name} ON {table} TO {role} USING (true)")

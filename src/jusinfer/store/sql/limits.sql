-- Limits by the minute and at once.

-- Refuses what is no limit, so that no row is kept for it.
CREATE OR REPLACE FUNCTION jusinfer_check_limit(of_scope text, of_kind text, amount bigint)
RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF (of_scope IN ('tenant', 'member', 'key') AND of_kind IN ('requests', 'tokens', 'concurrency')
      AND amount >= 0) IS NOT TRUE THEN
    RAISE EXCEPTION 'there is no such limit' USING ERRCODE = '22023';
  END IF;
END $$;

-- Takes permits of the present UTC minute (or slots, which have no minute): all of the need, more
-- if it is plentiful, or nothing. Rows come back in the order of the arrays.
CREATE OR REPLACE FUNCTION jusinfer_take_permits(
  worker uuid, scopes text[], ids uuid[], kinds text[], amounts bigint[], needs bigint[],
  wants bigint[])
RETURNS TABLE (place integer, granted bigint, remaining bigint, left_ms bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE asked record;
DECLARE minute timestamptz;
DECLARE used bigint;
DECLARE free bigint;
BEGIN
  IF cardinality(scopes) > 64 THEN
    RAISE EXCEPTION 'at most 64 limits are asked for at once' USING ERRCODE = '22023';
  END IF;
  PERFORM jusinfer_check_limit(a.scope, a.kind, a.need)
    FROM unnest(scopes, kinds, needs) AS a (scope, kind, need);
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
GRANT EXECUTE ON FUNCTION jusinfer_take_permits TO jusinfer_gateway;

-- Gives back permits of the minute they were taken in, or slots.
CREATE OR REPLACE FUNCTION jusinfer_give_permits(
  worker uuid, of_scope text, of_id uuid, of_kind text, amount bigint, within_ms bigint)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM jusinfer_check_limit(of_scope, of_kind, amount);
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
GRANT EXECUTE ON FUNCTION jusinfer_give_permits TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_free_slots(dead_worker uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION jusinfer_free_slots TO jusinfer_settler;

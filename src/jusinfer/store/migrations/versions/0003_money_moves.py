"""The only ways in which money moves: grant, lend, return, settle, reclaim, expire, take away."""

from alembic import op

revision = "0003"
down_revision = "0002"

GRANT_CREDIT = """
CREATE FUNCTION jusinfer_grant_credit(
  new_transfer text, new_lot uuid, to_tenant uuid, in_mode text, from_kind text, of_code text,
  of_source text, amount bigint, of_priority smallint, effective timestamptz,
  expires timestamptz, why text, digest bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE credits bigint := jusinfer_account(to_tenant, in_mode, 'credits');
DECLARE debt bigint := jusinfer_account(to_tenant, in_mode, 'debt');
DECLARE house bigint := jusinfer_account(NULL, in_mode, from_kind);
DECLARE known bytea;
DECLARE owed bigint;
DECLARE repaid bigint;
BEGIN
  PERFORM jusinfer_check_tenant(to_tenant);
  PERFORM 1 FROM ledger_account WHERE account_id IN (credits, debt, house)
    ORDER BY account_id FOR UPDATE;
  SELECT payload_digest INTO known FROM ledger_transfer WHERE transfer_id = new_transfer;
  IF FOUND THEN
    IF known <> digest THEN
      RAISE EXCEPTION 'this transfer id was used for another transfer' USING ERRCODE = 'JI001';
    END IF;
    RETURN false;
  END IF;
  INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id, tenant_id,
    amount_nano, code, reason, payload_digest)
  VALUES (new_transfer, in_mode, house, credits, to_tenant, amount, of_code, why, digest);
  INSERT INTO credit_lot (lot_id, tenant_id, mode, source, granted_nano, remaining_nano,
    priority, effective_at, expires_at, transfer_id)
  VALUES (new_lot, to_tenant, in_mode, of_source, amount, amount, of_priority,
    COALESCE(effective, now()), expires, new_transfer);
  -- What a tenant owes is paid first, from whatever may be drawn now.
  SELECT debits_posted_nano - credits_posted_nano INTO owed FROM ledger_account
    WHERE account_id = debt;
  IF owed > 0 THEN
    repaid := jusinfer_draw_free('repayment:' || new_transfer, to_tenant, in_mode, owed, false);
    IF repaid > 0 THEN
      INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id,
        tenant_id, amount_nano, code, payload_digest)
      VALUES ('repayment:' || new_transfer, in_mode, credits, debt, to_tenant, repaid,
        'repayment', digest);
    END IF;
  END IF;
  RETURN true;
END $$;

CREATE FUNCTION jusinfer_take_away(
  new_transfer text, from_tenant uuid, in_mode text, amount bigint, why text, digest bytea)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE credits bigint := jusinfer_account(from_tenant, in_mode, 'credits');
DECLARE house bigint := jusinfer_account(NULL, in_mode, 'adjustment');
DECLARE free bigint;
BEGIN
  PERFORM jusinfer_check_tenant(from_tenant);
  PERFORM 1 FROM ledger_account WHERE account_id IN (credits, house)
    ORDER BY account_id FOR UPDATE;
  SELECT COALESCE(sum(f.free_nano), 0)::bigint INTO free
    FROM jusinfer_free_lots(from_tenant, in_mode) f;
  IF free < amount THEN RETURN free; END IF;
  PERFORM jusinfer_draw_free(new_transfer, from_tenant, in_mode, amount, false);
  INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id, tenant_id,
    amount_nano, code, reason, payload_digest)
  VALUES (new_transfer, in_mode, credits, house, from_tenant, amount, 'adjustment', why, digest);
  RETURN amount;
END $$;
"""

LEASES = """
CREATE FUNCTION jusinfer_take_credit(
  worker uuid, for_tenant uuid, for_mode text, need bigint,
  share bigint, chunk_min bigint, chunk_max bigint)
RETURNS TABLE (lease_id uuid, granted_nano bigint, available_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE credits bigint;
DECLARE free bigint;
DECLARE chunk bigint;
DECLARE made uuid;
BEGIN
  SELECT a.account_id INTO credits FROM ledger_account a
    WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'credits' FOR UPDATE;
  SELECT GREATEST(COALESCE(sum(f.free_nano), 0) - COALESCE((
      SELECT a.debits_posted_nano - a.credits_posted_nano FROM ledger_account a
      WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'debt'), 0), 0)::bigint
    INTO free FROM jusinfer_free_lots(for_tenant, for_mode) f;
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
    SELECT f.lot_id, f.place, LEAST(f.free_nano, chunk - f.before_nano) AS amount_nano
    FROM jusinfer_free_lots(for_tenant, for_mode) f WHERE f.before_nano < chunk
  ), moved AS (
    UPDATE credit_lot l SET held_nano = l.held_nano + part.amount_nano
    FROM part WHERE l.lot_id = part.lot_id
  )
  INSERT INTO lease_lot (lease_id, lot_id, place, tenant_id, held_nano)
    SELECT made, part.lot_id, part.place, for_tenant, part.amount_nano FROM part;
  UPDATE ledger_account a SET leased_nano = a.leased_nano + chunk WHERE a.account_id = credits;
  RETURN QUERY SELECT made, chunk, 0::bigint;
END $$;

-- Frees parts of leases, the least wanted lots first; their accounts must be locked already.
CREATE FUNCTION jusinfer_unhold(leases uuid[], amounts bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  WITH held AS (
    SELECT ll.lease_id, ll.lot_id, ll.held_nano, g.amount_nano,
      (sum(ll.held_nano) OVER (PARTITION BY ll.lease_id ORDER BY ll.place DESC))::bigint
        - ll.held_nano AS before_nano
    FROM lease_lot ll JOIN unnest(leases, amounts) AS g (lease_id, amount_nano)
      ON g.lease_id = ll.lease_id
    WHERE ll.held_nano > 0
  ), part AS (
    SELECT h.lease_id, h.lot_id, LEAST(h.held_nano, h.amount_nano - h.before_nano) AS amount_nano
    FROM held h WHERE h.before_nano < h.amount_nano
  ), freed AS (
    UPDATE lease_lot ll SET held_nano = ll.held_nano - part.amount_nano
    FROM part WHERE ll.lease_id = part.lease_id AND ll.lot_id = part.lot_id
  )
  UPDATE credit_lot l SET held_nano = l.held_nano - s.amount_nano
  FROM (SELECT lot_id, sum(amount_nano)::bigint AS amount_nano FROM part GROUP BY lot_id) s
  WHERE l.lot_id = s.lot_id
$$;

CREATE FUNCTION jusinfer_return_credit(worker uuid, from_lease uuid, amount bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
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

CREATE FUNCTION jusinfer_reclaim(dead_worker uuid)
RETURNS TABLE (leases bigint, amount_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
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
"""

SETTLE = """
CREATE FUNCTION jusinfer_settle_usage(
  span text, tenants uuid[], modes text[], leases uuid[], charges bigint[])
RETURNS TABLE (tenant_id uuid, mode text, charge_nano bigint, covered_nano bigint,
               owed_nano bigint, is_known boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
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
      SELECT ll.lease_id, ll.lot_id, ll.held_nano, k.tenant_id, k.mode, k.covered_nano,
        (sum(ll.held_nano) OVER (PARTITION BY ll.lease_id ORDER BY ll.place))::bigint
          - ll.held_nano AS before_nano
      FROM lease_lot ll JOIN locked k ON k.lease_id = ll.lease_id WHERE ll.held_nano > 0
    ), part AS (
      SELECT h.lease_id, h.lot_id, h.tenant_id, h.mode,
        LEAST(h.held_nano, h.covered_nano - h.before_nano) AS amount_nano
      FROM held h WHERE h.before_nano < h.covered_nano
    ), freed AS (
      UPDATE lease_lot ll SET held_nano = ll.held_nano - p.amount_nano
      FROM part p WHERE ll.lease_id = p.lease_id AND ll.lot_id = p.lot_id
    ), summed AS (
      SELECT p.lot_id, p.tenant_id, p.mode, sum(p.amount_nano)::bigint AS amount_nano
      FROM part p GROUP BY p.lot_id, p.tenant_id, p.mode
    ), drawn_lots AS (
      UPDATE credit_lot l SET remaining_nano = l.remaining_nano - s.amount_nano,
        held_nano = l.held_nano - s.amount_nano
      FROM summed s WHERE l.lot_id = s.lot_id
    ), noted AS (
      INSERT INTO lot_draw (transfer_id, lot_id, tenant_id, amount_nano)
      SELECT 'usage:' || span || ':' || replace(s.tenant_id::text, '-', '') || ':' || s.mode,
        s.lot_id, s.tenant_id, s.amount_nano FROM summed s
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
"""

EXPIRE = """
CREATE FUNCTION jusinfer_expire_lots(lots_max integer)
RETURNS TABLE (lots bigint, amount_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE due record;
DECLARE gone bigint;
DECLARE name text;
BEGIN
  lots := 0;
  amount_nano := 0;
  FOR due IN
    SELECT l.lot_id, l.tenant_id, l.mode FROM credit_lot l
    WHERE l.expires_at <= now() AND l.remaining_nano > l.held_nano
    ORDER BY l.tenant_id, l.mode, l.lot_id LIMIT lots_max
  LOOP
    PERFORM 1 FROM ledger_account a WHERE (a.mode = due.mode) AND (
      (a.tenant_id = due.tenant_id AND a.kind = 'credits')
      OR (a.tenant_id IS NULL AND a.kind = 'breakage'))
    ORDER BY a.account_id FOR UPDATE;
    SELECT l.remaining_nano - l.held_nano, 'expiry:' || due.lot_id || ':' || l.remaining_nano
      INTO gone, name FROM credit_lot l WHERE l.lot_id = due.lot_id FOR UPDATE;
    CONTINUE WHEN gone <= 0;
    UPDATE credit_lot l SET remaining_nano = l.held_nano WHERE l.lot_id = due.lot_id;
    INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id,
      tenant_id, amount_nano, code, payload_digest)
    VALUES (name, due.mode, jusinfer_account(due.tenant_id, due.mode, 'credits'),
      jusinfer_account(NULL, due.mode, 'breakage'), due.tenant_id, gone, 'expiry',
      sha256(convert_to(name || '=' || gone, 'UTF8')));
    INSERT INTO lot_draw (transfer_id, lot_id, tenant_id, amount_nano)
      VALUES (name, due.lot_id, due.tenant_id, gone);
    lots := lots + 1;
    amount_nano := amount_nano + gone;
  END LOOP;
  RETURN NEXT;
END $$;
"""

GRANTS = """
REVOKE ALL ON FUNCTION jusinfer_grant_credit, jusinfer_take_away, jusinfer_take_credit,
  jusinfer_unhold, jusinfer_return_credit, jusinfer_reclaim, jusinfer_settle_usage,
  jusinfer_expire_lots FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_take_credit, jusinfer_return_credit TO jusinfer_gateway;
GRANT EXECUTE ON FUNCTION jusinfer_settle_usage, jusinfer_reclaim, jusinfer_expire_lots
  TO jusinfer_settler;
GRANT EXECUTE ON FUNCTION jusinfer_grant_credit TO jusinfer_control, jusinfer_operator;
GRANT EXECUTE ON FUNCTION jusinfer_take_away, jusinfer_expire_lots TO jusinfer_operator;
"""


def upgrade() -> None:
    """Write the functions; roles may call them and may not move money otherwise."""
    for statements in (GRANT_CREDIT, LEASES, SETTLE, EXPIRE, GRANTS):
        op.execute(statements)

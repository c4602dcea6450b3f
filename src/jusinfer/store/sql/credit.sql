-- Credit grants: made, drawn in one order, expired, taken away.

CREATE OR REPLACE FUNCTION jusinfer_account(of_tenant uuid, in_mode text, of_kind text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT account_id FROM ledger_account
  WHERE tenant_id IS NOT DISTINCT FROM of_tenant AND mode = in_mode AND kind = of_kind
$$;

CREATE OR REPLACE FUNCTION jusinfer_check_tenant(wanted uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE own text := NULLIF(current_setting('jusinfer.tenant_id', true), '');
BEGIN
  IF own IS NULL THEN
    RAISE EXCEPTION 'this transaction names no tenant' USING ERRCODE = '42501';
  END IF;
  IF own::uuid <> wanted THEN
    RAISE EXCEPTION 'this transaction belongs to another tenant' USING ERRCODE = '42501';
  END IF;
END $$;

-- What may be lent or drawn now, in draw-down order; `before_nano` is what lies ahead of a credit grant.
CREATE OR REPLACE FUNCTION jusinfer_free_grants(of_tenant uuid, in_mode text)
RETURNS TABLE (grant_id uuid, place bigint, free_nano bigint, before_nano bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT l.grant_id, row_number() OVER w, l.remaining_nano - l.held_nano,
    (sum(l.remaining_nano - l.held_nano) OVER w)::bigint - (l.remaining_nano - l.held_nano)
  FROM credit_grant l
  WHERE l.tenant_id = of_tenant AND l.mode = in_mode AND l.remaining_nano > l.held_nano
    AND l.effective_at <= now() AND (l.expires_at IS NULL OR l.expires_at > now())
  WINDOW w AS (ORDER BY l.priority, l.expires_at NULLS LAST, l.source_rank, l.effective_at,
    l.created_at, l.grant_id ROWS UNBOUNDED PRECEDING)
$$;

-- Takes up to an amount from what is free, for a transfer; gives what could be taken. `beyond`
-- marks what a settlement draws over what its leases held.
CREATE OR REPLACE FUNCTION jusinfer_draw_free(
  for_transfer text, of_tenant uuid, in_mode text, amount bigint, beyond boolean)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE taken bigint;
BEGIN
  WITH part AS (
    SELECT f.grant_id, LEAST(f.free_nano, amount - f.before_nano) AS amount_nano
    FROM jusinfer_free_grants(of_tenant, in_mode) f WHERE f.before_nano < amount
  ), moved AS (
    UPDATE credit_grant l SET remaining_nano = l.remaining_nano - part.amount_nano
    FROM part WHERE l.grant_id = part.grant_id
  ), noted AS (
    INSERT INTO grant_draw (transfer_id, grant_id, tenant_id, is_beyond_lease, amount_nano)
    SELECT for_transfer, part.grant_id, of_tenant, beyond, part.amount_nano FROM part
  )
  SELECT COALESCE(sum(amount_nano), 0)::bigint INTO taken FROM part;
  RETURN taken;
END $$;

-- Writes a credit grant and its transfer once, whoever asked for it: no login may call it.
CREATE OR REPLACE FUNCTION jusinfer_add_grant(
  new_transfer text, new_grant uuid, to_tenant uuid, in_mode text, from_kind text, of_code text,
  of_source text, amount bigint, of_priority smallint, effective timestamptz,
  expires timestamptz, why text, digest bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE credits bigint := jusinfer_account(to_tenant, in_mode, 'credits');
DECLARE debt bigint := jusinfer_account(to_tenant, in_mode, 'debt');
DECLARE house bigint := jusinfer_account(NULL, in_mode, from_kind);
DECLARE known bytea;
DECLARE owed bigint;
DECLARE repaid bigint;
BEGIN
  IF credits IS NULL OR debt IS NULL OR house IS NULL THEN
    RAISE EXCEPTION 'this tenant has no accounts' USING ERRCODE = '23503';
  END IF;
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
  INSERT INTO credit_grant (grant_id, tenant_id, mode, source, granted_nano, remaining_nano,
    priority, effective_at, expires_at, transfer_id)
  VALUES (new_grant, to_tenant, in_mode, of_source, amount, amount, of_priority,
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

-- What an operator may give: anything but credit that somebody paid for.
CREATE OR REPLACE FUNCTION jusinfer_grant_credit(
  new_transfer text, new_grant uuid, to_tenant uuid, in_mode text, from_kind text, of_code text,
  of_source text, amount bigint, of_priority smallint, effective timestamptz,
  expires timestamptz, why text, digest bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM jusinfer_check_tenant(to_tenant);
  IF of_source NOT IN ('promotional', 'adjustment') OR of_code NOT IN ('grant', 'adjustment')
    OR from_kind NOT IN ('promo', 'adjustment') THEN
    RAISE EXCEPTION 'an operator grants promotional credit and corrections only'
      USING ERRCODE = '42501';
  END IF;
  RETURN jusinfer_add_grant(new_transfer, new_grant, to_tenant, in_mode, from_kind, of_code,
    of_source, amount, of_priority, effective, expires, why, digest);
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_grant_credit TO jusinfer_operator;

CREATE OR REPLACE FUNCTION jusinfer_take_away(
  new_transfer text, from_tenant uuid, in_mode text, amount bigint, why text, digest bytea)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE credits bigint := jusinfer_account(from_tenant, in_mode, 'credits');
DECLARE house bigint := jusinfer_account(NULL, in_mode, 'adjustment');
DECLARE free bigint;
BEGIN
  PERFORM jusinfer_check_tenant(from_tenant);
  PERFORM 1 FROM ledger_account WHERE account_id IN (credits, house)
    ORDER BY account_id FOR UPDATE;
  SELECT COALESCE(sum(f.free_nano), 0)::bigint INTO free
    FROM jusinfer_free_grants(from_tenant, in_mode) f;
  IF free < amount THEN RETURN free; END IF;
  PERFORM jusinfer_draw_free(new_transfer, from_tenant, in_mode, amount, false);
  INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id, tenant_id,
    amount_nano, code, reason, payload_digest)
  VALUES (new_transfer, in_mode, credits, house, from_tenant, amount, 'adjustment', why, digest);
  RETURN amount;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_take_away TO jusinfer_operator;

CREATE OR REPLACE FUNCTION jusinfer_expire_grants(grants_max integer)
RETURNS TABLE (grants bigint, amount_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE due record;
DECLARE gone bigint;
DECLARE name text;
BEGIN
  grants := 0;
  amount_nano := 0;
  FOR due IN
    SELECT l.grant_id, l.tenant_id, l.mode FROM credit_grant l
    WHERE l.expires_at <= now() AND l.remaining_nano > l.held_nano
    ORDER BY l.tenant_id, l.mode, l.grant_id LIMIT grants_max
  LOOP
    PERFORM 1 FROM ledger_account a WHERE (a.mode = due.mode) AND (
      (a.tenant_id = due.tenant_id AND a.kind = 'credits')
      OR (a.tenant_id IS NULL AND a.kind = 'breakage'))
    ORDER BY a.account_id FOR UPDATE;
    SELECT l.remaining_nano - l.held_nano, 'expiry:' || due.grant_id || ':' || l.remaining_nano
      INTO gone, name FROM credit_grant l WHERE l.grant_id = due.grant_id FOR UPDATE;
    CONTINUE WHEN gone <= 0;
    UPDATE credit_grant l SET remaining_nano = l.held_nano WHERE l.grant_id = due.grant_id;
    INSERT INTO ledger_transfer (transfer_id, mode, debit_account_id, credit_account_id,
      tenant_id, amount_nano, code, payload_digest)
    VALUES (name, due.mode, jusinfer_account(due.tenant_id, due.mode, 'credits'),
      jusinfer_account(NULL, due.mode, 'breakage'), due.tenant_id, gone, 'expiry',
      sha256(convert_to(name || '=' || gone, 'UTF8')));
    INSERT INTO grant_draw (transfer_id, grant_id, tenant_id, amount_nano)
      VALUES (name, due.grant_id, due.tenant_id, gone);
    grants := grants + 1;
    amount_nano := amount_nano + gone;
  END LOOP;
  RETURN NEXT;
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_expire_grants TO jusinfer_settler, jusinfer_operator;

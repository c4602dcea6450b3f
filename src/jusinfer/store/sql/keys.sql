-- API keys as the gateway sees them: who a key belongs to and what it may do.

CREATE OR REPLACE FUNCTION jusinfer_principal(wanted bytea)
RETURNS TABLE (tenant_id uuid, member_id uuid, key_id uuid, mode text,
               requests_per_minute integer, tokens_per_minute bigint, price_list text,
               limits jsonb, spend_limits jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT k.tenant_id, k.member_id, k.key_id, k.mode, k.requests_per_minute, k.tokens_per_minute,
    t.price_list,
    (SELECT jsonb_agg(jsonb_build_array(r.scope, r.scope_id, r.kind, r.amount)
       ORDER BY r.scope, r.kind)
     FROM rate_limit r WHERE r.scope_id = CASE r.scope WHEN 'tenant' THEN k.tenant_id
       WHEN 'member' THEN k.member_id ELSE k.key_id END),
    (SELECT jsonb_agg(jsonb_build_array(c.spend_limit_id, c.scope, c.period, c.action,
         COALESCE((SELECT max(n.threshold) FROM spend_limit_notice n WHERE n.spend_limit_id = c.spend_limit_id
           AND n.period_start = jusinfer_period_start(c.period, t.time_zone, now())), 0),
         ceil(extract(epoch FROM jusinfer_period_end(c.period, t.time_zone, now())))::bigint)
       ORDER BY c.created_at, c.spend_limit_id)
     FROM spend_limit c WHERE c.tenant_id = k.tenant_id AND c.mode = k.mode
       AND c.removed_at IS NULL AND c.scope_id = CASE c.scope WHEN 'tenant' THEN k.tenant_id
       WHEN 'member' THEN k.member_id ELSE k.key_id END)
  FROM api_key k JOIN tenant t ON t.tenant_id = k.tenant_id
  WHERE k.fingerprint = wanted AND k.revoked_at IS NULL
$$;
GRANT EXECUTE ON FUNCTION jusinfer_principal TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_principal_2(wanted bytea)
RETURNS TABLE (tenant_id uuid, member_id uuid, key_id uuid, mode text,
               requests_per_minute integer, tokens_per_minute bigint, price_list text,
               limits jsonb, spend_limits jsonb, routing_policy jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT p.*, t.routing_policy
  FROM jusinfer_principal(wanted) p JOIN tenant t ON t.tenant_id = p.tenant_id
$$;
GRANT EXECUTE ON FUNCTION jusinfer_principal_2 TO jusinfer_gateway;

-- What ended stays ended, whoever may write the column: a key that was revoked, a spend limit removed.
CREATE OR REPLACE FUNCTION jusinfer_refuse_revival() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'what was ended stays ended: make a new one' USING ERRCODE = '42501';
END $$;

CREATE OR REPLACE TRIGGER api_key_stays_revoked BEFORE UPDATE OF revoked_at ON api_key
  FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
  EXECUTE FUNCTION jusinfer_refuse_revival();
CREATE OR REPLACE TRIGGER spend_limit_stays_removed BEFORE UPDATE OF removed_at ON spend_limit
  FOR EACH ROW WHEN (OLD.removed_at IS NOT NULL AND NEW.removed_at IS DISTINCT FROM OLD.removed_at)
  EXECUTE FUNCTION jusinfer_refuse_revival();

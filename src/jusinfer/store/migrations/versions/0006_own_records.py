"""What a key may read of its own: one completion, the credit of its tenant, its own spending."""

from alembic import op

revision = "0006"
down_revision = "0005"

KEY_USAGE = """
CREATE TABLE key_usage (
  key_id uuid NOT NULL,
  day date NOT NULL,
  tenant_id uuid NOT NULL REFERENCES tenant,
  charge_nano bigint NOT NULL CHECK (charge_nano >= 0),
  completions bigint NOT NULL CHECK (completions >= 0),
  PRIMARY KEY (key_id, day)
);
CREATE FUNCTION jusinfer_count_keys(
  tenants uuid[], keys uuid[], days date[], charges bigint[], counts bigint[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO key_usage AS u (key_id, day, tenant_id, charge_nano, completions)
  SELECT e.key_id, e.day, e.tenant_id, sum(e.charge)::bigint, sum(e.completions)::bigint
  FROM unnest(tenants, keys, days, charges, counts)
    AS e (tenant_id, key_id, day, charge, completions)
  WHERE EXISTS (SELECT 1 FROM tenant t WHERE t.tenant_id = e.tenant_id)
  GROUP BY 1, 2, 3 ORDER BY 1, 2
  ON CONFLICT (key_id, day) DO UPDATE SET charge_nano = u.charge_nano + EXCLUDED.charge_nano,
    completions = u.completions + EXCLUDED.completions
$$;
"""

OWN = """
CREATE FUNCTION jusinfer_own_completion(of_member uuid, in_mode text, wanted uuid)
RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT to_jsonb(u) - 'tenant_id' - 'member_id' - 'lease_id' - 'transfer_id' - 'country'
    - 'bound_nano' - 'reported_cost_pico'
  FROM usage_record u
  WHERE u.completion_id = wanted AND u.member_id = of_member AND u.mode = in_mode
  LIMIT 1
$$;
CREATE FUNCTION jusinfer_own_credits(of_tenant uuid, in_mode text)
RETURNS TABLE (granted_nano bigint, balance_nano bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT COALESCE((SELECT sum(l.granted_nano) FROM credit_lot l
      WHERE l.tenant_id = of_tenant AND l.mode = in_mode), 0)::bigint
    - COALESCE((SELECT sum(d.amount_nano) FROM lot_draw d JOIN ledger_transfer t
        ON t.transfer_id = d.transfer_id AND t.code IN ('expiry', 'adjustment')
      WHERE d.tenant_id = of_tenant AND t.mode = in_mode), 0)::bigint,
    COALESCE((SELECT sum(a.credits_posted_nano - a.debits_posted_nano) FROM ledger_account a
      WHERE a.tenant_id = of_tenant AND a.mode = in_mode), 0)::bigint
$$;
CREATE FUNCTION jusinfer_own_key(of_key uuid)
RETURNS TABLE (name text, key_prefix text, total_nano bigint, day_nano bigint, week_nano bigint,
               month_nano bigint, cap_nano bigint, cap_left_nano bigint, cap_period text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  WITH spent AS (
    SELECT COALESCE(sum(u.charge_nano), 0)::bigint AS total,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day = today), 0)::bigint AS in_day,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day >= date_trunc('week', today)), 0)::bigint
        AS in_week,
      COALESCE(sum(u.charge_nano) FILTER (WHERE u.day >= date_trunc('month', today)), 0)::bigint
        AS in_month
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) d
      LEFT JOIN key_usage u ON u.key_id = of_key
  ), cap AS (
    SELECT c.amount_nano, c.period, GREATEST(c.amount_nano - COALESCE(p.spent_nano, 0), 0) AS rest
    FROM spend_cap c JOIN tenant t ON t.tenant_id = c.tenant_id
    LEFT JOIN spend_period p ON p.cap_id = c.cap_id
      AND p.period_start = jusinfer_period_start(c.period, t.time_zone, now())
    WHERE c.scope = 'key' AND c.scope_id = of_key AND c.removed_at IS NULL
    ORDER BY rest LIMIT 1
  )
  SELECT k.name, k.key_prefix, s.total, s.in_day, s.in_week, s.in_month, cap.amount_nano,
    cap.rest, cap.period
  FROM api_key k CROSS JOIN spent s LEFT JOIN cap ON true WHERE k.key_id = of_key
$$;
"""

GRANTS = """
REVOKE ALL ON FUNCTION jusinfer_count_keys, jusinfer_own_completion, jusinfer_own_credits,
  jusinfer_own_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_count_keys TO jusinfer_settler;
GRANT EXECUTE ON FUNCTION jusinfer_own_completion, jusinfer_own_credits, jusinfer_own_key
  TO jusinfer_gateway;
GRANT SELECT ON key_usage TO jusinfer_control, jusinfer_operator;
ALTER TABLE key_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE key_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY key_usage_own ON key_usage TO jusinfer_control USING
  (tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid);
CREATE POLICY key_usage_operator ON key_usage TO jusinfer_operator USING (true);
CREATE POLICY key_usage_house ON key_usage TO CURRENT_USER USING (true);
"""


def upgrade() -> None:
    """Let keys read what is theirs."""
    for statements in (KEY_USAGE, OWN, GRANTS):
        op.execute(statements)

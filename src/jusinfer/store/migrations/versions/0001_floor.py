"""The floor: tenants, keys, leases, the ledger, and usage by month."""

from alembic import op

revision = "0001"
down_revision = None

ROLES = """
DO $$
DECLARE role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY[
    'jusinfer_gateway', 'jusinfer_settler', 'jusinfer_control', 'jusinfer_operator'
  ] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
    END IF;
    EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
  END LOOP;
END $$;
"""

TABLES = """
CREATE TABLE tenant (
  tenant_id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE member (
  member_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  role text NOT NULL CHECK (role IN ('owner', 'admin', 'billing', 'member', 'viewer')),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX member_tenant ON member (tenant_id);
CREATE TABLE api_key (
  key_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  member_id uuid NOT NULL REFERENCES member,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  fingerprint bytea NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
  key_prefix text NOT NULL CHECK (length(key_prefix) <= 16),
  name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  requests_per_minute integer CHECK (requests_per_minute > 0),
  tokens_per_minute bigint CHECK (tokens_per_minute > 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  revoked_at timestamptz
);
CREATE INDEX api_key_tenant ON api_key (tenant_id);
CREATE TABLE gateway_worker (
  worker_id uuid PRIMARY KEY,
  journal text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'stopped', 'reclaimed'))
);
CREATE TABLE journal_cursor (
  journal text PRIMARY KEY,
  worker_id uuid NOT NULL,
  offset_bytes bigint NOT NULL DEFAULT 0 CHECK (offset_bytes >= 0),
  is_closed boolean NOT NULL DEFAULT false,
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_cursor_worker ON journal_cursor (worker_id);
CREATE TABLE ledger_account (
  account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id uuid REFERENCES tenant,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  kind text NOT NULL CHECK (kind IN
    ('credits', 'debt', 'clearing', 'revenue', 'promo', 'adjustment', 'suspense')),
  debits_posted_nano bigint NOT NULL DEFAULT 0 CHECK (debits_posted_nano >= 0),
  credits_posted_nano bigint NOT NULL DEFAULT 0 CHECK (credits_posted_nano >= 0),
  leased_nano bigint NOT NULL DEFAULT 0 CHECK (leased_nano >= 0),
  last_lease_nano bigint NOT NULL DEFAULT 0,
  CHECK ((tenant_id IS NOT NULL) = (kind IN ('credits', 'debt'))),
  UNIQUE NULLS NOT DISTINCT (tenant_id, mode, kind)
);
CREATE TABLE ledger_transfer (
  transfer_id text PRIMARY KEY CHECK (length(transfer_id) BETWEEN 1 AND 300),
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  debit_account_id bigint NOT NULL REFERENCES ledger_account,
  credit_account_id bigint NOT NULL REFERENCES ledger_account,
  tenant_id uuid REFERENCES tenant,
  amount_nano bigint NOT NULL CHECK (amount_nano > 0),
  code text NOT NULL CHECK (code IN ('grant', 'usage', 'adjustment')),
  reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
  payload_digest bytea NOT NULL CHECK (length(payload_digest) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (debit_account_id <> credit_account_id)
);
CREATE INDEX ledger_transfer_tenant ON ledger_transfer (tenant_id, created_at);
CREATE TABLE lease (
  lease_id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL REFERENCES tenant,
  mode text NOT NULL CHECK (mode IN ('live', 'test')),
  worker_id uuid NOT NULL,
  granted_nano bigint NOT NULL CHECK (granted_nano > 0),
  posted_nano bigint NOT NULL DEFAULT 0 CHECK (posted_nano >= 0),
  returned_nano bigint NOT NULL DEFAULT 0 CHECK (returned_nano >= 0),
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (posted_nano + returned_nano <= granted_nano),
  CHECK (state = 'open' OR posted_nano + returned_nano = granted_nano)
);
CREATE INDEX lease_open ON lease (worker_id) WHERE state = 'open';
CREATE TABLE usage_record (
  completion_id uuid NOT NULL,
  request_id text NOT NULL,
  tenant_id uuid NOT NULL,
  member_id uuid NOT NULL,
  key_id uuid NOT NULL,
  mode text NOT NULL,
  lease_id uuid NOT NULL,
  admitted_at timestamptz NOT NULL,
  first_byte_us bigint,
  latency_us bigint NOT NULL,
  requested_model text NOT NULL,
  served_model text NOT NULL,
  upstream text NOT NULL,
  reasons text NOT NULL,
  price_version text NOT NULL,
  prompt_tokens bigint NOT NULL CHECK (prompt_tokens >= 0),
  cached_prompt_tokens bigint NOT NULL CHECK (cached_prompt_tokens BETWEEN 0 AND prompt_tokens),
  cache_write_tokens bigint NOT NULL CHECK (cache_write_tokens >= 0),
  completion_tokens bigint NOT NULL CHECK (completion_tokens >= 0),
  reasoning_tokens bigint NOT NULL CHECK (reasoning_tokens BETWEEN 0 AND completion_tokens),
  is_estimated boolean NOT NULL,
  is_stream boolean NOT NULL,
  cost_pico bigint NOT NULL CHECK (cost_pico >= 0),
  charge_nano bigint NOT NULL,
  bound_nano bigint NOT NULL,
  attempts integer NOT NULL,
  outcome text NOT NULL,
  status integer NOT NULL,
  country text,
  error_text text CHECK (length(error_text) <= 500),
  transfer_id text,
  CHECK (charge_nano * 1000 - cost_pico BETWEEN 0 AND 999),
  CHECK ((charge_nano > 0) = (transfer_id IS NOT NULL))
) PARTITION BY RANGE (admitted_at);
CREATE INDEX usage_record_tenant ON usage_record (tenant_id, admitted_at);
CREATE INDEX usage_record_completion ON usage_record (completion_id);
"""

FUNCTIONS = """
CREATE FUNCTION jusinfer_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: write a transfer that corrects';
END $$;
CREATE TRIGGER ledger_transfer_append_only BEFORE UPDATE OR DELETE ON ledger_transfer
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();
CREATE TRIGGER ledger_transfer_no_truncate BEFORE TRUNCATE ON ledger_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_change();

CREATE FUNCTION jusinfer_ensure_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE first date := date_trunc('month', month)::date;
DECLARE partition_name text := 'usage_record_' || to_char(first, 'YYYY_MM');
BEGIN
  IF to_regclass(partition_name) IS NULL THEN
    EXECUTE format(
      'CREATE TABLE IF NOT EXISTS %I PARTITION OF usage_record FOR VALUES FROM (%L) TO (%L)',
      partition_name, first::timestamp at time zone 'UTC',
      (first + interval '1 month') at time zone 'UTC');
    -- COPY does not go through row-level security, so the settler writes into the month itself.
    EXECUTE format('GRANT INSERT ON %I TO jusinfer_settler', partition_name);
  END IF;
END $$;

CREATE FUNCTION jusinfer_principal(wanted bytea)
RETURNS TABLE (tenant_id uuid, member_id uuid, key_id uuid, mode text,
               requests_per_minute integer, tokens_per_minute bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT k.tenant_id, k.member_id, k.key_id, k.mode, k.requests_per_minute, k.tokens_per_minute
  FROM api_key k WHERE k.fingerprint = wanted AND k.revoked_at IS NULL
$$;

CREATE FUNCTION jusinfer_take_credit(
  worker uuid, for_tenant uuid, for_mode text, need bigint,
  share bigint, chunk_min bigint, chunk_max bigint)
RETURNS TABLE (lease_id uuid, granted_nano bigint, available_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
#variable_conflict use_column
DECLARE chunk bigint;
DECLARE made uuid;
BEGIN
  UPDATE ledger_account a SET
    last_lease_nano = LEAST(GREATEST(LEAST(GREATEST(
      (credits_posted_nano - debits_posted_nano - leased_nano) / share, chunk_min), chunk_max),
      need), credits_posted_nano - debits_posted_nano - leased_nano),
    leased_nano = leased_nano + LEAST(GREATEST(LEAST(GREATEST(
      (credits_posted_nano - debits_posted_nano - leased_nano) / share, chunk_min), chunk_max),
      need), credits_posted_nano - debits_posted_nano - leased_nano)
  WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'credits'
    AND credits_posted_nano - debits_posted_nano - leased_nano >= GREATEST(need, 1)
  RETURNING a.last_lease_nano INTO chunk;
  IF chunk IS NULL THEN
    RETURN QUERY SELECT NULL::uuid, 0::bigint, COALESCE((
      SELECT GREATEST(a.credits_posted_nano - a.debits_posted_nano - a.leased_nano, 0)
      FROM ledger_account a
      WHERE a.tenant_id = for_tenant AND a.mode = for_mode AND a.kind = 'credits'), 0);
    RETURN;
  END IF;
  made := gen_random_uuid();
  INSERT INTO lease (lease_id, tenant_id, mode, worker_id, granted_nano)
  VALUES (made, for_tenant, for_mode, worker, chunk);
  RETURN QUERY SELECT made, chunk, 0::bigint;
END $$;

CREATE FUNCTION jusinfer_return_credit(worker uuid, from_lease uuid, amount bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE l lease%ROWTYPE;
BEGIN
  SELECT * INTO l FROM lease WHERE lease_id = from_lease AND worker_id = worker;
  IF NOT FOUND THEN RETURN false; END IF;
  -- The account is always locked before its leases, by everyone, so that nobody waits in a ring.
  PERFORM 1 FROM ledger_account a
    WHERE a.tenant_id = l.tenant_id AND a.mode = l.mode AND a.kind = 'credits' FOR UPDATE;
  UPDATE lease SET returned_nano = returned_nano + amount
    WHERE lease_id = from_lease AND state = 'open' AND amount >= 0
      AND granted_nano - posted_nano - returned_nano >= amount;
  IF NOT FOUND THEN RETURN false; END IF;
  UPDATE ledger_account a SET leased_nano = leased_nano - amount
    WHERE a.tenant_id = l.tenant_id AND a.mode = l.mode AND a.kind = 'credits';
  UPDATE lease SET state = 'closed'
    WHERE lease_id = from_lease AND posted_nano + returned_nano = granted_nano;
  RETURN true;
END $$;

CREATE FUNCTION jusinfer_register(worker uuid, journal_name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO gateway_worker (worker_id, journal) VALUES (worker, journal_name)
  ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = now()
$$;
CREATE FUNCTION jusinfer_heartbeat(worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  UPDATE gateway_worker SET heartbeat_at = now() WHERE worker_id = worker
$$;
CREATE FUNCTION jusinfer_deregister(worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  UPDATE gateway_worker SET state = 'stopped' WHERE worker_id = worker AND state = 'live'
$$;
"""

GRANTS = """
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO
  jusinfer_gateway, jusinfer_settler, jusinfer_control, jusinfer_operator;
GRANT EXECUTE ON FUNCTION jusinfer_principal, jusinfer_take_credit, jusinfer_return_credit,
  jusinfer_register, jusinfer_heartbeat, jusinfer_deregister TO jusinfer_gateway;
GRANT EXECUTE ON FUNCTION jusinfer_ensure_partition TO jusinfer_settler, jusinfer_operator;
GRANT SELECT, INSERT, UPDATE ON ledger_account, lease, journal_cursor TO jusinfer_settler;
GRANT SELECT, UPDATE ON gateway_worker TO jusinfer_settler;
GRANT SELECT, INSERT ON ledger_transfer, usage_record TO jusinfer_settler;
GRANT SELECT ON tenant TO jusinfer_settler;
GRANT SELECT ON tenant, member, api_key, ledger_account, ledger_transfer, lease, usage_record
  TO jusinfer_control;
GRANT INSERT ON api_key, ledger_account, ledger_transfer TO jusinfer_control;
GRANT UPDATE (revoked_at) ON api_key TO jusinfer_control;
GRANT UPDATE (debits_posted_nano, credits_posted_nano) ON ledger_account TO jusinfer_control;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO jusinfer_operator;
GRANT INSERT ON tenant, member, api_key, ledger_account, ledger_transfer TO jusinfer_operator;
GRANT UPDATE (revoked_at) ON api_key TO jusinfer_operator;
GRANT UPDATE (debits_posted_nano, credits_posted_nano) ON ledger_account TO jusinfer_operator;
"""

TENANT_TABLES = (
    "tenant",
    "member",
    "api_key",
    "ledger_account",
    "ledger_transfer",
    "lease",
    "usage_record",
)


def upgrade() -> None:
    """Build the floor."""
    for statements in (ROLES, TABLES, FUNCTIONS, GRANTS):
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
    # A grant posts against accounts of the house, which belong to no tenant.
    op.execute(
        "CREATE POLICY ledger_account_house ON ledger_account TO jusinfer_control "
        "USING (tenant_id IS NULL)"
    )

"""The floor: tenants, keys, leases, the ledger, and usage by month."""

from alembic import op

revision = "0001"
down_revision = None

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

GRANTS = """
GRANT USAGE ON SCHEMA public TO
  jusinfer_gateway, jusinfer_settler, jusinfer_web, jusinfer_operator;
GRANT SELECT, INSERT, UPDATE ON ledger_account, lease, journal_cursor TO jusinfer_settler;
GRANT SELECT, UPDATE ON gateway_worker TO jusinfer_settler;
GRANT SELECT, INSERT ON ledger_transfer, usage_record TO jusinfer_settler;
GRANT SELECT ON tenant TO jusinfer_settler;
GRANT SELECT ON tenant, member, api_key, ledger_account, ledger_transfer, lease, usage_record
  TO jusinfer_web;
GRANT INSERT ON api_key, ledger_account, ledger_transfer TO jusinfer_web;
GRANT UPDATE (revoked_at) ON api_key TO jusinfer_web;
GRANT UPDATE (debits_posted_nano, credits_posted_nano) ON ledger_account TO jusinfer_web;
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
    for statements in (TABLES, GRANTS):
        op.execute(statements)
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY {table}_own ON {table} TO jusinfer_web USING "
            "(tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid)"
        )
        for role in ("jusinfer_operator", "jusinfer_settler", "CURRENT_USER"):
            name = role.removeprefix("jusinfer_").lower()
            op.execute(f"CREATE POLICY {table}_{name} ON {table} TO {role} USING (true)")
    # A grant posts against accounts of the house, which belong to no tenant.
    op.execute(
        "CREATE POLICY ledger_account_house ON ledger_account TO jusinfer_web "
        "USING (tenant_id IS NULL)"
    )

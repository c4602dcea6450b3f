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

GRANTS = """
GRANT SELECT ON rate_limit, spend_cap, spend_period, cap_notice
  TO jusinfer_web, jusinfer_operator;
GRANT SELECT ON rate_window, rate_slot, cap_lease TO jusinfer_operator;
GRANT INSERT, UPDATE, DELETE ON rate_limit TO jusinfer_operator;
GRANT INSERT ON spend_cap TO jusinfer_operator;
GRANT UPDATE (removed_at) ON spend_cap TO jusinfer_operator;
"""

TENANT_TABLES = ("rate_limit", "spend_cap", "spend_period", "cap_lease", "cap_notice")


def upgrade() -> None:
    """Keep limits and caps."""
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

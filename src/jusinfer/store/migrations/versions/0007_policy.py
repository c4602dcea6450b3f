"""Where a tenant's prompts may go, told to the gateway with each of its keys."""

from alembic import op

revision = "0007"
down_revision = "0006"

POLICY = """
ALTER TABLE tenant ADD COLUMN routing_policy jsonb NOT NULL DEFAULT '{}'
  CHECK (jsonb_typeof(routing_policy) = 'object' AND length(routing_policy::text) <= 4096);
GRANT UPDATE (routing_policy) ON tenant TO jusinfer_operator;
CREATE FUNCTION jusinfer_principal_2(wanted bytea)
RETURNS TABLE (tenant_id uuid, member_id uuid, key_id uuid, mode text,
               requests_per_minute integer, tokens_per_minute bigint, price_list text,
               limits jsonb, caps jsonb, routing_policy jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT p.*, t.routing_policy
  FROM jusinfer_principal(wanted) p JOIN tenant t ON t.tenant_id = p.tenant_id
$$;
REVOKE ALL ON FUNCTION jusinfer_principal_2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_principal_2 TO jusinfer_gateway;
"""


def upgrade() -> None:
    """Keep a policy."""
    op.execute(POLICY)

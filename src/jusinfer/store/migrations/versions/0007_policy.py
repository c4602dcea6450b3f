"""Where a tenant's prompts may go, told to the gateway with each of its keys."""

from alembic import op

revision = "0007"
down_revision = "0006"

POLICY = """
ALTER TABLE tenant ADD COLUMN routing_policy jsonb NOT NULL DEFAULT '{}'
  CHECK (jsonb_typeof(routing_policy) = 'object' AND length(routing_policy::text) <= 4096);
GRANT UPDATE (routing_policy) ON tenant TO jusinfer_operator;
"""


def upgrade() -> None:
    """Keep a policy."""
    op.execute(POLICY)

"""Which rule table chose the route of a completion."""

from alembic import op

revision = "0008"
down_revision = "0007"

RULES = """
ALTER TABLE usage_record ADD COLUMN rules_version text NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    """Keep the version with each completion."""
    op.execute(RULES)

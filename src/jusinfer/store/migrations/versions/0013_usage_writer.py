"""The settler writes usage into the months alone, and reads none of it."""

from alembic import op

revision = "0013"
down_revision = "0012"

RIGHTS = """
SET LOCAL lock_timeout = '30s';
REVOKE ALL ON usage_record FROM jusinfer_settler;
DROP POLICY usage_record_settler ON usage_record;
"""


def upgrade() -> None:
    """Take back what the settler never uses."""
    op.execute(RIGHTS)

"""Lots are credit grants and caps are spend limits, as Stripe and the providers call them."""

from alembic import op

revision = "0014"
down_revision = "0013"

NAMES = """
SET LOCAL lock_timeout = '30s';
ALTER TABLE credit_lot RENAME TO credit_grant;
ALTER TABLE lot_draw RENAME TO grant_draw;
ALTER TABLE lease_lot RENAME TO lease_grant;
ALTER TABLE spend_cap RENAME TO spend_limit;
ALTER TABLE cap_lease RENAME TO spend_limit_lease;
ALTER TABLE cap_notice RENAME TO spend_limit_notice;
ALTER TABLE credit_grant RENAME lot_id TO grant_id;
ALTER TABLE grant_draw RENAME lot_id TO grant_id;
ALTER TABLE lease_grant RENAME lot_id TO grant_id;
ALTER TABLE payment RENAME lot_id TO grant_id;
ALTER TABLE spend_limit RENAME cap_id TO spend_limit_id;
ALTER TABLE spend_period RENAME cap_id TO spend_limit_id;
ALTER TABLE spend_limit_lease RENAME cap_id TO spend_limit_id;
ALTER TABLE spend_limit_notice RENAME cap_id TO spend_limit_id;
ALTER TABLE audit_entry DROP CONSTRAINT audit_entry_action_check;
ALTER TABLE audit_entry ADD CONSTRAINT audit_entry_action_check
  CHECK (action ~ '^[a-z_]{1,20}[.][a-z_]{1,20}$');
"""


def upgrade() -> None:
    """Rename tables and columns; what they hold stays as it is."""
    op.execute(NAMES)

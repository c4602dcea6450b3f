"""Once the functions by which money moves: they are in `store/sql` now."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Change no table."""

"""Tables of rate limits and spend limits, with the same tags as all others."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from jusinfer.store.tables import column, metadata


def _scope() -> list[sa.Column[Any]]:
    return [
        column("scope", sa.Text, export="scope", key=True),
        column("scope_id", UUID(as_uuid=False), holds="member.id", export="scope_id", key=True),
    ]


def _tenant() -> sa.Column[Any]:
    return column("tenant_id", UUID(as_uuid=False), holds="tenant.id", export="tenant_id")


def _amount(name: str) -> sa.Column[Any]:
    return column(name, sa.BigInteger, holds="tenant.billing", export=name)


rate_limit: Final = sa.Table(
    "rate_limit",
    metadata,
    *_scope(),
    _tenant(),
    column("kind", sa.Text, export="kind", key=True),
    column("amount", sa.BigInteger, export="amount"),
)

rate_window: Final = sa.Table(
    "rate_window",
    metadata,
    *_scope(),
    column("kind", sa.Text, key=True),
    column("window_start", sa.DateTime(timezone=True)),
    column("taken", sa.BigInteger),
)

rate_slot: Final = sa.Table(
    "rate_slot",
    metadata,
    *_scope(),
    column("worker_id", UUID(as_uuid=False), key=True),
    column("slots", sa.BigInteger),
)

spend_limit: Final = sa.Table(
    "spend_limit",
    metadata,
    column("spend_limit_id", UUID(as_uuid=False), export="spend_limit_id", key=True),
    _tenant(),
    column("mode", sa.Text, export="mode"),
    column("scope", sa.Text, export="scope"),
    column("scope_id", UUID(as_uuid=False), holds="member.id", export="scope_id"),
    column("period", sa.Text, export="period"),
    _amount("amount_nano"),
    column("action", sa.Text, export="action"),
    column("created_at", sa.DateTime(timezone=True), export="created_at"),
    column("removed_at", sa.DateTime(timezone=True), export="removed_at"),
)

spend_period: Final = sa.Table(
    "spend_period",
    metadata,
    column("spend_limit_id", UUID(as_uuid=False), export="spend_limit_id", key=True),
    column("period_start", sa.DateTime(timezone=True), export="period_start", key=True),
    _tenant(),
    _amount("spent_nano"),
    _amount("leased_nano"),
)

spend_limit_lease: Final = sa.Table(
    "spend_limit_lease",
    metadata,
    column("lease_id", UUID(as_uuid=False), key=True),
    column("spend_limit_id", UUID(as_uuid=False)),
    column("period_start", sa.DateTime(timezone=True)),
    _tenant(),
    column("worker_id", UUID(as_uuid=False)),
    _amount("granted_nano"),
    _amount("posted_nano"),
    _amount("returned_nano"),
)

key_usage: Final = sa.Table(
    "key_usage",
    metadata,
    column("key_id", UUID(as_uuid=False), holds="member.key", export="key_id", key=True),
    column("day", sa.Date, holds="member.usage", export="day", key=True),
    _tenant(),
    _amount("charge_nano"),
    column("completions", sa.BigInteger, holds="member.usage", export="completions"),
)

spend_limit_notice: Final = sa.Table(
    "spend_limit_notice",
    metadata,
    column("spend_limit_id", UUID(as_uuid=False), export="spend_limit_id", key=True),
    column("period_start", sa.DateTime(timezone=True), export="period_start", key=True),
    column("threshold", sa.SmallInteger, export="threshold", key=True),
    _tenant(),
    column("reached_at", sa.DateTime(timezone=True), export="reached_at"),
)

"""Every table and column, with what the privacy policy needs to know of each.

`holds` says whose data it is and of which kind, `kept` names the retention class, `export` the
path in a person's export (empty: nothing of theirs), `erase` what deletion does to it.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID
from sqlalchemy.types import TypeEngine

metadata: Final = sa.MetaData()

NOTHING_PERSONAL: Final = "nothing personal"


def column(  # noqa: PLR0913 (a column and its four tags)
    name: str,
    kind: TypeEngine[Any] | type[TypeEngine[Any]],
    *,
    holds: str = NOTHING_PERSONAL,
    kept: str = "account",
    export: str = "",
    erase: str = "keep",
    key: bool = False,
) -> sa.Column[Any]:
    """Make a column with its four tags."""
    tags = {"holds": holds, "kept": kept, "export": export, "erase": erase}
    return sa.Column(name, kind, primary_key=key, info=tags)


def _id(name: str, holds: str, kept: str, *, key: bool = False) -> sa.Column[Any]:
    return column(
        name, UUID(as_uuid=False), holds=holds, kept=kept, export=name, erase="anonymise", key=key
    )


def _money(name: str, kept: str = "billing") -> sa.Column[Any]:
    return column(name, sa.BigInteger, holds="tenant.billing", kept=kept, export=name)


def _when(name: str) -> sa.Column[Any]:
    kind = sa.DateTime(timezone=True)
    return column(name, kind, holds="tenant.billing", kept="billing", export=name)


def _usage(
    name: str, kind: TypeEngine[Any] | type[TypeEngine[Any]], holds: str = "member.usage"
) -> sa.Column[Any]:
    return column(name, kind, holds=holds, kept="usage_request", export=name, erase="delete")


tenant: Final = sa.Table(
    "tenant",
    metadata,
    _id("tenant_id", "tenant.id", "account", key=True),
    column("name", sa.Text, holds="tenant.name", export="name", erase="anonymise"),
    column("price_list", sa.Text, export="price_list"),
    column("time_zone", sa.Text, holds="tenant.dates", export="time_zone"),
    column("routing_policy", JSONB, export="routing_policy"),
    column("created_at", sa.DateTime(timezone=True), holds="tenant.dates", export="created_at"),
)

member: Final = sa.Table(
    "member",
    metadata,
    _id("member_id", "member.id", "account", key=True),
    _id("tenant_id", "tenant.id", "account"),
    column("role", sa.Text, holds="member.role", export="role", erase="delete"),
    column("created_at", sa.DateTime(timezone=True), holds="member.dates", export="created_at"),
)

api_key: Final = sa.Table(
    "api_key",
    metadata,
    _id("key_id", "member.key", "account", key=True),
    _id("tenant_id", "tenant.id", "account"),
    _id("member_id", "member.id", "account"),
    column("mode", sa.Text, export="mode"),
    column("fingerprint", BYTEA, holds="member.key", erase="delete"),
    column("key_prefix", sa.Text, holds="member.key", export="key_prefix", erase="delete"),
    column("name", sa.Text, holds="member.key", export="name", erase="delete"),
    column("requests_per_minute", sa.Integer, export="requests_per_minute"),
    column("tokens_per_minute", sa.BigInteger, export="tokens_per_minute"),
    column("created_at", sa.DateTime(timezone=True), holds="member.dates", export="created_at"),
    column("revoked_at", sa.DateTime(timezone=True), holds="member.dates", export="revoked_at"),
)

gateway_worker: Final = sa.Table(
    "gateway_worker",
    metadata,
    column("worker_id", UUID(as_uuid=False), kept="journal", key=True),
    column("journal", sa.Text, kept="journal"),
    column("started_at", sa.DateTime(timezone=True), kept="journal"),
    column("heartbeat_at", sa.DateTime(timezone=True), kept="journal"),
    column("state", sa.Text, kept="journal"),
)

journal_cursor: Final = sa.Table(
    "journal_cursor",
    metadata,
    column("journal", sa.Text, kept="journal", key=True),
    column("worker_id", UUID(as_uuid=False), kept="journal"),
    column("offset_bytes", sa.BigInteger, kept="journal"),
    column("is_closed", sa.Boolean, kept="journal"),
    column("updated_at", sa.DateTime(timezone=True), kept="journal"),
)

ledger_account: Final = sa.Table(
    "ledger_account",
    metadata,
    column("account_id", sa.BigInteger, kept="billing", key=True),
    _id("tenant_id", "tenant.id", "billing"),
    column("mode", sa.Text, kept="billing", export="mode"),
    column("kind", sa.Text, kept="billing", export="kind"),
    _money("debits_posted_nano"),
    _money("credits_posted_nano"),
    _money("leased_nano"),
)

ledger_transfer: Final = sa.Table(
    "ledger_transfer",
    metadata,
    column("transfer_id", sa.Text, kept="billing", export="transfer_id", key=True),
    column("mode", sa.Text, kept="billing", export="mode"),
    column("debit_account_id", sa.BigInteger, kept="billing"),
    column("credit_account_id", sa.BigInteger, kept="billing"),
    _id("tenant_id", "tenant.id", "billing"),
    _money("amount_nano"),
    column("code", sa.Text, kept="billing", export="code"),
    column("reason", sa.Text, holds="tenant.billing", kept="billing", export="reason"),
    column("payload_digest", BYTEA, kept="billing"),
    column(
        "created_at",
        sa.DateTime(timezone=True),
        holds="tenant.billing",
        kept="billing",
        export="created_at",
    ),
)

lease: Final = sa.Table(
    "lease",
    metadata,
    column("lease_id", UUID(as_uuid=False), kept="usage_request", key=True),
    _id("tenant_id", "tenant.id", "usage_request"),
    column("mode", sa.Text, kept="usage_request"),
    column("worker_id", UUID(as_uuid=False), kept="usage_request"),
    _money("granted_nano", "usage_request"),
    _money("posted_nano", "usage_request"),
    _money("returned_nano", "usage_request"),
    column("state", sa.Text, kept="usage_request"),
    column("created_at", sa.DateTime(timezone=True), kept="usage_request"),
)

credit_grant: Final = sa.Table(
    "credit_grant",
    metadata,
    column("grant_id", UUID(as_uuid=False), kept="billing", export="grant_id", key=True),
    _id("tenant_id", "tenant.id", "billing"),
    column("mode", sa.Text, kept="billing", export="mode"),
    column("source", sa.Text, holds="tenant.billing", kept="billing", export="source"),
    column("source_rank", sa.SmallInteger, kept="billing"),
    _money("granted_nano"),
    _money("remaining_nano"),
    _money("held_nano"),
    column("priority", sa.SmallInteger, kept="billing", export="priority"),
    _when("effective_at"),
    _when("expires_at"),
    column("transfer_id", sa.Text, kept="billing", export="transfer_id"),
    _when("created_at"),
)

grant_draw: Final = sa.Table(
    "grant_draw",
    metadata,
    column("transfer_id", sa.Text, kept="billing", export="transfer_id", key=True),
    column("grant_id", UUID(as_uuid=False), kept="billing", export="grant_id", key=True),
    _id("tenant_id", "tenant.id", "billing"),
    column("is_beyond_lease", sa.Boolean, kept="billing", key=True),
    _money("amount_nano"),
)

lease_grant: Final = sa.Table(
    "lease_grant",
    metadata,
    column("lease_id", UUID(as_uuid=False), kept="usage_request", key=True),
    column("grant_id", UUID(as_uuid=False), kept="usage_request", key=True),
    column("place", sa.SmallInteger, kept="usage_request"),
    _id("tenant_id", "tenant.id", "usage_request"),
    _money("held_nano", "usage_request"),
)

usage_record: Final = sa.Table(
    "usage_record",
    metadata,
    _usage("completion_id", UUID(as_uuid=False)),
    _usage("request_id", sa.Text),
    _usage("tenant_id", UUID(as_uuid=False), "tenant.id"),
    _usage("member_id", UUID(as_uuid=False), "member.id"),
    _usage("key_id", UUID(as_uuid=False), "member.key"),
    _usage("mode", sa.Text),
    _usage("lease_id", UUID(as_uuid=False)),
    _usage("admitted_at", sa.DateTime(timezone=True)),
    _usage("first_byte_us", sa.BigInteger),
    _usage("latency_us", sa.BigInteger),
    _usage("requested_model", sa.Text),
    _usage("served_model", sa.Text),
    _usage("upstream", sa.Text),
    _usage("reasons", sa.Text),
    _usage("price_version", sa.Text),
    _usage("prompt_tokens", sa.BigInteger),
    _usage("cached_prompt_tokens", sa.BigInteger),
    _usage("cache_write_tokens", sa.BigInteger),
    _usage("completion_tokens", sa.BigInteger),
    _usage("reasoning_tokens", sa.BigInteger),
    _usage("is_estimated", sa.Boolean),
    _usage("is_stream", sa.Boolean),
    _usage("cost_pico", sa.BigInteger),
    _usage("charge_nano", sa.BigInteger),
    _usage("bound_nano", sa.BigInteger),
    _usage("attempts", sa.Integer),
    _usage("outcome", sa.Text),
    _usage("status", sa.Integer),
    _usage("country", sa.Text, "member.country"),
    _usage("error_text", sa.Text, "member.error"),
    _usage("transfer_id", sa.Text),
    _usage("cache_write_1h_tokens", sa.BigInteger),
    _usage("image_count", sa.BigInteger),
    _usage("reported_cost_pico", sa.BigInteger),
    _usage("price_list", sa.Text),
    _usage("attempt_log", sa.Text),
    _usage("rules_version", sa.Text),
    _usage("provider_generation_id", sa.Text),
)

provider_report: Final = sa.Table(
    "provider_report",
    metadata,
    column(
        "completion_id",
        UUID(as_uuid=False),
        holds="member.usage",
        kept="usage_request",
        export="completion_id",
        erase="delete",
        key=True,
    ),
    _usage("admitted_at", sa.DateTime(timezone=True)),
    _usage("tenant_id", UUID(as_uuid=False), "tenant.id"),
    _usage("upstream", sa.Text),
    _usage("created_at", sa.DateTime(timezone=True)),
    _usage("asked_count", sa.Integer),
    _usage("next_at", sa.DateTime(timezone=True)),
    _usage("reported_cost_pico", sa.BigInteger),
    _usage("prompt_tokens", sa.BigInteger),
    _usage("completion_tokens", sa.BigInteger),
    _usage("reported_at", sa.DateTime(timezone=True)),
    _usage("failure", sa.Text),
)

price_catalog: Final = sa.Table(
    "price_catalog",
    metadata,
    column("version", sa.Text, kept="billing", key=True),
    column("mode", sa.Text, kept="billing", key=True),
    column("tariffs", JSONB, kept="billing"),
    column("first_used_at", sa.DateTime(timezone=True), kept="billing"),
)

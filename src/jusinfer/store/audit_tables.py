"""The audit log's tables; no column of it holds a name, an address or a text of a person's."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, CIDR, UUID

from jusinfer.store.tables import column, metadata

KEPT: Final = "audit"

audit_entry: Final = sa.Table(
    "audit_entry",
    metadata,
    column("seq", sa.BigInteger, kept=KEPT, key=True),
    column("at", sa.DateTime(timezone=True), holds="member.dates", kept=KEPT, export="at"),
    column("actor_kind", sa.Text, kept=KEPT, export="actor_kind"),
    column("actor_id", sa.Text, holds="member.id", kept=KEPT, export="actor_id"),
    column("how", sa.Text, kept=KEPT, export="how"),
    column("origin", sa.Text, kept=KEPT, export="origin"),
    column("network", CIDR, holds="member.network", kept=KEPT, export="network"),
    column("tenant_id", UUID(as_uuid=False), holds="tenant.id", kept=KEPT, export="tenant_id"),
    column("action", sa.Text, kept=KEPT, export="action"),
    column("outcome", sa.Text, kept=KEPT, export="outcome"),
    column("object_kind", sa.Text, kept=KEPT, export="object_kind"),
    column("object_id", sa.Text, holds="tenant.id", kept=KEPT, export="object_id"),
    column("digest", BYTEA, kept=KEPT),
)

audit_head: Final = sa.Table(
    "audit_head",
    metadata,
    column("is_only", sa.Boolean, kept=KEPT, key=True),
    column("seq", sa.BigInteger, kept=KEPT),
    column("digest", BYTEA, kept=KEPT),
)

"""Which tenant's rows a query may touch: one tenant's, or by an explicit word every one's."""

import enum
from typing import Any, Final, Literal

import sqlalchemy as sa


class Tenants(enum.Enum):
    """The word for all tenants; None is no scope, so that a forgotten tenant cannot mean it."""

    ALL = "all"


EVERY_TENANT: Final = Tenants.ALL
TenantScope = str | Literal[Tenants.ALL]


def within(
    query: sa.Select[Any], tenant_id: sa.Column[Any] | sa.ColumnElement[Any], scope: TenantScope
) -> sa.Select[Any]:
    """Keep a query to its tenant; raises ValueError for a scope that names none."""
    if scope is EVERY_TENANT:
        return query
    if not scope:
        raise ValueError("a query needs a tenant, or EVERY_TENANT")
    return query.where(tenant_id == scope)


def hex_of(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    """Give an id as 32 hexadecimal characters, so that any text can be compared with it."""
    return sa.func.replace(sa.cast(column, sa.Text), "-", "")

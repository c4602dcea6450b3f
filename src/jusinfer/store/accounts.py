"""Tenants, members and API keys as rows."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from jusinfer.store.database import Reader, Writer
from jusinfer.store.limit_tables import spend_limit
from jusinfer.store.scope import TenantScope, hex_of, within
from jusinfer.store.tables import api_key, member, tenant

KEYS_CHANNEL: Final = "jusinfer_keys"
ROWS_MAX: Final = 10_000


class TenantRow(msgspec.Struct, frozen=True):
    """A tenant."""

    tenant_id: str
    name: str
    created_at: str


class KeyRow(msgspec.Struct, frozen=True):
    """An API key without its secret."""

    key_id: str
    tenant: str
    mode: str
    key_prefix: str
    name: str
    created_at: str
    is_revoked: bool


class NewKey(msgspec.Struct, frozen=True):
    """What is stored of a key that has just been made."""

    key_id: str
    tenant_id: str
    member_id: str
    mode: str
    fingerprint: bytes
    key_prefix: str
    name: str
    requests_per_minute: int | None
    tokens_per_minute: int | None


def insert_tenant(tx: Writer, tenant_id: str, name: str, owner_id: str) -> None:
    """Write a tenant with its owner."""
    tx.execute(sa.insert(tenant).values(tenant_id=tenant_id, name=name))
    row = {"member_id": owner_id, "tenant_id": tenant_id, "role": "owner"}
    tx.execute(sa.insert(member).values(**row))


def find_tenant(tx: Reader | Writer, name_or_id: str) -> TenantRow | None:
    """Find a tenant by its name or its id."""
    is_named = tenant.c.name == name_or_id
    is_id = hex_of(tenant.c.tenant_id) == name_or_id
    row = tx.execute(sa.select(tenant).where(sa.or_(is_named, is_id))).one_or_none()
    return None if row is None else _tenant(row)


def list_tenants(tx: Reader) -> list[TenantRow]:
    """List tenants by name."""
    rows = tx.execute(sa.select(tenant).order_by(tenant.c.name).limit(ROWS_MAX))
    return [_tenant(row) for row in rows]


def tenant_of(tx: Reader | Writer, kind: str, object_id: str) -> str | None:
    """Give the tenant that a tenant, member, key or spend limit belongs to, by its id."""
    tables: Mapping[str, tuple[sa.Column[Any], sa.Column[Any]]] = {
        "tenant": (tenant.c.tenant_id, tenant.c.tenant_id),
        "member": (member.c.member_id, member.c.tenant_id),
        "key": (api_key.c.key_id, api_key.c.tenant_id),
        "spend_limit": (spend_limit.c.spend_limit_id, spend_limit.c.tenant_id),
    }
    own, of_tenant = tables[kind]
    found = tx.execute(sa.select(of_tenant).where(hex_of(own) == object_id)).scalar_one_or_none()
    return None if found is None else _hex(found)


def owner_member_of(tx: Reader | Writer, tenant_id: str) -> str:
    """Give the member who owns a tenant."""
    found = tx.execute(
        sa.select(member.c.member_id)
        .where(member.c.tenant_id == tenant_id, member.c.role == "owner")
        .order_by(member.c.created_at)
        .limit(1)
    ).scalar_one()
    return _hex(found)


def insert_key(tx: Writer, key: NewKey) -> None:
    """Write a key; its secret is not among what is written."""
    tx.execute(sa.insert(api_key).values(**msgspec.structs.asdict(key)))


def list_keys(tx: Reader, scope: TenantScope, member_id: str | None = None) -> list[KeyRow]:
    """List keys, newest first; of one member only, if one is named."""
    query = sa.select(api_key, tenant.c.name.label("tenant_name")).join(
        tenant, tenant.c.tenant_id == api_key.c.tenant_id
    )
    query = within(query, api_key.c.tenant_id, scope)
    if member_id is not None:
        query = query.where(api_key.c.member_id == member_id)
    rows = tx.execute(query.order_by(api_key.c.created_at.desc()).limit(ROWS_MAX))
    return [
        KeyRow(
            key_id=_hex(row.key_id),
            tenant=row.tenant_name,
            mode=row.mode,
            key_prefix=row.key_prefix,
            name=row.name,
            created_at=row.created_at.isoformat(timespec="seconds"),
            is_revoked=row.revoked_at is not None,
        )
        for row in rows
    ]


def revoke_keys(
    tx: Writer, tenant_id: str, key_id_or_prefix: str, member_id: str | None = None
) -> list[str]:
    """Revoke a tenant's keys of an id or prefix; every gateway is told in the same transaction.

    Only those of one member, if one is named.
    """
    wanted = [
        api_key.c.tenant_id == tenant_id,
        sa.or_(
            hex_of(api_key.c.key_id) == key_id_or_prefix,
            api_key.c.key_prefix == key_id_or_prefix,
        ),
        api_key.c.revoked_at.is_(None),
    ]
    if member_id is not None:
        wanted.append(api_key.c.member_id == member_id)
    rows = tx.execute(
        sa.update(api_key)
        .where(*wanted)
        .values(revoked_at=sa.func.now())
        .returning(api_key.c.key_id, api_key.c.fingerprint)
    ).all()
    for row in rows:
        tx.execute(sa.select(sa.func.pg_notify(KEYS_CHANNEL, bytes(row.fingerprint).hex())))
    return [_hex(row.key_id) for row in rows]


def _tenant(row: sa.Row[tuple[object, ...]]) -> TenantRow:
    return TenantRow(
        tenant_id=_hex(row.tenant_id),
        name=row.name,
        created_at=row.created_at.isoformat(timespec="seconds"),
    )


def _hex(value: object) -> str:
    return str(value).replace("-", "")

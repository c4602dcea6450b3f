"""Who asks in tests: an operator, one who acts for a tenant, and members of each role."""

import uuid

import psycopg

from jusinfer.domain.actor import Actor, How, OnBehalf, Operator, Role

OPERATOR = Operator("tester")


def acting(tenant_id: str) -> OnBehalf:
    """Act for a tenant."""
    return OPERATOR.on_behalf(tenant_id)


def member(dsn: str, tenant_id: str, role: Role, network: str | None = None) -> Actor:
    """Write a member of a role into a tenant, as no service does yet."""
    member_id = uuid.uuid4().hex
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO member (member_id, tenant_id, role) VALUES (%s, %s, %s)",
            (member_id, tenant_id, role.value),
        )
    return Actor(tenant_id, member_id, role, How.SESSION, network=network)

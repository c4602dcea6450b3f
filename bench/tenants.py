"""Many tenants: each with credit and a live key, made by the product's own services."""

from pathlib import Path
from typing import Final

from jusinfer import config
from jusinfer.bootstrap.managed_database import TemporaryDatabase, world
from jusinfer.domain.actor import Operator
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import NANO_PER_USD
from jusinfer.services import accounts, billing, keys
from jusinfer.services.billing import GrantTerms
from jusinfer.services.keys import Rates

OPERATOR: Final = Operator("bench")
CREDIT_NANO: Final = 1_000 * NANO_PER_USD


def create(folder: Path, count: int) -> tuple[str, ...]:
    """Make so many tenants in the database of a running product; gives a live key of each.

    `folder` holds its `jusinfer.toml` and its `data`.
    """
    found = config.Overrides(
        config_file=str(folder / "jusinfer.toml"), data_dir=str(folder / "data")
    )
    database = TemporaryDatabase(config.load(found, {}))
    services = world(database.dsn)
    secrets: list[str] = []
    try:
        for number in range(count):
            tenant = accounts.create_tenant(services, OPERATOR, f"bench {number}")
            acting = OPERATOR.on_behalf(tenant.tenant_id)
            billing.grant(services, acting, CREDIT_NANO, Mode.LIVE, "bench", GrantTerms())
            secrets.append(keys.issue(services, acting, Mode.LIVE, "bench", Rates()).secret)
    finally:
        services.database.close()
        database.close()
    return tuple(secrets)

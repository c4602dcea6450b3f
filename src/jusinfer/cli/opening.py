"""What a command works with: the services on an open database, and the operator who gives it."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from jusinfer import config
from jusinfer.bootstrap import data_directory, managed_database
from jusinfer.cli import output
from jusinfer.config import ConfigError, Overrides, Settings
from jusinfer.domain.actor import Anyone, OnBehalf, Operator
from jusinfer.services import accounts
from jusinfer.services.dependencies import Services


class Opened(NamedTuple):
    """The services and who uses them."""

    world: Services
    operator: Operator

    def tenant(self, name_or_id: str) -> OnBehalf:
        """Act for the tenant of a name or id; raises InvalidRequest when there is none."""
        found = accounts.find_tenant(self.world, self.operator, name_or_id)
        return self.operator.on_behalf(found.tenant_id)

    def one_or_all(self, name_or_id: str | None) -> Anyone:
        """Act for a tenant that was named, or across all of them when none was."""
        return self.operator if name_or_id is None else self.tenant(name_or_id)

    def owner_of(self, kind: str, object_id: str) -> OnBehalf:
        """Act for the tenant that owns a tenant, member, key or spend limit of an id."""
        found = accounts.tenant_of(self.world, self.operator, kind, object_id)
        return self.operator.on_behalf(found)


@contextmanager
def opened(config_file: str | None, data_dir: str | None, *, as_json: bool) -> Iterator[Opened]:
    """Give the services, with the database started for the command if nobody serves it."""
    settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
    operator = operator_of(settings)
    if not settings.database_url:
        data_directory.prepare(settings)
    output.progress("opening the database …", as_json=as_json)
    database = managed_database.TemporaryDatabase(settings)
    world = managed_database.world(database.dsn)
    try:
        yield Opened(world, operator)
    finally:
        world.database.close()
        database.close()


def operator_of(settings: Settings) -> Operator:
    """Name who gives the command: by the setting, or by the user of the operating system."""
    name = settings.operator_name or _system_user()
    try:
        return Operator(name)
    except ValueError as error:
        raise ConfigError(
            f"operator_name: {error}; set it in jusinfer.toml or JUSINFER_OPERATOR_NAME"
        ) from error


def _system_user() -> str:
    """Give the name of the user whose process this is; a number where it has no name."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"

"""What every use case is handed: the database, and where ids and secrets come from."""

from collections.abc import Callable

import msgspec

from jusinfer.store.database import Database


class Services(msgspec.Struct, frozen=True):
    """The outside of the services."""

    database: Database
    new_id: Callable[[], str]
    new_secret: Callable[[int], bytes]

"""API keys: issued once, listed without their secret, revoked everywhere within a second."""

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import KEY_SECRET_BYTES, Mode, fingerprint, format_key, key_prefix
from jusinfer.services.world import World
from jusinfer.store import accounts
from jusinfer.store.accounts import KeyRow, NewKey


class Issued(msgspec.Struct, frozen=True):
    """A new key; `secret` is shown this once and stored nowhere."""

    key_id: str
    mode: str
    key_prefix: str
    secret: str

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"Issued({self.key_prefix!r})"


class Rates(msgspec.Struct, frozen=True):
    """Limits of one key; None means the house's default."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def issue(world: World, tenant_id: str, mode: Mode, name: str, rates: Rates) -> Issued:
    """Make a key for a tenant's owner."""
    secret = format_key(mode, world.new_secret(KEY_SECRET_BYTES))
    with world.database.write(tenant_id) as tx:
        key = NewKey(
            key_id=world.new_id(),
            tenant_id=tenant_id,
            member_id=accounts.owner_of(tx, tenant_id),
            mode=mode.value,
            fingerprint=fingerprint(secret.encode("ascii")),
            key_prefix=key_prefix(secret),
            name=name,
            requests_per_minute=rates.requests_per_minute,
            tokens_per_minute=rates.tokens_per_minute,
        )
        accounts.insert_key(tx, key)
    return Issued(key_id=key.key_id, mode=mode.value, key_prefix=key.key_prefix, secret=secret)


def list_keys(world: World, tenant_id: str | None) -> list[KeyRow]:
    """List keys of one tenant, or of all."""
    with world.database.read(tenant_id) as tx:
        return accounts.list_keys(tx, tenant_id)


def revoke(world: World, key_id_or_prefix: str) -> list[str]:
    """Revoke the keys of an id or prefix; raises when there is none to revoke."""
    with world.database.write() as tx:
        revoked = accounts.revoke_keys(tx, key_id_or_prefix)
    if not revoked:
        raise InvalidRequest(
            f"there is no live key {key_id_or_prefix!r}",
            hint="`jusinfer keys list` shows ids and prefixes.",
        )
    return revoked

"""API keys: issued once, listed without their secret, revoked everywhere within a second."""

import msgspec

from jusinfer.domain.actor import Action, Actor, Anyone, TenantActor, own_member_id
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import KEY_SECRET_BYTES, Mode, fingerprint, format_key, key_prefix
from jusinfer.services.dependencies import Services
from jusinfer.services.reach import reading
from jusinfer.store import accounts
from jusinfer.store.accounts import KeyRow, NewKey
from jusinfer.store.audit_note import note


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key; `secret` is shown this once and stored nowhere."""

    key_id: str
    mode: str
    key_prefix: str
    secret: str

    def __repr__(self) -> str:
        """Show what may be shown."""
        return f"Issued({self.key_prefix!r})"


class Rates(msgspec.Struct, frozen=True):
    """Limits of one key; None means the configured default."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def issue(world: Services, who: TenantActor, mode: Mode, name: str, rates: Rates) -> IssuedKey:
    """Make a key for the member who asks, or on an operator's word for the tenant's owner."""
    secret = format_key(mode, world.new_secret(KEY_SECRET_BYTES))
    with world.database.for_tenant(who, Action.KEY_ISSUE) as tx:
        key = NewKey(
            key_id=world.new_id(),
            tenant_id=who.tenant_id,
            member_id=who.member_id
            if isinstance(who, Actor)
            else accounts.owner_member_of(tx, who.tenant_id),
            mode=mode.value,
            fingerprint=fingerprint(secret.encode("ascii")),
            key_prefix=key_prefix(secret),
            name=name,
            requests_per_minute=rates.requests_per_minute,
            tokens_per_minute=rates.tokens_per_minute,
        )
        accounts.insert_key(tx, key)
        note(tx, "key", key.key_id)
    return IssuedKey(key_id=key.key_id, mode=mode.value, key_prefix=key.key_prefix, secret=secret)


def list_keys(world: Services, who: Anyone) -> list[KeyRow]:
    """List keys: a member's own, a tenant's, or to an operator all."""
    with reading(world, who, Action.KEY_LIST) as (tx, scope):
        return accounts.list_keys(tx, scope, own_member_id(who))


def revoke(world: Services, who: TenantActor, key_id_or_prefix: str) -> list[str]:
    """Revoke a tenant's keys of an id or prefix; raises when there is none to revoke."""
    with world.database.for_tenant(who, Action.KEY_REVOKE) as tx:
        revoked = accounts.revoke_keys(tx, who.tenant_id, key_id_or_prefix, own_member_id(who))
        if not revoked:
            raise InvalidRequest(
                f"there is no live key {key_id_or_prefix!r}",
                hint="`jusinfer keys list` shows ids and prefixes.",
            )
        for key_id in revoked:
            note(tx, "key", key_id)
    return revoked

"""Who is calling: tenants, members, API keys and the principal they authenticate as."""

import base64
import enum
import hashlib
import re
from typing import Final, NewType

import msgspec

from jusinfer.domain.limits import Cap, Limit
from jusinfer.domain.preferences import NO_POLICY, TenantPolicy

TenantId = NewType("TenantId", str)
MemberId = NewType("MemberId", str)
KeyId = NewType("KeyId", str)
WorkerId = NewType("WorkerId", str)

KEY_SECRET_BYTES: Final = 32
KEY_PREFIX_CHARS: Final = 12
_KEY: Final = re.compile(r"ji_(live|test)_[A-Za-z0-9_-]{43}")


class Mode(enum.StrEnum):
    """Which side of the house a key opens; fixed when the key is made."""

    LIVE = "live"
    TEST = "test"


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, after authentication. Rates of None mean the house's default."""

    tenant_id: TenantId
    member_id: MemberId
    key_id: KeyId
    mode: Mode
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    price_list: str = ""
    limits: tuple[Limit, ...] = ()
    caps: tuple[Cap, ...] = ()
    policy: TenantPolicy = NO_POLICY


def format_key(mode: Mode, secret: bytes) -> str:
    """Write 32 random bytes as an API key such as `ji_live_…`."""
    if len(secret) != KEY_SECRET_BYTES:
        raise ValueError(f"an API key needs {KEY_SECRET_BYTES} random bytes")
    return f"ji_{mode.value}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"


def is_well_formed(key: str) -> bool:
    """Tell whether a text has the shape of an API key of ours."""
    return _KEY.fullmatch(key) is not None


def fingerprint(key: bytes) -> bytes:
    """Give the SHA-256 of an API key: 32 bytes, all that is ever stored of it."""
    return hashlib.sha256(key).digest()


def key_prefix(key: str) -> str:
    """Give the part of an API key that may be shown again."""
    return key[:KEY_PREFIX_CHARS]

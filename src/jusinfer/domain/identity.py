"""Who is calling: tenants, members, API keys and the principal they authenticate as."""

import base64
import enum
import hashlib
import re
import zlib
from typing import Final, NewType

import msgspec

from jusinfer.domain.limits import Limit, SpendLimit
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy

TenantId = NewType("TenantId", str)
MemberId = NewType("MemberId", str)
KeyId = NewType("KeyId", str)
WorkerId = NewType("WorkerId", str)

KEY_SECRET_BYTES: Final = 32
KEY_PREFIX_CHARS: Final = 12
CHECK_CHARS: Final = 6
_CHECK_ALPHABET: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(rb"(ji_(?:live|test)_[A-Za-z0-9_-]{43})([0-9A-Za-z]{6})?")


class Mode(enum.StrEnum):
    """Whether a key reaches real providers or the sandbox; fixed when the key is made."""

    LIVE = "live"
    TEST = "test"


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, after authentication, with every limit that applies to it."""

    tenant_id: TenantId
    member_id: MemberId
    key_id: KeyId
    mode: Mode
    price_list: str = ""
    limits: tuple[Limit, ...] = ()
    spend_limits: tuple[SpendLimit, ...] = ()
    policy: TenantPolicy = NO_POLICY


def format_key(mode: Mode, secret: bytes) -> str:
    """Write 32 random bytes as an API key such as `ji_live_…`, with its checksum at the end."""
    if len(secret) != KEY_SECRET_BYTES:
        raise ValueError(f"an API key needs {KEY_SECRET_BYTES} random bytes")
    key = f"ji_{mode.value}_{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
    return key + _checksum(key.encode("ascii")).decode("ascii")


def is_well_formed(key: bytes) -> bool:
    """Tell whether bytes have the shape of an API key of ours, and its checksum if there is one.

    Keys of 43 characters after the mode were made before there was a checksum, and stay valid.
    """
    match = _KEY.fullmatch(key)
    return match is not None and (match[2] is None or match[2] == _checksum(match[1]))


def _checksum(text: bytes) -> bytes:
    """Give the CRC-32 of a text as six characters of base 62."""
    rest = zlib.crc32(text)
    digits = bytearray()
    for _ in range(CHECK_CHARS):
        rest, digit = divmod(rest, len(_CHECK_ALPHABET))
        digits.append(_CHECK_ALPHABET[digit])
    return bytes(digits)


def fingerprint(key: bytes) -> bytes:
    """Give the SHA-256 of an API key: 32 bytes, all that is ever stored of it."""
    return hashlib.sha256(key).digest()


def key_prefix(key: str) -> str:
    """Give the part of an API key that may be shown again."""
    return key[:KEY_PREFIX_CHARS]

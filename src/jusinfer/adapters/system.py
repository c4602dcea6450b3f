"""The real source of ids and secrets."""

import secrets
import uuid


def new_id() -> str:
    """Give 128 random bits as 32 hexadecimal characters."""
    return uuid.uuid4().hex


def new_secret(size_bytes: int) -> bytes:
    """Give random bytes that nobody can guess."""
    return secrets.token_bytes(size_bytes)

"""Addresses of PostgreSQL: where they lead, and whether what is said on the way is private."""

import ipaddress

import psycopg
from psycopg.conninfo import conninfo_to_dict

from jusinfer.store.errors import StoreError


def require_privacy(dsn: str) -> None:
    """Refuse an address on another machine that does not say how TLS is used; raises StoreError.

    Without `sslmode` libpq takes an unencrypted connection wherever the server offers no other.
    """
    try:
        options = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        raise StoreError("DATABASE_URL is no address of PostgreSQL that can be read") from error
    if "sslmode" in options:
        return
    named = [str(options.get(name) or "") for name in ("host", "hostaddr")]
    far = [host for text in named for host in text.split(",") if not _is_local(host)]
    if far:
        raise StoreError(
            f"DATABASE_URL leads to {far[0]} and says nothing of TLS; add ?sslmode=verify-full"
            " (with sslrootcert=…), or sslmode=disable where the way there is private"
        )


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

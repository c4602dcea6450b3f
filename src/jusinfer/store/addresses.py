"""Addresses of PostgreSQL: where they lead, and whether what is said on the way is private."""

import ipaddress
from urllib.parse import parse_qsl, unquote, urlsplit

from jusinfer.store.errors import StoreError


def require_privacy(dsn: str) -> None:
    """Refuse an address on another machine that does not say how TLS is used; raises StoreError.

    Without `sslmode` libpq takes an unencrypted connection wherever the server offers no other.
    """
    options = dict(parse_qsl(urlsplit(dsn).query))
    if "sslmode" in options:
        return
    far = [host for host in _hosts(dsn, options) if not _is_local(host)]
    if far:
        raise StoreError(
            f"DATABASE_URL leads to {far[0]} and says nothing of TLS; add ?sslmode=verify-full"
            " (with sslrootcert=…), or sslmode=disable where the way there is private"
        )


def _hosts(dsn: str, options: dict[str, str]) -> list[str]:
    named = [options[name] for name in ("host", "hostaddr") if options.get(name)]
    authority = urlsplit(dsn).netloc.rpartition("@")[2]
    found = [host for text in (authority, *named) for host in unquote(text).split(",")]
    return [_without_port(host) for host in found if host]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    # More than one colon is an address of IPv6 as an option gives it, and has no port.
    return host if host.count(":") > 1 or host.startswith("/") else host.partition(":")[0]


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

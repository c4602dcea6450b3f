"""Authentication: the key that a request carries, and the principal that it belongs to."""

from typing import Final

from jusinfer.domain.errors import InvalidKey
from jusinfer.domain.identity import Principal, fingerprint, is_well_formed
from jusinfer.gateway.accounting.unknown_keys import address_of
from jusinfer.gateway.http.server import Request
from jusinfer.gateway.state import WorkerState

KEY_BYTES_MAX: Final = 256
_BEARER: Final = b"bearer "
_OURS: Final = (b"ji_live_", b"ji_test_")
_OURS_AS_TEXT: Final = tuple(mark.decode() for mark in _OURS)


def credential(request: Request) -> bytes:
    """Give the key that a request carries; raises InvalidKey where it cannot be one of ours."""
    if request.query and any(mark in request.query for mark in _OURS_AS_TEXT):
        raise InvalidKey(
            "a key stands in the address, where proxies and logs keep it",
            hint="Revoke that key, and send another in the Authorization header.",
        )
    header = request.header(b"authorization")
    if header is not None:
        if header[: len(_BEARER)].lower() != _BEARER:
            raise InvalidKey("the Authorization header is not a Bearer token")
        key = header[len(_BEARER) :].strip()
    else:
        key = request.header(b"x-api-key") or b""
    if not key:
        raise InvalidKey("no API key was sent")
    if len(key) > KEY_BYTES_MAX or not key.startswith(_OURS):
        raise InvalidKey("this is not an API key of ours")
    return key


def known(context: WorkerState, key: bytes) -> Principal | None:
    """Give who a key belongs to if this worker knows it; None means to `identify`."""
    return context.keys.get(fingerprint(key), context.loop.time())


async def identify(context: WorkerState, request: Request, key: bytes) -> Principal:
    """Give who a key belongs to; raises InvalidKey, RateLimited or Unavailable.

    A key that cannot have been made here is refused without a look-up.
    """
    if not is_well_formed(key):
        raise InvalidKey(
            "this is not a whole API key of ours",
            hint="Copy the key again: a character is missing, or is not what it was.",
        )
    address = address_of(request, context.bounds.trusted_proxies)
    return await context.keys.fetch(fingerprint(key), context.loop.time(), address)


async def entered(context: WorkerState, request: Request) -> Principal:
    """Identify the client of a question, and take one request of its limits.

    Raises what `credential` and `identify` raise, and RateLimited.
    """
    key = credential(request)
    principal = known(context, key) or await identify(context, request, key)
    if principal.limits:
        hold = context.holds.take(principal, 0) or await context.holds.fetch(principal, 0)
        hold.spend()
    return principal

"""The table from domain errors to status and body in each client API."""

from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain import errors
from jusinfer.domain.errors import (
    InsufficientCredit,
    InvalidKey,
    JusinferError,
    SpendLimitReached,
    UpstreamRefused,
)
from jusinfer.domain.money import format_usd

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
FAULT_OF_OURS: Final = 500

# Class to (status, OpenAI's type). A class without a row fails the build.
TABLE: Final[Mapping[type[JusinferError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, INVALID),
    errors.ContextTooLong: (400, INVALID),
    errors.MalformedFraming: (400, INVALID),
    errors.InvalidKey: (401, "authentication_error"),
    errors.InsufficientCredit: (402, "insufficient_quota"),
    errors.SpendLimitReached: (402, "insufficient_quota"),
    errors.PolicyRefused: (403, "permission_error"),
    errors.RoleForbids: (403, "permission_error"),
    errors.ModelNotFound: (404, INVALID),
    errors.PathNotFound: (404, INVALID),
    errors.MethodNotAllowed: (405, INVALID),
    errors.ArrivalTimeout: (408, INVALID),
    errors.BodyTooLarge: (413, INVALID),
    errors.Unprocessable: (422, INVALID),
    errors.HeadTooLarge: (431, INVALID),
    errors.RateLimited: (429, "rate_limit_error"),
    errors.UpstreamRefused: (400, INVALID),
    errors.UpstreamFailed: (502, SERVER),
    errors.Unavailable: (503, SERVER),
    errors.UpstreamTimeout: (504, SERVER),
}


def status_of(error: JusinferError) -> int:
    """Give the status of an error; a refusal of the upstream keeps its own."""
    return error.status if isinstance(error, UpstreamRefused) else _row(error)[0]


def type_of(status: int) -> str:
    """Return OpenAI's type of an error by its status."""
    named = {
        kind_status: name for kind_status, name in TABLE.values() if name not in {INVALID, SERVER}
    }
    return named.get(status) or (INVALID if status < FAULT_OF_OURS else SERVER)


def render(error: JusinferError, request_id: str) -> tuple[int, bytes, bytes]:
    """Give status, header lines and body of an error in OpenAI's shape."""
    block = b"content-type: application/json\r\n"
    if error.retry_after_seconds is not None:
        block += b"retry-after: %d\r\n" % error.retry_after_seconds
    if error.is_final:
        # OpenAI's and Anthropic's SDKs obey it.
        block += b"x-should-retry: false\r\n"
    if isinstance(error, InvalidKey):
        block += b"www-authenticate: Bearer\r\n"
    members: dict[str, object] = {
        "message": error.message,
        "type": _row(error)[1],
        "param": error.param,
        "code": error.code,
        "hint": error.hint or None,
        "request_id": request_id,
    }
    if isinstance(error, InsufficientCredit):
        missing_nano = max(error.bound_nano - error.available_nano, 0)
        members["shortfall_usd"] = format_usd(missing_nano)
        members["required_usd"] = format_usd(error.bound_nano)
        members["available_usd"] = format_usd(error.available_nano)
        members["affordable_max_tokens"] = error.affordable_tokens
    if isinstance(error, SpendLimitReached):
        members["required_usd"] = format_usd(error.bound_nano)
        members["available_usd"] = format_usd(error.available_nano)
        members["resets_in_seconds"] = error.resets_in_seconds
    return status_of(error), block, msgspec.json.encode({"error": members})


def _row(error: JusinferError) -> tuple[int, str]:
    for kind in type(error).__mro__:
        row = TABLE.get(kind)
        if row is not None:
            return row
    raise AssertionError(f"{type(error).__name__} has no row in the table of errors")

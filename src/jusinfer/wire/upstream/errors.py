"""An upstream's refusal, in any of its shapes, as one neutral failure."""

import datetime as dt
import email.utils
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.domain.provider_codes import stored_code
from jusinfer.wire.error_kinds import CONTEXT, is_quotable, kind_of, too_long

BODY_BYTES_MAX: Final = 64 * 1024
TEXT_CHARS_MAX: Final = 4_096
PARAM_CHARS_MAX: Final = 200
RETRY_SECONDS_MAX: Final = 86_400
BAD_GATEWAY: Final = 502
# Where an input that is too long is looked for; 500 because some local servers say it so.
TOO_LONG_STATUSES: Final = frozenset({400, 413, 422, 500, 502})
CLIENTS_FAULT: Final = frozenset({400, 413, 422})
RETRYABLE: Final = frozenset({408, 409, 425, 429, 498, 499})
STATUS_MIN: Final = 400
SERVER: Final = 500
STATUS_MAX: Final = 599
UNAUTHORIZED: Final = 401
QUOTA_STATUS: Final = 402
FORBIDDEN: Final = 403
PRIVATE: Final = frozenset({UNAUTHORIZED, QUOTA_STATUS, FORBIDDEN, 407})
RATE_STATUS: Final = 429
QUOTA_CODES: Final = frozenset(
    {
        "3036",
        "billing_error",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "insufficient_quota",
        "payment_required",
        "quota_exceeded",
    }
)
CONTENT_CODES: Final = frozenset(
    {"content_filter", "content_policy_violation", "moderation", "refusal"}
)
# What blames our settings or our account, though its status may blame the request: Workers AI's
# unknown, unlicensed, private or outdated models, a blocked account, a wrong path or method, and a
# gateway that is not known or not ours.
OUR_CODES: Final = frozenset(
    {
        "10000",
        "2008",
        "2009",
        "3023",
        "3041",
        "3042",
        "5005",
        "5007",
        "5016",
        "5018",
        "5019",
        "7001",
        "7003",
        "model_deprecated",
        "model_not_found",
        "wrong_endpoint",
    }
)
# A guardrail or a leak filter of AI Gateway, which judges what was said.
GUARD_CODES: Final = frozenset({"2016", "2017", "2029", "2030"})
# The status that an error inside an answer would have had, by its code or its type.
STATUS_OF_CODE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "10000": 401,
        "2003": 429,
        "2016": 400,
        "2017": 400,
        "2029": 400,
        "2030": 400,
        "3003": 400,
        "3006": 413,
        "3007": 408,
        "3008": 408,
        "3036": 429,
        "3039": 400,
        "3040": 429,
        "5004": 400,
        "5007": 404,
        "authentication": 401,
        "authentication_error": 401,
        "content_policy_violation": 403,
        "context_length_exceeded": 400,
        "insufficient_quota": 429,
        "invalid_prompt": 400,
        "invalid_request": 400,
        "invalid_request_error": 400,
        "not_found": 404,
        "overloaded_error": 503,
        "payload_too_large": 413,
        "payment_required": 402,
        "permission_denied": 403,
        "provider_overloaded": 503,
        "provider_unavailable": 502,
        "rate_limit_error": 429,
        "rate_limit_exceeded": 429,
        "refusal": 403,
        "server_is_overloaded": 503,
        "slow_down": 429,
        "timeout": 504,
        "timeout_error": 504,
        "unprocessable": 422,
    }
)
# Our own key or credit, said with a status that otherwise blames the request.
_OUR_KEY: Final = re.compile(r"(?i)(?:incorrect|invalid) api[ _-]?key|api[ _-]?key not valid")
_OUR_CREDIT: Final = re.compile(r"(?i)daily free allocation|credit balance is too low")
_PART: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(ms|h|m|s)")
_SECONDS: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")
# What may name our account or its key, whatever its status.
_CREDENTIAL: Final = re.compile(
    r"(?i)\bapi[ _-]?key|credential|unauthori[sz]|authenticat|\baccess[ _-]?token|\bbearer\b"
    r"|client[ _-]?secret|subscription[ _-]?key|\borg-[a-z0-9]{6}|\bproj_[a-z0-9]{6}"
)
_TAG: Final = re.compile(r"<[^<>]{0,500}>")
_HINTS: Final = (b"retry-after", b"retry-after-ms", b"x-should-retry")
_WINDOWS: Final = (
    (b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests"),
    (b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"),
)

_NOTHING: Final = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_NULL: Final = msgspec.Raw(b"null")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Said(msgspec.Struct, frozen=True):
    """What an error says of itself. `codes` are its code, its type and the like, as text."""

    message: str = ""
    codes: tuple[str, ...] = ()
    param: str | None = None


def read_error(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, now: float
) -> UpstreamFailure:
    """Judge an answer whose status is not 200; `now` is seconds since 1970, for dates.

    At most 64 KiB of the body are read, however large it is.
    """
    wanted = frozenset((*_HINTS, *(name for window in _WINDOWS for name in window)))
    found = {
        lowered: value.decode("latin-1").strip()
        for name, value in headers
        if (lowered := name.lower()) in wanted
    }
    is_error = STATUS_MIN <= status <= STATUS_MAX
    failure = _judge(
        status if is_error else BAD_GATEWAY,
        _said(body[:BODY_BYTES_MAX]),
        code=f"upstream_status_{status}",
        retry_after_seconds=_retry_after(found, now, is_limited=status == RATE_STATUS),
    )
    if status in CLIENTS_FAULT and is_quotable(failure.kind) and not failure.is_private:
        failure = msgspec.structs.replace(failure, is_quotable=True)
    advice = found.get(b"x-should-retry", "").lower()
    if advice not in {"true", "false"} or failure.is_quota or failure.is_clients_fault:
        return failure
    return msgspec.structs.replace(failure, is_retryable=advice == "true")


def read_inner_error(raw: bytes) -> UpstreamFailure:
    """Judge the error that stands, as JSON, inside an answer or a stream with status 200."""
    said = _said(b'{"error":%b}' % raw[:BODY_BYTES_MAX])
    status = BAD_GATEWAY
    for code in said.codes:
        if code.isascii() and code.isdigit() and len(code) == len(str(STATUS_MAX)):
            status = int(code)
        else:
            status = STATUS_OF_CODE.get(code, BAD_GATEWAY)
        if status != BAD_GATEWAY:
            break
    if not STATUS_MIN <= status <= STATUS_MAX:
        status = BAD_GATEWAY
    return _judge(status, said, code="upstream_error", retry_after_seconds=None)


def plain_error(payload: bytes) -> UpstreamFailure | None:
    """Judge an event of a stream that no API knows: None where it says of no error.

    An error may stand in it under any name, or under none; such an event is never passed on,
    for what it says may name our account.
    """
    try:
        members = _members(payload)
    except (ValueError, RecursionError):
        return None
    for name in ("error", "errors", "detail"):
        if bytes(members.get(name, _NULL)) not in _NOTHING:
            return read_inner_error(bytes(members[name]))
    kinds = {bytes(members.get(name, _NULL)) for name in ("type", "object")}
    if b'"error"' in kinds or bytes(members.get("message", _NULL)) not in _NOTHING:
        return read_inner_error(payload)
    return None


def _judge(
    status: int, said: _Said, *, code: str, retry_after_seconds: int | None
) -> UpstreamFailure:
    codes = frozenset(said.codes)
    is_quota = status == QUOTA_STATUS or (
        status in {STATUS_MIN, RATE_STATUS}
        and (not codes.isdisjoint(QUOTA_CODES) or _OUR_CREDIT.search(said.message) is not None)
    )
    is_refusal = status == FORBIDDEN and not codes.isdisjoint(CONTENT_CODES)
    is_guarded = not codes.isdisjoint(GUARD_CODES)
    is_ours = (
        is_quota or not codes.isdisjoint(OUR_CODES) or _OUR_KEY.search(said.message) is not None
    )
    kind, sizes = "" if is_ours else kind_of(said.codes), (0, 0)
    if not is_ours and status in TOO_LONG_STATUSES:
        read = too_long(said.message)
        if read is not None and kind in {"", CONTEXT, "invalid_value", "invalid_prompt"}:
            kind, sizes = CONTEXT, read
    return UpstreamFailure(
        code=code,
        message=said.message,
        status=status,
        retry_after_seconds=retry_after_seconds,
        is_retryable=not is_quota and kind != CONTEXT and (status in RETRYABLE or status >= SERVER),
        is_clients_fault=is_refusal
        or is_guarded
        or kind == CONTEXT
        or (status in CLIENTS_FAULT and not is_ours),
        is_quota=is_quota,
        param=said.param,
        kind=kind,
        context_tokens=sizes,
        provider_code=stored_code(said.codes),
        is_private=status in PRIVATE or is_ours or _CREDENTIAL.search(said.message) is not None,
    )


def _said(body: bytes) -> _Said:
    """Read an error body of any known shape; anything else is taken as text."""
    try:
        value = msgspec.json.decode(body.strip() or b"null")
    except (ValueError, RecursionError):
        text = _TAG.sub(" ", body.decode("utf-8", "replace"))
        return _Said(message=" ".join(text.split())[:TEXT_CHARS_MAX])
    error = _innermost(value)
    if isinstance(error, str):
        return _Said(message=error[:TEXT_CHARS_MAX])
    if not isinstance(error, dict):
        return _Said()
    more = error.get("metadata")
    detail = more if isinstance(more, dict) else {}
    message = _words(error.get("message")) or _words(error.get("msg"))
    # OpenRouter keeps what the upstream behind it said in a member of its own.
    behind = _words(detail.get("raw"))
    named = (
        error.get("code"),
        error.get("type"),
        error.get("status"),
        detail.get("error_type"),
        error.get("error_type"),
        _code(error),
    )
    return _Said(
        message=(f"{message}: {behind}" if behind else message)[:TEXT_CHARS_MAX],
        codes=tuple(
            str(name)[:PARAM_CHARS_MAX]
            for name in named
            if isinstance(name, str | int) and not isinstance(name, bool)
        ),
        param=_param(error),
    )


def _code(error: dict[object, object]) -> object:
    """Give OpenRouter's code of why a model is not available."""
    availability = error.get("availability")
    return availability.get("code") if isinstance(availability, dict) else None


def _innermost(value: object) -> object:
    """Find the error in what an upstream wrapped it in: lists, envelopes, FastAPI's detail."""
    value = _head(value)
    if not isinstance(value, dict):
        return value
    for name in ("error", "errors", "detail"):
        inner = _head(value.get(name))
        if inner:
            return inner
    return value


def _head(value: object) -> object:
    if isinstance(value, list):
        return value[0] if value else None
    return value


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode("utf-8", "replace")


def _param(error: dict[object, object]) -> str | None:
    param = error.get("param")
    place = error.get("loc")
    if param is None and isinstance(place, list):
        param = ".".join(str(step) for step in place if step != "body")
    if not isinstance(param, str) or not param or len(param) > PARAM_CHARS_MAX:
        return None
    return param


def _retry_after(found: dict[bytes, str], now: float, *, is_limited: bool) -> int | None:
    """Read how long to wait, rounded up to seconds, in any of the ways it is written."""
    milliseconds = found.get(b"retry-after-ms", "")
    if _SECONDS.fullmatch(milliseconds):
        return _duration_seconds(f"{milliseconds}ms")
    text = found.get(b"retry-after", "")
    if text:
        return _until_seconds(f"{text}s" if _SECONDS.fullmatch(text) else text, now)
    if not is_limited:
        return None
    waits = [
        wait
        for remaining, reset in _WINDOWS
        if found.get(remaining) == "0"
        and (wait := _until_seconds(found.get(reset, ""), now)) is not None
    ]
    return max(waits, default=None)


def _until_seconds(text: str, now: float) -> int | None:
    """Read a duration such as `6m0s`, or an instant as HTTP or RFC 3339 write it."""
    duration = _duration_seconds(text)
    if duration is not None:
        return duration
    for read in (email.utils.parsedate_to_datetime, dt.datetime.fromisoformat):
        try:
            instant = read(text)
            if instant.tzinfo is None:
                instant = instant.replace(tzinfo=dt.UTC)
            seconds = instant.timestamp() - now
        except (ValueError, OverflowError):
            continue
        return min(max(int(seconds) + (seconds > int(seconds)), 0), RETRY_SECONDS_MAX)
    return None


def _duration_seconds(text: str) -> int | None:
    parts = list(_PART.finditer(text))
    if not parts or sum(len(part[0]) for part in parts) != len(text):
        return None
    milliseconds = 0
    for whole, fraction, unit in (part.groups("0") for part in parts):
        unit_ms = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}[unit]
        milliseconds += int(whole) * unit_ms
        # Rounded up: to wait too little is to be refused again.
        milliseconds += -(-int(fraction) * unit_ms // 10 ** len(fraction))
    return min(-(-milliseconds // 1_000), RETRY_SECONDS_MAX)

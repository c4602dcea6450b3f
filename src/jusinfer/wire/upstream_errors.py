"""An upstream's refusal, in any of its shapes, as one neutral failure."""

import email.utils
import re
from typing import Final

import msgspec

from jusinfer.domain.stream import UpstreamFailure

BODY_BYTES_MAX: Final = 64 * 1024
TEXT_CHARS_MAX: Final = 4_096
RETRY_SECONDS_MAX: Final = 86_400
CALLERS_FAULT: Final = frozenset({400, 413, 422})
RETRYABLE: Final = frozenset({408, 409, 425, 429, 498, 499})
SERVER: Final = 500
QUOTA_STATUS: Final = 402
RATE_STATUS: Final = 429
_QUOTA: Final = re.compile(
    r"insufficient_quota|credit_balance|billing|quota_exceeded|\b3036\b|daily free allocation"
)
_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)(?:\.\d+)?s)?(?:(\d+)ms)?")
_TAG: Final = re.compile(r"<[^>]{0,500}>")


def read_error(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, now: float
) -> UpstreamFailure:
    """Judge an answer whose status is not 200; `now` is seconds since 1970, for dates."""
    message, code, param = _said(body[:BODY_BYTES_MAX])
    is_quota = status == QUOTA_STATUS or (
        status == RATE_STATUS and _QUOTA.search(f"{code} {message}") is not None
    )
    return UpstreamFailure(
        code=f"upstream_status_{status}",
        message=message,
        status=status if status >= 400 else 502,  # noqa: PLR2004 (a redirect is no answer)
        retry_after_seconds=_retry_after(headers, now),
        is_retryable=not is_quota and (status in RETRYABLE or status >= SERVER),
        is_callers_fault=status in CALLERS_FAULT,
        is_quota=is_quota,
        param=param,
    )


def _said(body: bytes) -> tuple[str, str, str | None]:
    """Give (message, code, param) of an error body of any known shape."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = msgspec.json.decode(body.strip() or b"null")
    except (msgspec.MsgspecError, RecursionError):
        return _TAG.sub(" ", text)[:TEXT_CHARS_MAX], "", None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return text[:TEXT_CHARS_MAX] if isinstance(value, str) else "", "", None
    error = value.get("error")
    if error is None and isinstance(value.get("errors"), list) and value["errors"]:
        error = value["errors"][0]
    if error is None:
        error = value.get("detail", value)
    if isinstance(error, list):
        error = error[0] if error else ""
    if not isinstance(error, dict):
        return str(error)[:TEXT_CHARS_MAX], "", None
    message = error.get("message") or error.get("msg") or ""
    code = error.get("code") or error.get("type") or error.get("status") or ""
    param = error.get("param")
    return (
        str(message)[:TEXT_CHARS_MAX],
        str(code),
        param if isinstance(param, str) and len(param) <= 200 else None,  # noqa: PLR2004 (a name)
    )


def _retry_after(headers: list[tuple[bytes, bytes]], now: float) -> int | None:
    """Read how long to wait, rounded up to seconds, in any of the three ways it is written."""
    found: dict[bytes, str] = {
        name: value.decode("latin-1").strip()
        for name, value in headers
        if name in {b"retry-after", b"retry-after-ms"}
    }
    milliseconds = found.get(b"retry-after-ms", "")
    if milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) <= 9:  # noqa: PLR2004 (a bound)
        return min(-(-int(milliseconds) // 1000), RETRY_SECONDS_MAX)
    text = found.get(b"retry-after", "")
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return min(int(float(text)) + ("." in text), RETRY_SECONDS_MAX)
    duration = _DURATION.fullmatch(text)
    if duration is not None and any(duration.groups()):
        hours, minutes, seconds, part = (int(group or 0) for group in duration.groups())
        return min(hours * 3600 + minutes * 60 + seconds + (part > 0), RETRY_SECONDS_MAX)
    try:
        instant = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(int(instant.timestamp() - now) + 1, 0), RETRY_SECONDS_MAX)

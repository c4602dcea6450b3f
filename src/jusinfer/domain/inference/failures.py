"""What a failed attempt means: the error that its client sees, and the cause that is billed by."""

from typing import Final

from jusinfer.domain.billing_rules import EndCause
from jusinfer.domain.errors import (
    CONTENT_FILTERED,
    ContextTooLong,
    JusinferError,
    RateLimited,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.domain.redaction import ERROR_CHARS_MAX, clean
from jusinfer.domain.secret_masking import NO_SECRETS, OwnSecrets, mask_secrets
from jusinfer.domain.usage import Outcome

TIMEOUT_STATUSES: Final = frozenset({408, 504, 524})
RATE_STATUS: Final = 429
OURS: Final = frozenset({401, 402, 403})
TEXT_CHARS_MAX: Final = 500
# So much is masked, so that nothing that is shown is the beginning of a secret that was cut.
MASKED_CHARS_MAX: Final = 1_000
RETRY_SECONDS_DEFAULT: Final = 5


def error_of(
    failure: UpstreamFailure,
    sizes: tuple[int, int] = (0, 0),
    secrets: OwnSecrets = NO_SECRETS,
) -> JusinferError:
    """Put a failed attempt in our own words; only a refused request carries the upstream's.

    The upstream's text may repeat the prompt, which the client knows already, but never one of
    `secrets`, which are ours, and nothing where it speaks of our account. `sizes` are our own
    counts, of the input and of what the model holds, for an upstream that says no numbers.
    """
    if failure.is_clients_fault:
        return _refused(failure, secrets, sizes)
    if failure.code == "gateway_stopped":
        return Unavailable("the gateway is stopping", retry_after_seconds=1)
    if failure.status == RATE_STATUS and not failure.is_quota:
        return RateLimited(
            "the upstream is limiting requests right now",
            hint="Wait for the time in Retry-After, or choose another model.",
            retry_after_seconds=failure.retry_after_seconds or RETRY_SECONDS_DEFAULT,
        )
    if failure.is_quota or failure.status in OURS:
        return Unavailable(
            "the upstream cannot serve our account right now",
            hint="Choose another model, or try again later.",
            is_final=True,
            retry_after_seconds=failure.retry_after_seconds or RETRY_SECONDS_DEFAULT,
        )
    if failure.status in TIMEOUT_STATUSES:
        return UpstreamTimeout("the upstream did not answer in time")
    return UpstreamFailed(f"the upstream failed ({failure.code})")


def kept_error(
    failure: UpstreamFailure | None, request_text: bytes, secrets: OwnSecrets = NO_SECRETS
) -> str:
    """Return what is stored of a failure besides its status: the provider's code, of a closed list.

    Words follow it only where the provider refused the form of a request; they are cleaned.
    """
    if failure is None:
        return ""
    code = failure.provider_code
    if not failure.is_quotable or not failure.message:
        return code
    text = clean(secrets.mask(failure.message[:ERROR_CHARS_MAX]), request_text)
    return f"{code}: {text}" if code and text else code or text


def _shown(text: str, secrets: OwnSecrets) -> str:
    return mask_secrets(secrets.mask(text[:MASKED_CHARS_MAX]))[:TEXT_CHARS_MAX]


def _refused(
    failure: UpstreamFailure, secrets: OwnSecrets, sizes: tuple[int, int]
) -> JusinferError:
    text = "" if failure.is_private else _shown(failure.message, secrets)
    param = None if failure.param is None else _shown(failure.param, secrets)
    if failure.kind == ContextTooLong.code:
        asked, most = failure.context_tokens
        return ContextTooLong(
            text or "the input is too long for this model",
            asked_tokens=asked or sizes[0],
            context_tokens=most or sizes[1],
            param=param,
        )
    own = "the upstream's filter refused this request" if failure.kind == CONTENT_FILTERED else ""
    return UpstreamRefused(
        text or own or "the upstream refused this request",
        status=failure.status,
        param=param,
        kind=failure.kind,
    )


def code_of(failure: UpstreamFailure) -> str:
    """Return the code that ends a stream: what it means to a client, or how it broke."""
    if failure.kind:
        return failure.kind
    if failure.status == RATE_STATUS and not failure.is_quota:
        return RateLimited.code
    return failure.code


def cause_of(failure: UpstreamFailure) -> EndCause:
    """Return what an attempt that failed before its first token is billed by."""
    if failure.is_clients_fault:
        return EndCause.UPSTREAM_REFUSED
    if failure.status in TIMEOUT_STATUSES:
        return EndCause.UPSTREAM_STALLED
    return EndCause.UPSTREAM_CUT if failure.is_cut else EndCause.UPSTREAM_ERROR


def finished(finish_reason: str | None) -> Outcome:
    """Return the outcome of an answer that ended well."""
    return Outcome.LENGTH if finish_reason == "length" else Outcome.COMPLETED


EMPTY: Final = UpstreamFailure(
    code="empty_answer", message="the upstream produced nothing", status=502
)
MALFORMED: Final = UpstreamFailure(
    code="malformed_answer", message="a part of the answer could not be read", status=502
)
STOPPING: Final = UpstreamFailure(
    code="gateway_stopped", message="the gateway is stopping", status=503
)

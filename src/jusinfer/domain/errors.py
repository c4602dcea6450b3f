"""The closed family of things that can go wrong, named by meaning and free of HTTP.

`message` says what is wrong, `hint` how to mend it; neither may repeat a prompt, a key or a
secret. The table that gives each class its status and body is in `wire/errors.py`.
"""

from typing import ClassVar, Final

# The code of a refusal by a provider's content filter, in every client API that has one.
CONTENT_FILTERED: Final = "content_filter"


class JusinferError(Exception):
    """What all refusals share: a stable code, a message, a hint, and the field at fault."""

    code: str = "internal_error"
    # Whether asking again can help; SDKs are told when it cannot.
    is_final: bool = False
    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(JusinferError):
    """The request cannot be understood or asks for something impossible."""

    code = "invalid_request"


class ContextTooLong(JusinferError):
    """The input does not fit the model; sizes are tokens of the input and the most it holds."""

    code = "context_length_exceeded"
    default_hint = "Shorten the input or choose a model with a longer context."

    def __init__(
        self,
        message: str,
        *,
        asked_tokens: int = 0,
        context_tokens: int = 0,
        param: str | None = None,
    ) -> None:
        super().__init__(message, param=param or "messages")
        self.asked_tokens = asked_tokens
        self.context_tokens = context_tokens


class MalformedFraming(JusinferError):
    """The bytes on the connection are not one unambiguous HTTP request."""

    code = "malformed_http"
    default_hint = "Send one well-formed HTTP/1.1 request; the connection is closed."


class InvalidKey(JusinferError):
    """The API key is missing, malformed, unknown or revoked."""

    code = "invalid_api_key"
    default_hint = "Send a valid key as `Authorization: Bearer ji_…` or in `x-api-key`."


class InsufficientCredit(JusinferError):
    """The tenant's credit does not cover the most that this completion can cost."""

    code = "insufficient_credit"

    def __init__(
        self, message: str, *, bound_nano: int, available_nano: int, affordable_tokens: int
    ) -> None:
        super().__init__(message, param="max_tokens")
        self.bound_nano = bound_nano
        self.available_nano = available_nano
        self.affordable_tokens = affordable_tokens
        self.hint = (
            f"Add credit, or ask for at most {affordable_tokens} output tokens."
            if affordable_tokens > 0
            else "Add credit; even the prompt alone is not covered."
        )


class SpendLimitReached(JusinferError):
    """A spend limit, set by the tenant itself, does not cover what this can cost."""

    code = "spend_limit_reached"

    def __init__(
        self, message: str, *, bound_nano: int, available_nano: int, resets_in_seconds: int
    ) -> None:
        super().__init__(message, retry_after_seconds=resets_in_seconds)
        self.bound_nano = bound_nano
        self.available_nano = available_nano
        self.resets_in_seconds = resets_in_seconds
        self.hint = (
            f"It resets in {resets_in_seconds} seconds; until then ask for less output, "
            "or have the spend limit raised."
        )


class PolicyRefused(JusinferError):
    """The tenant's policy or the mode of the key forbids this."""

    code = "policy_refused"


class RoleForbids(JusinferError):
    """A member's role does not permit what was asked."""

    code = "role_forbids"


class ModelNotFound(JusinferError):
    """No such model is offered with this key."""

    code = "model_not_found"
    default_hint = "List what is offered with GET /v1/models."


class PathNotFound(JusinferError):
    """There is nothing at this path."""

    code = "path_not_found"
    default_hint = "The API is under /v1; see /docs."


class MethodNotAllowed(JusinferError):
    """The path exists, but not with this method."""

    code = "method_not_allowed"


class ArrivalTimeout(JusinferError):
    """The head or the body of a request took too long to arrive."""

    code = "request_timeout"


class BodyTooLarge(JusinferError):
    """The body of a request is over its bound."""

    code = "body_too_large"


class HeadTooLarge(JusinferError):
    """The head of a request is over its bound."""

    code = "head_too_large"


class Unprocessable(JusinferError):
    """The upstream understood the request and cannot carry it out."""

    code = "unprocessable"


class RateLimited(JusinferError):
    """A rate limit of this key is used up for now."""

    code = "rate_limit_exceeded"


class UpstreamRefused(JusinferError):
    """The upstream refused the request itself; `status` is its answer.

    `kind` is the code of a reason that clients act on, from the closed list of the wire.
    """

    code = "upstream_refused"

    def __init__(
        self, message: str, *, status: int, param: str | None = None, kind: str = ""
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        if kind:
            self.code = kind


class UpstreamFailed(JusinferError):
    """No upstream gave an answer that could be used."""

    code = "upstream_failed"
    default_hint = "Nothing was charged. Try again, or choose another model."


class UpstreamTimeout(JusinferError):
    """The upstream did not answer in time."""

    code = "upstream_timeout"
    default_hint = "Nothing was charged for what did not arrive. Try again."


class Unavailable(JusinferError):
    """We cannot serve this now, through no fault of the client."""

    code = "unavailable"
    default_hint = "Try again after the time in Retry-After."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(message, hint=hint, retry_after_seconds=retry_after_seconds)
        self.is_final = is_final

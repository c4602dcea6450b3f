"""What a provider's refusal means, as one of a closed list of codes that clients act on.

A provider's own words never become a code: they are looked up here, by its code or its type, and
for an input that is too long also by the ways in which providers are known to say so.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.domain.errors import CONTENT_FILTERED, ContextTooLong

CONTEXT: Final = ContextTooLong.code
FILTERED: Final = CONTENT_FILTERED
OVERLOADED: Final = "server_is_overloaded"
TEXT_CHARS_MAX: Final = 2_000

BAD_GATEWAY: Final = 502
_STREAM_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {"gateway_stopped": 503, OVERLOADED: 503, "upstream_stalled": 504, "upstream_timeout": 504}
)
# What is kept as it is said …
_KEPT: Final = frozenset(
    {
        CONTEXT,
        FILTERED,
        OVERLOADED,
        "content_policy_violation",
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "invalid_base64_image",
        "invalid_function_parameters",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_mode",
        "invalid_image_url",
        "invalid_prompt",
        "invalid_type",
        "invalid_value",
        "missing_required_parameter",
        "string_above_max_length",
        "unknown_parameter",
        "unsupported_image_media_type",
        "unsupported_parameter",
        "unsupported_value",
    }
)
# … and what others call the same.
_SAME: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1261": CONTEXT,
        "2016": FILTERED,
        "2017": FILTERED,
        "2029": FILTERED,
        "2030": FILTERED,
        "5021": CONTEXT,
        "context_window_exceeded": CONTEXT,
        "data_inspection_failed": FILTERED,
        "exceed_context_size_error": CONTEXT,
        "model_context_window_exceeded": CONTEXT,
        "moderation": FILTERED,
        "moderation_blocked": FILTERED,
        "overloaded_error": OVERLOADED,
        "provider_overloaded": OVERLOADED,
        "refusal": FILTERED,
        "responsible_ai_policy_violation": FILTERED,
    }
)
# What concerns the form of a request, not what is said in it: its words may be kept.
_QUOTABLE: Final = frozenset(
    {
        CONTEXT,
        "invalid_function_parameters",
        "invalid_type",
        "invalid_value",
        "missing_required_parameter",
        "string_above_max_length",
        "unknown_parameter",
        "unsupported_parameter",
        "unsupported_value",
    }
)
_NUMBER: Final = r"(\d{1,9})"
# How providers say that an input is too long; groups are what was asked and what is the most.
_TOO_LONG: Final = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"prompt is too long(?:: (?P<asked>{_NUMBER}) tokens > (?P<most>{_NUMBER}))?",
        rf"exceed context limit: (?P<asked>{_NUMBER}) \+ \d+ > (?P<most>{_NUMBER})",
        (
            rf"maximum context length is (?P<most>{_NUMBER})"
            r"(?:.{0,80}?(?:requested|resulted in|contains|has)[^\d]{0,20}"
            rf"(?P<asked>{_NUMBER}))?"
        ),
        (
            rf"maximum prompt length is (?P<most>{_NUMBER})"
            rf"(?:.{{0,40}}?contains (?P<asked>{_NUMBER}))?"
        ),
        (
            rf"input token count(?: \((?P<asked>{_NUMBER})\))? exceeds the maximum"
            rf"(?: number of tokens allowed \(?(?P<most>{_NUMBER}))?"
        ),
        (
            rf"prompt contains (?P<asked>{_NUMBER}) tokens.{{0,60}}?too large for model"
            rf"(?: with (?:a )?(?P<most>{_NUMBER}))?"
        ),
        (
            rf"tokens \((?P<asked>{_NUMBER})\) exceeded this model context window limit"
            rf"(?: \((?P<most>{_NUMBER})\))?"
        ),
        (
            rf"request \((?P<asked>{_NUMBER}) tokens\) exceeds the available context size"
            rf"(?: \((?P<most>{_NUMBER}))?"
        ),
        rf"prompt token count of (?P<asked>{_NUMBER}) exceeds the limit of (?P<most>{_NUMBER})",
        (
            rf"exceeded model token limit(?:: (?P<most>{_NUMBER})"
            rf"(?: \(requested: (?P<asked>{_NUMBER}))?)?"
        ),
        r"exceeds? (?:the )?(?:available |model'?s? |maximum )?context (?:size|length|window)",
        r"exceeds? (?:the )?(?:model'?s? )?maximum context length",
        r"context window exceeds limit",
        r"greater than the context length",
        r"input is too long for (?:the )?requested model",
        r"prompt exceeds max length",
        r"too many tokens: total number of tokens in the prompt",
        r"inputs? tokens \+ max_new_tokens must be <=",
        r"reduce the length of the (?:messages|input|prompt)",
    )
)


def kind_of(codes: Iterable[str]) -> str:
    """Give the code of our list that one of a provider's codes means; empty for none."""
    for code in codes:
        name = code.lower()
        kind = name if name in _KEPT else _SAME.get(name, "")
        if kind:
            return kind
    return ""


def is_quotable(kind: str) -> bool:
    """Tell whether an error of this kind speaks of the form of a request only."""
    return kind in _QUOTABLE


def too_long(message: str) -> tuple[int, int] | None:
    """Read an input that is too long: (tokens asked, most), 0 where not said; None if it is not."""
    text = message[:TEXT_CHARS_MAX]
    for pattern in _TOO_LONG:
        found = pattern.search(text)
        if found is not None:
            groups = found.groupdict()
            return int(groups.get("asked") or 0), int(groups.get("most") or 0)
    return None


def prompt_too_long(asked: int, most: int) -> str:
    """Say it as Anthropic does, whose clients shorten a conversation when they read these words."""
    return f"prompt is too long: {max(asked, most + 1)} tokens > {most} maximum"


def failed_error(code: str, message: str) -> dict[str, str]:
    """Write the error of a failed response: a code that its clients know, or `server_error`."""
    if code == "rate_limit_exceeded" or code in _KEPT:
        is_refused = code in {FILTERED, "content_policy_violation"}
        return {"code": "invalid_prompt" if is_refused else code, "message": message}
    return {"code": "server_error", "message": with_code(code, message)}


def stream_error(code: str, message: str) -> dict[str, object]:
    """Write the error that ends a stream of Chat Completions, with the status it would have had.

    Agents ask again for what a server failed at, and know that by the type or by the status.
    """
    kind, status = "server_error", _STREAM_STATUS.get(code, BAD_GATEWAY)
    if code == "rate_limit_exceeded":
        kind, status = "rate_limit_error", 429
    elif is_refusal(code):
        kind, status = "invalid_request_error", 400
    return {"message": message, "type": kind, "param": None, "code": code, "status": status}


def is_refusal(code: str) -> bool:
    """Whether one of our codes says that the request is at fault: asked again it fails again."""
    return code in _KEPT and code != OVERLOADED


def with_code(code: str, message: str) -> str:
    """Say how a stream broke, once, where there is no place for the code."""
    return message if f"({code})" in message else f"{message} ({code})"

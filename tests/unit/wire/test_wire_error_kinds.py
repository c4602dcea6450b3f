"""Reasons that clients act on keep their meaning, in each client API's own words."""

import json

import pytest

from jusinfer.domain.errors import ContextTooLong, Unavailable, UpstreamRefused
from jusinfer.domain.inference.failures import code_of, error_of
from jusinfer.gateway.inference.endpoints import ANTHROPIC
from jusinfer.gateway.inference.translator import render_error
from jusinfer.wire.error_kinds import failed_error, too_long
from jusinfer.wire.inbound.anthropic.error_event import error_event
from jusinfer.wire.upstream.errors import read_error, read_inner_error

TOO_LONG = (
    ("prompt is too long: 210000 tokens > 200000 maximum", (210_000, 200_000)),
    ("prompt is too long", (0, 0)),
    (
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease",
        (188_240, 200_000),
    ),
    (
        (
            "This model's maximum context length is 4096 tokens. However, your messages resulted "
            "in 5000 tokens. Please reduce the length of the messages."
        ),
        (5_000, 4_096),
    ),
    (
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 "
            "tokens (4500 in the messages, 500 in the completion)."
        ),
        (5_000, 4_096),
    ),
    ("maximum context length is 4096 tokens", (0, 4_096)),
    (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        (537_812, 131_072),
    ),
    (
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        (1_200_000, 1_048_576),
    ),
    ("The input token count exceeds the maximum number of tokens allowed 1048576.", (0, 1_048_576)),
    (
        (
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
            "32768 maximum context length"
        ),
        (40_000, 32_768),
    ),
    (
        (
            "The estimated number of input and maximum output tokens (9000) exceeded this model "
            "context window limit (7968)."
        ),
        (9_000, 7_968),
    ),
    ("request (5000 tokens) exceeds the available context size (4096 tokens)", (5_000, 4_096)),
    ("the request exceeds the available context size. try increasing it", (0, 0)),
    ("prompt token count of 70000 exceeds the limit of 64000", (70_000, 64_000)),
    (
        "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
        (9_000, 8_192),
    ),
    ("Your input exceeds the context window of this model.", (0, 0)),
    ("Input is too long for requested model.", (0, 0)),
)


@pytest.mark.parametrize(("message", "sizes"), TOO_LONG)
def test_an_input_that_is_too_long_is_known_by_its_words(
    message: str, sizes: tuple[int, int]
) -> None:
    assert too_long(message) == sizes
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()
    failure = read_error(400, [], body, 0.0)
    assert (failure.kind, failure.is_clients_fault) == ("context_length_exceeded", True)
    error = error_of(failure, (7, 9))
    assert isinstance(error, ContextTooLong)
    status, _, shown = render_error(None, error, "r")
    told = json.loads(shown)["error"]
    assert (status, told["type"], told["code"]) == (
        400,
        "invalid_request_error",
        "context_length_exceeded",
    )
    status, _, shown = render_error(ANTHROPIC, error, "r")
    told = json.loads(shown)["error"]
    most = sizes[1] or 9
    asked = max(sizes[0] or 7, most + 1)
    assert (status, told["type"]) == (400, "invalid_request_error")
    assert told["message"].startswith(f"prompt is too long: {asked} tokens > {most} maximum")


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached: request too large for tokens per minute (TPM): limit 6000",
        "max_tokens is too large: 32000. This model supports at most 8192 completion tokens",
        "messages: at least one message is required",
        "",
    ],
)
def test_other_words_are_not_taken_for_it(message: str) -> None:
    assert too_long(message) is None


def told(status: int, **error: object) -> tuple[str, int]:
    body = json.dumps({"error": {"message": "m", **error}}).encode()
    found = error_of(read_error(status, [], body, 0.0))
    return found.code, found.status if isinstance(found, UpstreamRefused) else 0


def test_known_codes_are_kept_and_unknown_ones_never_pass() -> None:
    assert told(400, code="content_filter") == ("content_filter", 400)
    assert told(403, code="moderation") == ("content_filter", 403)
    assert told(400, code="content_policy_violation") == ("content_policy_violation", 400)
    assert told(400, code="unsupported_parameter") == ("unsupported_parameter", 400)
    assert told(400, code="unsupported_value") == ("unsupported_value", 400)
    assert told(400, code="invalid_image_url") == ("invalid_image_url", 400)
    assert told(400, type="exceed_context_size_error") == ("context_length_exceeded", 0)
    assert told(400, code=5021) == ("context_length_exceeded", 0)
    assert told(413, code="context_length_exceeded") == ("context_length_exceeded", 0)
    assert told(400, code="words of a prompt") == ("upstream_refused", 400)
    assert told(429, code="rate_limit_exceeded", type="tokens") == ("rate_limit_exceeded", 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"code": "insufficient_quota"}),
        (402, {"code": 402}),
        (401, {"code": "invalid_api_key"}),
        (400, {"message": "Your credit balance is too low to access the API"}),
    ],
)
def test_what_is_wrong_with_our_account_is_ours_and_final(
    status: int, error: dict[str, object]
) -> None:
    found = error_of(read_error(status, [], json.dumps({"error": error}).encode(), 0.0))
    assert isinstance(found, Unavailable)
    shown, block, body = render_error(None, found, "r")
    assert shown == 503
    assert b"x-should-retry: false\r\n" in block
    assert b"quota" not in body
    busy = error_of(read_error(429, [], b'{"error":{"message":"slow down"}}', 0.0))
    assert b"x-should-retry" not in render_error(None, busy, "r")[1]


@pytest.mark.parametrize(
    ("raw", "code", "response", "kind"),
    [
        (
            b'{"code":"context_length_exceeded","message":"m"}',
            "context_length_exceeded",
            "context_length_exceeded",
            "invalid_request_error",
        ),
        (
            b'{"code":429,"message":"m"}',
            "rate_limit_exceeded",
            "rate_limit_exceeded",
            "rate_limit_error",
        ),
        (
            b'{"code":"content_filter","message":"m"}',
            "content_filter",
            "invalid_prompt",
            "invalid_request_error",
        ),
        (
            b'{"type":"overloaded_error","message":"m"}',
            "server_is_overloaded",
            "server_is_overloaded",
            "overloaded_error",
        ),
        (b'{"code":502,"message":"m"}', "upstream_error", "server_error", "api_error"),
        (
            b'{"code":"insufficient_quota","message":"m"}',
            "upstream_error",
            "server_error",
            "api_error",
        ),
    ],
)
def test_a_stream_that_breaks_says_why(raw: bytes, code: str, response: str, kind: str) -> None:
    found = code_of(read_inner_error(raw))
    assert found == code
    assert failed_error(found, "m")["code"] == response
    event = json.loads(error_event(found, "m").split(b"data: ")[1])
    assert event["error"]["type"] == kind
    # The words by which clients know that to ask again may help.
    assert ("server error" in event["error"]["message"]) == (kind == "api_error")

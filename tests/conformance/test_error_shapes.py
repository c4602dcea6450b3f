"""The corpus of refusals: what each means for the retry, the account, the client and the status."""

import json
from typing import Any, NamedTuple

import pytest

from jusinfer.domain.inference.failures import error_of
from jusinfer.domain.inference.stream_state import UpstreamFailure
from jusinfer.wire.errors import status_of
from jusinfer.wire.upstream.errors import read_error
from jusinfer.wire.upstream.openai_chat import decode_answer

CANARY = "canary words of a prompt"


class Case(NamedTuple):
    """A refusal; what the client sees of it, and whether it is the client's own."""

    code: str
    status: int
    body: Any
    shown: int
    is_clients: bool = False
    is_retryable: bool = False
    is_quota: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()


def openai(code: str | None, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": "m", "type": kind, "param": None, "code": code, **more}}


def cloudflare(code: int, message: str = "AiError: m") -> dict[str, Any]:
    errors = [{"code": code, "message": message}]
    return {"result": None, "success": False, "errors": errors, "messages": []}


def claude(kind: str, message: str = "m") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}


def router(code: int, kind: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "m", "metadata": {"error_type": kind}}}


def away(status: int, code: str) -> dict[str, Any]:
    error = {"code": status, "message": "m", "http_status": status, "error_type": "not_found"}
    return {"error": error | {"availability": {"code": code, "retryable": False}}}


CASES = (
    Case("E01", 400, openai(None), 400, is_clients=True),
    Case("E02", 500, {"message": "m"}, 502, is_retryable=True),
    Case("E03", 400, {"error": "m"}, 400, is_clients=True),
    Case("E04", 400, openai(None, misalignment={"error_type": "x"}), 400, is_clients=True),
    Case("E05", 503, b"", 502, is_retryable=True),
    Case("E06", 502, b"<html><h1>Bad gateway</h1></html>", 502, is_retryable=True),
    Case("E07", 429, openai("rate_limit_exceeded", "rate_limit"), 429, is_retryable=True),
    Case("E08", 429, openai("slow_down"), 429, is_retryable=True),
    Case("E09", 429, openai("insufficient_quota"), 503, is_quota=True),
    Case("E09-credit", 429, openai("credit_balance_exhausted"), 503, is_quota=True),
    Case("E10", 503, openai("server_is_overloaded"), 502, is_retryable=True),
    Case("E11", 401, openai("invalid_api_key"), 503),
    Case("E12", 403, openai("unsupported_country_region_territory"), 503),
    Case("E13", 400, openai("context_length_exceeded"), 400, is_clients=True),
    Case(
        "E14",
        400,
        [{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}],
        400,
        is_clients=True,
    ),
    Case("E15", 422, {"detail": [{"loc": ["body", "x"], "msg": "m"}]}, 422, is_clients=True),
    Case("E16", 400, openai("content_filter", innererror={"code": "x"}), 400, is_clients=True),
    Case("E17a", 498, openai("capacity_exceeded"), 502, is_retryable=True),
    Case("E17b", 424, openai("failed_dependency"), 502),
    Case("E17c", 499, openai("request_cancelled"), 502, is_retryable=True),
    Case("E18", 503, {"error": {"code": 503, "type": "unavailable_error"}}, 502, is_retryable=True),
    Case("E19", 400, openai("x", "exceed_context_size_error"), 400, is_clients=True),
    Case("E20a", 520, b"", 502, is_retryable=True),
    Case("E20b", 524, b"", 504, is_retryable=True),
    Case("E20c", 529, b"", 502, is_retryable=True),
    Case("E21", 202, b'{"request_id":"r"}', 502, is_retryable=True),
    Case("E22a", 400, openai("invalid_request_error"), 400, is_clients=True),
    Case("E22b", 402, openai("x"), 503, is_quota=True),
    Case("E22c", 422, openai("x"), 422, is_clients=True),
    Case("E22d", 429, openai("x"), 429, is_retryable=True),
    Case("E22e", 503, openai("x"), 502, is_retryable=True),
    Case("E23", 400, cloudflare(5004), 400, is_clients=True),
    Case("E24", 404, cloudflare(7003), 502),
    Case("E25", 405, cloudflare(7001), 502),
    Case("E26", 429, cloudflare(3036), 503, is_quota=True),
    Case("E27", 429, cloudflare(3040), 429, is_retryable=True),
    Case("E28", 401, cloudflare(10000), 503),
    Case("E28-400", 400, cloudflare(10000), 502),
    Case("E29a", 400, cloudflare(5007), 502),
    Case("E29b", 400, cloudflare(5004), 400, is_clients=True),
    Case("E29c", 400, cloudflare(3003), 400, is_clients=True),
    Case("E29d", 400, cloudflare(3039), 400, is_clients=True),
    Case("E29e", 403, cloudflare(5018), 503),
    Case("E29f", 403, cloudflare(3041), 503),
    Case("E29g", 403, cloudflare(5016), 503),
    Case("E29h", 403, cloudflare(3023), 503),
    Case("E29i", 405, cloudflare(5019), 502),
    Case("E29j", 405, cloudflare(5005), 502),
    Case("E29k", 404, cloudflare(3042), 502),
    Case("E29l", 413, cloudflare(3006), 413, is_clients=True),
    Case("E29m", 408, cloudflare(3007), 504, is_retryable=True),
    Case("E29n", 408, cloudflare(3008), 504, is_retryable=True),
    Case("E30", 400, {"error": "AiError: bad"}, 400, is_clients=True),
    Case("E31", 400, claude("invalid_request_error"), 400, is_clients=True),
    Case("E32a", 429, cloudflare(2003), 429, is_retryable=True),
    Case("E32b", 400, cloudflare(2008), 502),
    Case("E32c", 401, cloudflare(2009), 503),
    Case("E32d", 424, cloudflare(2016), 424, is_clients=True),
    Case("E32e", 424, cloudflare(2017), 424, is_clients=True),
    Case("E32f", 424, cloudflare(2029), 424, is_clients=True),
    Case("E32g", 424, cloudflare(2030), 424, is_clients=True),
    Case("E32h", 429, openai("spend_limit"), 429, is_retryable=True),
    Case("E32i", 429, {"error": "too many requests"}, 429, is_retryable=True),
    Case("E33a", 400, claude("invalid_request_error"), 400, is_clients=True),
    Case("E33a-credit", 400, claude("x", "Your credit balance is too low"), 503, is_quota=True),
    Case("E33b", 401, claude("authentication_error"), 503),
    Case("E33c", 402, claude("billing_error"), 503, is_quota=True),
    Case("E33d", 403, claude("permission_error"), 503),
    Case("E33e", 404, claude("not_found_error"), 502),
    Case("E33f", 409, claude("conflict_error"), 502, is_retryable=True),
    Case("E33g", 413, claude("request_too_large"), 413, is_clients=True),
    Case("E33h", 500, claude("api_error"), 502, is_retryable=True),
    Case("E33i", 504, claude("timeout_error"), 504, is_retryable=True),
    Case("E34", 429, claude("rate_limit_error"), 429, is_retryable=True),
    Case("E35", 529, claude("overloaded_error"), 502, is_retryable=True),
    Case("E36a", 400, router(400, "context_length_exceeded"), 400, is_clients=True),
    Case("E36b", 400, router(400, "max_tokens_exceeded"), 400, is_clients=True),
    Case("E36c", 400, router(400, "token_limit_exceeded"), 400, is_clients=True),
    Case("E36d", 400, router(400, "string_too_long"), 400, is_clients=True),
    Case("E36e", 401, router(401, "authentication"), 503),
    Case("E36f", 403, router(403, "permission_denied"), 503),
    Case("E36g", 402, router(402, "payment_required"), 503, is_quota=True),
    Case("E36h", 429, router(429, "rate_limit_exceeded"), 429, is_retryable=True),
    Case("E36i", 503, router(503, "provider_overloaded"), 502, is_retryable=True),
    Case("E36j", 502, router(502, "provider_unavailable"), 502, is_retryable=True),
    Case("E36k", 400, router(400, "invalid_request"), 400, is_clients=True),
    Case("E36l", 400, router(400, "invalid_prompt"), 400, is_clients=True),
    Case("E36m", 404, router(404, "not_found"), 502),
    Case("E36n", 412, router(412, "precondition_failed"), 502),
    Case("E36o", 413, router(413, "payload_too_large"), 413, is_clients=True),
    Case("E36p", 422, router(422, "unprocessable"), 422, is_clients=True),
    Case("E36q", 403, router(403, "content_policy_violation"), 403, is_clients=True),
    Case("E36r", 403, router(403, "refusal"), 403, is_clients=True),
    Case("E36s", 400, router(400, "image_too_large"), 400, is_clients=True),
    Case("E36t", 500, router(500, "server"), 502, is_retryable=True),
    Case("E36u", 504, router(504, "timeout"), 504, is_retryable=True),
    Case("E36v", 500, router(500, "unmapped"), 502, is_retryable=True),
    Case("E37a", 400, away(400, "model_not_found"), 502),
    Case("E37b", 400, away(400, "wrong_endpoint"), 502),
    Case("E37c", 404, away(404, "no_endpoints"), 502),
    Case("E37d", 404, away(404, "model_deprecated"), 502),
    Case("E37e", 404, away(404, "model_unavailable_upstream"), 502),
    Case("E37f", 429, away(429, "capacity_exhausted"), 429, is_retryable=True),
    Case("E37g", 503, away(503, "temporarily_unavailable"), 502, is_retryable=True),
    Case("E37h", 403, away(403, "region_restricted"), 503),
    Case("E37i", 404, away(404, "privacy_restricted"), 502),
    Case("E37j", 404, away(404, "constraint_filtered"), 502),
    Case("E37k", 404, away(404, "free_variant_ended"), 502),
    Case("E42", 401, {"error": {"code": 401, "message": "User not found."}}, 503),
)


def read(case: Case) -> UpstreamFailure:
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    return read_error(case.status, list(case.headers), body, 0.0)


@pytest.mark.parametrize("case", CASES, ids=[case.code for case in CASES])
def test_a_refusal_of_this_shape(case: Case) -> None:
    failure = read(case)
    assert failure.is_clients_fault is case.is_clients
    assert failure.is_quota is case.is_quota
    assert failure.is_retryable is case.is_retryable
    error = error_of(failure)
    assert status_of(error) == case.shown
    assert error.hint or case.is_clients


@pytest.mark.parametrize("code", ["E38", "E39"])
def test_what_repeats_a_prompt_is_not_even_read(code: str) -> None:
    metadata: dict[str, Any] = {"reasons": ["x"], "flagged_input": CANARY}
    if code == "E39":
        metadata = {"previous_errors": [{"message": CANARY}]}
    body = json.dumps({"error": {"code": 403, "message": "flagged", "metadata": metadata}})
    failure = read_error(403, [], body.encode(), 0.0)
    assert CANARY not in failure.message
    assert CANARY not in repr(failure)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("E06", b"<!doctype html><p>hello"),
        ("E40", b'{"error":{"code":502,"message":"m"}}'),
        ("E41", b'{"choices":[{"index":0,"finish_reason":"error","error":{"code":502}}]}'),
        ("W15", b'{"success":false,"errors":[{"code":3040,"message":"m"}],"result":null}'),
    ],
)
def test_a_good_status_is_not_believed(code: str, body: bytes) -> None:
    assert code
    failure = decode_answer(body).failure
    assert failure is not None
    assert not failure.is_clients_fault


def test_e34_a_reset_in_rfc_3339_is_a_wait() -> None:
    headers = [(b"retry-after", b"1970-01-01T00:00:30Z")]
    failure = read_error(429, headers, b"", 10.0)
    assert failure.retry_after_seconds == 20

import pytest

from jusinfer.wire.upstream.errors import (
    BODY_BYTES_MAX,
    RETRY_SECONDS_MAX,
    TEXT_CHARS_MAX,
    read_error,
    read_inner_error,
)

NOW = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT
NEVER = "not retryable"
RETRY = "retryable"
CLIENT = "client"
QUOTA = "quota"


def judgement(status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> str:
    failure = read_error(status, headers or [], body, NOW)
    assert failure.code == f"upstream_status_{status}"
    if failure.is_quota:
        assert not failure.is_retryable
        assert not failure.is_clients_fault
        return QUOTA
    if failure.is_clients_fault:
        assert not failure.is_retryable
        return CLIENT
    return RETRY if failure.is_retryable else NEVER


def openai(message: str, kind: str = "t", code: str = "null", param: str = "null") -> bytes:
    return (
        f'{{"error":{{"message":"{message}","type":"{kind}","param":{param},"code":{code}}}}}'
    ).encode()


def openrouter(code: int, error_type: str) -> bytes:
    return (
        f'{{"error":{{"code":{code},"message":"m","metadata":{{"error_type":"{error_type}"}}}}}}'
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "verdict", "message"),
    [
        pytest.param(400, openai("bad", param='"messages"'), CLIENT, "bad", id="E01"),
        pytest.param(500, b'{"message":"bad"}', RETRY, "bad", id="E02"),
        pytest.param(500, b'{"error":"bad"}', RETRY, "bad", id="E03"),
        pytest.param(
            400, b'{"error":{"message":"bad","misalignment":{"x":1}}}', CLIENT, "bad", id="E04"
        ),
        pytest.param(503, b"", RETRY, "", id="E05"),
        pytest.param(
            502,
            b"<html><h1>502</h1>\n<p>Bad  Gateway</p></html>",
            RETRY,
            "502 Bad Gateway",
            id="E06",
        ),
        pytest.param(429, openai("slow", code='"rate_limit_exceeded"'), RETRY, "slow", id="E07"),
        pytest.param(
            429,
            openai("Rate limit reached. Add a card at https://x/account/billing"),
            RETRY,
            "Rate limit reached. Add a card at https://x/account/billing",
            id="E07-billing-page",
        ),
        pytest.param(429, openai("ramp", code='"slow_down"'), RETRY, "ramp", id="E08"),
        pytest.param(429, openai("q", "insufficient_quota"), QUOTA, "q", id="E09-type"),
        pytest.param(
            429,
            openai("q", "insufficient_quota", '"credit_balance_exhausted"'),
            QUOTA,
            "q",
            id="E09",
        ),
        pytest.param(503, openai("o", code='"server_is_overloaded"'), RETRY, "o", id="E10"),
        pytest.param(401, openai("bad key"), NEVER, "bad key", id="E11"),
        pytest.param(403, openai("region"), NEVER, "region", id="E12"),
        pytest.param(404, openai("no model"), NEVER, "no model", id="model"),
        pytest.param(
            400, openai("long", code='"context_length_exceeded"'), CLIENT, "long", id="E13"
        ),
        pytest.param(
            400,
            b'[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]',
            CLIENT,
            "bad",
            id="E14",
        ),
        pytest.param(
            422,
            b'{"detail":[{"loc":["body","messages",0],"msg":"missing","type":"missing"}]}',
            CLIENT,
            "missing",
            id="E15",
        ),
        pytest.param(422, b'{"detail":"bad"}', CLIENT, "bad", id="E15-text"),
        pytest.param(498, openai("capacity"), RETRY, "capacity", id="E17a"),
        pytest.param(424, openai("dependency"), NEVER, "dependency", id="E17b"),
        pytest.param(499, openai("cancelled"), RETRY, "cancelled", id="E17c"),
        pytest.param(520, b"error code: 520", RETRY, "error code: 520", id="E20a"),
        pytest.param(524, b"", RETRY, "", id="E20b"),
        pytest.param(529, b"", RETRY, "", id="E20c"),
        pytest.param(402, openai("Insufficient Balance"), QUOTA, "Insufficient Balance", id="E22b"),
        pytest.param(408, b"{}", RETRY, "", id="408"),
        pytest.param(409, b"{}", RETRY, "", id="409"),
        pytest.param(413, b"{}", CLIENT, "", id="413"),
        pytest.param(
            429,
            b'{"success":false,"errors":[{"code":3036,"message":"used up"}]}',
            QUOTA,
            "used up",
            id="E26",
        ),
        pytest.param(429, b'{"errors":[{"code":3040,"message":"full"}]}', RETRY, "full", id="E27"),
        pytest.param(
            429,
            b'{"errors":[{"message":"you have used your daily free allocation"}]}',
            QUOTA,
            "you have used your daily free allocation",
            id="E26-text",
        ),
        pytest.param(
            400,
            openai("Incorrect API key provided"),
            NEVER,
            "Incorrect API key provided",
            id="our-key",
        ),
        pytest.param(
            400,
            openai("Your credit balance is too low"),
            QUOTA,
            "Your credit balance is too low",
            id="our-credit",
        ),
        pytest.param(400, openrouter(400, "context_length_exceeded"), CLIENT, "m", id="E36a"),
        pytest.param(400, openrouter(400, "max_tokens_exceeded"), CLIENT, "m", id="E36b"),
        pytest.param(400, openrouter(400, "token_limit_exceeded"), CLIENT, "m", id="E36c"),
        pytest.param(400, openrouter(400, "string_too_long"), CLIENT, "m", id="E36d"),
        pytest.param(401, openrouter(401, "authentication"), NEVER, "m", id="E36e"),
        pytest.param(403, openrouter(403, "permission_denied"), NEVER, "m", id="E36f"),
        pytest.param(402, openrouter(402, "payment_required"), QUOTA, "m", id="E36g"),
        pytest.param(429, openrouter(429, "rate_limit_exceeded"), RETRY, "m", id="E36h"),
        pytest.param(503, openrouter(503, "provider_overloaded"), RETRY, "m", id="E36i"),
        pytest.param(502, openrouter(502, "provider_unavailable"), RETRY, "m", id="E36j"),
        pytest.param(400, openrouter(400, "invalid_request"), CLIENT, "m", id="E36k"),
        pytest.param(400, openrouter(400, "invalid_prompt"), CLIENT, "m", id="E36l"),
        pytest.param(404, openrouter(404, "not_found"), NEVER, "m", id="E36m"),
        pytest.param(412, openrouter(412, "precondition_failed"), NEVER, "m", id="E36n"),
        pytest.param(413, openrouter(413, "payload_too_large"), CLIENT, "m", id="E36o"),
        pytest.param(422, openrouter(422, "unprocessable"), CLIENT, "m", id="E36p"),
        pytest.param(403, openrouter(403, "content_policy_violation"), CLIENT, "m", id="E36q"),
        pytest.param(403, openrouter(403, "refusal"), CLIENT, "m", id="E36r"),
        pytest.param(400, openrouter(400, "image_too_large"), CLIENT, "m", id="E36s"),
        pytest.param(500, openrouter(500, "server"), RETRY, "m", id="E36t"),
        pytest.param(504, openrouter(504, "timeout"), RETRY, "m", id="E36u"),
        pytest.param(500, openrouter(500, "unmapped"), RETRY, "m", id="E36v"),
        pytest.param(401, openai("No auth credentials"), NEVER, "No auth credentials", id="E42"),
        pytest.param(500, b"[]", RETRY, "", id="empty-list"),
        pytest.param(500, b"12", RETRY, "", id="number"),
        pytest.param(500, b'"words"', RETRY, "words", id="text"),
        pytest.param(500, b'{"error":{"message":{"a":1}}}', RETRY, '{"a":1}', id="object"),
        pytest.param(500, b'{"error":{"message":"m","code":true}}', RETRY, "m", id="bool-code"),
        pytest.param(500, b"\xff\xfe", RETRY, "\ufffd\ufffd", id="no-text"),
        pytest.param(500, b'{"error":"\xff"}', RETRY, '{"error":"\ufffd"}', id="no-text-json"),
    ],
)
def test_error_shapes(status: int, body: bytes, verdict: str, message: str) -> None:
    failure = read_error(status, [], body, NOW)
    assert (failure.status, failure.message) == (status, message)
    assert judgement(status, body) == verdict


@pytest.mark.parametrize("status", [202, 204, 301, 307, 100, 600, 999])
def test_e21_no_answer_and_no_error_is_a_bad_gateway(status: int) -> None:
    failure = read_error(status, [], b"", NOW)
    assert (failure.code, failure.status) == (f"upstream_status_{status}", 502)
    assert (failure.is_retryable, failure.is_clients_fault) == (True, False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (openai("m", param='"messages"'), "messages"),
        (openai("m", param="7"), None),
        (openai("m", param='""'), None),
        (openai("m", param=f'"{"x" * 201}"'), None),
        (b'{"detail":[{"loc":["body","messages",0],"msg":"m"}]}', "messages.0"),
        (b'{"detail":[{"loc":["body"],"msg":"m"}]}', None),
    ],
)
def test_the_field_at_fault(body: bytes, param: str | None) -> None:
    assert read_error(400, [], body, NOW).param == param


def test_what_an_upstream_behind_the_upstream_said() -> None:
    body = b'{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"no"}}}'
    assert read_error(400, [], body, NOW).message == "Provider returned error: no"


def test_e38_flagged_input_is_not_read() -> None:
    body = b'{"error":{"code":403,"message":"m","metadata":{"flagged_input":"CANARY"}}}'
    assert read_error(403, [], body, NOW).message == "m"


def test_e49_the_message_is_not_shown() -> None:
    assert "CANARY" not in repr(read_error(400, [], openai("CANARY"), NOW))


def test_e50_a_large_body_is_read_to_a_bound() -> None:
    for body in (b"x" * 12_000_000, openai("x" * 12_000_000), openai("x" * 30_000)):
        failure = read_error(500, [], body, NOW)
        assert len(failure.message) == TEXT_CHARS_MAX
    assert read_error(500, [], b"[" * BODY_BYTES_MAX, NOW).message.startswith("[[")


RATE = b"x-ratelimit-"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param([(b"retry-after", b"7")], 7, id="E48a"),
        pytest.param([(b"Retry-After", b" 7 ")], 7, id="E48a-case"),
        pytest.param([(b"retry-after", b"0.2")], 1, id="E48a-part"),
        pytest.param([(b"retry-after", b"Mon, 21 Sep 2026 14:13:30 GMT")], 10, id="E48b"),
        pytest.param([(b"retry-after", b"Mon, 21 Sep 2026 14:13:30 -0000")], 10, id="E48b-zone"),
        pytest.param([(b"retry-after", b"Mon, 21 Sep 2026 14:13:10 GMT")], 0, id="E48b-past"),
        pytest.param([(b"retry-after", b"600")], 600, id="E48c"),
        pytest.param([(b"retry-after", b"999999999")], RETRY_SECONDS_MAX, id="E48c-bound"),
        pytest.param([(b"retry-after-ms", b"1200"), (b"retry-after", b"9")], 2, id="E48d"),
        pytest.param([(b"retry-after-ms", b"x"), (b"retry-after", b"9")], 9, id="E48d-bad"),
        pytest.param([(b"retry-after", b"6m0s")], 360, id="E48g"),
        pytest.param(
            [(RATE + b"remaining-requests", b"0"), (RATE + b"reset-requests", b"12ms")],
            1,
            id="E48g-ms",
        ),
        pytest.param(
            [
                (RATE + b"remaining-requests", b"0"),
                (RATE + b"reset-requests", b"1s"),
                (RATE + b"remaining-tokens", b"0"),
                (RATE + b"reset-tokens", b"1h2m7.66s"),
            ],
            3_728,
            id="E48g-longer",
        ),
        pytest.param(
            [(RATE + b"remaining-requests", b"5"), (RATE + b"reset-requests", b"1s")],
            None,
            id="E48g-left",
        ),
        pytest.param(
            [
                (RATE + b"remaining-tokens", b"0"),
                (RATE + b"reset-tokens", b"2026-09-21T14:13:29.5Z"),
            ],
            10,
            id="E48h",
        ),
        pytest.param(
            [(RATE + b"remaining-tokens", b"0"), (RATE + b"reset-tokens", b"2026-09-21T14:13:25")],
            5,
            id="E48h-naive",
        ),
        pytest.param([(RATE + b"remaining-tokens", b"0")], None, id="E48g-missing"),
        pytest.param([(b"retry-after", b"soon")], None, id="words"),
        pytest.param([(b"retry-after", b"-5")], None, id="negative"),
        pytest.param([(b"retry-after", b"5s later")], None, id="trailing"),
        pytest.param([(b"retry-after", b"9" * 5_000)], None, id="digits"),
        pytest.param([(b"retry-after", b"Mon, 21 Sep 99999999999 14:13:30 GMT")], None, id="year"),
        pytest.param([(b"retry-after", b"\xff")], None, id="bytes"),
        pytest.param([], None, id="E22d"),
    ],
)
def test_how_long_to_wait(headers: list[tuple[bytes, bytes]], seconds: int | None) -> None:
    assert read_error(429, headers, b"", NOW).retry_after_seconds == seconds


def test_resets_are_read_only_where_a_limit_was_hit() -> None:
    headers = [(RATE + b"remaining-tokens", b"0"), (RATE + b"reset-tokens", b"9s")]
    assert read_error(500, headers, b"", NOW).retry_after_seconds is None
    assert read_error(503, [(b"retry-after", b"9")], b"", NOW).retry_after_seconds == 9


@pytest.mark.parametrize(
    ("status", "advice", "body", "verdict"),
    [
        pytest.param(404, b"true", b"", RETRY, id="E48e"),
        pytest.param(500, b"false", b"", NEVER, id="E48f"),
        pytest.param(500, b"perhaps", b"", RETRY, id="other"),
        pytest.param(402, b"true", b"", QUOTA, id="quota"),
        pytest.param(400, b"true", b"", CLIENT, id="client"),
    ],
)
def test_advice_to_retry(status: int, advice: bytes, body: bytes, verdict: str) -> None:
    assert judgement(status, body, [(b"x-should-retry", advice)]) == verdict


@pytest.mark.parametrize(
    ("raw", "status", "is_clients_fault", "is_retryable"),
    [
        pytest.param(b'{"code":429,"message":"m"}', 429, False, True, id="E43"),
        pytest.param(b'{"code":"server_error","message":"m"}', 502, False, True, id="E44"),
        pytest.param(b'{"code":"rate_limit_exceeded","message":"m"}', 429, False, True, id="E44b"),
        pytest.param(b'{"code":"503","message":"m"}', 503, False, True, id="digits"),
        pytest.param(b'{"code":200,"message":"m"}', 502, False, True, id="success"),
        pytest.param(b'{"code":-1,"message":"m"}', 502, False, True, id="negative"),
        pytest.param(b'{"type":"invalid_request_error","message":"m"}', 400, True, False, id="E45"),
        pytest.param(
            b'{"code":null,"message":"m","metadata":{"error_type":"timeout"}}',
            504,
            False,
            True,
            id="timeout",
        ),
        pytest.param(
            b'{"code":"content_policy_violation","message":"m"}', 403, True, False, id="content"
        ),
        pytest.param(b'"m"', 502, False, True, id="text"),
        pytest.param(b"m", 502, False, True, id="garbage"),
    ],
)
def test_errors_inside_an_answer(
    raw: bytes,
    status: int,
    is_clients_fault: bool,  # noqa: FBT001 (a parameter of the test)
    is_retryable: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    failure = read_inner_error(raw)
    assert failure.code == "upstream_error"
    assert failure.status == status
    assert failure.is_clients_fault == is_clients_fault
    assert failure.is_retryable == is_retryable
    assert "m" in failure.message


def test_a_quota_inside_an_answer() -> None:
    failure = read_inner_error(b'{"code":"insufficient_quota","message":"m"}')
    assert (failure.status, failure.is_quota, failure.is_retryable) == (429, True, False)

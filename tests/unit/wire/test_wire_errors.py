import json
from collections.abc import Iterator

import pytest

from jusinfer.domain import errors
from jusinfer.domain.errors import JusinferError
from jusinfer.wire.errors import TABLE, render, status_of

TYPES = {
    "invalid_request_error",
    "authentication_error",
    "insufficient_quota",
    "permission_error",
    "rate_limit_error",
    "server_error",
}


def family(kind: type[JusinferError] = JusinferError) -> Iterator[type[JusinferError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from family(child)


def example(kind: type[JusinferError]) -> JusinferError:
    if kind is errors.InsufficientCredit:
        return errors.InsufficientCredit(
            "too little", bound_nano=12_500_000_000, available_nano=1, affordable_tokens=17
        )
    if kind is errors.SpendLimitReached:
        return errors.SpendLimitReached(
            "capped", bound_nano=5, available_nano=1, resets_in_seconds=60
        )
    if kind is errors.UpstreamRefused:
        return errors.UpstreamRefused("no", status=422, param="n")
    return kind("wrong")


def body_of(error: JusinferError) -> dict[str, object]:
    members = json.loads(render(error, "req_1")[2])
    assert list(members) == ["error"]
    found = members["error"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("kind", list(family()), ids=lambda kind: kind.__name__)
def test_every_error_has_its_own_row(kind: type[JusinferError]) -> None:
    status, openai_type = TABLE[kind]
    assert 400 <= status <= 504
    assert openai_type in TYPES
    assert (openai_type == "server_error") == (status >= 500)


@pytest.mark.parametrize("kind", list(family()), ids=lambda kind: kind.__name__)
def test_every_error_has_openais_shape(kind: type[JusinferError]) -> None:
    error = example(kind)
    status, block, _ = render(error, "req_1")
    assert status == status_of(error)
    assert block.startswith(b"content-type: application/json\r\n")
    assert block.endswith(b"\r\n")
    assert b"\r\n\r\n" not in block
    found = body_of(error)
    assert found["message"] == error.message
    assert found["type"] == TABLE[kind][1]
    assert found["code"] == kind.code
    assert found["param"] == error.param
    assert found["request_id"] == "req_1"
    assert found["hint"] is None or found["hint"]


def test_every_code_is_used_once() -> None:
    codes = [kind.code for kind in family()]
    assert len(codes) == len(set(codes))


def test_a_class_without_a_row_is_not_answered_by_accident() -> None:
    with pytest.raises(AssertionError, match="JusinferError has no row"):
        render(JusinferError("unnamed"), "req_1")


def test_a_child_of_a_class_with_a_row_speaks_through_it() -> None:
    class OddRequest(errors.InvalidRequest):
        code = "odd_request"

    assert render(OddRequest("odd"), "r")[0] == 400


def test_a_refusal_of_the_upstream_keeps_its_status() -> None:
    assert status_of(example(errors.UpstreamRefused)) == 422


def test_a_missing_key_says_how_to_send_one() -> None:
    status, block, _ = render(errors.InvalidKey("no key"), "r")
    assert status == 401
    assert b"www-authenticate: Bearer\r\n" in block
    assert b"www-authenticate" not in render(errors.PolicyRefused("no"), "r")[1]


def test_a_time_to_wait_is_a_header() -> None:
    assert b"retry-after: 7\r\n" in render(errors.RateLimited("x", retry_after_seconds=7), "r")[1]
    assert b"retry-after: 0\r\n" in render(errors.Unavailable("x", retry_after_seconds=0), "r")[1]
    assert b"retry-after" not in render(errors.Unavailable("x"), "r")[1]


def test_too_little_credit_says_what_is_affordable() -> None:
    found = body_of(example(errors.InsufficientCredit))
    assert found["required_usd"] == "12.50"
    assert found["available_usd"] == "0.000000001"
    assert found["affordable_max_tokens"] == 17
    assert found["param"] == "max_tokens"
    assert "17" in str(found["hint"])
    nothing = errors.InsufficientCredit("x", bound_nano=1, available_nano=0, affordable_tokens=0)
    assert "prompt" in str(body_of(nothing)["hint"])
    assert "required_usd" not in body_of(errors.InvalidRequest("x"))


@pytest.mark.parametrize(
    "text", ['"}],{"', "line\nbreak\r\n\r\nHTTP/1.1 200", "\x00\x1f\x7f", "é你\U0001f600", "\\"]
)
def test_texts_are_escaped_wherever_they_stand(text: str) -> None:
    error = errors.InvalidRequest(text, param=text, hint=text)
    status, block, body = render(error, text)
    assert status == 400
    assert block == b"content-type: application/json\r\n"
    assert b"\n" not in body
    found = json.loads(body)["error"]
    assert (found["message"], found["param"], found["hint"]) == (text, text, text)
    assert found["request_id"] == text


def test_an_empty_hint_is_null() -> None:
    assert body_of(errors.InvalidRequest("x"))["hint"] is None
    assert body_of(errors.ModelNotFound("x"))["hint"]
    assert body_of(errors.ModelNotFound("x", hint=""))["hint"] is None

"""What a provider says afterwards: read strictly, by its digits, within bounds."""

import json

import pytest

from jusinfer.domain.provider_report import (
    ANSWER_BYTES_MAX,
    NoReport,
    ProviderReport,
    is_generation_id,
    read_report,
)

ID = "gen-1764000000-AbC_9"


def body(total_cost: str = "0.0000125", **members: object) -> bytes:
    rest = json.dumps({"id": ID} | members)[1:]
    return b'{"data":{"total_cost":' + total_cost.encode() + b"," + rest.encode() + b"}"


@pytest.mark.parametrize(
    ("cost", "pico"),
    [
        ("0", 0),
        ("0.1", 100_000_000_000),
        ("0.30000000000000004", 300_000_000_000),
        ("1.25e-05", 12_500_000),
        ("5e-13", 1),
        ("4.9e-13", 0),
        ("1000000", 10**18),
    ],
)
def test_a_cost_is_read_by_its_digits(cost: str, pico: int) -> None:
    assert read_report(200, body(cost), ID).cost_pico == pico


def test_native_tokens_are_what_is_billed() -> None:
    both = {"tokens_prompt": 1, "tokens_completion": 2}
    native = {"native_tokens_prompt": 30, "native_tokens_completion": 40}
    assert read_report(200, body(**both, **native), ID) == ProviderReport(12_500_000, 30, 40)
    assert read_report(200, body(**both), ID) == ProviderReport(12_500_000, 1, 2)
    assert read_report(200, body(), ID) == ProviderReport(12_500_000, None, None)


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (404, b"", "not_found"),
        (302, body(), "status_302"),
        (401, body(), "status_401"),
        (503, b"", "status_503"),
        (200, b"", "unreadable"),
        (200, b"<html>", "unreadable"),
        (200, b"[]", "unreadable"),
        (200, b'{"data":null}', "unreadable"),
        (200, b'{"data":{}}', "unreadable"),
        (200, b"[" * 50_000, "unreadable"),
        (200, body("null"), "unreadable"),
        (200, body("true"), "unreadable"),
        (200, body('"0.1"'), "unreadable"),
        (200, body("[1]"), "unreadable"),
        (200, body("1e999"), "impossible_cost"),
        (200, body("1" + "0" * 80), "unreadable"),
        (200, body("-0.01"), "impossible_cost"),
        (200, body("1000000.01"), "impossible_cost"),
        (200, body(native_tokens_prompt=-1), "unreadable"),
        (200, body(native_tokens_prompt="9"), "unreadable"),
        (200, body(native_tokens_completion=2**40), "unreadable"),
        (200, body(id="gen-another"), "other_generation"),
        (200, body(id=7), "unreadable"),
        (200, body(model="x" * ANSWER_BYTES_MAX), "too_large"),
    ],
)
def test_whatever_cannot_be_believed_is_a_failure_with_a_code(
    status: int, answer: bytes, code: str
) -> None:
    with pytest.raises(NoReport) as failed:
        read_report(status, answer, ID)
    assert failed.value.code == code


@pytest.mark.parametrize("text", ["", "a" * 129, "a b", "a/../b", "gen-\n", "gen-é", "a&b=c"])
def test_an_id_that_could_say_more_than_a_name_is_none(text: str) -> None:
    assert not is_generation_id(text)


def test_an_id_is_letters_digits_and_two_marks() -> None:
    assert is_generation_id(ID)
    assert is_generation_id("a" * 128)

import base64
import codecs
import json

import pytest

from jusinfer.domain.redaction import (
    DEPTH_MAX,
    ERROR_CHARS_MAX,
    KEPT_CHARS_MAX,
    REQUEST_BYTES_MAX,
    WITHHELD,
    WORK_MAX,
    clean,
    clean_counted,
)
from jusinfer.domain.secret_masking import REDACTED

PROMPT = "My neighbour Wilhelmina buried the ledger under the third oak"


def request(content: object = PROMPT, **members: object) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": content}]} | members
    return json.dumps(asked).encode()


REQUEST = request()


@pytest.mark.parametrize(
    "text",
    [
        "The server is overloaded, try again later",
        "This model's maximum context length is 8192 tokens",
        "Unsupported parameter: 'logprobs' is not supported with this model",
        "Unsupported value: 'temperature' does not support 0.2 with this model",
        "Invalid type for 'messages[0].content': expected a string",
        "max_tokens: must be less than or equal to 4096",
    ],
)
def test_what_errors_say_of_the_form_of_a_request_is_kept(text: str) -> None:
    assert clean(text, REQUEST) == text


def test_nothing_stays_nothing() -> None:
    assert clean("", REQUEST) == ""
    assert clean(" \n", REQUEST) == ""
    assert clean("invalid", b"") == "invalid"


SHORT = ["hunter2!", "078-05-1120", "Jane Q Doe", "Müller", "X7KQ2M", "1970-01-02", "blau"]


@pytest.mark.parametrize("secret", SHORT)
@pytest.mark.parametrize("text", ["Invalid value: '{}'", "{}", "no {} or {} please", "x={}=x"])
@pytest.mark.parametrize("where", ["request", "neither"])
def test_however_short_what_was_said_is_not_kept(secret: str, text: str, where: str) -> None:
    asked = request(f"it is {secret}, so there" if where == "request" else "harmless")
    kept = clean(text.format(secret, secret), asked)
    for piece in secret.replace("-", " ").split():
        assert len(piece) < 3 or piece not in kept


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: codecs.encode(text, "rot13"),
        lambda text: text[::-1],
        lambda text: " ".join(str(ord(char)) for char in text),
        lambda text: " ".join(f"{ord(char):o}" for char in text),
        lambda text: " ".join(f"{ord(char):b}" for char in text),
        lambda text: base64.b32encode(text.encode()).decode(),
        lambda text: base64.b85encode(text.encode()).decode(),
        lambda text: base64.b64encode(base64.b64encode(base64.b64encode(text.encode()))).decode(),
        lambda text: "\n".join(text.split()),
        lambda text: text.replace("e", "е").replace("a", "а"),  # noqa: RUF001 (Cyrillic)
        lambda text: text.encode("utf-16-le").hex(),
    ],
)
def test_no_dress_brings_a_text_through(dress: object) -> None:
    kept = clean(f"Invalid value: {dress(PROMPT)}", REQUEST)  # type: ignore[operator]
    plain = kept.replace(REDACTED, "").replace("Invalid value:", "")
    assert sum(char.isalnum() for char in plain) <= 12


def test_words_of_errors_that_are_a_run_of_the_request_go_too() -> None:
    asked = request("please reduce the length of the messages")
    kept = clean("Please reduce the length of the messages: 3 too many", asked)
    assert kept == f"{REDACTED}: 3 too many"


@pytest.mark.parametrize("whole", ["string", "too large", "invalid  input"])
def test_a_whole_text_of_the_request_is_not_kept_though_its_words_are(whole: str) -> None:
    kept = clean(f"no, {' '.join(whole.split())} expected", request(whole))
    assert kept == f"no, {REDACTED} expected"


def test_numbers_are_few_alone_and_new() -> None:
    asked = request(max_tokens=99_999, seed=1120)
    assert clean("max_tokens is 99999, at most 4096", asked).endswith(", at most 4096")
    assert "99999" not in clean("max_tokens is 99999, at most 4096", asked)
    assert "112" not in clean("index 112 of 20", asked)
    assert clean("from 10.1.2.3 on", asked) == f"from {REDACTED} on"
    assert clean("on 1970-01-02 at", asked) == f"on {REDACTED} at"
    assert clean("is 1 is 2 is 3 is 4 is 5", asked) == f"is 1 is 2 is 3 is 4 is {REDACTED}"
    assert clean("is 123456789 or 1e9", asked) == f"is {REDACTED} or {REDACTED}"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ({"error": {"message": "invalid", "type": "value", "code": 7}}, "7 value invalid"),
        ({"error": {"message": "invalid", "input": "value"}}, "invalid"),
        ({"error": {"metadata": {"flagged_input": "value"}, "code": 403}}, "403"),
        ({"detail": [{"type": "missing", "msg": "no", "input": {"a": 1}}]}, "missing no"),
        ({"detail": "not found"}, "not found"),
        ({"errors": [{"message": "no"}, {"message": "access to"}]}, f"no {REDACTED} to"),
        ([{"error": {"message": "input", "status": "UNAVAILABLE"}}], "UNAVAILABLE input"),
        ({"message": json.dumps({"error": {"message": "in", "body": "value"}})}, "in"),
        ({"prompt": "value"}, ""),
        (["value"], ""),
        ({"error": None, "message": None}, ""),
    ],
)
def test_of_json_only_what_is_said_is_kept(error: object, kept: str) -> None:
    assert clean(json.dumps(error), REQUEST) == kept


@pytest.mark.parametrize(
    "text",
    [
        'bad: {"message": "no", "input": "value"',
        "bad: [{'type': 'x', 'input': 'value'}]",
        "bad input [type=int, input_value='value', input_type=str]",
        'bad {\\"prompt\\": \\"value\\"}',
    ],
)
def test_members_that_repeat_the_request_are_dropped(text: str) -> None:
    kept = clean(text, REQUEST)
    assert kept.startswith("bad")
    assert "value" not in kept


def test_pages_lose_their_tags() -> None:
    page = "<!DOCTYPE html><html><title>502 Bad request</title><p class='x'>server</p>"
    assert clean(page, REQUEST) == "502 Bad request server"


@pytest.mark.parametrize("count", range(1, 200, 13))
def test_what_is_kept_is_short_and_can_be_stored_anywhere(count: int) -> None:
    kept = clean("invalid\x00 \x1b[31m value\u202e\n" * count, REQUEST)
    assert len(kept) <= KEPT_CHARS_MAX
    assert kept.isprintable()
    assert kept.isascii()


@pytest.mark.parametrize("extra", [0, 1])
def test_a_request_too_large_to_compare_with_keeps_no_text(extra: int) -> None:
    asked = b" " * (REQUEST_BYTES_MAX + extra)
    kept = clean("invalid value", asked)
    assert kept == (WITHHELD if extra else "invalid value")


def test_a_request_nested_too_deeply_to_compare_with_keeps_no_text() -> None:
    depth = DEPTH_MAX + 1
    deep = b"[" * depth + b'"x"' + b"]" * depth
    assert clean("invalid value", deep) == REDACTED
    assert clean("invalid value", b"[" * 8_000 + b"]" * 8_000) == REDACTED


def test_an_error_nested_too_deeply_says_nothing() -> None:
    depth = DEPTH_MAX + 2
    assert clean('{"error":' * depth + '{"code":1}' + "}" * depth, REQUEST) == ""
    assert clean("[" * ERROR_CHARS_MAX, REQUEST) in {"", REDACTED, f"[[[{REDACTED}"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("invalid value " * 20_000, "invalid value " * 1_100),
        ("the " * 70_000, "the " * 4_000),
        ("&#105;&#110;" * 20_000, "in" * 8_000),
        ("%25" * 80_000, "%" * 16_000),
        ("\\" * 250_000, "\\" * 8_000),
        ("<" * 250_000, "<" * 16_000),
        ("1 " * 120_000, "1" * 16_000),
        ("aB3" * 80_000, "aB3" * 5_000),
    ],
)
def test_the_work_is_bounded_whatever_is_said(error: str, said: str) -> None:
    asked = json.dumps({"messages": said}).encode()[:REQUEST_BYTES_MAX]
    kept, work = clean_counted(error, asked)
    assert len(kept) <= KEPT_CHARS_MAX
    assert work <= min(WORK_MAX, 20 * (ERROR_CHARS_MAX + len(asked)))


def test_beyond_the_most_work_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jusinfer.domain.redaction.WORK_MAX", 1_000)
    assert clean("invalid value", REQUEST) == WITHHELD

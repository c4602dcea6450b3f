import base64
import json

import pytest

from jusinfer.domain.redaction import (
    DEPTH_MAX,
    ERROR_CHARS_MAX,
    KEPT_CHARS_MAX,
    REQUEST_BYTES_MAX,
    WITHHELD,
    clean,
)
from jusinfer.domain.secrets import REDACTED

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
        "Unsupported parameter: 'logprobs' (code 3036)",
        "模型过载 请稍后再试",
    ],
)
def test_what_says_nothing_of_the_request_is_kept(text: str) -> None:
    assert clean(text, REQUEST) == text


def test_nothing_stays_nothing() -> None:
    assert clean("", REQUEST) == ""
    assert clean(" \n", REQUEST) == ""
    assert clean("plain", b"") == "plain"


@pytest.mark.parametrize(
    "text",
    [
        f"I will not talk of: {PROMPT}!",
        f"no {PROMPT.upper()} no",
        f"no {PROMPT[5:40]} no",
        f"no {' '.join(PROMPT)} no",
        f"no {PROMPT.replace(' ', '')} no",
        f"no {PROMPT.replace(' ', chr(10))} no",
        f"no {'-'.join(PROMPT)} no",
        f"no {base64.b64encode(PROMPT.encode()).decode()} no",
        f"no {base64.b64encode(b'x' + PROMPT.encode()).decode()} no",
        f"no {PROMPT.encode().hex()} no",
        f"no {base64.b64encode(PROMPT.encode('utf-16')).decode()} no",
        f"no {chr(0).join(PROMPT)} no",
        "no " + PROMPT.replace("buried", "buried sk-abcdefghijklmnop") + " no",
    ],
)
def test_what_is_shared_with_the_request_is_cut_out(text: str) -> None:
    kept = clean(text, REQUEST)
    assert REDACTED in kept
    for word in ("Wilhelmina", "buried", "ledger"):
        assert word.casefold() not in kept.casefold().replace(" ", "")


def test_what_stands_around_a_shared_run_is_kept() -> None:
    kept = clean(f"cannot answer {PROMPT[3:30]} for you", REQUEST)
    assert kept == f"cannot answer {REDACTED} for you"
    twice = clean(f"a1 {PROMPT[:20]} b2 {PROMPT[30:]} c3", REQUEST)
    assert twice == f"a1 {REDACTED} b2 {REDACTED} c3"


@pytest.mark.parametrize(
    ("shared", "is_kept"),
    [
        ("abcdefghijk", True),
        ("abcdefghijkl", False),
        ("ab-cd-ef-gh-ij-k", True),
        ("123456789012", False),
    ],
)
def test_eleven_letters_may_be_shared_and_twelve_may_not(shared: str, *, is_kept: bool) -> None:
    kept = clean(f"!! {shared} !!", request(f"?? {shared} ??"))
    assert (shared in kept) == is_kept


@pytest.mark.parametrize("offset", range(12))
def test_a_run_of_twelve_is_found_wherever_it_lies(offset: int) -> None:
    kept = clean("-- QWERTZUIOPAS --", request("x" * offset + "qwertzuiopas" + "y" * offset))
    assert kept == f"-- {REDACTED} --"


@pytest.mark.parametrize(
    "asked",
    [
        request("harmless", user="wilhelmina-of-the-third-oak"),
        request("harmless", tools=[{"function": {"name": "wilhelmina_of_the_third_oak"}}]),
        request("harmless", metadata={"wilhelmina of the third oak": 1}),
        request([{"type": "text", "text": "Wilhelmina of the third oak"}]),
        b'{"not json": "wilhelmina of the third oak',
        b"\xff wilhelmina of the third oak \xff",
    ],
)
def test_every_part_of_the_request_is_compared_with(asked: bytes) -> None:
    assert "third" not in clean("about Wilhelmina of the third oak:", asked)


def test_numbers_and_names_are_compared_as_they_were_written() -> None:
    asked = b'{"seed": 1234567890123.50, "stop": null, "a": true}'
    assert clean("for 1234567890123.50 x", asked) == f"for {REDACTED} x"
    assert clean('got "stop": null, "a": true', asked) == f'got "{REDACTED}'


def test_what_was_answered_so_far_is_compared_with() -> None:
    text = "stopped after: the treasure lies in Basel"
    assert clean(text, REQUEST) == text
    answered = b'data: {"choices":[{"delta":{"content":"The treasure lies in Basel"}}]}'
    assert clean(text, REQUEST, answered=answered) == f"stopped after: {REDACTED}"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ({"error": {"message": "bad", "type": "t", "code": 7, "param": "n"}}, "7 t n bad"),
        ({"error": {"message": "bad", "input": "short"}}, "bad"),
        ({"error": {"metadata": {"flagged_input": "short"}, "code": 403}}, "403"),
        ({"detail": [{"type": "missing", "msg": "no", "input": {"a": 1}}]}, "missing no"),
        ({"detail": "not here"}, "not here"),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a b"),
        ([{"error": {"message": "x", "status": "UNAVAILABLE"}}], "UNAVAILABLE x"),
        ({"message": json.dumps({"error": {"message": "in", "body": "short"}})}, "in"),
        ({"error": json.dumps({"message": "in"})}, "in"),
        ({"prompt": "short"}, ""),
        (["short"], ""),
        ([1, None], ""),
        ({"error": None, "message": None}, ""),
    ],
)
def test_of_json_only_what_is_said_is_kept(error: object, kept: str) -> None:
    assert clean(json.dumps(error), REQUEST) == kept


@pytest.mark.parametrize(
    "text",
    [
        'bad: {"message": "no", "input": "Wilma"',
        '{"message": "bad", "input": "Wilma"',
        "bad: [{'type': 'x', 'input': 'Wilma'}]",
        "bad value [type=int, input_value='Wilma', input_type=str]",
        'bad {\\"prompt\\": \\"Wilma\\"}',
    ],
)
def test_members_that_repeat_the_request_are_dropped_however_short(text: str) -> None:
    kept = clean(text, request("Wilma"))
    assert "bad" in kept
    assert "Wilma" not in kept


def test_pages_lose_their_tags() -> None:
    page = "<!DOCTYPE html><html><title>502 Bad Gateway</title><p class='x'>nginx</p>"
    assert clean(page, REQUEST) == "502 Bad Gateway nginx"
    assert clean("expected 1 < 2 and 3 > 2", REQUEST) == "expected 1 < 2 and 3 > 2"


def test_secrets_are_masked_too() -> None:
    kept = clean("key sk-abcdefghijklmnop of a@b.org from 10.1.2.3 is bad", REQUEST)
    assert kept == f"key {REDACTED} of {REDACTED} from {REDACTED} is bad"


def test_a_secret_at_the_cut_is_masked_whole() -> None:
    for start in range(KEPT_CHARS_MAX - 30, KEPT_CHARS_MAX + 1):
        kept = clean("x" * start + " sk-abcdefghijklmnopqrstuvwx", REQUEST)
        assert "sk-" not in kept
        assert len(kept) <= KEPT_CHARS_MAX


@pytest.mark.parametrize("char", ["é", "你", "\U0001f600", "&amp;", "x"])
@pytest.mark.parametrize("count", [499, 500, 501])
def test_the_cut_is_at_five_hundred_characters(char: str, count: int) -> None:
    kept = clean(char * count, REQUEST)
    assert len(kept) == min(count, KEPT_CHARS_MAX)
    assert len(kept.encode()) <= 4 * KEPT_CHARS_MAX


def test_what_is_kept_can_be_stored_anywhere() -> None:
    kept = clean("a\x00b\x07c\u200bd\ud800e\nf\u2028g\x7f", REQUEST)
    assert kept.isprintable()
    assert kept.encode()
    assert kept.startswith("ab c")


@pytest.mark.parametrize("extra", [0, 1])
def test_a_request_too_large_to_compare_with_keeps_no_text(extra: int) -> None:
    asked = b" " * (REQUEST_BYTES_MAX + extra - 10)
    kept = clean("plain words", asked, answered=b" " * 10)
    assert kept == (WITHHELD if extra else "plain words")


def test_no_more_than_the_bound_of_an_error_is_read() -> None:
    assert "late" not in clean(" " * ERROR_CHARS_MAX + "late", REQUEST)


def test_a_request_nested_too_deeply_to_compare_with_keeps_no_text() -> None:
    depth = DEPTH_MAX + 1
    deep = b"[" * depth + b'"x"' + b"]" * depth
    assert clean("plain words", deep) == REDACTED
    assert clean("plain words", b"[" * 100_000 + b"]" * 100_000) == REDACTED
    shallow = b"[" * (depth - 1) + b'"plain words here"' + b"]" * (depth - 1)
    assert clean("plain words here", shallow) == REDACTED


def test_an_error_nested_too_deeply_says_nothing() -> None:
    depth = DEPTH_MAX + 2
    assert clean('{"error":' * depth + '{"code":1}' + "}" * depth, REQUEST) == ""
    assert clean('{"error":' * 400 + "1" + "}" * 400, REQUEST) == ""
    assert clean("[" * ERROR_CHARS_MAX, REQUEST) == REDACTED


def test_pieces_that_close_up_to_a_run_are_not_kept() -> None:
    # Neither piece is twelve letters long, but what is left between them is only a mark.
    kept = clean("Wilhelmi sk-abcdefghijklmnop na buri", request("Wilhelmina buried"))
    assert "Wilhelm" not in kept
    marked = clean("was a@b.org by me", request("this wasredactedbyme"))
    assert marked == REDACTED


def test_accents_and_case_do_not_hide_anything() -> None:
    asked = request("Die Straße nach Gößweinstein, cafés à Orléans")
    assert "weinstein" not in clean("STRASSE NACH GÖSSWEINSTEIN", asked).casefold()
    assert "orle" not in clean("cafe\u0301s a\u0300 Orle\u0301ans", asked).casefold()
    assert clean("ﾞﾞﾞﾞﾞﾞﾞﾞﾞﾞﾞﾞ", request("ﾞ" * 12)) == REDACTED

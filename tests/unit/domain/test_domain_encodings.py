import base64
import html
import json
from urllib.parse import quote

import pytest

from jusinfer.domain.encodings import decodings, encoded_runs, unescaped

TEXT = "Straße “quoted” \U0001f600 \U00020000 你好 and/or"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (html.escape(TEXT), TEXT),
        (html.escape(html.escape("a & b")), "a & b"),
        ("&#x4f60;&#22909;", "你好"),
        (quote(TEXT), TEXT),
        (quote(quote(TEXT)), TEXT),
        (json.dumps(TEXT)[1:-1], TEXT),
        ("\\\\u4f60", "你"),
        ("%u4f60%u597d", "你好"),
        ("\\U00004f60\\U0001f600", "你\U0001f600"),
        ("\\U00ffffff", "\U0010ffff"),
        ("\\x41\\x42", "AB"),
        ("and\\/or", "and/or"),
        ("\\ud83d alone", " alone"),
        ("a\\nb\\\\nc\\", "a b c "),
        ("plain", "plain"),
        ("", ""),
        ("100% &unknown;", "100% &unknown;"),
    ],
)
def test_escapes_are_undone(written: str, text: str) -> None:
    assert unescaped(written) == text


def test_escapes_are_undone_a_few_times_only() -> None:
    text = "%"
    for _ in range(10):
        text = quote(text)
    assert unescaped(text).startswith("%25")


@pytest.mark.parametrize("prefix", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_decoded_from_every_alignment(prefix: bytes, encode: object) -> None:
    secret = b"the quick brown fox?>~"
    run = encode(prefix + secret).decode()  # type: ignore[operator]
    for cut in range(4):
        (found,) = encoded_runs(f"<{run[cut:]}>")
        assert any("quick brown fox" in text for text in decodings(found))


@pytest.mark.parametrize("cut", range(4))
def test_base64_is_decoded_to_its_last_whole_byte(cut: int) -> None:
    run = base64.b64encode(b"0123456789abcdefgh").decode()
    (found,) = encoded_runs(run[: len(run) - cut])
    kept = (len(run) - cut) * 6 // 8
    assert any(text == "0123456789abcdefgh"[:kept] for text in decodings(found))


@pytest.mark.parametrize(
    "run",
    [
        b"the quick brown fox".hex(),
        b"the quick brown fox".hex().upper(),
        "a" + b"the quick brown fox".hex(),
        b"the quick brown fox".hex(" "),
        b"the quick brown fox".hex(":"),
        ", ".join(f"0x{byte:02x}" for byte in b"the quick brown fox"),
    ],
)
def test_hexadecimal_digits_are_decoded_from_both_alignments(run: str) -> None:
    assert any(
        "quick brown fox" in text for found in encoded_runs(run) for text in decodings(found)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (base64.b64encode, base64.b64encode),
        (base64.b16encode, base64.b64encode),
        (base64.b64encode, base64.b16encode),
    ],
)
def test_what_is_encoded_twice_is_decoded_twice(first: object, second: object) -> None:
    run = second(first(b"the quick brown fox jumps")).decode()  # type: ignore[operator]
    assert any(
        "quick brown fox" in text for found in encoded_runs(run) for text in decodings(found)
    )


@pytest.mark.parametrize("text", ["", "short", "fifteen_letters", "ab cd ef gh", "you've said so"])
def test_ordinary_words_are_no_encoded_runs(text: str) -> None:
    assert encoded_runs(text) == []


def test_runs_come_longest_first() -> None:
    assert encoded_runs(f"{'x' * 16} {'y' * 20}!{'z' * 18}")[0] == "y" * 20


def test_a_run_is_decoded_only_as_what_it_can_be() -> None:
    assert len(list(decodings("zz" * 8))) == 4
    assert len(list(decodings("41 " * 11 + "42"))) == 2
    assert next(decodings("41 " * 11 + "42")) == "A" * 11 + "B"
    assert len(list(decodings("41" * 12))) == 6
    assert list(decodings("not a run")) == []
    assert len(list(decodings("5a" * 20))) > 6

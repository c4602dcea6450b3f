import html
import json
from urllib.parse import quote

import pytest

from jusinfer.domain.redaction_decoders import unescaped

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

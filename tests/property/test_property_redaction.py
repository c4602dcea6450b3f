"""The promise of the redactor, judged by an oracle that shares no code with it.

Whatever an upstream does to a request before it repeats it in an error, what is kept of the error
has no run of twelve letters or digits of the request. The oracle reads the request's texts by
itself, folds by a loop of its own, and compares all runs of twelve.
"""

import base64
import html
import json
import textwrap
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.effort import examples

from jusinfer.domain.redaction import KEPT_CHARS_MAX, clean
from jusinfer.domain.token_estimation import estimate_json_tokens, worst_json_tokens

RUN = 12
# For each of the encoders.
EXAMPLES = 30
WORDS = st.sampled_from(
    [
        "Wilhelmina",
        "buried",
        "ledger",
        "oak",
        "naïve",
        "Straße",
        "пароль",
        "秘密",
        "宝物は",
        "गुप्त",
        "İstanbul",
        "0471",
        "\U00020000\U00020001",
        "C:\\new\\table",
        "50%25",
        "&amp;",
        'say "so"',
        "a/b+c==",
        "redacted",
        "\n",
        "\t",
        "\U0001f600",
    ]
)
PROMPTS = st.lists(WORDS | st.text(min_size=1, max_size=12), min_size=3, max_size=24).map(" ".join)


def letters(text: str) -> str:
    """Fold as the promise says it: letters and digits, in one case."""
    return "".join(char for char in text.lower() if char.isalpha() or char.isdigit())


def runs(text: str) -> set[str]:
    folded = letters(text)
    return {folded[at : at + RUN] for at in range(len(folded) - RUN + 1)}


def as_request(prompt: str, *, ascii_only: bool = True) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": prompt}], "user": "u-1"}
    return json.dumps(asked, ensure_ascii=ascii_only).encode()


def utf8(prompt: str) -> bytes:
    return prompt.encode("utf-8", "surrogatepass")


# Fractions are digits to what is tested and nothing to the oracle, which then sees runs by chance.
AFTER = st.text(st.characters(exclude_categories=("No", "Cs")), max_size=9)
ENCODERS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "json": json.dumps,
    "json_of_json": lambda prompt: json.dumps(json.dumps(prompt)),
    "plain_json": lambda prompt: json.dumps(prompt, ensure_ascii=False),
    "repr": repr,
    "ascii": ascii,
    "html": html.escape,
    "html_numbers": lambda prompt: "".join(f"&#{ord(char)};" for char in prompt),
    "url": lambda prompt: quote(prompt, errors="ignore"),
    "url_all": lambda prompt: "".join(f"%{byte:02X}" for byte in utf8(prompt)),
    "upper": str.upper,
    "lower": str.lower,
    "base64": lambda prompt: base64.b64encode(utf8(prompt)).decode(),
    "base64_at_1": lambda prompt: base64.b64encode(b"z" + utf8(prompt)).decode(),
    "base64_at_2": lambda prompt: base64.b64encode(b"zz" + utf8(prompt)).decode(),
    "base64_without_end": lambda prompt: base64.b64encode(utf8(prompt)).decode().rstrip("=")[:-1],
    "base64_url": lambda prompt: base64.urlsafe_b64encode(utf8(prompt)).decode(),
    "base64_json": lambda prompt: base64.b64encode(json.dumps(prompt).encode()).decode(),
    "base64_twice": lambda p: base64.b64encode(base64.b64encode(utf8(p))).decode(),
    "base64_in_json": lambda p: base64.b64encode(utf8(p)).decode().replace("/", "\\/"),
    "hex": lambda prompt: utf8(prompt).hex(),
    "hex_upper": lambda prompt: utf8(prompt).hex().upper(),
    "hex_spaced": lambda prompt: utf8(prompt).hex(" "),
    "lines": lambda prompt: "\n".join(textwrap.wrap(prompt, 7)),
    "spread": " ".join,
    "squeezed": lambda prompt: "".join(prompt.split()),
    "middle": lambda prompt: prompt[len(prompt) // 3 : -2],
    "pydantic": lambda p: f"Input should be a valid integer [type=x, input_value={p!r}, input_t",
    "openai": lambda p: json.dumps({"error": {"message": f"Invalid 'messages': {p}", "code": 1}}),
    "cut_json": lambda p: json.dumps({"error": {"message": f"Invalid: {p}"}})[:-4],
    "fastapi": lambda p: json.dumps({"detail": [{"msg": f"bad {p}", "input": {"content": p}}]}),
    "page": lambda p: f"<html><body><h1>400</h1><pre>{html.escape(p)}</pre></body></html>",
    "event": lambda p: f"data: {json.dumps({'error': {'message': p}})}\n\n",
    "whole_body": lambda p: as_request(p).decode(),
    "whole_body_repr": lambda p: repr(as_request(p)),
}


@settings(max_examples=examples(EXAMPLES))
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
@given(prompt=PROMPTS, before=st.sampled_from(["", "bad request: ", "x"]), after=AFTER)
def test_however_an_upstream_repeats_a_request_no_run_of_it_is_kept(
    encoder: Callable[[str], str], prompt: str, before: str, after: str
) -> None:
    prompt = prompt.encode("utf-8", "ignore").decode()
    for ascii_only in (True, False):
        kept = clean(
            f"{before}{encoder(prompt)} {after}", as_request(prompt, ascii_only=ascii_only)
        )
        assert len(kept) <= KEPT_CHARS_MAX
        assert not runs(kept) & runs(prompt)


@pytest.mark.parametrize("name", ["raw", "upper", "spread", "json", "whole_body"])
def test_the_oracle_sees_what_a_plain_cut_would_keep(name: str) -> None:
    prompt = "Wilhelmina buried the ledger under the third oak"
    assert runs(ENCODERS[name](prompt)[:KEPT_CHARS_MAX]) & runs(prompt)


@given(PROMPTS, st.data())
def test_no_mixture_of_pieces_keeps_a_run(prompt: str, data: st.DataObject) -> None:
    prompt = prompt.encode("utf-8", "ignore").decode()
    names = data.draw(st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=3))
    pieces: list[str] = []
    for name in names:
        start = data.draw(st.integers(min_value=0, max_value=len(prompt)))
        pieces.append(ENCODERS[name](prompt[start:]))
        pieces.append(
            data.draw(st.sampled_from([" ", "a@b.org", "[redacted]", "\x00", "sk-" + "a" * 20]))
        )
    kept = clean("".join(pieces), as_request(prompt))
    assert not runs(kept) & runs(prompt)


@given(st.text(max_size=600), st.binary(max_size=300))
def test_no_text_and_no_bytes_make_it_fail(text: str, request_text: bytes) -> None:
    kept = clean(text, request_text)
    assert len(kept) <= KEPT_CHARS_MAX
    assert kept.isprintable()
    kept.encode()
    assert clean(text, request_text) == kept


@given(st.text(max_size=300, alphabet=st.characters(codec="utf-8")))
def test_an_estimate_is_between_nothing_and_the_bytes_of_a_text(text: str) -> None:
    size = len(text.encode())
    assert 0 <= worst_json_tokens(size, text.encode()) <= size
    assert 0 <= estimate_json_tokens(size, text.encode()) <= size

import base64

import pytest

from jusinfer.domain.tokens import (
    SAMPLE_BYTES,
    SAMPLE_CHARS,
    estimate_json_tokens,
    estimate_tokens,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("word", 1),
        ("extraordinary", 2),
        ("two words", 2),
        ("123", 1),
        ("1234", 2),
        ("!", 1),
        ("!!!!!", 3),
        ("\n", 1),
        ("a_b\n", 3),
        ("你好世界今天", 5),
        ("привет", 2),
        ("५", 1),
    ],
)
def test_texts_are_counted_by_classes_of_characters(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_a_long_run_of_letters_is_counted_as_encoded_bytes() -> None:
    run = "Q" * 300
    assert estimate_tokens(run) == 200
    assert estimate_tokens(base64.b64encode(bytes(range(256)) * 4).decode()) > 1_000 // 4


def test_a_long_text_is_counted_from_samples() -> None:
    text = "some plain words " * 10_000
    whole = 3 * 10_000
    assert abs(estimate_tokens(text) - whole) < whole // 20
    edge = "x " * (3 * SAMPLE_CHARS // 2)
    assert estimate_tokens(edge) == 3 * SAMPLE_CHARS // 2


@pytest.mark.parametrize(
    ("sample", "tokens"),
    [
        (b"plain words", 250),
        ("你好".encode(), 233),
        (b"\\u4f60\\u597d", 116),
        ("привет".encode(), 150),
        ("नमस्ते".encode(), 100),
        (b"\\u", 350),
    ],
)
def test_bytes_of_json_are_counted_as_their_sample_is_written(sample: bytes, tokens: int) -> None:
    assert estimate_json_tokens(1_000, sample) == tokens


def test_a_text_of_nothing_has_no_tokens() -> None:
    assert estimate_json_tokens(0, b"") == 0
    assert estimate_json_tokens(0, "é".encode()) == 0


def test_a_long_sample_is_looked_at_in_three_places() -> None:
    ascii_outside = b"a" * (SAMPLE_BYTES // 3) + "你".encode() * SAMPLE_BYTES
    mixed = estimate_json_tokens(1_000, ascii_outside)
    assert estimate_json_tokens(1_000, "你".encode() * SAMPLE_BYTES) < mixed < 250

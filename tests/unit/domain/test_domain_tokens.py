"""Token estimates: what is likely, and what is the worst, beside what real tokenizers count."""

import base64
import json
import random

import pytest

from jusinfer.domain.token_estimation import SAMPLE_BYTES, estimate_json_tokens, worst_json_tokens

CHARS = 6_000
MARGIN_PERCENT = 115
ENCODED = base64.b64encode(random.Random(1).randbytes(3_000)).decode()  # noqa: S311
HEXADECIMAL = random.Random(1).randbytes(1_500).hex()  # noqa: S311

# Texts, repeated up to 6,000 characters; what the tokenizer of GPT-4o or DeepSeek (the larger), and
# the one of those and of GPT-4 and Claude 2 that makes most, count for them. Measured 2026-11-24.
COUNTED = [
    (
        (
            "The committee considered several options before it decided which of them would serve "
            "the members best. "
        ),
        990,
        990,
    ),
    (
        "मुझे बताओ कि वह लोमड़ी इन सब आलसी कुत्तों के ऊपर से कैसे कूद गई, और फिर उसने क्या किया। ",
        3_753,
        6_342,
    ),
    ("请告诉我那只狐狸怎么能够跳过所有这些懒惰的狗\uff0c然后它又做了什么。", 4_686, 9_187),
    (
        (
            "そのキツネがどうやって怠け者の犬を全部飛び越えたのか教えてください。"
            "それから何をしましたか。"
        ),
        4_177,
        6_133,
    ),
    ("그 여우가 어떻게 게으른 개들을 모두 뛰어넘었는지 알려 주세요. ", 4_167, 6_669),
    (
        (
            "Erzählen Sie mir bitte, wie der Fuchs über alle faulen Hunde gesprungen ist und was "
            "danach geschah. "
        ),
        1_681,
        1_921,
    ),
    (
        (
            "Dites-moi comment le renard a pu sauter par-dessus tous ces chiens fatigués, et ce "
            "qu'il a fait ensuite. "
        ),
        1_715,
        1_943,
    ),
    (
        (
            "Dígame cómo el zorro pudo saltar por encima de todos esos perros perezosos y qué hizo "
            "después. "
        ),
        1_644,
        1_959,
    ),
    (
        (
            "Расскажите мне, как лиса смогла перепрыгнуть через всех этих ленивых собак и что она "
            "сделала потом. "
        ),
        1_801,
        3_001,
    ),
    (
        "أخبرني كيف تمكن الثعلب من القفز فوق كل هذه الكلاب الكسولة وماذا فعل بعد ذلك. ",
        2_105,
        5_377,
    ),
    (
        "அந்த நரி எப்படி இந்த சோம்பேறி நாய்கள் மீது குதித்தது என்று சொல்லுங்கள். ",
        3_001,
        11_083,
    ),
    ("บอกฉันหน่อยว่าสุนัขจิ้งจอกกระโดดข้ามสุนัขขี้เกียจทั้งหมดนี้ได้อย่างไร ", 3_006, 10_460),
    ("😀🎉🚀🐶🔥💡👩‍💻🤖🌍❤️✨👍🏽", 9_750, 15_000),
    (ENCODED, 4_183, 4_291),
    (HEXADECIMAL, 3_468, 3_496),
    (
        (
            "def f(x):\n    if x['a'] != 3 and (y := x.get(\"b\")):\n"
            "        return [i**2 for i in range(10)]\n"
        ),
        2_326,
        2_391,
    ),
    (
        '{"id":12345,"name":"x","tags":["a","b"],"v":{"k":null,"z":true}},\n',
        2_547,
        2_547,
    ),
    (
        r"\frac{a^2+b^2}{\sqrt{c}} \int_0^\infty e^{-x^2} dx = \sum_{i=1}^{n} \alpha_i ",
        3_275,
        3_353,
    ),
    ("!?;:,.()[]{}<>@#$%^&*-+=/\\|~`'\" ", 3_938, 3_938),
]
NAMES = [text[:12] for text, _, _ in COUNTED]


def written(text: str, *, ascii_only: bool) -> tuple[int, bytes]:
    """Give the size of a text as JSON, and a body that holds it."""
    own = json.dumps(text, ensure_ascii=ascii_only).encode()
    body = {"model": "jusinfer/auto", "messages": [{"role": "user", "content": text}]}
    return len(own), json.dumps(body, ensure_ascii=ascii_only).encode()


@pytest.mark.parametrize(("text", "today", "most"), COUNTED, ids=NAMES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_worst_with_the_margin_is_never_below_a_real_tokenizer(
    text: str, today: int, most: int, *, ascii_only: bool
) -> None:
    del today
    size, body = written((text * 500)[:CHARS], ascii_only=ascii_only)
    worst = worst_json_tokens(size, body)
    assert worst * MARGIN_PERCENT >= most * 100
    assert worst < 6 * most


@pytest.mark.parametrize(("text", "today", "most"), COUNTED[:13], ids=NAMES[:13])
def test_what_is_likely_holds_for_every_script(text: str, today: int, most: int) -> None:
    del most
    size, body = written((text * 500)[:CHARS], ascii_only=False)
    likely = estimate_json_tokens(size, body)
    assert 0.8 * today <= likely <= 1.6 * today


@pytest.mark.parametrize(
    ("sample", "tokens"),
    [
        (b"plain words", 250),
        ("你好".encode(), 250),
        (b"\\u4f60\\u597d", 125),
        ("привет".encode(), 175),
        ("नमस्ते".encode(), 216),
        ("😀".encode(), 400),
        (b"\\u", 375),
    ],
)
def test_bytes_of_json_are_counted_as_their_sample_is_written(sample: bytes, tokens: int) -> None:
    assert estimate_json_tokens(1_000, sample) == tokens


def test_a_text_of_nothing_has_no_tokens() -> None:
    assert estimate_json_tokens(0, b"") == 0
    assert estimate_json_tokens(0, "é".encode()) == 0
    assert worst_json_tokens(0, b"") == 0
    assert worst_json_tokens(0, b"x") == 0


def test_a_long_sample_is_looked_at_in_three_places() -> None:
    ascii_outside = b"a" * (SAMPLE_BYTES // 3) + "你".encode() * SAMPLE_BYTES
    mixed = estimate_json_tokens(1_000, ascii_outside)
    assert estimate_json_tokens(1_000, "你".encode() * SAMPLE_BYTES) > mixed

import base64
import secrets
import string
from collections.abc import Callable

import pytest

from jusinfer.domain.identity import Mode, format_key
from jusinfer.domain.secret_masking import (
    NO_SECRETS,
    PIECE_CHARS,
    REDACTED,
    OwnSecrets,
    mask_secrets,
)

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "secret",
    [
        format_key(Mode.LIVE, bytes(range(32))),
        format_key(Mode.TEST, bytes(range(32))),
        "ji_live_short",
        "sk-proj-abcdefghijklmnop1234",
        "sk-or-v1-0123456789abcdef",
        "sk-ab***********wxyz",
        "gsk_abcdefghijklmnop",
        "xai-abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrst",
        "whsec_abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "Bearer abc.def-ghi",
        "bearer   abcdef",
        "api_key=abcd1234",
        'password: "hunter22"',
        "https://me:hunter2@",
        "postgres://admin:pw@",
        "?key=abc",
        "&access_token=abc.def",
        "someone@example.org",
        "first.last+tag@mail.example.co.uk",
        "jürgen@exämple.de",
        "192.168.10.254",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "2001:db8::1",
        "fe80::1ff:fe23:4567:890a",
        "::1",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "4242424242424242",
        "378282246310005",
        "GB82WEST12345698765432",
        "GB82 WEST 1234 5698 7654 32",
        "DE89 3704 0044 0532 0130 00",
        "de89370400440532013000",
        PEM,
        PEM[:40],
    ],
)
@pytest.mark.parametrize("frame", ["{}", "see {} there", "'{}'", "({}), and", "line\n{}\nline"])
def test_a_secret_is_masked_wherever_it_stands(secret: str, frame: str) -> None:
    masked = mask_secrets(frame.format(secret))
    assert REDACTED in masked
    assert secret not in masked
    for part in ("hunter2", "EvQIBA", "0123456789abcdef", "5698", "4242 4242"):
        assert part not in masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max_tokens must be at most 4096",
        "model gpt-4o-mini-2024-07-18 does not exist",
        "at 12:30:45 on 2026-11-24",
        "std::string is not a type",
        "request 4242424242424241 failed",
        "sk-short",
        "the basket is risky",
        "https://example.org/a/path",
        "Unsupported value: 'temperature' does not support 0.2",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text


def test_all_secrets_of_a_text_are_masked() -> None:
    text = "a@b.org sent sk-abcdefghijklmnop from 10.0.0.1"
    assert mask_secrets(text) == f"{REDACTED} sent {REDACTED} from {REDACTED}"


def test_masking_twice_is_masking_once() -> None:
    once = mask_secrets("token=abcdef a@b.org 4242424242424242")
    assert mask_secrets(once) == once


@pytest.mark.parametrize("char", ["a", "1", ":", ".", "@", "A1 ", "-", "0:", "a@", "1.", "sk-"])
def test_no_pattern_needs_long_for_a_hostile_text(char: str) -> None:
    # A pattern that goes back and forth would not end within the limit of a test.
    assert isinstance(mask_secrets(char * (8_192 // len(char))), str)


# ---------------------------------------------------------------- secrets of ours

OWN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
LETTERS = string.ascii_letters + string.digits
# How keys of providers look; random ones of each are subtracted, whatever shape they have.
KEYS = [
    OWN,
    *(
        start + "".join(secrets.choice(alphabet) for _ in range(count)) + end
        for start, alphabet, count, end in (
            ("", LETTERS + "_-", 40, ""),
            ("", string.hexdigits[:16], 32, ""),
            ("", LETTERS, 84, ""),
            ("", LETTERS, 64, ""),
            ("fw_", LETTERS, 24, ""),
            ("r8_", LETTERS, 37, ""),
            ("nvapi-", LETTERS + "_-", 64, ""),
            ("pplx-", LETTERS, 48, ""),
            ("csk-", string.ascii_lowercase + string.digits, 48, ""),
            ("dapi", string.hexdigits[:16], 32, "-2"),
            ("", LETTERS + "/+", 40, ""),
            ("sk-ant-api03-", LETTERS + "_-", 93, "AA"),
            ("AIza", LETTERS + "_-", 35, ""),
            ("key:", LETTERS, 32, "=="),
        )
    ),
]


def pieces(text: str) -> set[str]:
    folded = "".join(char for char in text.lower() if char.isalnum())
    return {folded[at : at + PIECE_CHARS] for at in range(len(folded) - PIECE_CHARS + 1)}


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
@pytest.mark.parametrize(
    "dress",
    [
        str,
        str.upper,
        " ".join,
        "-".join,
        lambda key: key[5:-5],
        lambda key: key[: len(key) // 2] + "…",
        lambda key: key[::-1],
        lambda key: key.encode().hex(),
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.b64encode(f"u:{key}".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(f"a{key}".encode()).decode(),
    ],
)
def test_no_piece_of_a_secret_of_ours_is_told(key: str, dress: Callable[[str], str]) -> None:
    own = OwnSecrets([key, "another-secret"])
    told = own.mask(f"Unrecognised value {dress(key)}, for this deployment")
    assert REDACTED in told
    # A letter beside the secret may by chance make a piece of one of its dresses.
    assert told.startswith("Unrecognised val")
    assert told.endswith("r this deployment")
    assert not pieces(told) & (pieces(key) | pieces(key[::-1]) | pieces(key.encode().hex()))


def test_what_is_no_piece_stays_and_short_secrets_go_whole() -> None:
    own = OwnSecrets([OWN, "tiny77", "abc"])
    assert own.mask(f"id {OWN[:7]} abc") == f"id {OWN[:7]} abc"
    assert own.mask("use TINY-77 or tiny78") == f"use {REDACTED} or tiny78"
    assert own.mask("İ straße 你好") == "İ straße 你好"
    assert NO_SECRETS.mask(OWN) == OWN
    assert own.mask("") == ""


def test_a_mask_covers_every_stretch() -> None:
    own = OwnSecrets([OWN])
    text = f"{OWN[:9]} and {OWN[10:20]}!"
    assert own.mask(text) == f"{REDACTED} and {REDACTED}!"


@pytest.mark.parametrize(
    "sign", ["\\u002f", "\\\\u002F", "%2F", "%252f", "&#x2F;", "&#47;", "&amp;#47;", "&sol;"]
)
def test_a_secret_is_found_where_signs_in_it_are_escaped(sign: str) -> None:
    own = OwnSecrets(["abcd/efgh/ijkl/mnop"])
    told = own.mask(f"value {'abcd/efgh/ijkl/mnop'.replace('/', sign)} is 50% wrong &c.")
    assert told == f"value {REDACTED} is 50% wrong &c."
    assert own.mask(f"a{sign}b") == f"a{sign}b"
    assert own.mask("&#9999999; \\uD800") == "&#9999999; \\uD800"

import hashlib

import pytest

from jusinfer.domain.identity import (
    CHECK_CHARS,
    KEY_PREFIX_CHARS,
    Mode,
    fingerprint,
    format_key,
    is_well_formed,
    key_prefix,
)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_key_says_its_mode_and_nothing_else(mode: Mode) -> None:
    key = format_key(mode, bytes(range(32)))
    assert key.startswith(f"ji_{mode.value}_")
    assert "=" not in key
    assert is_well_formed(key.encode())


@pytest.mark.parametrize("mode", list(Mode))
def test_a_key_of_before_there_was_a_checksum_stays_valid(mode: Mode) -> None:
    assert is_well_formed(format_key(mode, bytes(range(32)))[:-CHECK_CHARS].encode())


def test_a_key_with_one_character_changed_is_no_key() -> None:
    key = format_key(Mode.LIVE, bytes(range(32)))
    for place in range(len("ji_live_"), len(key)):
        other = "A" if key[place] != "A" else "B"
        assert not is_well_formed(f"{key[:place]}{other}{key[place + 1 :]}".encode()), place


def test_every_secret_gives_another_key() -> None:
    assert format_key(Mode.LIVE, b"\xff" * 32) != format_key(Mode.LIVE, b"\xfe" * 32)
    assert format_key(Mode.LIVE, b"\xff" * 32) != format_key(Mode.TEST, b"\xff" * 32)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_needs_all_of_its_randomness(size: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        format_key(Mode.TEST, b"x" * size)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ji_live_",
        "ji_live_" + "a" * 42,
        "ji_live_" + "a" * 44,
        "ji_prod_" + "a" * 43,
        "sk_live_" + "a" * 43,
        "ji_live_" + "a" * 42 + "=",
        "ji_live_" + "a" * 43 + "\n",
        " ji_live_" + "a" * 43,
        "JI_LIVE_" + "a" * 43,
        "ji_live_" + "é" * 43,
    ],
)
def test_what_is_not_of_our_shape_is_no_key(text: str) -> None:
    assert not is_well_formed(text.encode())


def test_a_fingerprint_is_the_digest_of_the_whole_key() -> None:
    assert fingerprint(b"ji_live_x") == hashlib.sha256(b"ji_live_x").digest()
    assert len(fingerprint(b"")) == 32


def test_a_prefix_shows_four_of_forty_three_characters() -> None:
    key = format_key(Mode.LIVE, bytes(32))
    assert key_prefix(key) == key[:KEY_PREFIX_CHARS] == "ji_live_AAAA"

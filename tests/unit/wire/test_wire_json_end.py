"""JSON that comes in pieces is whole exactly when all of it can be read as one value."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.wire.json_end import JsonEnd

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES), st.data())
def test_it_ends_where_a_parser_says_so(value: object, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    pieces: list[bytes] = []
    end = JsonEnd(is_quoted=True)
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, len(text) - at))
        pieces.append(msgspec.json.encode(text[at : at + size]))
        at += size
        assert end.is_whole(pieces) is (at == len(text))
        # Asked again without anything new it says the same.
        assert end.is_whole(pieces) is (at == len(text))


@pytest.mark.parametrize(
    ("pieces", "is_whole"),
    [
        ([b"{}", b" "], True),
        ([b"{}", b"{}"], False),
        ([b"{}", b"{}", b""], False),
        ([b"}", b"{}"], False),
        ([b"{]", b"}"], False),
        ([b"1", b"2"], False),
        ([b'\\"a', b'b\\"'], True),
        ([b'[\\"\\\\', b'\\"]\\"]'], True),
        ([b'[\\"\\ud800\\"]'], True),
        ([b'[\\"\xff\\"]'], True),
        ([], False),
    ],
)
def test_what_follows_an_end_or_is_no_json_is_not_whole(
    pieces: list[bytes], *, is_whole: bool
) -> None:
    end = JsonEnd(is_quoted=False)
    given_pieces: list[bytes] = []
    found = False
    for piece in pieces:
        given_pieces.append(piece)
        found = end.is_whole(given_pieces)
    assert found is is_whole

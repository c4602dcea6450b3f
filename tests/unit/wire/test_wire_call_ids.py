"""Ids of calls where few characters are taken: there and back without loss."""

import re

from hypothesis import given
from hypothesis import strategies as st

from jusinfer.wire.call_ids import original, portable


def test_portable_ids_stay_as_they_are() -> None:
    for call_id in ("call_abc", "toolu_01-X", "0"):
        assert portable(call_id) == call_id
        assert original(call_id) == call_id


def test_ids_of_other_alphabets_differ_and_come_back() -> None:
    made = {portable(call_id) for call_id in ("a.b:0", "a:b:0", "a_b_0", "", "ji-x")}
    assert len(made) == 5
    assert original(portable("functions.get_weather:0")) == "functions.get_weather:0"


def test_a_foreign_id_that_looks_like_ours_stays() -> None:
    for call_id in ("ji-!", "ji-YQ", "ji-____"):
        assert original(call_id) == call_id


@given(st.text(max_size=40))
def test_every_id_makes_the_round_trip(call_id: str) -> None:
    made = portable(call_id)
    assert re.fullmatch("[A-Za-z0-9_-]+", made)
    assert original(made) == call_id

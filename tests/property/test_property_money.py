from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.money import (
    AMOUNT_MAX,
    MoneyError,
    charge_nano,
    format_usd,
    parse_price,
    parse_usd,
)

AMOUNTS = st.integers(min_value=0, max_value=AMOUNT_MAX)
DECIMALS = st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,18})?", fullmatch=True)


@given(AMOUNTS)
def test_what_is_written_is_read_back(nano: int) -> None:
    if nano < 10**12 * 10**9:
        assert parse_usd(format_usd(nano)) == nano


@given(st.integers(min_value=-AMOUNT_MAX, max_value=AMOUNT_MAX))
def test_what_is_written_is_exact(nano: int) -> None:
    assert Fraction(format_usd(nano)) == Fraction(nano, 10**9)


@given(DECIMALS)
def test_what_is_read_is_exact_or_refused(text: str) -> None:
    for parse, scale in ((parse_usd, 10**9), (parse_price, 10**6)):
        exact = Fraction(text) * scale
        if exact.denominator == 1 and exact <= AMOUNT_MAX:
            assert parse(text) == exact
        else:
            with pytest.raises(MoneyError):
                parse(text)


@given(st.text(max_size=24))
def test_no_text_is_read_as_something_else(text: str) -> None:
    try:
        nano = parse_usd(text)
    except MoneyError:
        return
    assert Fraction(text) * 10**9 == nano


@given(st.integers(min_value=0, max_value=2**90), st.integers(min_value=0, max_value=2**90))
def test_a_charge_is_never_below_the_cost_nor_a_unit_above(first: int, second: int) -> None:
    charge = charge_nano(first)
    assert 0 <= charge * 1_000 - first < 1_000
    assert charge_nano(first + second) <= charge + charge_nano(second)

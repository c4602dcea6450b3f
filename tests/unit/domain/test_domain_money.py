import pytest

from jusinfer.domain.money import (
    AMOUNT_MAX,
    MoneyError,
    charge_nano,
    format_usd,
    parse_price,
    parse_usd,
)


@pytest.mark.parametrize(
    ("cost_pico", "nano"),
    [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (10**21 + 1, 10**18 + 1)],
)
def test_a_charge_is_the_cost_rounded_up(cost_pico: int, nano: int) -> None:
    assert charge_nano(cost_pico) == nano


def test_a_negative_cost_is_no_charge() -> None:
    with pytest.raises(MoneyError, match="negative"):
        charge_nano(-1)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("0.000000001000000000", 1),
        ("007", 7_000_000_000),
        ("9223372036.854775807", AMOUNT_MAX),
    ],
)
def test_dollars_are_read_exactly(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    ("text", "micro"), [("0.15", 150_000), ("0.000001", 1), ("600", 600_000_000)]
)
def test_prices_are_read_exactly(text: str, micro: int) -> None:
    assert parse_price(text) == micro


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "plain"),
        ("-1", "plain"),
        ("+1", "plain"),
        ("1e3", "plain"),
        ("1.", "plain"),
        (".5", "plain"),
        ("1,5", "plain"),
        (" 1", "plain"),
        ("1\n", "plain"),
        ("NaN", "plain"),
        ("١٢", "plain"),
        ("1" * 13, "plain"),
        ("0.0000000001", "finer"),
        ("0.000000000000000001", "finer"),
        ("9223372036.854775808", "larger"),
        ("999999999999", "larger"),
    ],
)
def test_what_cannot_be_held_exactly_is_refused(text: str, why: str) -> None:
    with pytest.raises(MoneyError, match=why):
        parse_usd(text)


def test_a_price_with_a_far_decimal_is_not_rounded_away() -> None:
    # Thirty digits: more than a decimal context keeps by default.
    with pytest.raises(MoneyError, match="finer"):
        parse_price("123456789012.000000000000000001")


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (12_500_000_000, "12.50"),
        (1_230_000_000, "1.23"),
        (-1_000_000_000, "-1.00"),
    ],
)
def test_dollars_are_written_exactly(nano: int, text: str) -> None:
    assert format_usd(nano) == text

import calendar

import pytest

from jusinfer.domain.catalog import Price, PriceWindow, Route, Upstream, price_at

BASE = Price(input_micro_per_mtok=100, output_micro_per_mtok=200, cache_read_micro_per_mtok=10)
PEAK = Price(input_micro_per_mtok=300, output_micro_per_mtok=150)
NIGHT = Price(
    input_micro_per_mtok=50,
    output_micro_per_mtok=60,
    cache_read_micro_per_mtok=5,
    cache_write_micro_per_mtok=70,
)


def route(*windows: PriceWindow) -> Route:
    return Route(route_id="r", upstream="u", upstream_model="m", price=BASE, windows=windows)


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> int:
    """Give an instant in November 2026, whose first day is a Sunday."""
    return calendar.timegm((2026, 11, day, hour, minute, second))


WORKDAYS = PriceWindow(start_minute=60, end_minute=240, price=PEAK, weekdays=(0, 1, 2, 3, 4))
LATE = PriceWindow(start_minute=1_320, end_minute=1_440, price=NIGHT)


@pytest.mark.parametrize(
    ("epoch_seconds", "price"),
    [
        (at(2, 0, 59, 59), BASE),
        (at(2, 1), PEAK),
        (at(2, 3, 59, 59), PEAK),
        (at(2, 4), BASE),
        (at(6, 2), PEAK),
        (at(7, 2), BASE),
        (at(1, 2), BASE),
        (at(1, 22), NIGHT),
        (at(2, 23, 59, 59), NIGHT),
        (at(3, 0), BASE),
        (0, BASE),
    ],
)
def test_the_price_is_the_one_of_the_hour_and_the_weekday(epoch_seconds: int, price: Price) -> None:
    assert price_at(route(WORKDAYS, LATE), epoch_seconds) == price


def test_the_first_day_of_the_epoch_was_a_thursday() -> None:
    thursdays = PriceWindow(start_minute=0, end_minute=1_440, price=PEAK, weekdays=(3,))
    assert price_at(route(thursdays), 0) == PEAK
    assert price_at(route(thursdays), 86_400) == BASE


def test_a_route_without_windows_has_one_price() -> None:
    assert price_at(route(), at(2, 2)) == BASE


def test_an_upstream_does_not_show_its_key() -> None:
    upstream = Upstream(
        name="u", host="h", port=443, is_tls=True, base_path="/v1", api_key="sk-very-secret"
    )
    assert "secret" not in repr(upstream)
    assert "secret" not in f"{upstream}"

import pytest

from jusinfer.domain.catalog import Price
from jusinfer.domain.pricing import (
    TOKENS_MAX,
    affordable_completion_tokens,
    bound_pico,
    cost_pico,
)
from jusinfer.domain.usage import TokenUsage

PLAIN = Price(input_micro_per_mtok=100, output_micro_per_mtok=200)
CACHED = Price(
    input_micro_per_mtok=100,
    output_micro_per_mtok=200,
    cache_read_micro_per_mtok=10,
    cache_write_micro_per_mtok=125,
)
USAGE = TokenUsage(
    prompt_tokens=100,
    cached_prompt_tokens=60,
    cache_write_tokens=30,
    completion_tokens=7,
    reasoning_tokens=3,
)


def test_each_kind_of_token_has_its_price() -> None:
    assert cost_pico(CACHED, USAGE) == 10 * 100 + 60 * 10 + 30 * 125 + 7 * 200


def test_without_a_price_of_its_own_a_cached_token_costs_as_much_as_input() -> None:
    assert cost_pico(PLAIN, USAGE) == 100 * 100 + 7 * 200


def test_a_cache_may_be_free() -> None:
    free = Price(
        input_micro_per_mtok=100,
        output_micro_per_mtok=200,
        cache_read_micro_per_mtok=0,
        cache_write_micro_per_mtok=0,
    )
    assert cost_pico(free, USAGE) == 10 * 100 + 7 * 200


@pytest.mark.parametrize(("price", "dearest"), [(PLAIN, 100), (CACHED, 125)])
def test_the_bound_takes_the_dearest_kind_of_input(price: Price, dearest: int) -> None:
    assert bound_pico(price, 11, 13) == 11 * dearest + 13 * 200


@pytest.mark.parametrize(
    ("credit_pico", "tokens"),
    [(0, 0), (999, 0), (1_000, 0), (1_199, 0), (1_200, 1), (1_000 + 200 * 50, 50)],
)
def test_what_is_affordable_comes_after_the_prompt(credit_pico: int, tokens: int) -> None:
    assert affordable_completion_tokens(PLAIN, 10, credit_pico) == tokens


def test_what_is_affordable_can_be_paid_for_and_one_more_cannot() -> None:
    tokens = affordable_completion_tokens(CACHED, 10, 98_765)
    assert bound_pico(CACHED, 10, tokens) <= 98_765 < bound_pico(CACHED, 10, tokens + 1)


def test_a_free_answer_is_affordable_as_soon_as_the_prompt_is() -> None:
    free = Price(input_micro_per_mtok=100, output_micro_per_mtok=0)
    assert affordable_completion_tokens(free, 10, 999) == 0
    assert affordable_completion_tokens(free, 10, 1_000) == TOKENS_MAX
    nothing = Price(input_micro_per_mtok=0, output_micro_per_mtok=0)
    assert affordable_completion_tokens(nothing, 10, 0) == TOKENS_MAX

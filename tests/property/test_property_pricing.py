from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.catalog import Price
from jusinfer.domain.leases import chunk_nano
from jusinfer.domain.pricing import affordable_completion_tokens, bound_pico, cost_pico
from jusinfer.domain.usage import TokenUsage, clamp_usage

MICRO = st.integers(min_value=0, max_value=10**10)
COUNT = st.integers(min_value=-10, max_value=10**7)
PRICES = st.builds(
    Price,
    input_micro_per_mtok=MICRO,
    output_micro_per_mtok=MICRO,
    cache_read_micro_per_mtok=st.none() | MICRO,
    cache_write_micro_per_mtok=st.none() | MICRO,
)
USAGES = st.builds(
    TokenUsage,
    prompt_tokens=COUNT,
    cached_prompt_tokens=COUNT,
    cache_write_tokens=COUNT,
    completion_tokens=COUNT,
    reasoning_tokens=COUNT,
)


@given(PRICES, USAGES)
def test_no_usage_costs_more_than_its_bound_or_less_than_nothing(
    price: Price, reported: TokenUsage
) -> None:
    usage = clamp_usage(reported)
    cost = cost_pico(price, usage)
    assert 0 <= cost <= bound_pico(price, usage.prompt_tokens, usage.completion_tokens)


@given(USAGES)
def test_a_plausible_usage_is_consistent_and_stays_as_it_is(reported: TokenUsage) -> None:
    usage = clamp_usage(reported)
    assert usage.cached_prompt_tokens + usage.cache_write_tokens <= usage.prompt_tokens
    assert 0 <= usage.reasoning_tokens <= usage.completion_tokens
    assert min(usage.cached_prompt_tokens, usage.cache_write_tokens) >= 0
    assert clamp_usage(usage) == usage


@given(PRICES, st.integers(min_value=0, max_value=10**6), st.integers(0, 2**62))
def test_what_is_affordable_is_covered_and_one_more_is_not(
    price: Price, prompt_tokens: int, credit_pico: int
) -> None:
    tokens = affordable_completion_tokens(price, prompt_tokens, credit_pico)
    assert tokens >= 0
    if tokens > 0:
        assert bound_pico(price, prompt_tokens, tokens) <= credit_pico
    if price.output_micro_per_mtok > 0:
        assert bound_pico(price, prompt_tokens, tokens + 1) > credit_pico


@given(st.integers(-10, 2**62), st.integers(0, 2**62))
def test_a_lease_meets_the_need_from_what_there_is_or_is_nothing(
    available_nano: int, need_nano: int
) -> None:
    chunk = chunk_nano(available_nano, need_nano)
    if available_nano <= 0 or need_nano > available_nano:
        assert chunk == 0
    else:
        assert 0 < chunk <= available_nano
        assert chunk >= need_nano

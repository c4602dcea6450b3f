"""Prices against an oracle of another make: decimals, written from the rules and not from the code.

The rules: a price is US dollars for a million tokens. Tokens read from a cache, written to one
(for minutes or for an hour), plain input, reasoning and other output each have their price; what
has none costs what contains it. A request and an image may cost something of their own. The price
of the longest tier that the prompt exceeds holds for the whole request. The cost is exact; the
charge is the cost in nano-dollars, rounded up once.
"""

from decimal import ROUND_CEILING, Context, Decimal, localcontext

from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.catalog import AdditionalPrices, Price, PriceTier
from jusinfer.domain.money import charge_nano, parse_price
from jusinfer.domain.price_parser import TieredEntry, TierEntry, price_of
from jusinfer.domain.pricing import bound_pico, cost_pico
from jusinfer.domain.usage import TokenUsage, clamp_usage

MILLION = Decimal(1_000_000)
USD_TEXT = st.integers(min_value=0, max_value=10**9).map(
    lambda micro: str(Decimal(micro) / MILLION)
)
MAYBE = st.none() | USD_TEXT
COUNT = st.integers(min_value=0, max_value=10**7)
FIELDS = {
    "input": USD_TEXT,
    "output": USD_TEXT,
    "cache_read": MAYBE,
    "cache_write": MAYBE,
    "cache_write_1h": MAYBE,
    "reasoning": MAYBE,
    "request": MAYBE,
    "image": MAYBE,
}
ROWS = st.fixed_dictionaries(FIELDS)
LADDERS = st.lists(
    st.tuples(st.integers(min_value=1, max_value=10**7), ROWS), max_size=3, unique_by=lambda t: t[0]
).map(lambda rungs: sorted(rungs, key=lambda rung: rung[0]))
USAGES = st.builds(
    TokenUsage,
    prompt_tokens=COUNT,
    cached_prompt_tokens=COUNT,
    cache_write_tokens=COUNT,
    completion_tokens=COUNT,
    reasoning_tokens=COUNT,
    cache_write_1h_tokens=COUNT,
    image_count=st.integers(min_value=0, max_value=50),
)
Row = dict[str, str | None]


def oracle(row: Row, ladder: list[tuple[int, Row]], usage: TokenUsage, margin_bp: int) -> Decimal:
    """Give the cost in US dollars."""
    if not usage.prompt_tokens and not usage.completion_tokens:
        return Decimal(0)
    for above, other in ladder:
        if usage.prompt_tokens > above:
            row = other

    def usd(*names: str) -> Decimal:
        for name in names:
            text = row[name]
            if text is not None:
                raised = Decimal(text) * MILLION * (10_000 + margin_bp) / 10_000
                return raised.to_integral_value(ROUND_CEILING) / MILLION
        return Decimal(0)

    for_an_hour = usage.cache_write_1h_tokens
    for_minutes = usage.cache_write_tokens - for_an_hour
    plain = usage.prompt_tokens - usage.cached_prompt_tokens - usage.cache_write_tokens
    said = usage.completion_tokens - usage.reasoning_tokens
    tokens = (
        plain * usd("input")
        + usage.cached_prompt_tokens * usd("cache_read", "input")
        + for_minutes * usd("cache_write", "input")
        + for_an_hour * usd("cache_write_1h", "cache_write", "input")
        + said * usd("output")
        + usage.reasoning_tokens * usd("reasoning", "output")
    )
    return tokens / MILLION + usd("request") + usage.image_count * usd("image")


@given(ROWS, LADDERS, USAGES, st.integers(min_value=0, max_value=20_000))
def test_the_cost_is_the_oracles_to_the_pico_dollar(
    row: Row, ladder: list[tuple[int, Row]], reported: TokenUsage, margin_bp: int
) -> None:
    usage = clamp_usage(reported)
    tiers = tuple(TierEntry(above_prompt_tokens=above, **other) for above, other in ladder)
    price = price_of(TieredEntry(**row, tiers=tiers), "here", margin_bp)
    with localcontext(Context(prec=60)):
        cost_usd = oracle(row, ladder, usage, margin_bp)
        pico = cost_pico(price, usage)
        assert Decimal(pico) == cost_usd * 10**12
        assert charge_nano(pico) == int((cost_usd * 10**9).to_integral_value(ROUND_CEILING))
    images = usage.image_count
    assert pico <= bound_pico(price, usage.prompt_tokens, usage.completion_tokens, images)


@given(ROWS, LADDERS, USAGES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_longer_request_is_never_bounded_lower(
    row: Row, ladder: list[tuple[int, Row]], reported: TokenUsage, prompt: int, answer: int
) -> None:
    usage = clamp_usage(reported)
    tiers = tuple(TierEntry(above_prompt_tokens=above, **other) for above, other in ladder)
    price = price_of(TieredEntry(**row, tiers=tiers), "here", 0)
    images = usage.image_count
    bound = bound_pico(
        price, usage.prompt_tokens + prompt, usage.completion_tokens + answer, images
    )
    assert cost_pico(price, usage) <= bound


def test_the_rule_of_the_tier_is_above_and_not_at() -> None:
    price = Price(1, 1, tiers=(PriceTier(100, Price(5, 5)),))
    assert cost_pico(price, TokenUsage(prompt_tokens=100)) == 100
    assert cost_pico(price, TokenUsage(prompt_tokens=101)) == 505


def test_a_free_request_with_a_fee_is_not_free_and_nothing_is() -> None:
    price = Price(0, 0, extras=AdditionalPrices(request_micro=parse_price("0.01")))
    assert charge_nano(cost_pico(price, TokenUsage(completion_tokens=1))) == 10_000_000
    assert cost_pico(price, TokenUsage()) == 0

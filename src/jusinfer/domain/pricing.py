"""The only place where tokens become money: the bound before, the cost after."""

from typing import Final

from jusinfer.domain.catalog import Price, tier_of
from jusinfer.domain.money import PicoUsd
from jusinfer.domain.usage import TokenUsage

# What is free is affordable without end; no answer is longer.
TOKENS_MAX: Final = 2**31 - 1
# A price for one request or image is micro-USD; one micro-USD is a million pico-USD.
PICO_PER_MICRO: Final = 1_000_000


def bound_pico(
    price: Price, prompt_tokens_max: int, completion_tokens_max: int, image_count: int = 0
) -> PicoUsd:
    """Give the most that a completion can cost at a price, whatever is cached or how long it is."""
    bound = _bound(price, prompt_tokens_max, completion_tokens_max, image_count)
    for tier in price.tiers:
        if prompt_tokens_max > tier.above_prompt_tokens:
            tiered = _bound(tier.price, prompt_tokens_max, completion_tokens_max, image_count)
            bound = max(bound, tiered)
    return PicoUsd(bound)


def is_free(price: Price) -> bool:
    """Tell whether nothing can cost anything at a price, however much is used."""
    return bound_pico(price, TOKENS_MAX, TOKENS_MAX, 1) == 0


def expected_pico(
    price: Price, input_tokens: int, cached_tokens: int, output_tokens: int, image_count: int = 0
) -> PicoUsd:
    """Give what a completion is expected to cost, so many of its input tokens being cached."""
    if price.tiers:
        price = tier_of(price, input_tokens)
    input_micro = price.input_micro_per_mtok
    read_micro = price.cache_read_micro_per_mtok
    cost = (
        (input_tokens - cached_tokens) * input_micro
        + cached_tokens * (input_micro if read_micro is None else read_micro)
        + output_tokens * price.output_micro_per_mtok
    )
    extras = price.extras
    if extras is not None:
        cost += (extras.request_micro + image_count * extras.image_micro) * PICO_PER_MICRO
    return PicoUsd(cost)


def cost_pico(price: Price, usage: TokenUsage) -> PicoUsd:
    """Give the exact cost of what was used; `usage` must be plausible. Nothing costs nothing."""
    if price.tiers:
        price = tier_of(price, usage.prompt_tokens)
    input_micro = price.input_micro_per_mtok
    read_micro = price.cache_read_micro_per_mtok
    write_micro = price.cache_write_micro_per_mtok
    cached, written = usage.cached_prompt_tokens, usage.cache_write_tokens
    cost = (
        (usage.prompt_tokens - cached - written) * input_micro
        + cached * (input_micro if read_micro is None else read_micro)
        + written * (input_micro if write_micro is None else write_micro)
        + usage.completion_tokens * price.output_micro_per_mtok
    )
    if price.extras is not None and (usage.prompt_tokens or usage.completion_tokens):
        cost += _extras(price, usage)
    return PicoUsd(cost)


def affordable_completion_tokens(
    price: Price, prompt_tokens_max: int, credit_pico: int, image_count: int = 0
) -> int:
    """Give how many tokens of answer a credit affords after the prompt; 0 when none."""
    left_pico = credit_pico - bound_pico(price, prompt_tokens_max, 0, image_count)
    if left_pico < 0:
        return 0
    applying = [price, *(t.price for t in price.tiers if prompt_tokens_max > t.above_prompt_tokens)]
    output_micro = max(map(_output_micro, applying))
    return TOKENS_MAX if output_micro == 0 else left_pico // output_micro


def _bound(price: Price, prompt_tokens_max: int, completion_tokens_max: int, images: int) -> int:
    dearest_input_micro = max(
        price.input_micro_per_mtok,
        price.cache_read_micro_per_mtok or 0,
        price.cache_write_micro_per_mtok or 0,
    )
    extras = price.extras
    if extras is None:
        return (
            prompt_tokens_max * dearest_input_micro
            + completion_tokens_max * price.output_micro_per_mtok
        )
    dearest_input_micro = max(dearest_input_micro, extras.cache_write_1h_micro_per_mtok or 0)
    return (
        prompt_tokens_max * dearest_input_micro
        + completion_tokens_max * _output_micro(price)
        + (extras.request_micro + images * extras.image_micro) * PICO_PER_MICRO
    )


def _output_micro(price: Price) -> int:
    reasoning = price.extras.reasoning_micro_per_mtok if price.extras is not None else None
    return max(price.output_micro_per_mtok, reasoning or 0)


def _extras(price: Price, usage: TokenUsage) -> int:
    """Give what the extras add to (or, for cheaper reasoning, take from) the plain cost."""
    extras = price.extras
    if extras is None:
        return 0
    added = (extras.request_micro + usage.image_count * extras.image_micro) * PICO_PER_MICRO
    if extras.cache_write_1h_micro_per_mtok is not None:
        write_micro = price.cache_write_micro_per_mtok
        plain = price.input_micro_per_mtok if write_micro is None else write_micro
        added += usage.cache_write_1h_tokens * (extras.cache_write_1h_micro_per_mtok - plain)
    if extras.reasoning_micro_per_mtok is not None:
        added += usage.reasoning_tokens * (
            extras.reasoning_micro_per_mtok - price.output_micro_per_mtok
        )
    return added

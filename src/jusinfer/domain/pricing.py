"""The only place where tokens become money: the bound before, the cost after."""

from typing import Final

from jusinfer.domain.catalog import Price
from jusinfer.domain.money import PicoUsd
from jusinfer.domain.usage import TokenUsage

# What is free is affordable without end; no answer is longer.
TOKENS_MAX: Final = 2**31 - 1


def bound_pico(price: Price, prompt_tokens_max: int, completion_tokens_max: int) -> PicoUsd:
    """Give the most that a completion can cost at a price, whatever is cached."""
    dearest_input_micro = max(
        price.input_micro_per_mtok,
        price.cache_read_micro_per_mtok or 0,
        price.cache_write_micro_per_mtok or 0,
    )
    return PicoUsd(
        prompt_tokens_max * dearest_input_micro
        + completion_tokens_max * price.output_micro_per_mtok
    )


def cost_pico(price: Price, usage: TokenUsage) -> PicoUsd:
    """Give the exact cost of the tokens used; `usage` must be plausible."""
    input_micro = price.input_micro_per_mtok
    read_micro = price.cache_read_micro_per_mtok
    write_micro = price.cache_write_micro_per_mtok
    cached, written = usage.cached_prompt_tokens, usage.cache_write_tokens
    return PicoUsd(
        (usage.prompt_tokens - cached - written) * input_micro
        + cached * (input_micro if read_micro is None else read_micro)
        + written * (input_micro if write_micro is None else write_micro)
        + usage.completion_tokens * price.output_micro_per_mtok
    )


def affordable_completion_tokens(price: Price, prompt_tokens_max: int, credit_pico: int) -> int:
    """Give how many tokens of answer a credit affords after the prompt; 0 when none."""
    left_pico = credit_pico - bound_pico(price, prompt_tokens_max, 0)
    if left_pico < 0:
        return 0
    if price.output_micro_per_mtok == 0:
        return TOKENS_MAX
    return left_pico // price.output_micro_per_mtok

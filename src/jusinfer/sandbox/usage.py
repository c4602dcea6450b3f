"""What is said to have been used, which need not be true."""

from typing import Any, Final

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.faults import Fault

LARGE_TOKENS: Final = 1_000_000


def reported_usage(fault: Fault, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Give the usage that is said to have been, which need not be the true one."""
    if fault.has("missing_usage"):
        return None
    if fault.has("zero_usage"):
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if fault.has("cost"):
        usage = usage | provider_quirks.cost(usage)
    if not fault.has("wrong_usage"):
        return usage
    if "completion" in fault.options:
        return usage | {"completion_tokens": fault.number("completion", 0)}
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    kinds: dict[str, dict[str, Any]] = {
        "cached": {"prompt_tokens_details": {"cached_tokens": prompt + 1_000}},
        "large": {"completion_tokens": completion + LARGE_TOKENS},
        "negative": {"completion_tokens": -completion, "prompt_tokens": -prompt},
        "total": {"total_tokens": prompt + completion + 1},
        "text": {"completion_tokens": str(completion)},
        "fraction": {"completion_tokens": completion + 0.5},
        "details_null": {"prompt_tokens_details": None, "completion_tokens_details": None},
        "reasoning": {"completion_tokens_details": {"reasoning_tokens": completion + 1_000}},
    }
    return usage | kinds.get(fault.word("kind", "cached"), kinds["cached"])

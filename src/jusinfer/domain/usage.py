"""Token usage by kind, and how a completion ended."""

import enum

import msgspec


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of one completion by kind.

    `prompt_tokens` includes the cached ones and the cache writes, which include those that last
    an hour; `completion_tokens` includes the reasoning ones. `is_estimated` says that an upstream
    did not report them. `reported_cost_pico` is what the upstream says it cost us; -1 when it
    says nothing.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    is_estimated: bool = False
    cache_write_1h_tokens: int = 0
    image_count: int = 0
    reported_cost_pico: int = -1


class Outcome(enum.StrEnum):
    """How a completion ended, as its receipt says it."""

    COMPLETED = "completed"
    LENGTH = "length"
    CUT_BY_CLIENT = "cut_by_client"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_CUT = "upstream_cut"
    UPSTREAM_STALLED = "upstream_stalled"
    GATEWAY_STOPPED = "gateway_stopped"
    INTERRUPTED = "interrupted"


class KeyUsageSummary(msgspec.Struct, frozen=True):
    """What one key has spent, in nano-USD; the spend limit is the tightest of its own."""

    name: str
    key_prefix: str
    total_nano: int
    day_nano: int
    week_nano: int
    month_nano: int
    spend_limit_nano: int | None
    spend_limit_left_nano: int | None
    spend_limit_period: str | None


def newer(known: TokenUsage | None, said: TokenUsage) -> TokenUsage:
    """Give the later of two running counts; a kind that it leaves out keeps the earlier one."""
    if known is None or (said.prompt_tokens and said.completion_tokens):
        return said
    if not said.prompt_tokens:
        said = msgspec.structs.replace(
            said,
            prompt_tokens=known.prompt_tokens,
            cached_prompt_tokens=known.cached_prompt_tokens,
            cache_write_tokens=known.cache_write_tokens,
            cache_write_1h_tokens=known.cache_write_1h_tokens,
        )
    if not said.completion_tokens:
        said = msgspec.structs.replace(
            said,
            completion_tokens=known.completion_tokens,
            reasoning_tokens=known.reasoning_tokens,
        )
    return said


def clamp_usage(usage: TokenUsage) -> TokenUsage:
    """Clamp what an upstream reported so that no kind exceeds the kind that contains it."""
    prompt = max(usage.prompt_tokens, 0)
    cached = min(max(usage.cached_prompt_tokens, 0), prompt)
    completion = max(usage.completion_tokens, 0)
    written = min(max(usage.cache_write_tokens, 0), prompt - cached)
    return TokenUsage(
        prompt_tokens=prompt,
        cached_prompt_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        reasoning_tokens=min(max(usage.reasoning_tokens, 0), completion),
        is_estimated=usage.is_estimated,
        cache_write_1h_tokens=min(max(usage.cache_write_1h_tokens, 0), written),
        image_count=max(usage.image_count, 0),
        reported_cost_pico=usage.reported_cost_pico,
    )

"""Token usage in every shape that providers send, as one neutral count.

Three questions decide what a count means: is what was cached inside the prompt, is reasoning
inside the completion, and does the total hold more than the parts. The total answers them where
it adds up in one way only; otherwise the API whose names are used does. Nothing here raises.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec

from jusinfer.domain.usage import TokenUsage

# More tokens than any model can take or give: such a count is as if there were none.
TOKENS_MAX: Final = 2**31
# A total that exceeds its parts by more than any answer's length is a mistake.
UNNAMED_TOKENS_MAX: Final = 1_048_576
PICO_DIGITS: Final = 12
# What xAI counts its prices in: ten billion to a dollar.
TICK_DIGITS: Final = 2
REPORTED_PICO_MAX: Final = 2**63 - 1
USD_CHARS_MAX: Final = 64

T = TypeVar("T")
Members = dict[str, msgspec.Raw]
Count = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]

_NULL: Final = msgspec.Raw(b"null")
_members: Final = msgspec.json.Decoder(Members).decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_whole: Final = msgspec.json.Decoder(int, strict=False).decode


class UsualDetails(msgspec.Struct, gc=False):
    """Parts of a count, as nearly all chat providers name them."""

    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    cache_write_1h_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cache_read_tokens: msgspec.Raw | None = None
    cache_creation_tokens: msgspec.Raw | None = None
    thinking_tokens: msgspec.Raw | None = None

    @property
    def is_plain(self) -> bool:
        """Whether only the usual names are used."""
        return (
            self.cache_read_tokens is None
            and self.cache_creation_tokens is None
            and self.thinking_tokens is None
        )


class UsualUsage(msgspec.Struct, gc=False):
    """Usage of the shape that nearly all chat answers have.

    The members of type Raw are never read: that one is there sends the object to `read_usage`.
    """

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    prompt_tokens_details: UsualDetails | None = None
    completion_tokens_details: UsualDetails | None = None
    cost: msgspec.Raw = msgspec.Raw()
    cached_tokens: msgspec.Raw | None = None
    num_cached_tokens: msgspec.Raw | None = None
    reasoning_tokens: msgspec.Raw | None = None
    cache_read_input_tokens: msgspec.Raw | None = None
    cache_creation_input_tokens: msgspec.Raw | None = None
    cache_creation: msgspec.Raw | None = None
    cost_in_usd_ticks: msgspec.Raw | None = None

    @property
    def is_plain(self) -> bool:
        """Whether only the usual names are used."""
        return (
            self.cached_tokens is None
            and self.num_cached_tokens is None
            and self.reasoning_tokens is None
            and self.cache_read_input_tokens is None
            and self.cache_creation_input_tokens is None
            and self.cache_creation is None
            and self.cost_in_usd_ticks is None
        )


_fast_path: Final = msgspec.json.Decoder(UsualUsage).decode


class MessagesUsage(msgspec.Struct, gc=False):
    """Usage as Anthropic's Messages count it; None is what was not said.

    `input_tokens` leaves out what was cached; `output_tokens` holds what was thought.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    thinking_tokens: int | None = None


class _Family(NamedTuple):
    """How one API names its counts. The details of a count stand in a group of their own."""

    prompt: str
    completion: str
    total: str
    prompt_details: str
    completion_details: str
    is_cache_inside: bool
    is_reasoning_inside: bool


_FAMILIES: Final = (
    _Family(
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        is_cache_inside=True,
        is_reasoning_inside=True,
    ),
    _Family(
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "input_tokens_details",
        "output_tokens_details",
        is_cache_inside=False,
        is_reasoning_inside=True,
    ),
    _Family(
        "promptTokenCount",
        "candidatesTokenCount",
        "totalTokenCount",
        "",
        "",
        is_cache_inside=True,
        is_reasoning_inside=False,
    ),
    _Family(
        "prompt_token_count",
        "candidates_token_count",
        "total_token_count",
        "",
        "",
        is_cache_inside=True,
        is_reasoning_inside=False,
    ),
    # Bedrock's Converse.
    _Family(
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "",
        "",
        is_cache_inside=False,
        is_reasoning_inside=True,
    ),
    # Ollama's native counts.
    _Family(
        "prompt_eval_count",
        "eval_count",
        "total_tokens",
        "",
        "",
        is_cache_inside=True,
        is_reasoning_inside=True,
    ),
)
# Names of what was cached, all of them inside the prompt …
_READ_INSIDE: Final = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "cachedContentTokenCount",
    "cached_content_token_count",
    "num_cached_tokens",
)
# … and those that Anthropic and Bedrock use, who count it beside.
_READ_BESIDE: Final = ("cache_read_input_tokens", "cacheReadInputTokens")
_WRITTEN_BESIDE: Final = ("cache_creation_input_tokens", "cacheWriteInputTokens")
_WRITTEN_INSIDE: Final = ("cache_write_tokens", "cache_creation_tokens")
_REASONING: Final = (
    "reasoning_tokens",
    "thinking_tokens",
    "thoughtsTokenCount",
    "thoughts_token_count",
)
_TOOL_PROMPT: Final = ("toolUsePromptTokenCount", "tool_use_prompt_token_count")


class _Cache(NamedTuple):
    """What was read from and written to a cache, and how much of it stands beside the prompt."""

    read: int
    written: int
    written_1h: int
    beside: int


def usual_usage(usage: UsualUsage) -> TokenUsage | None:
    """Read usage of the usual shape; None where its counts or names have to be looked at closer."""
    taken, produced = usage.prompt_tokens_details, usage.completion_tokens_details
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    reasoning, cached, written, hour = 0, usage.prompt_cache_hit_tokens, 0, 0
    if produced is not None:
        reasoning = produced.reasoning_tokens or 0
    if taken is not None:
        cached = cached if taken.cached_tokens is None else taken.cached_tokens
        written = taken.cache_write_tokens or 0
        hour = taken.cache_write_1h_tokens or 0
    if (
        (usage.total_tokens or 0) > prompt + completion
        or reasoning > completion
        or not usage.is_plain
        or (taken is not None and not taken.is_plain)
        or (produced is not None and not produced.is_plain)
    ):
        return None
    return TokenUsage(
        prompt,
        cached or 0,
        written,
        completion,
        reasoning,
        cache_write_1h_tokens=hour,
        reported_cost_pico=_reported_cost(usage.cost) if len(usage.cost) else -1,
    )


def read_usage(raw: bytes) -> TokenUsage | None:
    """Read a usage object of any shape we know; None when it says nothing; never raises."""
    usual = tried(_fast_path, msgspec.Raw(raw))
    found = None if usual is None else usual_usage(usual)
    return _read_closely(raw) if found is None else found


def _read_closely(raw: bytes) -> TokenUsage | None:
    usage = _object(msgspec.Raw(raw))
    if usage is None:
        return None
    family = next((one for one in _FAMILIES if _is_said(usage, one)), _FAMILIES[0])
    prompt, completion = _first(usage, family.prompt), _first(usage, family.completion)
    total = _first(usage, family.total)
    hit, miss = _first(usage, "prompt_cache_hit_tokens"), _first(usage, "prompt_cache_miss_tokens")
    if prompt is None and hit is not None and miss is not None:
        prompt = hit + miss
    if prompt is None and completion is None:
        return None
    cache = _cached(usage, family, (prompt or 0, completion or 0, total))
    if prompt is not None:
        prompt += cache.beside
        if not family.is_reasoning_inside:
            prompt += _first(usage, *_TOOL_PROMPT) or 0
    produced = _inner(usage, family.completion_details)
    reasoning = _first(produced, *_REASONING)
    if reasoning is None:
        reasoning = _first(usage, *_REASONING) or 0
    prompt, completion, is_estimated = _reconciled(
        prompt, completion, reasoning, total, is_inside=family.is_reasoning_inside
    )
    return TokenUsage(
        prompt_tokens=min(prompt, TOKENS_MAX),
        cached_prompt_tokens=cache.read,
        cache_write_tokens=cache.written,
        completion_tokens=min(completion, TOKENS_MAX),
        reasoning_tokens=reasoning,
        is_estimated=is_estimated,
        cache_write_1h_tokens=cache.written_1h,
        reported_cost_pico=_reported(usage),
    )


def _is_said(usage: Members, family: _Family) -> bool:
    return _first(usage, family.prompt) is not None or _first(usage, family.completion) is not None


def _cached(usage: Members, family: _Family, counts: tuple[int, int, int | None]) -> _Cache:
    """Read what was cached; `counts` are prompt, completion and total as they were said."""
    details = _inner(usage, family.prompt_details)
    read = _first(details, "cached_tokens", "cache_read_tokens")
    written = _first(details, *_WRITTEN_INSIDE)
    is_detailed = read is not None or written is not None
    if read is None:
        read = _first(usage, *_READ_INSIDE)
        is_detailed = read is not None
    beside_read, beside_written = _first(usage, *_READ_BESIDE), _first(usage, *_WRITTEN_BESIDE)
    by_time = _inner(usage, "cache_creation")
    hour = _first(details, "cache_write_1h_tokens")
    if hour is None:
        hour = _first(by_time, "ephemeral_1h_input_tokens") or 0
    timed = hour + (_first(by_time, "ephemeral_5m_input_tokens") or 0)
    if beside_read is None and beside_written is None and not timed:
        return _Cache(read or 0, written or 0, hour, 0)
    # Where both are there the newer name repeats the older one.
    read = beside_read or 0 if read is None else read
    written = max(beside_written or 0, timed) if written is None else written
    prompt, completion, total = counts
    is_inside = family.is_cache_inside or is_detailed
    if read + written > prompt:
        is_inside = False
    elif total == prompt + completion:
        is_inside = True
    elif total == prompt + read + written + completion:
        is_inside = False
    return _Cache(read, written, hour, 0 if is_inside else read + written)


def _reconciled(
    prompt: int | None,
    completion: int | None,
    reasoning: int,
    total: int | None,
    *,
    is_inside: bool,
) -> tuple[int, int, bool]:
    """Give prompt, completion and whether they are in doubt, such that they come to the total.

    A total below its parts, or far above them, is not believed.
    """
    if prompt is None or completion is None:
        return (*_completed(prompt, completion, reasoning, total), False)
    if not is_inside:
        completion += reasoning
        reasoning = 0
    unnamed = 0 if total is None else total - prompt - completion
    if unnamed <= 0 or unnamed > UNNAMED_TOKENS_MAX + reasoning:
        # Reasoning that exceeds what holds it is cut to it, and doubted.
        return prompt, completion, reasoning > completion
    # What no part names was written by the model: several leave what it thought out of the parts.
    return prompt, completion + unnamed, unnamed != reasoning


def _completed(
    prompt: int | None, completion: int | None, reasoning: int, total: int | None
) -> tuple[int, int]:
    """Give the part that was not said, as what the other one leaves of the total."""
    known = (prompt or 0) + (completion or 0)
    missing = 0 if total is None else total - known
    if not 0 < missing <= UNNAMED_TOKENS_MAX:
        missing = 0
    if prompt is None:
        return missing, completion or 0
    return prompt, missing or reasoning


# ---------------------------------------------------------------------- Anthropic's Messages


def messages_usage(raw: msgspec.Raw) -> MessagesUsage | None:
    """Read the usage of a message or of one of its events; None when there is none."""
    usage = _object(raw)
    if usage is None:
        return None
    by_time = _inner(usage, "cache_creation")
    return MessagesUsage(
        _first(usage, "input_tokens"),
        _first(usage, "output_tokens"),
        _first(usage, "cache_read_input_tokens"),
        _first(usage, "cache_creation_input_tokens"),
        _first(by_time, "ephemeral_5m_input_tokens"),
        _first(by_time, "ephemeral_1h_input_tokens"),
        _first(_inner(usage, "output_tokens_details"), "thinking_tokens", "reasoning_tokens"),
    )


def merged(known: MessagesUsage, said: MessagesUsage) -> MessagesUsage:
    """Take the newer count of each kind: counts are cumulative, so they are never added.

    Some servers say zero at the end for what they counted at the beginning: where the prompt
    would shrink by it, zeros count as not said.
    """
    pairs = list(zip(msgspec.structs.astuple(known), msgspec.structs.astuple(said), strict=True))
    newer = MessagesUsage(*[old if new is None else new for old, new in pairs])
    if _prompt_of(newer) >= _prompt_of(known):
        return newer
    kept = [new or old for old, new in pairs]
    kept[1] = newer.output_tokens
    return MessagesUsage(*kept)


def _prompt_of(usage: MessagesUsage) -> int:
    written = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    return (
        (usage.input_tokens or 0) + (usage.cache_read or 0) + max(usage.cache_write or 0, written)
    )


def neutral_usage(usage: MessagesUsage) -> dict[str, object]:
    """Count as OpenAI does: the prompt with all that was cached."""
    read = usage.cache_read or 0
    hour = usage.cache_write_1h or 0
    written = max(usage.cache_write or 0, hour + (usage.cache_write_5m or 0))
    prompt = (usage.input_tokens or 0) + read + written
    completion = usage.output_tokens or 0
    details: dict[str, int] = {"cached_tokens": read, "cache_write_tokens": written}
    if hour:
        details["cache_write_1h_tokens"] = hour
    said: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
    }
    if usage.thinking_tokens:
        said["completion_tokens_details"] = {"reasoning_tokens": usage.thinking_tokens}
    return said


# ---------------------------------------------------------------------- members


def tried(decode: Callable[[msgspec.Raw], T], raw: msgspec.Raw) -> T | None:
    """Decode, or give None for what cannot be."""
    try:
        return decode(raw)
    except (ValueError, RecursionError):
        return None


def _object(raw: msgspec.Raw) -> Members | None:
    """Give the members of an object, or of the last one in a list."""
    usage = tried(_members, raw)
    if usage is None:
        rows = tried(_rows, raw)
        usage = tried(_members, rows[-1]) if rows else None
    return usage


def _inner(members: Members, name: str) -> Members:
    return tried(_members, members.get(name, _NULL)) or {}


def _first(members: Members, *names: str) -> int | None:
    """Give the first of these counts that is there and can be one."""
    for name in names:
        raw = members.get(name)
        count = None if raw is None else tried(_whole, raw)
        if count is not None and 0 <= count <= TOKENS_MAX:
            return count
    return None


def _reported(usage: Members) -> int:
    """Read the cost in US dollars that a provider reports, as pico-USD; -1 for none."""
    raw = usage.get("cost")
    if raw is not None:
        return _reported_cost(raw)
    ticks = tried(_whole, usage.get("cost_in_usd_ticks", _NULL))
    pico = -1 if ticks is None else ticks * 10**TICK_DIGITS
    return pico if 0 <= pico <= REPORTED_PICO_MAX else -1


def _reported_cost(raw: msgspec.Raw) -> int:
    """Read a cost, which Perplexity itemises."""
    itemised = tried(_members, raw)
    return _dollars(raw if itemised is None else itemised.get("total_cost", _NULL))


def _dollars(raw: msgspec.Raw) -> int:
    text = bytes(raw)
    if len(text) > USD_CHARS_MAX:
        return -1
    try:
        dollars = Decimal(text.decode("ascii").strip('"'))
        pico = int(dollars.scaleb(PICO_DIGITS).to_integral_value(ROUND_HALF_UP))
    except (ArithmeticError, ValueError):
        return -1
    return pico if 0 <= pico <= REPORTED_PICO_MAX else -1

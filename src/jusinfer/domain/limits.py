"""Limits by the minute and at once, and spend limits, as a principal carries them.

All that apply to a key apply at once: its own, its member's and its tenant's; the tightest wins.
"""

import enum

import msgspec


class LimitKind(enum.StrEnum):
    """What a limit counts: requests or tokens by the UTC minute, or requests at once."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class SpendLimitAction(enum.StrEnum):
    """What happens when a spend limit is reached."""

    WARN = "warn"
    CHEAPEST = "cheapest"
    SLOW = "slow"
    STOP = "stop"


class Limit(msgspec.Struct, frozen=True):
    """One limit of a tenant, member or key."""

    scope: str
    scope_id: str
    kind: str
    amount: int


class LimitStatus(msgspec.Struct, frozen=True):
    """What a worker knows is left of a limit by the minute, and in how many seconds that ends."""

    kind: str
    amount: int
    remaining: int
    reset_seconds: int


class KeyRates(msgspec.Struct, frozen=True):
    """Requests and tokens per minute of a key that has none of its own; 0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


class QuotaGrant(msgspec.Struct, frozen=True):
    """What the database granted of one limit, what is left there, and of the minute."""

    granted: int
    remaining: int
    left_ms: int


class QuotaRequest(msgspec.Struct, frozen=True):
    """How many permits of a limit are needed at least, and how many would be taken."""

    limit: Limit
    need: int
    want: int


class SpendLimit(msgspec.Struct, frozen=True):
    """A spend limit by period. `threshold` is the last per cent announced: 0, 50, 80 or 100."""

    spend_limit_id: str
    scope: str
    period: str
    action: str
    threshold: int
    resets_at: int


def with_key_rates(
    limits: tuple[Limit, ...],
    key_id: str,
    requests: int | None,
    tokens: int | None,
    default: KeyRates,
) -> tuple[Limit, ...]:
    """Return the limits with those that a key was issued with, or else the default ones.

    Of two limits of a key that count the same the tighter one is kept.
    """
    for kind, own, common in (
        (LimitKind.REQUESTS, requests, default.requests_per_minute),
        (LimitKind.TOKENS, tokens, default.tokens_per_minute),
    ):
        beside = [one for one in limits if one.scope == "key" and one.kind == kind]
        amounts = [one.amount for one in beside]
        if own is not None:
            amounts.append(own)
        elif not amounts and common:
            amounts.append(common)
        if amounts:
            tightest = Limit("key", key_id, kind.value, min(amounts))
            limits = (*[one for one in limits if one not in beside], tightest)
    return limits


def is_reached(
    spend_limits: tuple[SpendLimit, ...], action: SpendLimitAction, epoch_seconds: int
) -> bool:
    """Tell whether a spend limit of an action has been reached in its present period."""
    return any(
        spend_limit.action == action
        and spend_limit.threshold >= 100  # noqa: PLR2004 (per cent)
        and epoch_seconds < spend_limit.resets_at
        for spend_limit in spend_limits
    )


def most_consumed(spend_limits: tuple[SpendLimit, ...], epoch_seconds: int) -> SpendLimit | None:
    """Give the spend limit that is nearest to its end among those that announced a threshold."""
    told = [
        spend_limit
        for spend_limit in spend_limits
        if spend_limit.threshold > 0 and epoch_seconds < spend_limit.resets_at
    ]
    return max(told, key=lambda spend_limit: spend_limit.threshold, default=None)

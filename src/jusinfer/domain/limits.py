"""Limits by the minute and at once, and caps on spending, as a principal carries them.

All that apply to a key apply at once: its own, its member's and its tenant's; the tightest wins.
"""

import enum

import msgspec


class LimitKind(enum.StrEnum):
    """What a limit counts: requests or tokens by the UTC minute, or requests at once."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class CapAction(enum.StrEnum):
    """What happens when a cap is reached."""

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
    """A cap on spending by period. `threshold` is the last per cent announced: 0, 50, 80 or 100."""

    cap_id: str
    scope: str
    period: str
    action: str
    threshold: int
    resets_at: int


def is_reached(caps: tuple[SpendLimit, ...], action: CapAction, epoch_seconds: int) -> bool:
    """Tell whether a cap of an action has been reached in its present period."""
    return any(
        cap.action == action and cap.threshold >= 100 and epoch_seconds < cap.resets_at  # noqa: PLR2004 (per cent)
        for cap in caps
    )


def most_consumed(caps: tuple[SpendLimit, ...], epoch_seconds: int) -> SpendLimit | None:
    """Give the cap that is nearest to its end among those that announced a threshold."""
    told = [cap for cap in caps if cap.threshold > 0 and epoch_seconds < cap.resets_at]
    return max(told, key=lambda cap: cap.threshold, default=None)

"""Who pays for what when an answer is cut short: one table, executed by the gateway.

Two rules stand above it. Without a token of output nothing is charged, and an answer that its
provider itself ends as an error costs nothing; what either cost us is counted apart.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Price
from jusinfer.domain.money import PicoUsd
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.usage import Outcome, TokenUsage


class EndCause(enum.StrEnum):
    """What ended a request before its answer was whole."""

    CLIENT_LEFT = "the client left"
    UPSTREAM_REFUSED = "the upstream refused"
    UPSTREAM_STALLED = "the upstream fell silent"
    UPSTREAM_CUT = "the upstream's connection broke"
    UPSTREAM_ERROR = "the upstream reported an error"
    GATEWAY_STOPPED = "the gateway was stopped"
    WORKER_KILLED = "the gateway worker was killed"


class StreamPhase(enum.StrEnum):
    """How far the answer had come."""

    BEFORE_DISPATCH = "before dispatch"
    BEFORE_FIRST_TOKEN = "before the first token"  # noqa: S105 (a token of text)
    MID_STREAM = "in mid-stream"
    AFTER_LAST_TOKEN = "after the last token"  # noqa: S105 (a token of text)


class BillingRule(msgspec.Struct, frozen=True):
    """What a cell says: the outcome on the receipt, and whether the client pays for tokens.

    `is_tried_again` says that another route is tried first, if the plan has one.
    """

    outcome: Outcome
    is_charged: bool
    is_tried_again: bool = False


_LEFT: Final = Outcome.CUT_BY_CLIENT
_AGAIN: Final = True

RULES: Final[Mapping[tuple[EndCause, StreamPhase], BillingRule]] = {
    (EndCause.CLIENT_LEFT, StreamPhase.BEFORE_DISPATCH): BillingRule(_LEFT, is_charged=False),
    (EndCause.CLIENT_LEFT, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(_LEFT, is_charged=False),
    (EndCause.CLIENT_LEFT, StreamPhase.MID_STREAM): BillingRule(_LEFT, is_charged=True),
    (EndCause.CLIENT_LEFT, StreamPhase.AFTER_LAST_TOKEN): BillingRule(_LEFT, is_charged=True),
    (EndCause.UPSTREAM_REFUSED, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.UPSTREAM_REFUSED, is_charged=False, is_tried_again=_AGAIN
    ),
    (EndCause.UPSTREAM_STALLED, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.UPSTREAM_STALLED, is_charged=False, is_tried_again=_AGAIN
    ),
    (EndCause.UPSTREAM_STALLED, StreamPhase.MID_STREAM): BillingRule(
        Outcome.UPSTREAM_STALLED, is_charged=True
    ),
    (EndCause.UPSTREAM_STALLED, StreamPhase.AFTER_LAST_TOKEN): BillingRule(
        Outcome.UPSTREAM_STALLED, is_charged=True
    ),
    (EndCause.UPSTREAM_CUT, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.UPSTREAM_FAILED, is_charged=False, is_tried_again=_AGAIN
    ),
    (EndCause.UPSTREAM_CUT, StreamPhase.MID_STREAM): BillingRule(
        Outcome.UPSTREAM_CUT, is_charged=True
    ),
    (EndCause.UPSTREAM_CUT, StreamPhase.AFTER_LAST_TOKEN): BillingRule(
        Outcome.COMPLETED, is_charged=True
    ),
    (EndCause.UPSTREAM_ERROR, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.UPSTREAM_FAILED, is_charged=False, is_tried_again=_AGAIN
    ),
    (EndCause.UPSTREAM_ERROR, StreamPhase.MID_STREAM): BillingRule(
        Outcome.UPSTREAM_FAILED, is_charged=False
    ),
    (EndCause.UPSTREAM_ERROR, StreamPhase.AFTER_LAST_TOKEN): BillingRule(
        Outcome.UPSTREAM_FAILED, is_charged=False
    ),
    (EndCause.GATEWAY_STOPPED, StreamPhase.BEFORE_DISPATCH): BillingRule(
        Outcome.GATEWAY_STOPPED, is_charged=False
    ),
    (EndCause.GATEWAY_STOPPED, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.GATEWAY_STOPPED, is_charged=False
    ),
    (EndCause.GATEWAY_STOPPED, StreamPhase.MID_STREAM): BillingRule(
        Outcome.GATEWAY_STOPPED, is_charged=True
    ),
    (EndCause.GATEWAY_STOPPED, StreamPhase.AFTER_LAST_TOKEN): BillingRule(
        Outcome.GATEWAY_STOPPED, is_charged=True
    ),
    (EndCause.WORKER_KILLED, StreamPhase.BEFORE_FIRST_TOKEN): BillingRule(
        Outcome.INTERRUPTED, is_charged=False
    ),
    (EndCause.WORKER_KILLED, StreamPhase.MID_STREAM): BillingRule(
        Outcome.INTERRUPTED, is_charged=False
    ),
    (EndCause.WORKER_KILLED, StreamPhase.AFTER_LAST_TOKEN): BillingRule(
        Outcome.INTERRUPTED, is_charged=False
    ),
}

# What ends well is charged; an outcome that a row of the table does not charge, none may.
CHARGED: Final = frozenset(
    {
        Outcome.COMPLETED,
        Outcome.LENGTH,
        *(rule.outcome for rule in RULES.values() if rule.is_charged),
    }
)


def billing_rule(cause: EndCause, phase: StreamPhase) -> BillingRule:
    """Return the rule of a cell; raises KeyError for one that cannot be."""
    return RULES[cause, phase]


def billable_cost_pico(price: Price, usage: TokenUsage, *, is_charged: bool) -> PicoUsd:
    """Return what the client pays: nothing without output, nothing where a rule does not charge.

    A model whose output has no price makes none: embeddings are paid for by their input.
    """
    if not is_charged or (usage.completion_tokens == 0 and price.output_micro_per_mtok > 0):
        return PicoUsd(0)
    return cost_pico(price, usage)

"""Who pays for what when a completion is cut short: one table, read by the gateway and the docs.

Two rules stand above it. Without a token of output nothing is charged, and an answer that its
upstream itself ends as an error costs nothing; what either cost the house is counted apart.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Price
from jusinfer.domain.money import PicoUsd
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.usage import Outcome, TokenUsage


class Cause(enum.StrEnum):
    """What ended a completion."""

    CALLER_LEFT = "the caller left"
    UPSTREAM_REFUSED = "the upstream refused"
    UPSTREAM_STALLED = "the upstream fell silent"
    UPSTREAM_CUT = "the upstream's connection broke"
    UPSTREAM_ERROR = "the upstream reported an error"
    GATEWAY_STOPPED = "the gateway was stopped"
    WORKER_KILLED = "the gateway worker was killed"


class Point(enum.StrEnum):
    """How far the answer had come."""

    BEFORE_DISPATCH = "before dispatch"
    BEFORE_FIRST_TOKEN = "before the first token"  # noqa: S105 (a token of text)
    MID_STREAM = "in mid-stream"
    AFTER_LAST_TOKEN = "after the last token"  # noqa: S105 (a token of text)


class Rule(msgspec.Struct, frozen=True):
    """What a cell says: the outcome on the receipt, and whether the caller pays for tokens.

    `is_tried_again` says that another route is tried first, if the plan has one.
    """

    outcome: Outcome
    is_charged: bool
    is_tried_again: bool = False


_LEFT: Final = Outcome.CUT_BY_CALLER
_AGAIN: Final = True

RULES: Final[Mapping[tuple[Cause, Point], Rule]] = {
    (Cause.CALLER_LEFT, Point.BEFORE_DISPATCH): Rule(_LEFT, is_charged=False),
    (Cause.CALLER_LEFT, Point.BEFORE_FIRST_TOKEN): Rule(_LEFT, is_charged=False),
    (Cause.CALLER_LEFT, Point.MID_STREAM): Rule(_LEFT, is_charged=True),
    (Cause.CALLER_LEFT, Point.AFTER_LAST_TOKEN): Rule(_LEFT, is_charged=True),
    (Cause.UPSTREAM_REFUSED, Point.BEFORE_FIRST_TOKEN): Rule(
        Outcome.UPSTREAM_REFUSED, is_charged=False, is_tried_again=_AGAIN
    ),
    (Cause.UPSTREAM_STALLED, Point.BEFORE_FIRST_TOKEN): Rule(
        Outcome.UPSTREAM_STALLED, is_charged=False, is_tried_again=_AGAIN
    ),
    (Cause.UPSTREAM_STALLED, Point.MID_STREAM): Rule(Outcome.UPSTREAM_STALLED, is_charged=True),
    (Cause.UPSTREAM_STALLED, Point.AFTER_LAST_TOKEN): Rule(
        Outcome.UPSTREAM_STALLED, is_charged=True
    ),
    (Cause.UPSTREAM_CUT, Point.BEFORE_FIRST_TOKEN): Rule(
        Outcome.UPSTREAM_FAILED, is_charged=False, is_tried_again=_AGAIN
    ),
    (Cause.UPSTREAM_CUT, Point.MID_STREAM): Rule(Outcome.UPSTREAM_CUT, is_charged=True),
    (Cause.UPSTREAM_CUT, Point.AFTER_LAST_TOKEN): Rule(Outcome.COMPLETED, is_charged=True),
    (Cause.UPSTREAM_ERROR, Point.BEFORE_FIRST_TOKEN): Rule(
        Outcome.UPSTREAM_FAILED, is_charged=False, is_tried_again=_AGAIN
    ),
    (Cause.UPSTREAM_ERROR, Point.MID_STREAM): Rule(Outcome.UPSTREAM_FAILED, is_charged=False),
    (Cause.UPSTREAM_ERROR, Point.AFTER_LAST_TOKEN): Rule(Outcome.UPSTREAM_FAILED, is_charged=False),
    (Cause.GATEWAY_STOPPED, Point.BEFORE_DISPATCH): Rule(Outcome.GATEWAY_STOPPED, is_charged=False),
    (Cause.GATEWAY_STOPPED, Point.BEFORE_FIRST_TOKEN): Rule(
        Outcome.GATEWAY_STOPPED, is_charged=False
    ),
    (Cause.GATEWAY_STOPPED, Point.MID_STREAM): Rule(Outcome.GATEWAY_STOPPED, is_charged=True),
    (Cause.GATEWAY_STOPPED, Point.AFTER_LAST_TOKEN): Rule(Outcome.GATEWAY_STOPPED, is_charged=True),
    (Cause.WORKER_KILLED, Point.BEFORE_FIRST_TOKEN): Rule(Outcome.INTERRUPTED, is_charged=False),
    (Cause.WORKER_KILLED, Point.MID_STREAM): Rule(Outcome.INTERRUPTED, is_charged=False),
    (Cause.WORKER_KILLED, Point.AFTER_LAST_TOKEN): Rule(Outcome.INTERRUPTED, is_charged=False),
}

# Outcomes for which nothing is ever charged, whatever was produced.
FREE: Final = frozenset({Outcome.UPSTREAM_REFUSED, Outcome.UPSTREAM_FAILED, Outcome.INTERRUPTED})


def judge(cause: Cause, point: Point) -> Rule:
    """Give the rule of a cell; raises KeyError for one that cannot be."""
    return RULES[cause, point]


def billed_pico(price: Price, usage: TokenUsage, outcome: Outcome) -> PicoUsd:
    """Give what the caller pays for an outcome: nothing without output, nothing for an error.

    A model whose output has no price makes none: embeddings are paid for by their input.
    """
    if outcome in FREE or (usage.completion_tokens == 0 and price.output_micro_per_mtok > 0):
        return PicoUsd(0)
    return cost_pico(price, usage)

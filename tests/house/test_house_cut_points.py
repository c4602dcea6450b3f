"""The page on cut points says what the gateway does, cell by cell."""

from pathlib import Path

import pytest

from jusinfer.domain.billing_rules import (
    CHARGED,
    RULES,
    EndCause,
    StreamPhase,
    billable_cost_pico,
    billing_rule,
)
from jusinfer.domain.catalog import Price
from jusinfer.domain.usage import Outcome, TokenUsage

PAGE = Path(__file__).parents[2] / "docs" / "cut-points.md"
USAGE = TokenUsage(prompt_tokens=3, completion_tokens=2)


def cells() -> list[list[str]]:
    lines = PAGE.read_text().split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in rows if row[0] != "what happened" and not row[0].startswith("---")]


def test_the_page_and_the_table_have_the_same_cells() -> None:
    assert [(row[0], row[1]) for row in cells()] == [
        (cause.value, point.value) for cause, point in RULES
    ]


@pytest.mark.parametrize("row", cells(), ids=lambda row: f"{row[0]}, {row[1]}")
def test_a_cell_of_the_page_says_what_the_table_does(row: list[str]) -> None:
    rule = billing_rule(EndCause(row[0]), StreamPhase(row[1]))
    assert rule.outcome == row[3]
    assert rule.is_charged == row[2].startswith("for what")
    assert rule.is_tried_again == ("another route" in row[2])


def test_an_outcome_is_charged_only_where_a_row_charges_it_and_never_without_output() -> None:
    price = Price(10, 20)
    for rule in RULES.values():
        assert rule.outcome in CHARGED or not rule.is_charged
    assert {Outcome.UPSTREAM_REFUSED, Outcome.UPSTREAM_FAILED, Outcome.INTERRUPTED}.isdisjoint(
        CHARGED
    )
    assert billable_cost_pico(price, USAGE, is_charged=True) == 70
    assert billable_cost_pico(price, USAGE, is_charged=False) == 0
    assert billable_cost_pico(price, TokenUsage(prompt_tokens=9), is_charged=True) == 0

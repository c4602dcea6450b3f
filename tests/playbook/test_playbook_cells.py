"""Every cell of who pays at a cut, for plain answers and streams, with retry and hedge."""

import pytest
from tests.playbook import script
from tests.playbook.steps import (
    Step,
    answers,
    arrives,
    begins,
    breaks,
    fails,
    leaves,
    passes,
    stops,
    streams,
)
from tests.playbook.world import FULL_NANO, Playbook

from jusinfer.domain.billing_rules import RULES, EndCause, StreamPhase
from jusinfer.domain.usage import Outcome

ONE, TWO = script.text("one"), script.text("two")
ADMITTED = "admitted up to 240000"
STREAM = {"is_stream": True}


# ---------------------------------------------------------------------- who pays, cell by cell


def in_phase(phase: StreamPhase, *, is_stream: bool) -> Playbook:
    """Bring a request so far as a phase says; one route, tried once."""
    world = Playbook(is_stream=is_stream, attempts_max=1) >> arrives
    if phase is not StreamPhase.BEFORE_FIRST_TOKEN:
        last = (script.STOP,) if phase is StreamPhase.AFTER_LAST_TOKEN else ()
        world >> streams(ONE, TWO, *last)
    world.effects.clear()
    return world


ERROR = streams('{"error":{"message":"x","code":500}}')
CAUSES = {
    EndCause.CLIENT_LEFT: leaves,
    EndCause.UPSTREAM_REFUSED: fails(400, is_clients_fault=True),
    EndCause.UPSTREAM_STALLED: passes(31),
    EndCause.UPSTREAM_CUT: breaks(),
    EndCause.UPSTREAM_ERROR: fails(500),
    EndCause.GATEWAY_STOPPED: stops,
}


def cause_in(cause: EndCause, phase: StreamPhase) -> Step:
    is_event = cause is EndCause.UPSTREAM_ERROR and phase is not StreamPhase.BEFORE_FIRST_TOKEN
    return ERROR if is_event else CAUSES[cause]


CELLS = [
    (cause, phase, is_stream)
    for (cause, phase) in RULES
    # A worker that was killed decides nothing; before dispatch a request is not admitted.
    if cause in CAUSES and phase is not StreamPhase.BEFORE_DISPATCH
    for is_stream in ((False, True) if phase is StreamPhase.BEFORE_FIRST_TOKEN else (True,))
]


@pytest.mark.parametrize(("cause", "phase", "is_stream"), CELLS)
def test_a_cell_of_the_table_is_what_happens(
    cause: EndCause, phase: StreamPhase, *, is_stream: bool
) -> None:
    rule = RULES[cause, phase]
    world = in_phase(phase, is_stream=is_stream) >> cause_in(cause, phase)
    assert world.record is not None
    assert world.record.outcome == rule.outcome
    is_delivered = phase is not StreamPhase.BEFORE_FIRST_TOKEN
    assert (world.record.charge_nano > 0) == (rule.is_charged and is_delivered)
    assert (world.record.completion_tokens > 0) == is_delivered
    ends = [one for one in world.effects if one.startswith(("finish", "show"))]
    is_left = cause is EndCause.CLIENT_LEFT
    assert len(ends) == (0 if is_left else 1)


@pytest.mark.parametrize(
    ("cause", "phase", "is_stream"), [one for one in CELLS if one[0] is not EndCause.CLIENT_LEFT]
)
@pytest.mark.parametrize("is_hedged", [False, True])
def test_a_cell_is_tried_again_where_the_table_says(
    cause: EndCause, phase: StreamPhase, *, is_stream: bool, is_hedged: bool
) -> None:
    """With a second route the cells that are tried again end well, and all others as they did."""
    rule = RULES[cause, phase]
    world = Playbook(
        is_stream=is_stream, routes=2, attempts_max=1, hedge_seconds=20.0 if is_hedged else 0.0
    )
    world >> arrives
    if phase is not StreamPhase.BEFORE_FIRST_TOKEN:
        last = (script.STOP,) if phase is StreamPhase.AFTER_LAST_TOKEN else ()
        world >> begins() >> streams(ONE, *last)
    world >> cause_in(cause, phase)
    is_tried_again = rule.is_tried_again and cause is not EndCause.UPSTREAM_REFUSED
    assert (world.record is None) == is_tried_again
    if is_tried_again:
        assert world.attempts[-1].index == 1
        ending = streams(ONE, script.STOP, script.USAGE, script.DONE) if is_stream else answers()
        world >> ending
        assert world.record is not None
        assert world.record.outcome == Outcome.COMPLETED
        assert world.record.upstream == "p1"
        assert world.charged_nano == FULL_NANO
    else:
        assert world.record is not None
        assert world.record.outcome == rule.outcome

"""A request until it is admitted, and how it ends well, without a socket."""

from tests.playbook import script
from tests.playbook.steps import (
    Answer,
    answers,
    arrives,
    begins,
    breaks,
    fails,
    gets_credit,
    gets_limits,
    is_large,
    is_read,
    is_written,
    leaves,
    passes,
    streams,
    without,
)
from tests.playbook.world import FULL_NANO, Playbook

from jusinfer.domain.catalog import Price
from jusinfer.domain.errors import Unavailable
from jusinfer.domain.limits import SpendLimit
from jusinfer.domain.usage import TokenUsage

ONE, TWO = script.text("one"), script.text("two")
ADMITTED = "admitted up to 240000"
STREAM = {"is_stream": True}


def spend_limit(action: str, threshold: int = 0) -> SpendLimit:
    return SpendLimit("c", "key", "month", action, threshold, 2_000_000_000)


# ---------------------------------------------------------------------- good ends


def test_a_plain_answer_is_settled_before_it_is_sent() -> None:
    world = Playbook()
    assert (
        world
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> answers()
        << "end completed paid"
        << "respond 200"
    )
    assert world.charged_nano == FULL_NANO
    assert world.record is not None
    assert (world.record.attempts, world.record.attempt_log) == (1, "p0:m=completed")
    assert world.body == b""


def test_an_answer_cut_by_its_budget_says_so() -> None:
    assert (
        Playbook()
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> answers(Answer("length"))
        << "end length paid"
        << "respond 200"
    )


def test_a_stream_is_sent_as_it_comes_and_settled_before_its_last_bytes() -> None:
    assert (
        Playbook(**STREAM)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> begins()
        >> streams(script.ROLE)
        >> streams(ONE)
        << "start from p0"
        << "write one"
        >> streams(TWO)
        << "write two"
        >> streams(script.STOP, script.USAGE, script.DONE)
        << "keep connection 0"
        << "end completed paid"
        << "write usage"
        << "finish"
    )


def test_a_stream_that_ends_after_its_last_token_is_whole() -> None:
    assert (
        Playbook(**STREAM)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> streams(ONE, script.STOP)
        << "start from p0"
        << "write one"
        >> breaks()
        << "keep connection 0"
        << "end completed paid"
        << "write usage"
        << "finish"
    )


def test_an_answer_that_cannot_be_written_is_not_charged() -> None:
    assert (
        Playbook(attempts_max=1)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> answers(is_unwritable=True)
        << "end upstream_failed free"
        << "show 502 upstream_failed"
    )


def test_an_answer_without_output_costs_nothing() -> None:
    assert (
        Playbook()
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> answers(Answer(usage=TokenUsage(prompt_tokens=9)))
        << "end completed free"
        << "respond 200"
    )


# ---------------------------------------------------------------------- large bodies


def test_a_large_request_is_read_and_written_beside_the_loop() -> None:
    assert (
        Playbook(routes=2, hedge_seconds=1.0)
        >> is_large
        >> arrives
        << "read"
        >> is_read
        << ADMITTED
        << "write for 0"
        >> is_written()
        << "send 0 to 0"
        >> passes(2)
        >> fails(500)
        << "write for 1"
        >> is_written(1)
        << "send 1 to 1"
        >> answers()
        << "end completed paid"
        << "respond 200"
    )


def test_a_client_that_leaves_meanwhile_is_not_asked_for() -> None:
    assert Playbook() >> is_large >> arrives << "read" >> leaves >> is_read
    assert (
        Playbook()
        >> is_large
        >> arrives
        << "read"
        >> is_read
        << ADMITTED
        << "write for 0"
        >> leaves
        << "end cut_by_client free"
        >> is_written()
    )


def test_a_fault_of_ours_ends_the_request_and_charges_nothing() -> None:
    fault = Unavailable("an internal fault")
    assert (
        Playbook()
        >> is_large
        >> arrives
        << "read"
        >> (lambda world: world.pending.failed(fault))
        << "refuse 503 unavailable"
    )
    world = Playbook(limits=True) >> is_large >> arrives << "read" >> is_read
    assert (
        world
        << ADMITTED
        << "write for 0"
        >> (lambda one: one.request.fault(fault))
        << "count 0 tokens"
        << "end gateway_stopped free"
        << "show 503 unavailable"
    )


# ---------------------------------------------------------------------- before admission


def test_a_key_without_rate_is_refused_and_nothing_was_spent() -> None:
    world = Playbook(limits=True)
    assert world >> without("rate_left") >> arrives << "refuse 429 rate_limit_exceeded"


def test_a_journal_that_cannot_be_written_refuses_and_returns_the_credit() -> None:
    world = Playbook(limits=True) >> without("journal_open") >> arrives
    assert world << "return limits" << "refuse 503 unavailable"
    assert world.charged_nano == 0


def test_limits_that_are_lent_here_are_taken_at_once_and_counted_at_the_end() -> None:
    assert (
        Playbook(limits=True)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> answers()
        << "count 11 tokens"
        << "end completed paid"
        << "respond 200"
    )


def test_limits_that_are_not_here_are_fetched() -> None:
    assert (
        Playbook(limits=True)
        >> without("limits_here")
        >> arrives
        << "fetch limits"
        >> gets_limits
        << ADMITTED
        << "send 0 to 0"
    )


def test_limits_fetched_for_a_client_that_left_are_returned() -> None:
    assert (
        Playbook(limits=True)
        >> without("limits_here")
        >> arrives
        << "fetch limits"
        >> leaves
        >> gets_limits
        << "return limits"
    )


def test_a_reached_spend_limit_delays_or_is_reserved_under() -> None:
    assert Playbook(limits=True, spend_limits=(spend_limit("slow", 100),)) >> arrives << "delay 2"
    assert (
        Playbook(limits=True, spend_limits=(spend_limit("stop"),))
        >> arrives
        << "reserve spend limits"
    )
    assert (
        Playbook(limits=True, spend_limits=(spend_limit("warn", 100),))
        >> arrives
        << ADMITTED
        << "send 0 to 0"
    )
    assert (
        Playbook(limits=True, spend_limits=(spend_limit("stop"), spend_limit("slow", 100)))
        >> arrives
        << "delay 2"
        >> (lambda world: world.pending.delayed())
        << "reserve spend limits"
        >> (lambda world: world.pending.spend_limits_reserved())
        << ADMITTED
        << "send 0 to 0"
    )


def test_what_is_free_needs_neither_credit_nor_spend_limits() -> None:
    assert (
        Playbook(price=Price(0, 0), limits=True, spend_limits=(spend_limit("stop"),))
        >> without("credit_here")
        >> arrives
        << "admitted up to 0"
        << "send 0 to 0"
        >> answers()
        << "count 11 tokens"
        << "end completed free"
        << "respond 200"
    )


def test_credit_is_borrowed_until_it_is_there_or_three_times() -> None:
    assert (
        Playbook()
        >> without("credit_here")
        >> arrives
        << "fetch credit"
        >> gets_credit()
        << ADMITTED
        << "send 0 to 0"
    )
    assert (
        Playbook()
        >> without("credit_here")
        >> arrives
        << "fetch credit"
        >> gets_credit(is_here=False)
        << "fetch credit"
        >> gets_credit(is_here=False)
        << "fetch credit"
        >> gets_credit(is_here=False)
        << "refuse 503 unavailable"
    )


def test_little_credit_cuts_a_budget_that_was_left_open_and_refuses_one_that_was_set() -> None:
    assert (
        Playbook(budget=None)
        >> without("credit_here")
        >> arrives
        << "fetch credit"
        >> gets_credit(100_000)
        << "admitted up to 100000"
        << "send 0 to 0"
    )
    assert (
        Playbook(budget=100)
        >> without("credit_here")
        >> arrives
        << "fetch credit"
        >> gets_credit(100_000)
        << "refuse 402 insufficient_credit"
    )


def test_credit_borrowed_for_a_client_that_left_stays_lent() -> None:
    world = Playbook(limits=True) >> without("credit_here") >> arrives << "fetch credit"
    assert world >> leaves >> gets_credit() << "return limits"
    assert not world.is_admitted
    assert world.charged_nano is None

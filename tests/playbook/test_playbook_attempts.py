"""Retries, failover and two attempts at once, without a socket."""

import pytest
from tests.playbook import script
from tests.playbook.steps import (
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
from tests.playbook.world import Playbook

from jusinfer.domain.tenant_policy import TenantPolicy

ONE, TWO = script.text("one"), script.text("two")
ADMITTED = "admitted up to 240000"
STREAM = {"is_stream": True}


# ---------------------------------------------------------------------- attempts


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_failed_route_gives_way_to_the_next_at_once(*, is_stream: bool) -> None:
    world = Playbook(routes=3, is_stream=is_stream)
    assert (
        world
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(500)
        << "send 1 to 1"
        >> breaks()
        << "send 2 to 2"
        >> fails(503)
        << "end upstream_failed free"
        << "show 502 upstream_failed"
    )
    assert world.record is not None
    assert world.record.attempts == 3
    assert world.record.attempt_log == (
        "p0:m=upstream_error p1:m=upstream_lost p2:m=upstream_error"
    )
    assert world.record.served_model == "m"


def test_the_last_route_is_tried_again_after_a_pause() -> None:
    assert (
        Playbook()
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(503, retry_after_seconds=3)
        >> passes(2.9)
        >> passes(0.2)
        << "send 1 to 0"
        >> answers()
        << "end completed paid"
        << "respond 200"
    )


def test_a_pause_that_is_too_long_is_left_to_the_client() -> None:
    assert (
        Playbook()
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(429, retry_after_seconds=60)
        << "end upstream_failed free"
        << "show 429 rate_limit_exceeded"
    )


def test_a_client_that_leaves_in_the_pause_is_not_asked_for() -> None:
    assert (
        Playbook()
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(503, retry_after_seconds=3)
        >> leaves
        << "end cut_by_client free"
        >> passes(10)
    )


def test_a_kept_connection_that_was_closed_costs_no_attempt_once() -> None:
    world = Playbook(attempts_max=1)
    assert (
        world
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> breaks(is_reused=True)
        << "send 1 to 0"
        >> breaks(is_reused=True)
        << "end upstream_failed free"
        << "show 502 upstream_failed"
    )
    assert world.record is not None
    assert world.record.attempts == 1


@pytest.mark.parametrize("routes", [1, 2])
def test_a_request_that_is_at_fault_is_tried_nowhere_else(routes: int) -> None:
    assert (
        Playbook(routes=routes)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(400, is_clients_fault=True)
        << "end upstream_refused free"
        << "show 400 upstream_refused"
    )


def test_an_account_that_is_used_up_is_shut_and_another_route_tried() -> None:
    world = Playbook(routes=2)
    assert (
        world
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> fails(402, is_quota=True, is_retryable=False)
        << "send 1 to 1"
    )
    assert world.health.account_shut_seconds("p0", world.now()) > 0


def test_a_route_that_cannot_carry_the_request_is_passed_over() -> None:
    assert (
        Playbook(routes=2, cannot_carry=(0,))
        >> arrives
        << ADMITTED
        << "send 0 to 1"
        >> answers()
        << "end completed paid"
        << "respond 200"
    )
    assert (
        Playbook(routes=2, cannot_carry=(0, 1))
        >> arrives
        << ADMITTED
        << "end upstream_refused free"
        << "show 400 invalid_request"
    )


def test_a_route_that_the_policy_closes_is_never_sent_to() -> None:
    policy = TenantPolicy(regions=("eu",))
    assert (
        Playbook(policy=policy)
        >> arrives
        << ADMITTED
        << "end upstream_refused free"
        << "show 403 policy_refused"
    )


# ---------------------------------------------------------------------- two attempts at once


def racing(**more: bool) -> Playbook:
    world = Playbook(routes=2, hedge_seconds=1.0, **more)  # type: ignore[arg-type]
    world >> arrives << ADMITTED << "send 0 to 0" >> passes(1.1) << "send 1 to 1"
    return world


def test_of_two_attempts_the_first_to_answer_goes_on() -> None:
    for winner, loser in ((0, 1), (1, 0)):
        world = racing()
        assert (
            world
            >> answers(number=winner)
            << f"cancel {loser}"
            << "end completed paid"
            << "respond 200"
        )
        assert world.record is not None
        assert world.record.upstream == f"p{winner}"
        assert world.record.attempt_log == f"p{loser}:m=hedged p{winner}:m=completed"


def test_a_racing_stream_names_the_route_that_answered() -> None:
    assert (
        racing(**STREAM)
        >> begins(0)
        << "cancel 1"
        >> streams(ONE, number=0)
        << "start from p0"
        << "write one"
    )


def test_an_attempt_that_falls_out_leaves_the_other() -> None:
    world = racing()
    assert world >> breaks(0) >> answers(number=1) << "end completed paid" << "respond 200"
    world = racing()
    assert (
        world
        >> breaks(1)
        >> breaks(0)
        << "send 2 to 1"
        >> answers()
        << "end completed paid"
        << "respond 200"
    )


def test_an_attempt_that_stays_silent_leaves_the_other_its_time() -> None:
    world = racing()
    assert (
        world
        >> passes(29.5)
        << "cancel 0"
        >> answers(number=1)
        << "end completed paid"
        << "respond 200"
    )


def test_no_second_attempt_with_tools_or_after_the_first_byte_or_without_a_route() -> None:
    assert (
        Playbook(routes=2, hedge_seconds=1.0, tools=1)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> passes(2)
    )
    assert (
        Playbook(routes=2, hedge_seconds=1.0)
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> begins()
        >> passes(2)
    )
    assert Playbook(hedge_seconds=1.0) >> arrives << ADMITTED << "send 0 to 0" >> passes(2)
    assert (
        Playbook(routes=2, hedge_seconds=1.0, cannot_carry=(1,))
        >> arrives
        << ADMITTED
        << "send 0 to 0"
        >> passes(2)
        >> answers()
        << "end completed paid"
        << "respond 200"
    )


def test_both_attempts_stop_when_the_client_leaves_or_the_gateway_stops() -> None:
    assert racing() >> leaves << "cancel 1" << "cancel 0" << "end cut_by_client free"
    assert (
        racing()
        >> stops
        << "cancel 1"
        << "cancel 0"
        << "end gateway_stopped free"
        << "show 503 unavailable"
    )


# ---------------------------------------------------------------------- slow and silent


def test_a_slow_client_pauses_its_provider_and_is_not_its_fault() -> None:
    world = Playbook(**STREAM) >> arrives << ADMITTED << "send 0 to 0"
    world >> streams(ONE) << "start from p0" << "write one"
    world.is_paused = True
    assert (
        world
        >> (lambda one: one.request.client_paused())
        << "pause 0"
        >> passes(19)
        >> passes(19)
        >> passes(19)
        >> (lambda one: one.request.client_resumed())
        << "resume 0"
    )

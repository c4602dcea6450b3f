"""The proof of the money path must itself be able to say that something is wrong."""

import json
from typing import Any

import pytest
from tools.prove_money.clients import Tally, token_count
from tools.prove_money.verdict import Books, Row, Steady, verdict

HEAD = "HTTP/1.1 {} X\r\nx-jusinfer-completion-id: {}\r\n"
GOOD = Row("whole", "t", "completed", 50, 90, 3)
PART = Row("part", "t", "cut_by_client", 20, 90, 2)
KILLED = Row("killed", "t", "interrupted", 0, 90, 0)
FAILED = Row("failed", "t", "upstream_failed", 0, 90, 4)
UNSEEN = Row("unseen", "t", "cut_by_client", 10, 90, 1)
STEADY = Row("steady", "n", "completed", 7, 9, 3)
ROWS = (GOOD, PART, KILLED, FAILED, UNSEEN, STEADY)


def chunk(**members: object) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def token(text: str) -> bytes:
    return chunk(choices=[{"index": 0, "delta": {"content": text}}])


def stream(completion_id: str, body: bytes) -> bytes:
    return HEAD.format(200, completion_id).encode() + b"\r\n" + body


def seen() -> Tally:
    """Give what clients of these rows saw."""
    tally = Tally()
    last = chunk(choices=[], usage={"cost": "0.00000005"}) + b"data: [DONE]\n\n"
    tally.note(stream("whole", token("a") + last), is_stream=True, has_left=False)
    tally.note(stream("part", token("a") + token("b") + b"da"), is_stream=True, has_left=True)
    tally.note(stream("killed", token("a")), is_stream=True, has_left=False)
    plain = HEAD.format(200, "steady") + "content-length: 2\r\nx-jusinfer-cost: 0.000000007\r\n"
    tally.note(plain.encode() + b"\r\n{}", is_stream=False, has_left=False)
    failed = HEAD.format(502, "failed").encode() + b"\r\n{}"
    tally.note(failed, is_stream=False, has_left=False)
    tally.note(b"", is_stream=False, has_left=True)
    return tally


def books(*rows: Row, **changes: int) -> Books:
    made = Books(list(rows), sum(row.charge_nano for row in rows), 1, 0, 0, 0, 0)
    return made._replace(**changes)


def wrong(found: Books, requests: int = 1) -> list[str]:
    steady = [Steady("n", "key", requests, 7)]
    lines = verdict(seen(), found, {"gateway": 1}, 1, steady)
    return [line.what.strip() for line in lines if line.is_wrong]


def test_nothing_is_wrong_with_books_that_say_what_clients_saw() -> None:
    tally = seen()
    assert tally.delivered == {"whole": 50, "steady": 7}
    assert tally.partly == {"part": 2, "killed": 1}
    assert tally.refused == {"failed"}
    assert (tally.left, tally.broken, tally.blind) == (2, 1, 1)
    assert tally.statuses == {200: 4, 502: 1}
    assert wrong(books(*ROWS)) == []


@pytest.mark.parametrize(
    ("row", "changes", "what"),
    [
        (GOOD, {"charge_nano": 51}, "on record at another cost"),
        (GOOD, {"completion_id": "other"}, "not on record"),
        (GOOD, {"charge_nano": 91, "bound_nano": 90}, "charged beyond their bound"),
        (PART, {"completion_tokens": 1}, "metered below what was seen"),
        (PART, {"completion_id": "other"}, "not on record"),
        (KILLED, {"charge_nano": 1}, "metered, nano-USD"),
        (KILLED, {"outcome": "upstream_cut"}, "metered below what was seen"),
        (FAILED, {"charge_nano": 1}, "metered, nano-USD"),
        (UNSEEN, {"outcome": "interrupted"}, "completions interrupted by a kill"),
        (STEADY, {"tenant_id": "t"}, "charged for more, fewer, or other"),
    ],
)
def test_a_row_that_says_otherwise_is_found(row: Row, changes: dict[str, Any], what: str) -> None:
    rows = [found._replace(**changes) if found is row else found for found in ROWS]
    assert what in wrong(books(*rows))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"charged_nano": 86}, "charged in all, nano-USD"),
        ({"overspent_nano": 1}, "overspent, nano-USD"),
        ({"open_leases": 1}, "leaked leases"),
        ({"leased_nano": 1}, "nano-USD"),
        ({"held_nano": 1}, "leaked holds, nano-USD"),
    ],
)
def test_a_sum_that_says_otherwise_is_found(changes: dict[str, int], what: str) -> None:
    assert wrong(books(*ROWS, **changes)) == [what]


def test_rows_that_stand_twice_and_rows_of_nobody_are_found() -> None:
    assert "posted twice" in wrong(books(*ROWS, GOOD))
    ghost = UNSEEN._replace(completion_id="ghost")
    assert "completions whose client learnt no id" in wrong(books(*ROWS, ghost))


def test_credit_for_two_requests_that_served_one_is_found() -> None:
    assert wrong(books(*ROWS), requests=2) == ["charged for more, fewer, or other"]


def test_a_token_whose_event_did_not_come_whole_was_not_seen() -> None:
    assert token_count(token("a") + token("b")[:-3]) == 1
    assert token_count(chunk(choices=[{"delta": {}}]) + b"data: [DONE]\n\n") == 0

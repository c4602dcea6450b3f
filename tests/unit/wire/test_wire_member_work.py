"""Members that nobody knows cost the same each, however many there are, whatever their names."""

import json
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.member_table import UNKNOWN_NOTES_MAX, table_of

NAMES = ("u{}", "!{}")
FEW, MANY = 10_000, 40_000
COMPLETIONS = ENDPOINTS["/v1/completions"].decode


@pytest.fixture(params=NAMES)
def body_of(request: pytest.FixtureRequest) -> Callable[[int], bytes]:
    def written(count: int) -> bytes:
        members = {request.param.format(at): 1 for at in range(count)}
        return json.dumps({"model": "m", "prompt": "x"} | members).encode()

    return written


def calls_of(deed: Callable[[], object]) -> dict[str, int]:
    """Count the calls of functions, of Python's and of C's, while something is done."""
    counts: dict[str, int] = {}

    def heard(frame: FrameType, event: str, what: object) -> None:
        if event == "call":
            name = frame.f_code.co_name
        elif event == "c_call":
            name = getattr(what, "__name__", "")
        else:
            return
        counts[name] = counts.get(name, 0) + 1

    before = sys.getprofile()
    sys.setprofile(heard)
    try:
        deed()
    finally:
        sys.setprofile(before)
    return counts


def test_a_legacy_body_is_decoded_at_once_not_member_by_member(
    body_of: Callable[[int], bytes],
) -> None:
    counts = [calls_of(partial(COMPLETIONS, body_of(n))) for n in (FEW, MANY)]
    assert counts[0]["decode"] == counts[1]["decode"] < 20
    few, many = (sum(count.values()) for count in counts)
    # Two for each member: it is looked up, and it is unknown.
    assert few / FEW < 3
    assert many / MANY <= few / FEW


def test_where_unknown_members_stand_is_written_for_a_few_of_them(
    body_of: Callable[[int], bytes],
) -> None:
    for count in (FEW, MANY):
        assert calls_of(partial(COMPLETIONS, body_of(count)))["shown"] <= 2 * UNKNOWN_NOTES_MAX


def test_names_that_are_not_repeated_are_noted_once_for_each_place() -> None:
    odd = {f"!{at}": 1 for at in range(3)}
    notes = table_of("chat").notes({"messages": [{"role": "user", "content": "x"} | odd], **odd})
    assert {note.path for note in notes} == {"a member", "messages[0].a member"}


def test_a_member_at_fault_among_many_is_named() -> None:
    body = b'{"model":"m","prompt":"x","u":1,"user":"\\ud800","z":2}'
    with pytest.raises(InvalidRequest) as refused:
        COMPLETIONS(body)
    assert refused.value.param == "user"

"""Calls of one choice, however their deltas are mixed: each is written whole before the next."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from jusinfer.wire.upstream.chat_calls import CallTracker

ARGUMENTS = ('{"city":"Paris"}', '{"path":"a }{ \\" b","depth":[1,{"x":2}]}', "[]", '"text"')


def delta(number: int, given_text: str, *, is_first: bool) -> msgspec.Raw:
    row: dict[str, Any] = {"index": number, "function": {"arguments": given_text}}
    if is_first:
        row |= {"id": f"call_{number}", "type": "function"}
        row["function"]["name"] = f"tool_{number}"
    return msgspec.Raw(msgspec.json.encode(row))


@given(st.data())
def test_mixed_calls_are_written_one_after_another(data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(ARGUMENTS), min_size=1, max_size=5))
    left = dict(enumerate(wanted))
    begun: set[int] = set()
    tracker = CallTracker(b"seed")
    rows: list[Any] = []
    while left:
        waiting = [number for number in left if number in begun]
        new = [number for number in left if number not in begun][:1]
        number = data.draw(st.sampled_from(waiting + new))
        size = data.draw(st.integers(1 if number in begun else 0, len(left[number])))
        row = delta(number, left[number][:size], is_first=number not in begun)
        begun.add(number)
        left[number] = left[number][size:]
        if not left[number]:
            del left[number]
        rows += tracker.take([row])
    rows += tracker.finish()
    written = [json.loads(bytes(row)) for row in rows]
    order = [row["index"] for row in written]
    assert order == sorted(order)
    for number, arguments in enumerate(wanted):
        own = [row for row in written if row["index"] == number]
        assert own[0]["id"] == f"call_{number}"
        assert "".join(row["function"]["arguments"] for row in own) == arguments


def test_a_call_without_arguments_holds_the_next_only_to_the_end() -> None:
    tracker = CallTracker(b"seed")
    rows = tracker.take([delta(0, "", is_first=True)])
    rows += tracker.take([delta(1, '{"a":', is_first=True)])
    rows += tracker.take([delta(1, "1}", is_first=False)])
    rows += tracker.finish()
    written = [json.loads(bytes(row)) for row in rows]
    assert [(row["index"], row["function"]["arguments"]) for row in written] == [
        (0, ""),
        (0, "{}"),
        (1, '{"a":1}'),
    ]

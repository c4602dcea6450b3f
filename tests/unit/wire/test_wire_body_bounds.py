"""How many values a body may hold."""

import json

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.inbound.body_bounds import (
    COUNTED_BYTES_MIN,
    MEMBERS_MAX,
    VALUES_MAX,
    check_count,
)

PROSE = 'He said: "yes, [no], {maybe}: \\ or \\\\" and so on,,,:::[[[{{{'


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * (VALUES_MAX + 1) + b"1]",
        json.dumps({f"a{number}": 1 for number in range(MEMBERS_MAX + 1)}).encode(),
        json.dumps([{} for _ in range(VALUES_MAX)]).encode(),
        json.dumps([[] for _ in range(VALUES_MAX)]).encode(),
        json.dumps(["x"] * (VALUES_MAX + MEMBERS_MAX)).encode(),
        json.dumps([PROSE] * (VALUES_MAX + 1)).encode(),
        json.dumps(
            {"messages": [{"role": "user", "content": "x" * 300_000}], "m": ["\\"] * VALUES_MAX}
        ).encode(),
        (
            "{" + " , ".join(f'"a{number}"  :  1' for number in range(MEMBERS_MAX + 1)) + "}"
        ).encode(),
    ],
)
def test_very_many_values_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="values"):
        check_count(body)


@pytest.mark.parametrize(
    "value",
    [
        PROSE * 100_000,
        [PROSE * 50] * 10_000,
        list(range(300_000)),
        {f"a{number}": PROSE for number in range(MEMBERS_MAX - 10)},
        "\\" * 1_000_000,
        '"' * 1_000_000,
    ],
)
def test_texts_are_no_values_whatever_they_hold(value: object) -> None:
    body = json.dumps({"model": "m", "input": value}).encode()
    assert len(body) > COUNTED_BYTES_MIN
    check_count(body)


def test_what_is_no_json_is_not_judged_here() -> None:
    check_count(b'"' * 1_000_000)
    check_count(b"\\" * 1_000_000)

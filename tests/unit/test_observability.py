"""What may be logged is a closed list; metrics are Prometheus's text."""

import io
import json

import pytest

from jusinfer.observability import Events, Metric, UnknownField, exposition


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_an_event_is_one_json_line() -> None:
    stream = io.StringIO()
    Events("gateway", stream).emit("ready", port=8787, cause="x" * 999)
    row = json.loads(stream.getvalue())
    assert (row["process"], row["event"], row["port"]) == ("gateway", "ready", 8787)
    assert len(row["cause"]) == 300
    assert row["at"].endswith("Z")


def test_an_unknown_field_never_gets_out() -> None:
    stream = io.StringIO()
    events = Events("gateway", stream)
    events.emit("ready", prompt="secret")
    assert "secret" not in stream.getvalue()
    assert events.dropped_field_count == 1
    with pytest.raises(UnknownField):
        Events("gateway", stream, is_strict=True).emit("ready", prompt="secret")


def test_a_newline_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    Events("gateway", stream).emit("ready", cause='a\n{"event":"forged"}')
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    Events("gateway", stream).emit("ready", port=1)
    assert "gateway" in stream.getvalue()
    assert "port=1" in stream.getvalue()


def test_metrics_of_one_name_stand_together() -> None:
    one = Metric("a_total", "counter", "A.", (((("w", "0"),), 1.0),))
    two = Metric("b", "gauge", "B.", (((), 2.5),))
    three = Metric("a_total", "counter", "A.", (((("w", 'q"\\\n'),), 3.0),))
    lines = exposition([one, two, three]).splitlines()
    assert lines == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        'a_total{w="0"} 1',
        'a_total{w="q\\"\\\\\\n"} 3',
        "# HELP b B.",
        "# TYPE b gauge",
        "b 2.5",
    ]


def test_a_line_for_a_program_holds_no_character_that_acts_on_a_terminal() -> None:
    stream = io.StringIO()
    Events("gateway", stream).emit("x", path="a\x9b31m\u202eb\u2028\x7f")
    assert stream.getvalue().removesuffix("\n").isprintable()
    assert json.loads(stream.getvalue())["path"] == "a\x9b31m\u202eb\u2028\x7f"

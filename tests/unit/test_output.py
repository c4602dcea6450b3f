"""What commands print moves no cursor, whatever stands in the data."""

import json
import sys

import pytest

from jusinfer.cli import output
from jusinfer.domain.printable import printable, printable_json

HOSTILE = [
    "\x1b]0;pwned\x07",
    "\x1b[31mred",
    "\x9b31mred",
    "\x90q\x9c",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x08b",
    "user\u202etxt.exe",
    "\u2066isolate\u2069",
    "\u200bzero",
    "\u2028line",
    "\ud800",
    "\U000e0041tag",
    "\x7f",
    "\ufeff",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_cannot_be_seen_is_spelt_out(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.say(text)
    output.say(text, is_error=True)
    output.show([{"name": text, "count": 1}], as_json=False, empty="")
    output.show([{"name": text.encode("utf-8", "replace").decode()}], as_json=True, empty="")
    with pytest.raises(output.typer.Exit), output.faults():
        raise output.OperatorError(text.replace("\n", " "))
    said = capsys.readouterr()
    for line in (said.out + said.err).split("\n"):
        assert line.isprintable()
    assert printable(text) != text
    assert "\\" in said.out


@pytest.mark.parametrize("text", ["plain", "Straße 你好 שלום", "\U0001f600", ""])
def test_what_can_be_seen_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", [one for one in HOSTILE if "\ud800" not in one])
def test_json_means_what_it_meant(text: str) -> None:
    written = printable_json(json.dumps({"a": text}, ensure_ascii=False))
    assert written.isprintable()
    assert json.loads(written) == {"a": text}


def test_a_fault_of_ours_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        int("jane@example.org")
    except ValueError as error:
        output.unexpected(type(error), error, sys.exc_info()[2])
    said = capsys.readouterr().err
    assert "jane" not in said
    assert "unexpected ValueError" in said
    assert "test_output.py" in said

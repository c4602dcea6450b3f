"""Rules about text: what may not be written down, in any file."""

import re
from collections.abc import Iterator
from typing import Final

from tools.tidy_rules.model import Finding, Source

# Put together from halves, so that this file does not break its own rules.
_TODO: Final = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|HA" + r"CK)\b(?!\(#?\d+\))")
_FORBIDDEN: Final = (
    (
        "host of a package registry",
        re.compile(r"pyp" + r"i\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)"),
    ),
    (
        "path of one machine",
        re.compile(r"(?<![\w./*-])/(work|root|Users|home)/[A-Za-z]"),
    ),
    (
        "words about how the text was made",
        re.compile(
            r"(assistant|agent|coding) " + r"session|co-authored" + r"-by|generated " + r"with|"
            r"\b(the|my|your) " + r"brief\b|language model " + r"wrote",
            re.IGNORECASE,
        ),
    ),
    ("number of an issue", re.compile(r"\bissue " + r"#?\d", re.IGNORECASE)),
)
# The text of a licence is not ours to change.
_NOT_OURS: Final = ("LICENSE",)
_VENDORED: Final = "/static/vendor/"


def todo(source: Source) -> Iterator[Finding]:
    """A thing left to do has a number where it is kept, or it is forgotten."""
    for number, line in enumerate(source.lines, 1):
        match = _TODO.search(line)
        if match is not None:
            message = f"{match[1]} without a number: write {match[1]}(12)"
            yield source.finding(number, "todo", message)


def words(source: Source) -> Iterator[Finding]:
    """The repository speaks of the product, on any machine, through any registry."""
    if source.path in _NOT_OURS or _VENDORED in source.path:
        return
    for name, pattern in _FORBIDDEN:
        for match in pattern.finditer(source.text):
            line = source.text.count("\n", 0, match.start()) + 1
            yield source.finding(line, "words", f"{name}: {match[0]!r}")

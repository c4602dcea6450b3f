import re
from pathlib import Path

import pytest

from jusinfer.sandbox.agent.script import KINDS
from jusinfer.sandbox.faults import FLAGS, KNOWN, NUMBERS, WORDS
from jusinfer.sandbox.provider_quirks import KNOWN as LIKENESSES

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_fault_has_a_line_to_paste(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|.*\| `ask sandbox/.*{name}.*` \|$", PAGE, re.MULTILINE) or (
        re.search(rf"^\| `{name}` \|.*\| `ask 'sandbox/.*{name}.*` \|$", PAGE, re.MULTILINE)
    )


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() | FLAGS | WORDS))
def test_every_option_is_explained(name: str) -> None:
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", PAGE)


def test_the_page_names_no_fault_that_is_not_there() -> None:
    named = set(re.findall(r"^\| `([a-z_0-9]+)` \|.*\| `ask ", PAGE, re.MULTILINE))
    assert named == set(KNOWN)


def test_every_habit_is_named() -> None:
    assert all(f"`{name}`" in PAGE for name in LIKENESSES)


def test_every_script_of_the_model_behind_an_agent_is_told() -> None:
    for kind, what in KINDS.items():
        assert f"| `mock-agent{'-' if kind else ''}{kind}` | {what} |" in PAGE

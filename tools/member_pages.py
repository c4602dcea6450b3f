"""Writes docs/members.md from the tables of members: `python -m tools.member_pages`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from jusinfer.wire.member_table import COLUMNS, MemberTable, Rule, table_of

PAGE: Final = Path(__file__).parent.parent / "docs" / "members.md"
TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chat": "Chat Completions",
        "responses": "Responses",
        "messages": "Messages",
        "completions": "Completions (legacy)",
        "embeddings": "Embeddings",
    }
)
# The tables begin here; what stands above them on the page is written by hand.
FIRST: Final = f"\n## {TITLES['chat']}\n"


def page() -> str:
    """Return the text of the page."""
    tables = [f"\n## {TITLES[name]}\n\n{_table(table_of(name))}" for name in COLUMNS]
    return PAGE.read_text("utf-8").partition(FIRST)[0] + "".join(tables)


def _table(table: MemberTable) -> str:
    head = " | ".join(("Member", *table.columns, "Why"))
    lines = [f"| {head} |", "|" + "---|" * (len(table.columns) + 2)]
    for row in table.rows:
        cells = [f"`{row.path}`", *map(_rule, row.rules), row.why]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> str:
    if not rule.neutral:
        return rule.word
    values = ", ".join(f"`{value!r}`" for value in rule.neutral)
    return f"{rule.word} unless {values}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

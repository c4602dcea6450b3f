"""Every member that a table of members names is in a case, for each rule that it has."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from tests.golden.case import body_of
from tests.golden.tables import cases

from jusinfer.wire.member_table import COLUMNS, table_of

# Folders of providers that are named as columns; all others speak Chat Completions.
OWN_COLUMNS: Final = frozenset({"anthropic", "workers_ai", "responses", "embeddings"})


def paths_of(value: Any, here: str) -> Iterator[str]:
    """Give the paths of all members, with the types of objects and without them."""
    if isinstance(value, list):
        for item in value:
            yield from paths_of(item, f"{here}[]")
    if isinstance(value, dict):
        kind = value.get("type")
        places = [here, f"{here}<{kind if isinstance(kind, str) else ''}>"]
        for place in places:
            if place:
                yield place
            for name, member in value.items():
                path = f"{place}.{name}".removeprefix("<>").removeprefix(".")
                yield path
                yield from paths_of(member, path)


def _seen() -> dict[tuple[str, str], frozenset[str]]:
    """Give the paths of all requests by client and column."""
    found: dict[tuple[str, str], set[str]] = {}
    for case in cases():
        column = case.provider if case.provider in OWN_COLUMNS else "chat"
        body = json.loads(body_of(case, is_stream=bool(case.answer.events)))
        found.setdefault((case.client, column), set()).update(paths_of(body, ""))
    return {place: frozenset(paths) for place, paths in found.items()}


SEEN: Final = _seen()


@pytest.mark.parametrize("client", COLUMNS)
def test_every_member_is_in_a_case_for_each_of_its_rules(client: str) -> None:
    columns = COLUMNS[client][0]
    missing = []
    for row in table_of(client).rows:
        pattern = re.compile(re.escape(row.path).replace(r"\*", r"[^.<>\[\]]*"))
        for place, rule in enumerate(row.rules):
            if rule in row.rules[:place]:
                continue
            alike = [c for c, other in zip(columns, row.rules, strict=True) if other == rule]
            paths = frozenset().union(*(SEEN[client, column] for column in alike))
            if not any(pattern.fullmatch(path) for path in paths):
                missing.append(f"{row.path}: {rule.word} for {alike}")
    assert missing == []

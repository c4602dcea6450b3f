"""Migrations follow one another, and leave functions to the files in `store/sql`."""

import re
from pathlib import Path

from alembic.script import ScriptDirectory

from jusinfer.store import database, schema_text

VERSIONS = Path(database.HERE) / "migrations" / "versions"


def test_migrations_are_one_line() -> None:
    heads = ScriptDirectory.from_config(database._config()).get_heads()
    assert len(heads) == 1, f"{heads}: the later one must name the other as its down_revision"


def test_functions_and_triggers_are_no_migrations() -> None:
    made = re.compile(r"CREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|TRIGGER)", re.IGNORECASE)
    assert [path.name for path in VERSIONS.glob("*.py") if made.search(path.read_text())] == []


def test_every_function_looks_for_names_in_one_order() -> None:
    for name, text in schema_text.texts().items():
        functions = re.split(r"(?=CREATE OR REPLACE FUNCTION)", text)[1:]
        assert functions or name == "", name
        for function in functions:
            head = function.partition("$$")[0]
            assert "SET search_path = pg_catalog, public, pg_temp" in head, head

"""Whatever can hold text is on the page of stored text, with its class."""

import re
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from jusinfer.domain.journal import RequestAdmitted, RequestEnded, SegmentHeader
from jusinfer.observability import FIELDS
from jusinfer.store import audit_tables, limit_tables, tables

PAGE: Final = (Path(__file__).parents[2] / "docs" / "stored-text.md").read_text(encoding="utf-8")
CLASSES: Final = frozenset(
    re.findall(r"^\| `([a-z ]+)` \|", PAGE.split("## Columns")[0], re.MULTILINE)
)
# Fields of events that are numbers wherever they are emitted.
NUMBERS: Final = frozenset(
    {
        *("amount_nano", "attempts", "bytes", "connections", "count", "delay_seconds"),
        *("exit_code", "latency_ms", "offset_bytes", "overrun_nano", "pid", "port", "posted"),
        *("records", "rows", "seconds", "status", "workers"),
    }
)


def listed(heading: str) -> dict[str, str]:
    part = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `([\w.]+)` \| ([a-z ]+?) \|", part, re.MULTILINE))


def test_every_column_that_can_hold_text_has_a_class() -> None:
    for table in (limit_tables.spend_limit, audit_tables.audit_entry):
        assert table.metadata is tables.metadata
    found = {
        f"{table.name}.{column.name}"
        for table in tables.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.String | JSONB)
    }
    assert listed("Columns").keys() == found
    assert set(listed("Columns").values()) <= CLASSES


def test_every_member_of_a_record_that_can_hold_text_has_a_class() -> None:
    found = {
        f"{record.__name__}.{name}"
        for record in (SegmentHeader, RequestAdmitted, RequestEnded)
        for name in record.__struct_fields__
        if record.__annotations__[name] is str
    }
    assert listed("Records of a journal").keys() == found
    assert set(listed("Records of a journal").values()) <= CLASSES


def test_every_field_of_events_has_a_class_or_is_a_number() -> None:
    fields = listed("Fields of events that can be text")
    assert fields.keys() == FIELDS - NUMBERS
    assert NUMBERS <= FIELDS
    assert set(fields.values()) <= CLASSES


def test_free_text_is_an_operators_only() -> None:
    free = {column for column, kind in listed("Columns").items() if kind == "operator"}
    assert free == {"tenant.name", "api_key.name", "ledger_transfer.reason"}
    assert "operator" not in listed("Records of a journal").values()

"""Makes files of what agents sent: every member and name kept, long texts and this machine cut."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tools.agents.runs import PREFIX
from tools.agents.tee import Heard

FOLDER: Final = Path(__file__).parents[2] / "tests" / "agents" / "requests"
TEXT_CHARACTERS: Final = 100
DESCRIPTION_CHARACTERS: Final = 30
ENUM_MAX: Final = 4
# Headers of the connection, not of the request, and the key.
_LEFT_OUT: Final = frozenset({"connection", "content-length", "host", "accept-encoding"})
_SECRET: Final = frozenset({"authorization", "x-api-key"})
_FOLDER: Final = re.compile(rf"[\w/.-]*/{PREFIX}\w+")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX: Final = re.compile(r"\b[0-9a-f]{32,}\b")
_MACHINE: Final = re.compile(r"\b(x64|x86_64|arm64|aarch64|Debian [\d.]+|Linux [\w.-]+)")
_DATE: Final = re.compile(r"\b20\d\d-\d\d-\d\d\b(?!\")")
_KEPT: Final = re.compile(r"marker=\w+|SEARCH/REPLACE|\*file listing\*")
_EXACT: Final = frozenset({"signature", "thinking", "encrypted_content", "arguments", "summary"})


def write(name: str, heard: list[Heard]) -> Path:
    """Write one file: the requests of one agent by one API, in the order that it sent them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [{"path": row.path, "headers": _headers(row), "body": _cut(row.body)} for row in heard]
    path = FOLDER / f"{name}.json"
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    # One member to a line, so that a diff can be read.
    path.write_text(_broken(json.loads(text)), encoding="utf-8")
    return path


def _broken(rows: list[dict[str, Any]]) -> str:
    parts = []
    for row in rows:
        body = ",\n  ".join(
            f"{json.dumps(member)}: {_list(value)}" for member, value in row["body"].items()
        )
        headers = json.dumps(row["headers"], ensure_ascii=False)
        parts.append(
            f'{{"path": {json.dumps(row["path"])},\n "headers": {headers},\n'
            f' "body": {{\n  {body}}}}}'
        )
    return "[\n" + ",\n".join(parts) + "\n]\n"


def _list(value: object) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, ensure_ascii=False)
    items = ",\n   ".join(json.dumps(item, ensure_ascii=False) for item in value)
    return f"[\n   {items}]"


def _headers(row: Heard) -> dict[str, str]:
    kept = {name.lower(): value for name, value in row.headers if name.lower() not in _LEFT_OUT}
    return {name: "KEY" if name in _SECRET else _plain(value) for name, value in kept.items()}


def _cut(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"type", "text"} and name == "summary":
            return dict(value)
        return {member: _cut(inner, member) for member, inner in value.items()}
    if isinstance(value, list):
        if name == "enum":
            value = value[:ENUM_MAX]
        return [_cut(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    text = _plain(value)
    if name in _EXACT or "marker=" in text or "proof-" in text:
        return text if len(text) <= TEXT_CHARACTERS * 5 else _short(text, TEXT_CHARACTERS)
    most = DESCRIPTION_CHARACTERS if name == "description" else TEXT_CHARACTERS
    return _short(text, most)


def _short(text: str, most: int) -> str:
    """Cut a text, but keep in it what tells the sandbox what to do."""
    if len(text) <= most:
        return text
    kept = " ".join(dict.fromkeys(_KEPT.findall(text[most:])))
    return f"{text[:most]}… {kept}".rstrip()


def _plain(text: str) -> str:
    """Take the machine, the day and ids that are drawn out of a text."""
    text = _FOLDER.sub("/project", text)
    text = _UUID.sub("00000000-0000-4000-8000-000000000000", text)
    text = _HEX.sub(lambda found: "0" * len(found[0]), text)
    return _DATE.sub("2026-01-01", _MACHINE.sub("machine", text))

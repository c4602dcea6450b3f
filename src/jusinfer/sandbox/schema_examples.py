"""The smallest value that fits a JSON schema, for tool arguments and structured output."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

DEPTH_MAX: Final = 40
# Below this depth a choice takes the branch that ends soonest.
DEPTH_PATIENT: Final = 6
ITEMS_MAX: Final = 100
LENGTH_MAX: Final = 10_000
FORMATS: Final[Mapping[str, str]] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "amber@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# Tried in turn against a pattern; short, so that no pattern can be slow on them.
CANDIDATES: Final = ("amber", "Amber", "AMBER", "a", "A", "0", "1", "42", "123", "1234", "12345")
WORD: Final = "amber"


def fitting(schema: object, root: object = None, depth: int = 0) -> Any:
    """Give a small value that fits a schema; a pattern is met only if a short word meets it."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return WORD if schema is True else None
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    other = _other(schema, root, depth)
    return _plain(schema, root, depth) if other is None else fitting(other, root, depth + 1)


def _other(schema: dict[str, Any], root: object, depth: int) -> object:
    """Give the schema that this one points to, chooses or is put together from, if it does."""
    if "$ref" in schema:
        return _referred(schema["$ref"], root)
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return _branch(schema[name], depth)
    return _merged(schema, root) if schema.get("allOf") else None


def _plain(schema: dict[str, Any], root: object, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if "null" in kind and depth > DEPTH_PATIENT else (kind or ["string"])[0]
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, depth)
    if kind == "array" or (kind is None and "items" in schema):
        return _array(schema, root, depth)
    if kind in {"integer", "number"}:
        value = _number(schema, is_whole=kind == "integer")
        return int(value) if value == int(value) else value
    if kind == "boolean":
        return True
    return None if kind == "null" else _string(schema)


def _object(schema: dict[str, Any], root: object, depth: int) -> dict[str, Any]:
    members = schema.get("properties") or {}
    wanted = schema.get("required")
    names = list(members) if wanted is None and depth <= DEPTH_PATIENT else list(wanted or ())
    return {name: fitting(members.get(name, True), root, depth + 1) for name in names}


def _array(schema: dict[str, Any], root: object, depth: int) -> list[Any]:
    least = int(schema.get("minItems", 0))
    count = max(least, 1) if depth <= DEPTH_PATIENT and schema.get("maxItems") != 0 else least
    count = min(count, ITEMS_MAX)
    item = schema.get("items", True)
    values = [fitting(item, root, depth + 1) for _ in range(count)]
    if schema.get("uniqueItems") and count > 1:
        return _different(item, values)
    return values


def _different(item: object, values: list[Any]) -> list[Any]:
    if isinstance(item, dict) and len(item.get("enum") or ()) >= len(values):
        return list(item["enum"][: len(values)])
    if all(isinstance(value, str) for value in values):
        return [f"{value}{number}" for number, value in enumerate(values)]
    if all(isinstance(value, int | float) for value in values):
        return [value + number for number, value in enumerate(values)]
    return values


def _number(schema: dict[str, Any], *, is_whole: bool) -> float:
    gap = 1 if is_whole else 0.5
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + gap
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - gap
    value = 1 if low is None else max(low, 1)
    if high is not None and value > high:
        value = high if low is None else max(low, high)
    step = schema.get("multipleOf")
    if step:
        value = math.ceil(value / step) * step
        if high is not None and value > high:
            value = math.floor(high / step) * step
    return math.ceil(value) if is_whole else value


def _string(schema: dict[str, Any]) -> str:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    pattern = schema.get("pattern")
    least = min(int(schema.get("minLength", 0)), LENGTH_MAX)
    most = int(schema.get("maxLength", LENGTH_MAX))
    if isinstance(pattern, str):
        for candidate in CANDIDATES:
            if least <= len(candidate) <= most and re.search(pattern, candidate):
                return candidate
    return WORD[:most].ljust(least, "r")


def _branch(branches: list[Any], depth: int) -> Any:
    if depth > DEPTH_PATIENT:
        for branch in branches:
            if isinstance(branch, dict) and branch.get("type") == "null":
                return branch
    return branches[0]


def _merged(schema: dict[str, Any], root: object) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        resolved = _referred(part["$ref"], root) if "$ref" in part else part
        for name, value in resolved.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *value]
            else:
                merged[name] = value
    return merged


def _referred(reference: object, root: object) -> Any:
    here: Any = root
    for part in str(reference).lstrip("#").split("/"):
        if part:
            here = here[part.replace("~1", "/").replace("~0", "~")]
    return here

"""JSON schemas between providers that enforce different parts of JSON Schema.

OpenAI's strict mode wants every property required and every object closed; Anthropic's wants every
object closed and knows no bounds of numbers, texts and lists. A schema that one takes is refused by
the other with status 400, so what cannot be enforced is told to the model in words instead.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.wire.lenient_json import member, objects, text

# Schemas nested more deeply are left as they are: the provider judges them.
DEPTH_MAX: Final = 64
COMBINED: Final = ("anyOf", "oneOf", "allOf")
# Keywords that hold one schema, a list of them, or schemas by name.
_ONE: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_LISTS: Final = (*COMBINED, "prefixItems")
_NAMED: Final = ("properties", "$defs", "definitions", "patternProperties")
# Keywords that Anthropic refuses where it enforces a schema.
_UNENFORCED: Final = frozenset(
    {
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "pattern",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
_FORMATS: Final = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)
# Keywords that OpenAI refuses in strict mode.
_NOT_STRICT: Final = frozenset(
    {
        "allOf",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "propertyNames",
        "then",
    }
)
_RENAMED: Final[Mapping[str, str]] = MappingProxyType({"oneOf": "anyOf"})
_encode: Final = msgspec.json.Encoder().encode


def strict_form(schema: Any) -> tuple[Any, bool]:
    """Return a schema as OpenAI takes it in strict mode and True; or as it is and False.

    A schema with members that may be left out does not fit that mode.
    """
    root = member(schema)
    if "anyOf" in root or root.get("type") != "object" or not _is_strict(root, 0):
        return schema, False
    return _closed(schema), True


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = _with_inner(schema, _closed)
    if "properties" in schema:
        made["additionalProperties"] = False
    return made


def _with_inner(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema with each schema that it holds changed, in the same order."""
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _NAMED and isinstance(value, dict):
            made[name] = {key: change(inner) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            made[name] = [change(inner) for inner in value]
        else:
            made[name] = change(value) if name in _ONE else value
    return made


def _is_strict(schema: object, depth: int) -> bool:
    if depth > DEPTH_MAX:
        return False
    if not isinstance(schema, dict):
        return True
    if not _NOT_STRICT.isdisjoint(schema):
        return False
    if _is_object(schema):
        required = schema.get("required")
        named = required if isinstance(required, list) else []
        if schema.get("additionalProperties", False) is not False:
            return False
        if any(name not in named for name in member(schema.get("properties"))):
            return False
    return all(_is_strict(inner, depth + 1) for inner in _inner(schema))


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return (
        "properties" in schema or kind == "object" or (isinstance(kind, list) and "object" in kind)
    )


def _inner(schema: Mapping[str, Any]) -> Iterable[object]:
    yield from (schema[name] for name in _ONE if name in schema)
    for name in _LISTS:
        yield from objects(schema.get(name))
    for name in _NAMED:
        yield from member(schema.get(name)).values()


def enforceable(schema: Any) -> Any:
    """Return a schema as Anthropic enforces it; what it does not enforce stands in descriptions."""
    return _enforceable(schema, 0)


def _enforceable(schema: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return schema
    stated = {name: value for name, value in schema.items() if name not in {"$schema", "$id"}}
    told = {name: value for name, value in stated.items() if _is_unenforced(name, value)}
    kept = {name: value for name, value in stated.items() if name not in told}
    changed = _with_inner(kept, lambda inner: _enforceable(inner, depth + 1))
    made = {_renamed(name, value): value for name, value in changed.items()}
    if "properties" in schema:
        # An object of no stated members would be an empty one, if it were closed.
        made.setdefault("additionalProperties", False)
    if told:
        made["description"] = _described(text(schema.get("description")), told)
    return made


def _renamed(name: str, value: object) -> str:
    return _RENAMED.get(name, name) if isinstance(value, list) else name


def _is_unenforced(name: str, value: object) -> bool:
    if name == "format":
        return value not in _FORMATS if isinstance(value, str) else True
    if name == "minItems":
        return value not in (0, 1)
    return name in _UNENFORCED


def _described(said: str, told: Mapping[str, Any]) -> str:
    rules = ", ".join(f"{name}: {_encode(value).decode()}" for name, value in told.items())
    return f"{said}\n\n({rules})" if said else f"({rules})"


def object_schema(schema: Any) -> tuple[Any, str]:
    """Return the schema of a tool's arguments without alternatives at its top, and what to say.

    Anthropic refuses `anyOf`, `oneOf` and `allOf` there. The members of all alternatives are
    offered, those that all of them require are required, and the rest is told in words.
    """
    if not isinstance(schema, dict) or not any(name in schema for name in COMBINED):
        return schema, ""
    rules = {name: schema[name] for name in COMBINED if name in schema}
    made = {name: value for name, value in schema.items() if name not in rules}
    properties = dict(member(made.get("properties")))
    required = _names(made)
    for name in COMBINED:
        branches = [_resolved(branch, schema) for branch in objects(schema.get(name))]
        for branch in branches:
            properties |= {
                key: value
                for key, value in member(branch.get("properties")).items()
                if key not in properties
            }
        named = [_names(branch) for branch in branches]
        for key in [key for names in named for key in names]:
            is_needed = name == "allOf" or all(key in names for names in named)
            if is_needed and key not in required:
                required.append(key)
    made |= {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made, _described("", rules)


def _resolved(branch: dict[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Follow one reference within the same schema."""
    found: object = branch
    path = text(branch.get("$ref"))
    if path.startswith("#/"):
        found = root
        for step in path[2:].split("/"):
            found = member(found).get(step)
    return member(found)


def _names(schema: Mapping[str, Any]) -> list[Any]:
    required = schema.get("required")
    return list(required) if isinstance(required, list) else []

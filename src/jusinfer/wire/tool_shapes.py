"""Functions that stand for the client's own tools whose shape an API has fixed.

Shapes are those of Anthropic's and OpenAI's documentation: shells, editors, a memory, a computer.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec


class ToolForm(msgspec.Struct, frozen=True):
    """What a function is called with, as a JSON schema."""

    description: str
    parameters: dict[str, Any]


@cache
def tool_forms(client_api: str) -> Mapping[str, ToolForm]:
    """Return the functions of a client API by the type of the tool; a type may end in `*`."""
    data = pkgutil.get_data("jusinfer.wire", "tool_shapes.json") or b"{}"
    forms = msgspec.json.decode(data, type=dict[str, dict[str, ToolForm]])
    return MappingProxyType(forms[client_api])


def typed_schema(schema: Any) -> Any:
    """Return the schema of a tool's arguments, which are an object, though it may not say so."""
    if not isinstance(schema, dict) or "type" in schema:
        return schema
    return {"type": "object", **schema}

"""The tools of a Messages request as functions, those with a shape that Anthropic has fixed too.

Shapes of the tools that a client runs itself are those of Anthropic's documentation; a call of such
a function is the same `tool_use` block, so nothing is to be turned back.
"""

import fnmatch
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.json_schemas import strict_form
from jusinfer.wire.lenient_json import member, text
from jusinfer.wire.tool_names import portable_name
from jusinfer.wire.tool_shapes import ToolForm, tool_forms, typed_schema
from jusinfer.wire.validation_errors import misplaced

NAME_CHARS_MAX: Final = 256
FIXED: Final = tool_forms("messages")
WEB_SEARCH: Final = "web_search_"


Placed = list[tuple[str, dict[str, Any]]]


def function_tools(tools: Placed, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return tools, each with its place, as functions; raises InvalidRequest naming that place.

    A web search is left out beside other tools, unless it is forced. Other tools that Anthropic
    runs are passed over: the table of members refuses them or says why they are left out.
    """
    made = [function for where, tool in tools if (function := _function(tool, where)) is not None]
    refuse_search(tools, choice)
    return made


def refuse_search(tools: Placed, choice: Mapping[str, Any]) -> None:
    """Refuse a web search that is asked for: nobody here runs it; raises InvalidRequest."""
    others = 0
    found: tuple[str, str] | None = None
    for where, tool in tools:
        if text(tool.get("type")).startswith(WEB_SEARCH):
            found = (f"{where}.type", text(tool.get("name")))
        else:
            others += 1
    if found is None:
        return
    is_forced = choice.get("type") == "tool" and choice.get("name") == found[1]
    if is_forced or not others:
        where = found[0]
        raise InvalidRequest(
            f"`{where}` cannot be served: Anthropic runs it, at a price that is not known here",
            param=where,
            hint="Offer tools that your client runs.",
        )


def without_searches(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools without web searches."""
    return [tool for tool in tools if not text(tool.get("type")).startswith(WEB_SEARCH)]


def _function(tool: dict[str, Any], where: str) -> dict[str, Any] | None:
    kind = tool.get("type")
    if kind is not None and not isinstance(kind, str):
        raise misplaced(f"{where}.type", "must be a string")
    shape: dict[str, Any] = {}
    if kind not in {None, "custom"}:
        fixed = _fixed(kind)
        if fixed is None:
            return None
        shape["description"] = fixed.description + _settings(tool)
        shape["parameters"] = fixed.parameters
    else:
        if isinstance(tool.get("description"), str):
            shape["description"] = tool["description"]
        shape["parameters"] = _schema(tool, where)
    name = tool.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX:
        raise misplaced(f"{where}.name", f"must be a string of 1 to {NAME_CHARS_MAX} characters")
    examples = tool.get("input_examples")
    if examples:
        written = msgspec.json.encode(examples).decode()
        shape["description"] = f"{shape.get('description', '')}\n\nExamples: {written}".strip()
    if isinstance(tool.get("strict"), bool) and kind in {None, "custom"}:
        # A schema that was made here is not of the strict kind, nor is one with optional members.
        shape["strict"] = tool["strict"]
        if tool["strict"]:
            shape["parameters"], shape["strict"] = strict_form(shape["parameters"])
    made: dict[str, Any] = {"type": "function", "function": {"name": portable_name(name), **shape}}
    if tool.get("cache_control") is not None:
        made["cache_control"] = tool["cache_control"]
    return made


def _settings(tool: dict[str, Any]) -> str:
    """Put into words what a client sets of a tool with a fixed shape."""
    said = ""
    size = (tool.get("display_width_px"), tool.get("display_height_px"))
    if all(isinstance(side, int) for side in size):
        said += f" The screen has {size[0]} x {size[1]} pixels."
    if tool.get("enable_zoom") is True:
        said += " The action `zoom` shows the `region` [x0, y0, x1, y1] in full size."
    if isinstance(tool.get("max_characters"), int):
        said += f" At most {tool['max_characters']} characters of a file are shown."
    return said


def _fixed(kind: str | None) -> ToolForm | None:
    for pattern, form in FIXED.items():
        if kind is not None and fnmatch.fnmatchcase(kind, pattern):
            return form
    return None


def _schema(tool: dict[str, Any], where: str) -> dict[str, Any]:
    schema = tool.get("input_schema")
    if schema is None:
        return {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        raise misplaced(f"{where}.input_schema", "must be an object")
    return member(typed_schema(schema))

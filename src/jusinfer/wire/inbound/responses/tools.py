"""The tools of a Responses request: what a provider is offered, and whose call comes back.

A provider of another API knows functions, and some know custom tools. Tools in a namespace and the
tools whose shape OpenAI has fixed (shells, patches, a computer) are offered as functions; a call of
such a function is given back as the item that the client waits for.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.tool_names import portable_name
from jusinfer.wire.tool_shapes import tool_forms, typed_schema

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

Kind = Literal[
    "function", "custom", "local_shell", "shell", "apply_patch", "computer", "tool_search"
]
FIXED: Final = tool_forms("responses")
COMPUTERS: Final = ("computer", "computer_use_preview", "computer_use")


class ToolShape(msgspec.Struct, frozen=True):
    """How the client knows a tool that a provider called by a function's name."""

    kind: Kind
    name: str
    namespace: str | None = None


class ToolNames:
    """Which function's name stands for which tool of one request."""

    __slots__ = ("_offered", "_shapes")

    def __init__(self, shapes: dict[str, ToolShape]) -> None:
        self._shapes = shapes
        self._offered = {(shape.namespace, shape.name): name for name, shape in shapes.items()}

    def shape_of(self, name: str, *, is_custom: bool = False) -> ToolShape:
        """Return the tool as its client knows it; an unknown name is a plain tool of that kind."""
        found = self._shapes.get(name)
        if found is not None:
            return found
        return ToolShape("custom" if is_custom else "function", name)

    def offered_as(self, name: str, namespace: str | None) -> str:
        """Return the function's name that stands for a client's tool."""
        found = self._offered.get((namespace, name))
        return portable_name(name) if found is None else found


NO_NAMES: Final = ToolNames({})


class OfferedTools(msgspec.Struct, frozen=True):
    """Tools as Chat Completions has them, custom ones as custom tools; and their names."""

    tools: list[dict[str, Any]]
    names: ToolNames


def offered_tools(asked: Mapping[str, Any]) -> OfferedTools:
    """Return what is offered of a request's `tools` and the tools that its input adds."""
    rows = _rows(asked)
    taken: dict[str, int] = {}
    for _, tool in rows:
        name = _name(tool)
        taken[name] = taken.get(name, 0) + 1
    tools: dict[str, dict[str, Any]] = {}
    shapes: dict[str, ToolShape] = {}
    described: set[str] = set()
    for space, tool in rows:
        name = _name(tool)
        space_name = None if space is None else text(space.get("name"))
        shown = f"{space_name}__{name}" if space_name and taken[name] > 1 else name
        shown = portable_name(shown)
        made = _chat_tool(tool, shown)
        if made is None or not name:
            continue
        if space is not None and space_name and space_name not in described:
            described.add(space_name)
            _describe(made, f"{space_name}: {text(space.get('description'))}")
        tools[shown] = made
        shapes[shown] = ToolShape(_kind(tool), name, space_name)
    return OfferedTools(list(tools.values()), ToolNames(shapes))


def names_of(asked_body: bytes) -> ToolNames:
    """Read the names of the tools of a request; never raises."""
    try:
        asked = member(_any(asked_body))
    except (ValueError, RecursionError):
        asked = {}
    return offered_tools(asked).names


def chosen(
    choice: object, offered: OfferedTools
) -> tuple[str | dict[str, Any] | None, list[dict[str, Any]]]:
    """Return `tool_choice` as Chat Completions has it, and the tools that are left to choose from.

    Raises InvalidRequest where a call is demanded and no tool is left.
    """
    tools = offered.tools
    if isinstance(choice, str):
        if choice == "required" and not tools:
            raise InvalidRequest(
                "`tool_choice` demands a call, and none of `tools` can be offered here",
                param="tool_choice",
                hint="Offer tools that your client runs.",
            )
        return choice, tools
    if not isinstance(choice, dict):
        return None, tools
    if choice.get("type") == "allowed_tools":
        allowed = {_chosen_name(row, offered.names) for row in objects(choice.get("tools"))}
        mode = choice.get("mode")
        left = [tool for tool in tools if _offered_name(tool) in allowed]
        return chosen(mode if isinstance(mode, str) else "auto", OfferedTools(left, offered.names))
    name = _chosen_name(choice, offered.names)
    for tool in tools:
        if _offered_name(tool) == name:
            return {"type": tool["type"], tool["type"]: {"name": name}}, tools
    raise InvalidRequest(
        "`tool_choice` names a tool that is not offered",
        param="tool_choice",
        hint="Name one of `tools`, or use auto, required or none.",
    )


def call_item(
    shape: ToolShape,
    item_id: str,
    call_id: str,
    given: str,
    *,
    status: str = "completed",
    is_custom: bool = False,
) -> dict[str, Any]:
    """Return the output item of a call; `given` is its arguments as JSON text, or custom input.

    `is_custom` tells that the provider made a call of a custom tool; else the input of a custom
    tool is taken out of the arguments of the function that stood for it.
    """
    item: dict[str, Any] = {"id": item_id, "call_id": call_id}
    if shape.kind == "custom":
        said = given if is_custom else custom_input(given)
        item |= {"type": "custom_tool_call", "name": shape.name, "input": said}
    elif shape.kind == "function":
        item |= {
            "type": "function_call",
            "status": status,
            "name": shape.name,
            "arguments": given,
        }
    else:
        item |= _fixed_item(shape.kind, given) | {"status": status}
    if shape.namespace is not None:
        item["namespace"] = shape.namespace
    return item


def custom_input(arguments: str) -> str:
    """Return the input of a custom tool from the arguments of the function that stood for it."""
    found = json_object(arguments).get("input")
    return found if isinstance(found, str) else arguments


def _fixed_item(kind: Kind, given: str) -> dict[str, Any]:
    asked = json_object(given)
    if kind == "local_shell":
        action = {"type": "exec", "env": {}, **asked}
        action["command"] = [str(part) for part in _list(asked.get("command"))]
        return {"type": "local_shell_call", "action": action}
    if kind == "shell":
        action = {"timeout_ms": None, "max_output_length": None, **asked}
        action["commands"] = [str(part) for part in _list(asked.get("commands"))]
        return {"type": "shell_call", "action": action}
    if kind == "apply_patch":
        return {"type": "apply_patch_call", "operation": asked}
    if kind == "computer":
        action = member(asked.get("action")) or asked
        return {"type": "computer_call", "action": action, "pending_safety_checks": []}
    return {"type": "tool_search_call", "execution": "client", "arguments": asked}


def _rows(asked: Mapping[str, Any]) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Return each tool that a model may be offered, with its namespace."""
    given = [*objects(asked.get("tools"))]
    for item in objects(asked.get("input")):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            given += objects(item.get("tools"))
    rows: list[tuple[dict[str, Any] | None, dict[str, Any]]] = []
    for tool in given:
        if tool.get("type") == "namespace":
            rows += [(tool, inner) for inner in objects(tool.get("tools"))]
        else:
            rows.append((None, tool))
    return rows


def _kind(tool: dict[str, Any]) -> Kind:
    kind = text(tool.get("type"))
    if kind in COMPUTERS:
        return "computer"
    return msgspec.convert(kind, Kind) if kind in (*FIXED, "custom") else "function"


def _name(tool: dict[str, Any]) -> str:
    kind = _kind(tool)
    return kind if kind in FIXED else text(tool.get("name"))


def _chat_tool(tool: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return a tool as Chat Completions has it; None for one that is not the client's."""
    kind = tool.get("type")
    if kind == "custom":
        return {"type": "custom", "custom": _custom(tool, name)}
    if kind == "function":
        function = {
            member_name: tool[member_name]
            for member_name in ("description", "parameters", "strict")
            if tool.get(member_name) is not None
        }
        if "parameters" in function:
            function["parameters"] = typed_schema(function["parameters"])
        return {"type": "function", "function": {"name": name, **function}}
    fixed = _kind(tool)
    if fixed not in FIXED or (kind == "tool_search" and tool.get("execution") != "client"):
        return None
    description, parameters = FIXED[fixed].description, FIXED[fixed].parameters
    if kind == "tool_search" and isinstance(tool.get("parameters"), dict):
        parameters = tool["parameters"]
    size = (tool.get("display_width"), tool.get("display_height"))
    if all(isinstance(side, int) for side in size):
        description += f" The screen has {size[0]} x {size[1]} pixels ({tool.get('environment')})."
    skills = objects(member(tool.get("environment")).get("skills"))
    description += "".join(
        f"\n\nSkill {text(skill.get('name'))} in {text(skill.get('path'))}: "
        f"{text(skill.get('description'))}"
        for skill in skills
    )
    function = {"description": text(tool.get("description")) or description}
    return {"type": "function", "function": {"name": name, **function, "parameters": parameters}}


def _custom(tool: dict[str, Any], name: str) -> dict[str, Any]:
    """Nest a grammar as Chat Completions does, where Responses has it flat."""
    made: dict[str, Any] = {"name": name}
    if tool.get("description") is not None:
        made["description"] = tool["description"]
    form = member(tool.get("format"))
    if form.get("type") == "grammar":
        grammar = {part: form.get(part) for part in ("syntax", "definition")}
        made["format"] = {"type": "grammar", "grammar": grammar}
    elif form:
        made["format"] = form
    return made


def _describe(tool: dict[str, Any], more: str) -> None:
    inner = tool[tool["type"]]
    inner["description"] = f"{inner.get('description') or ''}\n\n{more}".strip()


def _offered_name(tool: dict[str, Any]) -> str:
    return text(member(tool.get(tool["type"])).get("name"))


def _chosen_name(choice: dict[str, Any], names: ToolNames) -> str:
    space = choice.get("namespace")
    return names.offered_as(_name(choice), space if isinstance(space, str) else None)


def json_object(arguments: str) -> dict[str, Any]:
    """Read a JSON object; empty where the text is none."""
    try:
        return member(_any(arguments.encode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

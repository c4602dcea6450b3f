"""The tools of a Responses request: what a provider is offered, and whose call comes back.

A provider of another API knows functions only. Tools in a namespace, custom tools and the tools
whose shape OpenAI has fixed (shells, patches) are offered as functions; a call of such a function
is given back as the item that the client waits for.
"""

from typing import Any, Final, Literal

import msgspec

from jusinfer.wire.tolerant import member, objects, text

_any: Final = msgspec.json.Decoder().decode

Kind = Literal["function", "custom", "local_shell", "shell", "apply_patch", "computer"]


class ToolShape(msgspec.Struct, frozen=True):
    """How the client knows a tool that a provider called by a function's name."""

    kind: Kind
    name: str
    namespace: str | None = None


class ToolNames:
    """Which function's name stands for which tool of one request."""

    __slots__ = ("_shapes",)

    def __init__(self, shapes: dict[str, ToolShape]) -> None:
        self._shapes = shapes

    def shape_of(self, name: str, *, is_custom: bool = False) -> ToolShape:
        """Return the tool as its client knows it; an unknown name is a plain tool of that kind."""
        found = self._shapes.get(name)
        if found is not None:
            return found
        return ToolShape("custom" if is_custom else "function", name)


NO_NAMES: Final = ToolNames({})


def names_of(asked_body: bytes) -> ToolNames:
    """Read the tools of a request; never raises."""
    try:
        asked = member(_any(asked_body))
    except (ValueError, RecursionError):
        asked = {}
    shapes: dict[str, ToolShape] = {}
    for tool in objects(asked.get("tools")):
        kind, name = tool.get("type"), text(tool.get("name"))
        if kind == "custom" and name:
            shapes[name] = ToolShape("custom", name)
    return ToolNames(shapes)


def call_item(
    shape: ToolShape, item_id: str, call_id: str, given: str, *, status: str = "completed"
) -> dict[str, Any]:
    """Return the output item of a call; `given` is its arguments as JSON text, or custom input.

    A custom tool that was offered as a function `{input: string}` has its input taken out.
    """
    item: dict[str, Any] = {"id": item_id, "call_id": call_id}
    if shape.kind == "custom":
        item |= {"type": "custom_tool_call", "name": shape.name, "input": given}
    else:
        item |= {
            "type": "function_call",
            "status": status,
            "name": shape.name,
            "arguments": given,
        }
    if shape.namespace is not None:
        item["namespace"] = shape.namespace
    return item

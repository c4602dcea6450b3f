"""Tools of a Responses request that the provider would run: no price of ours knows what they cost.

A web search and the making of images are left out, as clients such as Codex and Cline offer them
always and go on without them; they are refused where the request demands them. The others hold data
of the client's and are refused by name.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.lenient_json import member, objects, text

# What the client runs, or what costs nothing but its tokens.
CLIENT_RUN: Final = frozenset(
    {
        "apply_patch",
        "computer",
        "computer_use",
        "computer_use_preview",
        "custom",
        "function",
        "local_shell",
        "namespace",
        "shell",
        "tool_search",
    }
)
CHOICES: Final = CLIENT_RUN | {"allowed_tools"}
OPTIONAL: Final = ("web_search", "image_generation")
_any: Final = msgspec.json.Decoder().decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_optional(tool: Mapping[str, Any]) -> bool:
    """Tell whether a tool, or a choice of one, is one that a client can go on without."""
    return text(tool.get("type")).startswith(OPTIONAL)


def refuse_tool(tool: Mapping[str, Any], where: str) -> None:
    """Refuse by name a tool that the provider would run; raises InvalidRequest."""
    kind = text(tool.get("type"))
    environment = text(member(tool.get("environment")).get("type"))
    is_contained = kind == "shell" and environment.startswith("container")
    if kind not in CLIENT_RUN or is_contained:
        raise InvalidRequest(
            f"`{where}` is a tool that the provider runs: its price is not known",
            param=where,
            hint="Leave it out, or offer a tool of your own.",
        )
    for place, inner in enumerate(objects(tool.get("tools"))):
        refuse_tool(inner, f"{where}.tools[{place}]")


def refuse_hosted(raw: msgspec.Raw, where: str) -> None:
    """Refuse tools inside an item of the input which the provider would run."""
    for place, tool in enumerate(objects(_any(raw))):
        refuse_tool(tool, f"{where}[{place}]")


def offer_tools(fields: dict[str, object]) -> None:
    """Leave out optional tools, in place, and refuse other hosted tools; raises InvalidRequest."""
    choice = _value(fields.get("tool_choice"))
    kind = text(member(choice).get("type"))
    if kind and kind not in CHOICES and not kind.startswith(OPTIONAL):
        refuse_tool(member(choice), "tool_choice")
    raw = fields.get("tools")
    tools = _value(raw)
    if not isinstance(raw, msgspec.Raw) or not isinstance(tools, list):
        return
    kept: list[msgspec.Raw] = []
    for place, (row, tool) in enumerate(zip(_rows(raw), tools, strict=True)):
        if not is_optional(member(tool)):
            refuse_tool(member(tool), f"tools[{place}]")
            kept.append(row)
    if len(kept) == len(tools):
        return
    _choose(fields, choice, has_tools=bool(kept))
    if kept:
        fields["tools"] = kept
    else:
        del fields["tools"]


def _choose(fields: dict[str, object], choice: object, *, has_tools: bool) -> None:
    """Bring the choice of a tool into line with what is left to choose from."""
    named = member(choice)
    allowed = objects(named.get("tools"))
    others = [tool for tool in allowed if not is_optional(tool)]
    is_forced = (
        is_optional(named) or (choice == "required" and not has_tools) or (allowed and not others)
    )
    if is_forced:
        raise InvalidRequest(
            "`tool_choice` demands a tool that the provider runs: its price is not known",
            param="tool_choice",
            hint="Use auto, or offer a tool of your own.",
        )
    if not has_tools:
        fields.pop("tool_choice", None)
    elif len(others) < len(allowed):
        fields["tool_choice"] = {**named, "tools": others}


def _value(raw: object) -> object:
    return _any(raw) if isinstance(raw, msgspec.Raw) else None

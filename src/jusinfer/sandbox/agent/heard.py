"""What a coding agent's request says, whichever API it came by: task, tools and their results."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

MARKER: Final = re.compile(r"marker=([A-Za-z0-9]{4,32})")
# How agents without tools tell in which form an answer changes files.
_EDITS: Final[Mapping[str, str]] = {"SEARCH/REPLACE": "diff", "*file listing*": "whole"}
_OUTPUTS: Final = frozenset({"custom_tool_call_output", "function_call_output"})


class Tool(NamedTuple):
    """A tool that the agent offers; its schema is empty where it takes free text."""

    name: str
    kind: str
    schema: dict[str, Any]
    namespace: str = ""


class Said(NamedTuple):
    """One thing that was said to the model: by whom (user or tool), and with an image or not."""

    by: str
    text: str
    has_image: bool


class Heard(NamedTuple):
    """A request as the counterpart needs it; without a marker it is not part of a task.

    `characters` counts its texts: what was said, the results of tools, the instructions.
    """

    tools: list[Tool]
    marker: str
    results: list[str]
    has_image: bool
    edit: str
    characters: int = 0

    @property
    def is_task(self) -> bool:
        """Whether this is the task itself, not a title or a summary that the agent asks for."""
        return bool(self.marker) and bool(self.tools or self.edit)


def heard_chat(request: Mapping[str, Any]) -> Heard:
    """Read a Chat Completions request."""
    tools = [
        Tool(body["name"], tool["type"], body.get("parameters") or {})
        for tool in request.get("tools") or []
        for body in [tool[tool["type"]]]
    ]
    said = [
        _said("tool" if message["role"] == "tool" else "user", message.get("content"))
        for message in request["messages"]
        if message["role"] in {"tool", "user"}
    ]
    return _heard(tools, said, _all_text(request["messages"]))


def heard_messages(request: Mapping[str, Any]) -> Heard:
    """Read an Anthropic Messages request."""
    tools = [
        Tool(tool["name"], "function", tool.get("input_schema") or {})
        for tool in request.get("tools") or []
        if not tool.get("defer_loading")
    ]
    said = [part for turn in request["messages"] for part in _turn(turn)]
    return _heard(tools, said, str(request.get("system")))


def heard_responses(request: Mapping[str, Any]) -> Heard:
    """Read a Responses request."""
    given = request["input"]
    items: list[dict[str, Any]] = (
        [{"role": "user", "content": given}] if isinstance(given, str) else given
    )
    said: list[Said] = []
    around = [str(request.get("instructions"))]
    tools = list(_response_tools(request.get("tools") or []))
    for item in items:
        if item.get("type") in _OUTPUTS:
            said.append(_said("tool", item["output"]))
        elif item.get("role") == "user":
            said.append(_said("user", item["content"]))
        elif item.get("role") in {"developer", "system"}:
            around.append(_said("", item["content"]).text)
        elif item.get("type") == "additional_tools":
            tools += _response_tools(item["tools"])
    return _heard(tools, said, "\n".join(around))


def _response_tools(tools: list[dict[str, Any]], namespace: str = "") -> Iterator[Tool]:
    for tool in tools:
        if tool["type"] == "namespace":
            yield from _response_tools(tool.get("tools") or [], tool["name"])
        elif tool["type"] in {"custom", "function"}:
            yield Tool(tool["name"], tool["type"], tool.get("parameters") or {}, namespace)


def _turn(turn: Mapping[str, Any]) -> Iterator[Said]:
    content = turn["content"]
    if turn["role"] != "user":
        return
    if isinstance(content, str):
        yield Said("user", content, has_image=False)
        return
    for block in content:
        if block["type"] == "tool_result":
            yield _said("tool", block.get("content"))
        else:
            yield _said("user", [block])


def _said(by: str, content: object) -> Said:
    if not isinstance(content, list):
        return Said(by, str(content or ""), has_image=False)
    text = "\n".join(str(part["text"]) for part in content if part.get("text"))
    has_image = any("image" in str(part.get("type")) for part in content)
    return Said(by, text, has_image)


def _all_text(messages: list[dict[str, Any]]) -> str:
    return "\n".join(_said("", message.get("content")).text for message in messages)


def _heard(tools: list[Tool], said: list[Said], around: str) -> Heard:
    marker, start = "", len(said)
    for number, part in enumerate(said):
        found = MARKER.findall(part.text) if part.by == "user" else []
        if found:
            marker, start = found[-1], number
    # Some agents give results back as texts of the user.
    results = [
        part.text
        for part in said[start + 1 :]
        if part.by == "tool" or part.text.lstrip().startswith("Observation:")
    ]
    edit = next((form for words, form in _EDITS.items() if words in around and not tools), "")
    characters = max(len(around), sum(len(part.text) for part in said))
    return Heard(tools, marker, results, any(part.has_image for part in said), edit, characters)

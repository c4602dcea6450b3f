"""Picks the tool of an agent that does a thing, and writes arguments that fit its schema."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from jusinfer.sandbox.agent.heard import Tool
from jusinfer.sandbox.schema_examples import fitting

SHELLS: Final = (
    "bash",
    "exec_command",
    "shell",
    "shell_command",
    "local_shell",
    "run_shell_command",
    "run_command",
    "run_commands",
    "execute_command",
    "execute",
    "developer__shell",
    "terminal",
    "run",
)
WRITERS: Final = ("write", "write_file", "write_to_file", "create_file", "create", "editor")
READERS: Final = ("read", "read_file", "read_files", "view_file", "view")
VIEWERS: Final = ("view_image", "read", "read_file", "read_files", "view_file", "view")
ENDERS: Final = ("final_answer", "attempt_completion", "submit_and_exit")
COMMANDS: Final = ("command", "cmd", "commands", "script", "input")
PATHS: Final = ("file_path", "filePath", "path", "absolute_path", "filename", "files")
CONTENTS: Final = ("content", "contents", "file_text", "text", "file_content")
ENDINGS: Final = ("answer", "result", "summary")


class Act(NamedTuple):
    """A call to be made: the tool, and its arguments as JSON or as free text."""

    tool: Tool
    arguments: str


def shell(tools: Sequence[Tool], command: str) -> Act | None:
    """Run a command, by whichever tool runs commands."""
    tool = _named(tools, SHELLS) or next(
        (tool for tool in tools if _member(tool, COMMANDS[:2])), None
    )
    return _act(tool, ((COMMANDS, command),))


def write(tools: Sequence[Tool], path: str, text: str) -> Act | None:
    """Write a file."""
    return _act(_named(tools, WRITERS), ((PATHS, path), (CONTENTS, text)))


def read(tools: Sequence[Tool], path: str) -> Act | None:
    """Read a text file."""
    return _act(_named(tools, READERS), ((PATHS, path),))


def view(tools: Sequence[Tool], path: str) -> Act | None:
    """Look at an image."""
    return _act(_named(tools, VIEWERS), ((PATHS, path),))


def end(tools: Sequence[Tool], text: str) -> Act | None:
    """Give the answer, to an agent that takes it by a tool."""
    return _act(_named(tools, ENDERS), ((ENDINGS, text),))


def _named(tools: Sequence[Tool], names: Sequence[str]) -> Tool | None:
    known = {tool.name.lower(): tool for tool in reversed(tools)}
    return next((known[name] for name in names if name in known), None)


def _act(tool: Tool | None, given: Sequence[tuple[Sequence[str], str]]) -> Act | None:
    """Call a tool with these values under the names that it has for them, if it has them."""
    if tool is None:
        return None
    if tool.kind == "custom":
        return Act(tool, given[-1][1])
    arguments = {name: _needed(tool, name) for name in tool.schema.get("required") or []}
    for names, value in given:
        member = _member(tool, names)
        if member is None:
            return None
        arguments[member] = _shaped(tool.schema["properties"][member], member, value)
    return Act(tool, json.dumps(arguments))


def _member(tool: Tool, names: Sequence[str]) -> str | None:
    members = tool.schema.get("properties") or {}
    return next((name for name in names if name in members), None)


def _needed(tool: Tool, name: str) -> Any:
    """Give a value for a member that must be there; what may be switched on stays off."""
    schema = (tool.schema.get("properties") or {}).get(name, True)
    if isinstance(schema, dict) and schema.get("type") == "boolean":
        return False
    return fitting(schema, tool.schema)


def _shaped(schema: Mapping[str, Any], name: str, value: str) -> Any:
    branches = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    kinds = [branch.get("type") for branch in branches if isinstance(branch, dict)]
    if "string" in kinds or "array" not in kinds:
        return value
    items = next(branch for branch in branches if branch.get("type") == "array").get("items") or {}
    if items.get("type") == "object":
        member = next(iter(items.get("required") or items.get("properties") or ["path"]))
        return [{member: value}]
    return ["bash", "-lc", value] if name == "command" else [value]

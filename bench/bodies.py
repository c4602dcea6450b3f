"""The requests that every subject gets: the same bytes for all but the model's name."""

import json
from typing import Any, Final

PROMPT: Final = "lorem ipsum dolor " * 27
AGENT_BYTES: Final = 51_000
LONG_AGENT_BYTES: Final = 201_000
TEXT_BYTES: Final = 202_000
TOOLS: Final = 20
# The messages of a turn, and those before and after all turns.
TURN: Final = 3
ENDS: Final = 2
# Quotes, line ends and tabs that JSON escapes, and text that is not ASCII, as agents send them.
SAMPLE: Final = (
    'def load(path):\n\treturn open(path).read()  # "naïve" → fails on \\r\\n\n'
    "  File “main.py”, line 12 — 日本語のコメント, done ✓\n"
)


def tiny(model: str, *, is_stream: bool = False, output_tokens_max: int = 200) -> bytes:
    """Give a body of about 620 bytes with two messages."""
    body = {"model": model, "messages": _opening(PROMPT), "max_tokens": output_tokens_max}
    return _encoded({**body, "stream": True} if is_stream else body)


def text(model: str, size: int = TEXT_BYTES) -> bytes:
    """Give a body of so many bytes whose second message is one long text."""
    words = PROMPT * (size // len(PROMPT) + 1)
    rest = size - len(_body(model, _opening(""), []))
    return _body(model, _opening(words[:rest]), [])


def agent(model: str, messages: int, size: int) -> bytes:
    """Give an agent's history of so many messages in so many bytes, with 20 tools.

    After the system's message come user, assistant with a tool call, and the tool's result in
    turn; the last message is the user's, so `messages` is two more than a multiple of three.
    """
    if (messages - ENDS) % TURN:
        raise ValueError("messages must be two more than a multiple of three")
    tools = [_tool(number) for number in range(TOOLS)]
    least = len(_body(model, _history(messages, 0), tools))
    each = (size - least) // messages
    while True:
        history = _history(messages, each)
        rest = size - len(_body(model, history, tools))
        if rest >= 0:
            history[-1]["content"] += ("and so on " * (rest // 10 + 1))[:rest]
            return _body(model, history, tools)
        each -= max(-rest // messages, 1)


def _opening(prompt: str) -> list[dict[str, object]]:
    return [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": prompt},
    ]


def _history(messages: int, each: int) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = [{"role": "system", "content": "You are a coding agent."}]
    for turn in range((messages - ENDS) // TURN):
        words = (SAMPLE * (each // len(SAMPLE) + 1))[:each]
        path = json.dumps({"path": f"src/part_{turn}.py", "lines": [turn, turn + 40]})
        call = {
            "id": f"call_{turn:06}",
            "type": "function",
            "function": {"name": f"tool_{turn % TOOLS}", "arguments": path},
        }
        history += [
            {"role": "user", "content": words},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": words},
        ]
    history.append({"role": "user", "content": "Go on. "})
    return history


def _tool(number: int) -> dict[str, object]:
    return {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": f"Reads part {number} of the project and says what it found there.",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "the file's path"},
                    "lines": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["path"],
            },
        },
    }


def _body(model: str, messages: list[dict[str, object]], tools: list[dict[str, object]]) -> bytes:
    body: dict[str, object] = {"model": model, "messages": messages, "max_tokens": 200}
    return _encoded({**body, "tools": tools} if tools else body)


def _encoded(body: dict[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()

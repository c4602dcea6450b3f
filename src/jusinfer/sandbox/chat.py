"""Chat Completions as the sandbox speaks it: what it answers, as objects and as events."""

import hashlib
import json
from typing import Any

from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.text import compact, fitting, pieces, words

ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})
DEFAULT_TOKENS = 16
REASONING_TOKENS = 8
CREATED = 1_764_000_000


class Refused(Exception):
    """The request is refused in OpenAI's shape."""

    def __init__(self, status: int, message: str, param: str | None, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.body = {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": param,
                "code": code,
            }
        }


class Answer:
    """What will be said, before it is put on the wire."""

    def __init__(self, request: dict[str, Any], fault: Fault) -> None:
        self.request = request
        self.model = str(request.get("model", ""))
        self.text = _last_text(request)
        digest = hashlib.sha256(
            f"{self.model}|{request.get('seed')}|{json.dumps(request.get('messages'))}".encode()
        ).hexdigest()
        self.id = f"chatcmpl-{digest[:24]}"
        self.count = int(request.get("n") or 1)
        self.prompt_tokens = fault.number("prompt", prompt_tokens(request))
        self.reasoning = self._reasoning(digest)
        self.calls = self._calls()
        self.finish = "tool_calls" if self.calls else "stop"
        self.pieces = [] if self.calls else self._pieces(digest, fault)
        self._shorten()

    def _reasoning(self, digest: str) -> list[str]:
        if "reason" in self.model or self.request.get("reasoning_effort"):
            return words(f"r{digest}", REASONING_TOKENS)
        return []

    def _calls(self) -> list[dict[str, Any]]:
        tools = self.request.get("tools") or []
        choice = self.request.get("tool_choice", "auto")
        is_asked = "use the tool" in self.text.lower()
        if not tools or choice == "none" or (choice == "auto" and not is_asked):
            return []
        if isinstance(choice, dict):
            wanted = choice.get("function", {}).get("name")
            tools = [tool for tool in tools if tool.get("function", {}).get("name") == wanted]
        chosen = tools if "parallel" in self.text.lower() else tools[:1]
        return [
            {
                "id": f"call_{self.id[-8:]}{number}",
                "type": "function",
                "function": {
                    "name": tool["function"]["name"],
                    "arguments": compact(fitting(tool["function"].get("parameters"))),
                },
            }
            for number, tool in enumerate(chosen)
        ]

    def _pieces(self, digest: str, fault: Fault) -> list[str]:
        shape = self.request.get("response_format") or {}
        if shape.get("type") == "json_schema":
            return pieces(compact(fitting(shape.get("json_schema", {}).get("schema"))))
        if shape.get("type") == "json_object":
            return pieces(compact({"answer": "amber"}))
        if fault.name == "echo" and fault.options.get("text") == "input":
            return pieces(self.text)
        wanted = fault.number("tokens" if fault.name == "big" else "n", DEFAULT_TOKENS)
        return words(digest, wanted, is_unicode=fault.name == "unicode")

    def _shorten(self) -> None:
        limit = self.request.get("max_completion_tokens") or self.request.get("max_tokens")
        if isinstance(limit, int) and len(self.pieces) + len(self.reasoning) > limit:
            self.pieces = self.pieces[: max(limit - len(self.reasoning), 0)]
            self.finish = "length"
        stops = self.request.get("stop") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            whole = "".join(self.pieces)
            if stop in whole:
                self.pieces = pieces(whole[: whole.index(stop)])

    @property
    def completion_tokens(self) -> int:
        """How many tokens one choice has: one for each event of content."""
        tools = sum(len(pieces(call["function"]["arguments"])) for call in self.calls)
        return len(self.pieces) + len(self.reasoning) + tools

    def usage(self) -> dict[str, Any]:
        """Give the usage object."""
        completion = self.completion_tokens * self.count
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": len(self.reasoning) * self.count},
        }

    def whole(self) -> dict[str, Any]:
        """Give the answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.pieces)}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message = {"role": "assistant", "content": None, "tool_calls": self.calls}
        logprobs: dict[str, Any] | None = {"content": []} if self.request.get("logprobs") else None
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": self.model,
            "choices": [
                {
                    "index": index,
                    "message": message,
                    "logprobs": logprobs,
                    "finish_reason": self.finish,
                }
                for index in range(self.count)
            ],
            "usage": self.usage(),
        }

    def deltas(self) -> list[dict[str, Any]]:
        """Give the deltas of one choice that carry content, one token each."""
        out: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in self.reasoning]
        out += [{"content": piece} for piece in self.pieces]
        for number, call in enumerate(self.calls):
            name = {"name": call["function"]["name"], "arguments": ""}
            head = {"index": number, "id": call["id"], "type": "function", "function": name}
            out.append({"tool_calls": [head]})
            out += [
                {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
                for piece in pieces(call["function"]["arguments"])
            ]
        return out

    def chunk(self, delta: dict[str, Any], index: int, finish: str | None) -> dict[str, Any]:
        """Give one event's object."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": self.model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }


def judge(request: object) -> dict[str, Any]:
    """Refuse what OpenAI would refuse."""
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise Refused(400, "you must provide a model parameter", "model", "missing_parameter")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages must be a non-empty array", "messages", "invalid_value")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            where = f"messages[{number}].role"
            raise Refused(400, "this role is not known", where, "invalid_value")
    return request


def prompt_tokens(request: dict[str, Any]) -> int:
    """Count a prompt: one token for each four characters of text, and four for each message."""
    messages = request.get("messages") or []
    size = sum(len(_text_of(message.get("content"))) for message in messages)
    return size // 4 + 4 * len(messages) + len(json.dumps(request.get("tools") or [])) // 4


def _last_text(request: dict[str, Any]) -> str:
    for message in reversed(request.get("messages") or []):
        if message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return " ".join(str(text) for text in texts)
    return ""

"""What the sandbox says to a chat request, before anything is put on the wire."""

import json
from typing import Any, Final, NamedTuple

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.faults import Fault
from jusinfer.sandbox.schema_examples import fitting
from jusinfer.sandbox.text import compact, digest, fragments, tokens_of, words

DEFAULT_TOKENS: Final = 16
REASONING_TOKENS: Final = 8
IMAGE_TOKENS: Final = 85
MESSAGE_TOKENS: Final = 4
TOKEN_CHARACTERS: Final = 4
CREATED: Final = 1_764_000_000
LOGPROB: Final = -0.125
REFUSAL: Final = "I would rather not help with that."


class Piece(NamedTuple):
    """One token: what kind of text it belongs to, and to which tool call."""

    kind: str
    text: str
    call: int = 0


class Call(NamedTuple):
    """A tool call: its id, its kind (function or custom), its name and where that is from."""

    call_id: str
    kind: str
    name: str
    namespace: str = ""


class Choice(NamedTuple):
    """One choice: its tokens in order, its tool calls and why it ended."""

    pieces: list[Piece]
    calls: list[Call]
    finish: str | None

    def text(self, kind: str, call: int = 0) -> str:
        """Put the text of one kind together."""
        return "".join(
            piece.text for piece in self.pieces if piece.kind == kind and piece.call == call
        )


class Answer:
    """All that will be said: choices, usage and the names around them."""

    def __init__(self, request: dict[str, Any], fault: Fault, like: str = "") -> None:
        self.request = request
        self.fault = fault
        self.model = str(request["model"])
        self.like = fault.word("as", "") if fault.has("like") else like
        self.said_last = _last_text(request)
        self.seed = digest(
            self.model, compact(request.get("seed")), json.dumps(request["messages"])
        )
        self.answer_id = f"chatcmpl-{self.seed[:24]}"
        self.count = int(request.get("n") or 1)
        self.prompt_tokens = fault.number("prompt", _prompt_tokens(request))
        if fault.has("prompt"):
            self.prompt_tokens = fault.number("n", self.prompt_tokens)
        self.choices = [self._choice(index) for index in range(self.count)]
        self.completion_tokens = sum(len(choice.pieces) for choice in self.choices)
        self.reasoning_tokens = sum(
            piece.kind == "reasoning" for choice in self.choices for piece in choice.pieces
        )

    @property
    def is_stream(self) -> bool:
        """Whether events were asked for."""
        return bool(self.request.get("stream"))

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a usage event."""
        options = self.request.get("stream_options") or {}
        return bool(options.get("include_usage")) or self.like in provider_quirks.USAGE_ALWAYS

    @property
    def wants_logprobs(self) -> bool:
        """Whether each token comes with its probability."""
        return self.request.get("logprobs") is True

    def envelope(self, kind: str) -> dict[str, Any]:
        """Give the members that every object of this answer has."""
        members = {
            "id": self.answer_id,
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_sandbox",
        }
        return members | provider_quirks.envelope(self.like)

    def whole(self) -> dict[str, Any]:
        """Give the answer as one object, without usage."""
        choices = [
            {
                "index": index,
                "message": self._message(choice),
                "logprobs": self._logprobs_of(choice),
                "finish_reason": choice.finish,
            }
            | provider_quirks.choice(self.like, choice.finish)
            for index, choice in enumerate(self.choices)
        ]
        return self.envelope("chat.completion") | {"choices": choices}

    def usage(self, completion_tokens: int | None = None) -> dict[str, Any]:
        """Give the true usage, or what it is after so many tokens."""
        completion = self.completion_tokens if completion_tokens is None else completion_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": min(self.reasoning_tokens, completion),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        return provider_quirks.usage(self.like, usage)

    def logprobs(self, piece: Piece) -> dict[str, Any]:
        """Give the probabilities of one token."""
        row = _logprob(piece.text)
        row["top_logprobs"] = [
            _logprob(f"{piece.text}{'' if rank == 0 else rank}", LOGPROB - rank)
            for rank in range(int(self.request.get("top_logprobs") or 0))
        ]
        name = "refusal" if piece.kind == "refusal" else "content"
        return {"content": None, "refusal": None} | {name: [row]}

    def _choice(self, index: int) -> Choice:
        pieces, calls = self._made(f"{self.seed}{index}")
        finish = "tool_calls" if calls else "stop"
        if calls and self.fault.has("function_call"):
            finish = "function_call"
        limit = self.request.get("max_completion_tokens") or self.request.get("max_tokens")
        if limit is not None and len(pieces) > limit:
            pieces, finish = pieces[:limit], "length"
        asked = self.fault.word("finish", provider_quirks.finish(self.like, finish))
        said = {piece.call for piece in pieces if piece.kind == "call"}
        told = [call for number, (call, _) in enumerate(calls) if number in said]
        return Choice(pieces, told, None if asked == "null" else asked)

    def _made(self, seed: str) -> tuple[list[Piece], list[tuple[Call, str]]]:
        """Make up one choice: all its tokens, and its calls with their arguments."""
        calls = self._calls(seed)
        pieces = self._reasoning(seed)
        if self.fault.has("refusal"):
            calls = []
            pieces += [Piece("refusal", token) for token in tokens_of(REFUSAL)]
        elif calls:
            pieces += self.call_pieces([arguments for _, arguments in calls])
        else:
            pieces += [Piece("content", token) for token in self._stopped(self._tokens(seed))]
        return pieces, calls

    def _reasoning(self, seed: str) -> list[Piece]:
        effort = self.request.get("reasoning_effort")
        is_asked = effort not in {None, "none"} or self.fault.has("reason")
        if not is_asked and "reason" not in self.model:
            return []
        count = self.fault.number("reasoning", REASONING_TOKENS)
        return [Piece("reasoning", word) for word in words(f"{seed}reasoning", count)]

    def _calls(self, seed: str) -> list[tuple[Call, str]]:
        calls = []
        for number, tool in enumerate(_chosen_tools(self.request, self.said_last)):
            kind = str(tool["type"])
            body = tool[kind]
            arguments = WORD_INPUT
            if kind == "function":
                arguments = compact(fitting(body.get("parameters") or {"type": "object"}) or {})
            if self.fault.flag("empty"):
                arguments = ""
            call_id = f"call_{digest(seed, str(number))[:24]}"
            calls.append((Call(call_id, kind, str(body["name"])), arguments))
        return calls

    def call_pieces(self, arguments: list[str]) -> list[Piece]:
        """Cut tool calls into tokens: the first of each, without text, says its name."""
        rows = [
            [Piece("call", text, number) for text in ["", *fragments(whole)]]
            for number, whole in enumerate(arguments)
        ]
        if not self.fault.has("interleaved"):
            return [piece for row in rows for piece in row]
        longest = max(map(len, rows))
        return [row[turn] for turn in range(longest) for row in rows if turn < len(row)]

    def _tokens(self, seed: str) -> list[str]:
        shape = self.request.get("response_format") or {}
        if shape.get("type") == "json_schema":
            return fragments(compact(fitting(shape.get("json_schema", {}).get("schema"))))
        if shape.get("type") == "json_object":
            return fragments(compact({"answer": words(seed, 1)[0]}))
        fault = self.fault
        if fault.has("echo"):
            said = tokens_of(self.said_last)
            count = fault.tokens(len(said))
            # A longer echo says it again.
            return (said * (count // max(len(said), 1) + 1))[:count] if said else []
        default = 10_000 if fault.has("big") else DEFAULT_TOKENS
        return words(seed, fault.tokens(default), is_unicode=fault.has("unicode"))

    def _stopped(self, tokens: list[str]) -> list[str]:
        """End before the first of the texts that should stop the answer."""
        stops = self.request.get("stop") or []
        whole = "".join(tokens) if stops else ""
        ends = [whole.find(stop) for stop in ([stops] if isinstance(stops, str) else stops)]
        left = min([end for end in ends if end >= 0], default=None)
        if left is None:
            return tokens
        kept = []
        for token in tokens:
            if left <= 0:
                break
            kept.append(token[:left])
            left -= len(token)
        return kept

    def _message(self, choice: Choice) -> dict[str, Any]:
        refusal = choice.text("refusal") or None
        said = choice.text("content")
        content = (said or None) if choice.calls or refusal else said
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal}
        reasoning = choice.text("reasoning")
        if reasoning:
            message |= provider_quirks.reasoning(self.like, reasoning, content)
        calls = [
            call_object(call, choice.text("call", number))
            for number, call in enumerate(choice.calls)
        ]
        if calls and self.fault.has("function_call"):
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = [
                provider_quirks.call(self.like, self.fault.names, row) for row in calls
            ]
        return message | provider_quirks.extra_members(self.fault.names)

    def _logprobs_of(self, choice: Choice) -> dict[str, Any] | None:
        if not self.wants_logprobs:
            return None
        rows: dict[str, Any] = {"content": None, "refusal": None}
        for piece in choice.pieces:
            if piece.kind in rows:
                rows[piece.kind] = (rows[piece.kind] or []) + self.logprobs(piece)[piece.kind]
        return rows


WORD_INPUT: Final = "amber basin cedar"


def call_object(call: Call, text: str) -> dict[str, Any]:
    """Give a whole tool call."""
    argument = "arguments" if call.kind == "function" else "input"
    return {"id": call.call_id, "type": call.kind, call.kind: {"name": call.name, argument: text}}


def _chosen_tools(request: dict[str, Any], said_last: str) -> list[dict[str, Any]]:
    tools = request.get("tools") or []
    choice = request.get("tool_choice", "auto")
    said = said_last.lower()
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        tools = allowed.get("tools") or tools
        choice = allowed.get("mode", "auto")
    if isinstance(choice, dict):
        tools = [tool for tool in tools if _name(tool) == _name(choice)]
    elif choice == "none" or (choice != "required" and not _asks(request, said)):
        return []
    if request.get("parallel_tool_calls") is False or not tools:
        return tools[:1]
    is_parallel = request.get("parallel_tool_calls") is True or "parallel" in said
    if not is_parallel:
        return tools[:1]
    # One tool alone is called twice.
    return tools if len(tools) > 1 else tools * 2


def _asks(request: dict[str, Any], said: str) -> bool:
    is_last = request["messages"][-1].get("role") == "user"
    return is_last and ("use the tool" in said or "use tools" in said)


def _name(tool: dict[str, Any]) -> Any:
    return tool.get(str(tool.get("type")), {}).get("name")


def _logprob(text: str, logprob: float = LOGPROB) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def _prompt_tokens(request: dict[str, Any]) -> int:
    """Count a prompt: four characters of text to a token, and four tokens to a message."""
    characters = images = 0
    for message in request["messages"]:
        content = message.get("content")
        characters += len(_text_of(content))
        if isinstance(content, list):
            images += sum(part.get("type") == "image_url" for part in content)
    if request.get("tools"):
        characters += len(compact(request["tools"]))
    own = MESSAGE_TOKENS * len(request["messages"]) + IMAGE_TOKENS * images
    return own + -(-characters // TOKEN_CHARACTERS)


def _last_text(request: dict[str, Any]) -> str:
    for message in reversed(request["messages"]):
        if message.get("role") == "user":
            return _text_of(message.get("content"))
    return ""


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if part.get("text"))
    return ""

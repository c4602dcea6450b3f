"""The counterpart's answers, and what goes wrong once on purpose before one of them."""

from collections.abc import Mapping
from typing import Any, Final

from jusinfer.sandbox.agent.heard import Heard
from jusinfer.sandbox.agent.script import Move, kind_of, move
from jusinfer.sandbox.chat import Answer, Call, Piece
from jusinfer.sandbox.faults import NO_FAULT, Fault
from jusinfer.sandbox.text import digest, tokens_of

TASKS_MAX: Final = 1_000
CUT_AFTER: Final = "4"
RETRY_AFTER: Final = "1"
# A request that is too long, in the words of each provider.
OVERFLOWS: Final[Mapping[str, Mapping[str, str]]] = {
    "chat": {
        "message": (
            "This model's maximum context length is 128000 tokens. However, your messages "
            "resulted in 208310 tokens. Please reduce the length of the messages."
        ),
        "type": "invalid_request_error",
        "err": "context_length_exceeded",
    },
    "messages": {
        "message": "prompt is too long: 208310 tokens > 200000 maximum",
        "type": "invalid_request_error",
        "shape": "anthropic",
    },
    "responses": {
        "message": (
            "Your input exceeds the context window of this model. Please adjust your input and "
            "try again."
        ),
        "type": "invalid_request_error",
        "err": "context_length_exceeded",
    },
}
LIMITS: Final[Mapping[str, Mapping[str, str]]] = {
    "chat": {"type": "requests", "err": "rate_limit_exceeded"},
    "messages": {"type": "rate_limit_error", "shape": "anthropic"},
    "responses": {"type": "requests", "err": "rate_limit_exceeded"},
}


class AgentAnswer(Answer):
    """An answer whose words and calls are given."""

    def __init__(
        self, request: dict[str, Any], fault: Fault, like: str, heard: Heard, made: Move
    ) -> None:
        self._heard = heard
        self._move = made
        super().__init__(request, fault, like)
        # Turns differ in what tools said, which a chat request made of another API leaves out.
        self.seed = digest(self.seed, heard.marker, *heard.results)
        self.answer_id = f"chatcmpl-{self.seed[:24]}"

    def _made(self, seed: str) -> tuple[list[Piece], list[tuple[Call, str]]]:
        del seed
        thought, text, acts = self._move
        own = digest(self.model, self._heard.marker, *self._heard.results)
        calls = [
            (Call(f"call_{own[:22]}{number:02}", tool.kind, tool.name, tool.namespace), arguments)
            for number, (tool, arguments) in enumerate(acts)
        ]
        pieces = [Piece("reasoning", token) for token in tokens_of(thought)]
        pieces += [Piece("content", token) for token in tokens_of(text)]
        if calls:
            pieces += self.call_pieces([arguments for _, arguments in calls])
        return pieces, calls


class Counterpart:
    """The model behind agents; remembers for which tasks it has already gone wrong."""

    def __init__(self) -> None:
        self._struck: dict[tuple[str, str], None] = {}

    def reset(self) -> None:
        """Forget all tasks."""
        self._struck.clear()

    def answer(
        self, api: str, request: dict[str, Any], fault: Fault, like: str, heard: Heard
    ) -> Answer:
        """Answer by the script that the model's name asks for; a fault that is asked for stays."""
        kind = kind_of(request["model"]) or ""
        if fault is NO_FAULT and heard.is_task:
            fault = self._fault(api, kind, (request["model"], heard.marker))
        return AgentAnswer(request, fault, like, heard, move(kind, heard))

    def _fault(self, api: str, kind: str, task: tuple[str, str]) -> Fault:
        if kind == "overflow":
            return Fault(frozenset({"status"}), {"code": "400", **OVERFLOWS[api]})
        if kind not in {"cut", "limit"} or task in self._struck:
            return NO_FAULT
        if len(self._struck) >= TASKS_MAX:
            del self._struck[next(iter(self._struck))]
        self._struck[task] = None
        if kind == "cut":
            return Fault(frozenset({"cut"}), {"after": CUT_AFTER})
        options = {"code": "429", "retry_after": RETRY_AFTER, "message": "Rate limit reached"}
        return Fault(frozenset({"status"}), options | dict(LIMITS[api]))

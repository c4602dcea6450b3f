"""Chat events as bytes: the object of each chunk, and the lines that carry it."""

import json
from typing import Any

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.chat import Answer, Choice, Piece
from jusinfer.sandbox.text import compact


class Events:
    """Writes the events of one answer; what all have in common is written once."""

    def __init__(self, answer: Answer) -> None:
        fault = answer.fault
        self._answer = answer
        self._prefix = compact(answer.envelope("chat.completion.chunk"))[:-1] + ',"choices":'
        self._plain_tail = ',"usage":null}' if answer.wants_usage else "}"
        self._count = 0
        self._newline = "\r\n" if fault.has("crlf") else "\n"
        self._field = "data:" if fault.has("no_space") else "data: "
        self._is_spread = fault.has("multi_data")
        self._is_named = fault.has("named_events")
        self._extra_end = self._newline * (fault.number("n", 3) if fault.has("blank_lines") else 1)

    def frame(self, text: str) -> bytes:
        """Put a text into the lines of one event."""
        newline, field = self._newline, self._field
        if self._is_spread and text.startswith("{"):
            lines = json.dumps(json.loads(text), indent=1, ensure_ascii=False).split("\n")
        else:
            lines = [text]
        head = ""
        if self._is_named:
            self._count += 1
            head = f"event: message{newline}id: {self._count}{newline}"
        body = newline.join(field + line for line in lines)
        return f"{head}{body}{newline}{self._extra_end}".encode("utf-8", "replace")

    def members(self, members: dict[str, Any], choices: object = ()) -> bytes:
        """Write an event with these choices and members."""
        rest = compact(members)[1:]
        comma = "," if members else ""
        return self.frame(f"{self._prefix}{compact(choices)}{comma}{rest}")

    def without_choices(self, members: dict[str, Any]) -> bytes:
        """Write an event that has no choices at all."""
        return self.frame(compact(self._answer.envelope("chat.completion.chunk") | members))

    def comment(self, text: str) -> bytes:
        """Write a comment, which every reader of events has to pass over."""
        return f":{text}{self._newline}{self._newline}".encode()

    def delta(self, delta: str, index: int, logprobs: str = "null", tail: str = "") -> bytes:
        """Write an event with one delta, given as JSON; `tail` replaces what follows choices."""
        extra = provider_quirks.choice(self._answer.like, None)
        more = f",{compact(extra)[1:-1]}" if extra else ""
        return self.frame(
            f'{self._prefix}[{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":null{more}}}]{tail or self._plain_tail}'
        )

    def content(self, pieces: list[Piece], choice: Choice, index: int, tail: str = "") -> bytes:
        """Write an event with one token, or with several of a kind."""
        answer, first = self._answer, pieces[0]
        text = "".join(piece.text for piece in pieces)
        if first.kind == "content" and answer.like != "mistral":
            delta = f'{{"content":{json.dumps(text, ensure_ascii=False)}}}'
        else:
            delta = compact(self._delta(first, text, choice))
        logprobs = "null"
        if answer.wants_logprobs and first.kind in {"content", "refusal"}:
            rows = [answer.logprobs(piece)[first.kind][0] for piece in pieces]
            logprobs = compact({"content": None, "refusal": None} | {first.kind: rows})
        return self.delta(delta, index, logprobs, tail)

    def ending(self, choice: Choice, index: int, members: dict[str, Any]) -> bytes:
        """Write the event with finish_reason."""
        like = self._answer.like
        row = {"index": index, "delta": {}, "logprobs": None, "finish_reason": choice.finish}
        usage = {"usage": None} if self._answer.wants_usage else {}
        return self.members(usage | members, [row | provider_quirks.choice(like, choice.finish)])

    def _delta(self, piece: Piece, text: str, choice: Choice) -> dict[str, Any]:
        if piece.kind == "reasoning":
            extra = {} if self._answer.like in {"groq", "mistral"} else {"content": None}
            return extra | provider_quirks.reasoning(self._answer.like, text, None)
        if piece.kind != "call":
            return {piece.kind: text}
        call = choice.calls[piece.call]
        argument = "arguments" if call.kind == "function" else "input"
        fault = self._answer.fault
        is_first = not piece.text or fault.has("whole_call")
        body = {"name": call.name, argument: text} if is_first else {argument: text}
        if fault.has("function_call"):
            return {"function_call": body}
        row: dict[str, Any] = {"index": piece.call}
        if is_first:
            row |= {"id": call.call_id, "type": call.kind}
        if fault.has("call_without_index"):
            del row["index"]
        row |= {call.kind: body}
        if is_first or fault.has(provider_quirks.ONE_INDEX):
            like = self._answer.like if is_first else ""
            row = provider_quirks.call(like, fault.names, row)
        return {"tool_calls": [row]}

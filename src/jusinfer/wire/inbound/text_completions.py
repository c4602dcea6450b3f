"""OpenAI's legacy Completions as clients speak it to us: one prompt, one text."""

from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.error_kinds import stream_error
from jusinfer.wire.errors import type_of
from jusinfer.wire.interfaces import ChatForm, ClientStream
from jusinfer.wire.lenient_json import member, objects, text
from jusinfer.wire.member_table import table_of
from jusinfer.wire.strict_chunks import read_strict, said
from jusinfer.wire.upstream.chat_answer import head_of
from jusinfer.wire.validation_errors import unreadable_body, validation_error

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# Members that no provider can be sent, with why and the values that ask for nothing.
_NO_EQUAL: Final = tuple(
    (row.path, row.why, (None, *row.rules[0].neutral))
    for row in table_of("completions").rows
    if row.rules[0].word == "refuse"
)


class TextCompletionsClientApi:
    """Legacy completions, in and out."""

    name = "completions"

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a prompt into a chat of one message; raises InvalidRequest."""
        try:
            members: dict[str, Any] = dict(_members(body))
        except msgspec.ValidationError as error:
            raise validation_error(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise unreadable_body(body, "Send a JSON object with `model` and `prompt`.") from None
        for name, why, neutral in _NO_EQUAL:
            raw = members.pop(name, None)
            if raw is not None and _value(name, raw) not in neutral:
                raise _misfit(name, f"is not offered: {why}")
        tree = _tree(body, members)
        notes = table_of("completions").notes(tree)
        members.pop("prompt", None)
        prompt = _prompt(tree.get("prompt"))
        members["messages"] = [{"role": "user", "content": prompt}]
        return ChatForm(_encode(members), notes)

    def answer(
        self,
        chat_answer: bytes,
        asked_body: bytes,
        usage: TokenUsage,
        cost: str,
        ident: AnswerIdent,
    ) -> bytes:
        """Turn a chat completion into a text completion."""
        del asked_body
        answer = _any(chat_answer)
        choices: list[dict[str, Any]] = []
        for choice in objects(answer.get("choices")):
            message = member(choice.get("message"))
            choices.append(
                {
                    "index": choice["index"],
                    "text": text(message.get("content")) or text(message.get("refusal")),
                    "logprobs": None,
                    "finish_reason": _reason(choice.get("finish_reason")),
                }
            )
        made = _head(head_of(answer, ident))
        return _encode(made | {"choices": choices, "usage": _usage(usage, cost)})

    def stream(self, asked_body: bytes, ident: AnswerIdent) -> ClientStream:
        """Begin to write a stream."""
        try:
            options = _any(asked_body).get("stream_options") or {}
        except (ValueError, RecursionError, AttributeError):
            options = {}
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        return TextWriter(ident, wants_usage=wants_usage)

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in OpenAI's shape."""
        error = {"message": message, "type": type_of(status), "param": param, "code": code}
        return _encode({"error": error | {"request_id": request_id}})


class TextWriter:
    """One streamed text."""

    __slots__ = ("_head", "_ident", "_wants_usage")

    def __init__(self, ident: AnswerIdent, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._ident = ident
        self._head = _head(ident)

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; raises ChunkMalformed for what cannot be written."""
        out: list[bytes] = []
        for payload in payloads:
            chunk = read_strict(payload)
            self._head = _head(AnswerIdent(self._ident.completion_id, chunk.created, chunk.model))
            rows = [
                {
                    "index": choice.index,
                    "text": msgspec.Raw(
                        said(choice.delta.content) or said(choice.delta.refusal) or b'""'
                    ),
                    "logprobs": None,
                    "finish_reason": _reason(choice.finish_reason),
                }
                for choice in chunk.choices
            ]
            if rows:
                out.append(b"data: %b\n\n" % _encode(self._head | {"choices": rows}))
        return b"".join(out)

    def finish(self, usage: TokenUsage, cost_usd: str) -> bytes:
        """Give the usage, if it was asked for, and the end mark."""
        done = b"data: [DONE]\n\n"
        if not self._wants_usage:
            return done
        last = self._head | {"choices": [], "usage": _usage(usage, cost_usd)}
        return b"data: %b\n\n%b" % (_encode(last), done)

    def fail(self, code: str, message: str) -> bytes:
        """Write the one error event."""
        return b"data: %b\n\n" % _encode({"error": stream_error(code, message)})


def _tree(body: bytes, members: dict[str, Any]) -> dict[str, Any]:
    """Read the members of a body; only where one is at fault each is read alone, to name it."""
    try:
        tree: dict[str, Any] = _any(body)
    except (ValueError, RecursionError):
        return {name: _value(name, raw) for name, raw in members.items()}
    for name, _, _ in _NO_EQUAL:
        tree.pop(name, None)
    return tree


def _value(name: str, raw: msgspec.Raw) -> object:
    """Read a member whole; a number beyond all bounds and a text that is none are its fault."""
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        raise _misfit(name, "cannot be understood") from None


def _prompt(prompt: object) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _misfit("prompt", "must be one text: tokens and several prompts are not offered")
    return prompt


def _head(ident: AnswerIdent) -> dict[str, Any]:
    return {
        "id": f"cmpl-{ident.completion_id}",
        "object": "text_completion",
        "created": ident.created,
        "model": ident.model,
    }


def _reason(finish_reason: object) -> object:
    """Give a reason in the words of text completions, which know of no calls."""
    return "stop" if finish_reason in {"tool_calls", "function_call"} else finish_reason


def _usage(usage: TokenUsage, cost_usd: str) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": msgspec.Raw(cost_usd.encode("ascii")),
    }


def _misfit(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` {why}", param=name, hint=f"Change `{name}`, or leave it out.")

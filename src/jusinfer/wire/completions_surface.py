"""OpenAI's legacy Completions as callers speak it to us: one prompt, one text."""

from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.chat_misfits import misfit
from jusinfer.wire.member_table import table_of
from jusinfer.wire.pivot import ChatForm, SurfaceStream
from jusinfer.wire.tolerant import member, objects, text

_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# Members that no provider can be sent, with why and the values that ask for nothing.
_NO_EQUAL: Final = tuple(
    (row.path, row.why, (None, *row.rules[0].neutral))
    for row in table_of("completions").rows
    if row.rules[0].word == "refuse"
)


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    created: int | None = None
    choices: list[_Choice] | None = None


_chunk: Final = msgspec.json.Decoder(_Chunk).decode


class CompletionsSurface:
    """Legacy completions, in and out."""

    name = "completions"

    def to_chat(self, body: bytes) -> ChatForm:
        """Turn a prompt into a chat of one message; raises InvalidRequest."""
        try:
            members: dict[str, Any] = dict(_members(body))
        except msgspec.ValidationError as error:
            raise misfit(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidRequest(
                "the body is not JSON that can be read",
                hint="Send a JSON object with `model` and `prompt`.",
            ) from None
        for name, why, neutral in _NO_EQUAL:
            raw = members.pop(name, None)
            if raw is not None and _value(name, raw) not in neutral:
                raise _misfit(name, f"is not offered: {why}")
        prompt = _prompt(_value("prompt", members.pop("prompt", msgspec.Raw(b"null"))))
        members["messages"] = [{"role": "user", "content": prompt}]
        return ChatForm(_encode(members))

    def answer(self, chat_answer: bytes, asked_body: bytes, usage: TokenUsage, cost: str) -> bytes:
        """Turn a chat completion into a text completion."""
        del asked_body
        answer = _any(chat_answer)
        choices = [
            {
                "index": choice.get("index") or 0,
                "text": text(member(choice.get("message")).get("content")),
                "logprobs": None,
                "finish_reason": choice.get("finish_reason"),
            }
            for choice in objects(answer.get("choices"))
        ]
        made = _head(answer.get("id"), answer.get("created"), answer.get("model"))
        return _encode(made | {"choices": choices, "usage": _usage(usage, cost)})

    def stream(self, asked_body: bytes) -> SurfaceStream:
        """Begin to write a stream."""
        try:
            options = _any(asked_body).get("stream_options") or {}
        except (ValueError, RecursionError, AttributeError):
            options = {}
        wants_usage = isinstance(options, dict) and options.get("include_usage") is True
        return TextWriter(wants_usage=wants_usage)

    def error(
        self, status: int, code: str, message: str, param: str | None, request_id: str
    ) -> bytes:
        """Write an error in OpenAI's shape."""
        kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
        error = {"message": message, "type": kind, "param": param, "code": code}
        return _encode({"error": error | {"request_id": request_id}})


class TextWriter:
    """One streamed text."""

    __slots__ = ("_head", "_wants_usage")

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._head = _head(None, None, None)

    def events(self, payloads: list[bytes]) -> bytes:
        """Turn chunks into events; what cannot be read is left out."""
        out: list[bytes] = []
        for payload in payloads:
            try:
                chunk = _chunk(payload)
            except (ValueError, RecursionError):
                continue
            self._head = _head(chunk.id, chunk.created, chunk.model)
            rows = [
                {
                    "index": choice.index or 0,
                    "text": text(member(choice.delta).get("content")),
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in chunk.choices or ()
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
        error = {"message": message, "type": "upstream_error", "param": None, "code": code}
        return b"data: %b\n\n" % _encode({"error": error})


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


def _head(chat_id: object, created: object, model: object) -> dict[str, Any]:
    name = chat_id if isinstance(chat_id, str) else ""
    return {
        "id": f"cmpl-{name.removeprefix('chatcmpl-')}",
        "object": "text_completion",
        "created": created or 0,
        "model": model or "",
    }


def _usage(usage: TokenUsage, cost_usd: str) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": msgspec.Raw(cost_usd.encode("ascii")),
    }


def _misfit(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` {why}", param=name, hint=f"Change `{name}`, or leave it out.")

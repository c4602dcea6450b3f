"""Cloudflare Workers AI's native run endpoint as a provider API: envelope and mixed streams.

A stream may hold chunks of its own shape, of OpenAI's, or both. One that ends with neither an end
mark nor a reason was cut.
"""

import hashlib
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.stream_state import DONE, ChunkMalformed, UpstreamFailure
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.interfaces import Headers, ProviderStream
from jusinfer.wire.member_table import judge, table_of
from jusinfer.wire.single_tool_call import may_call
from jusinfer.wire.upstream.anthropic.request import allow_some
from jusinfer.wire.upstream.compatibility import effort_asked
from jusinfer.wire.upstream.errors import read_error
from jusinfer.wire.upstream.plain_chat import plain_message, plain_roles, results_first

# What is sent when nobody says how long an answer may be: older models stop at 256 otherwise.
OUTPUT_TOKENS_DEFAULT: Final = 2_048
CALL_ID_BYTES: Final = 12
PASSED: Final = (
    "chat_template_kwargs",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
)
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class WorkersAiProviderApi:
    """The native run endpoint."""

    name = "workers_ai"

    def path(self, upstream_model: str, *, is_stream: bool) -> str:
        """Give the path of a model's run."""
        del is_stream
        return f"/run/{upstream_model}"

    def encode(
        self,
        asked: CompletionRequest,
        *,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
    ) -> bytes:
        """Write a request; raises InvalidRequest naming what cannot be said."""
        del upstream_model, flags
        fields = {name: _any(raw) for name, raw in asked.fields.items()}
        if not may_call(fields):
            fields.pop("parallel_tool_calls", None)
        table = table_of("chat")
        judge(table.notes(fields), self.name)
        fields = table.without_hints(fields, self.name)
        allow_some(fields)
        body = {name: fields[name] for name in sorted(PASSED) if fields.get(name) is not None}
        effort = effort_asked(fields.get("reasoning"))
        if effort is not None:
            body.setdefault("reasoning_effort", effort)
        messages = plain_roles(results_first(fields["messages"]))
        body["messages"] = [_message(message) for message in messages]
        body["max_tokens"] = output_tokens_max or asked.output_tokens_max or OUTPUT_TOKENS_DEFAULT
        if asked.is_stream:
            body["stream"] = True
        return _encode(body)

    def answer(self, body: bytes) -> bytes:
        """Turn the envelope of an answer into a chat completion; raises ChunkMalformed."""
        try:
            envelope = _any(body)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("the answer is no JSON") from error
        if not isinstance(envelope, dict):
            raise ChunkMalformed("the answer is no object")
        failure = _error_of(envelope)
        if failure is not None:
            return _encode({"error": failure})
        result = envelope.get("result", envelope)
        if not isinstance(result, dict):
            raise ChunkMalformed("the answer holds no result")
        if "choices" in result:
            return _encode(result)
        calls = _calls(result.get("tool_calls"), body)
        message: dict[str, Any] = {"role": "assistant", "content": _text(result.get("response"))}
        if calls:
            message["tool_calls"] = calls
        reason = result.get("finish_reason") or ("tool_calls" if calls else "stop")
        answer: dict[str, Any] = {
            "id": "",
            "object": "chat.completion",
            "created": 0,
            "model": "",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        }
        if isinstance(result.get("usage"), dict):
            answer["usage"] = result["usage"]
        return _encode(answer)

    def stream(self, ident: AnswerIdent) -> ProviderStream:
        """Begin to read a stream."""
        return WorkersAiStream(ident)

    def failure(self, status: int, headers: Headers, body: bytes, now: float) -> UpstreamFailure:
        """Judge a refusal."""
        return read_error(status, headers, body, now)


class WorkersAiStream:
    """Turns events of either shape into chat chunks."""

    __slots__ = ("_calls", "_has_data", "_has_reason", "_ident", "_is_over")

    def __init__(self, ident: AnswerIdent) -> None:
        self._ident = ident
        self._calls = 0
        self._has_data = False
        self._has_reason = False
        self._is_over = False

    def chunks(self, payload: bytes) -> list[bytes]:
        """Turn one event into chunks; raises ChunkMalformed."""
        if payload.lstrip().startswith(DONE):
            return self._last()
        try:
            event = _any(payload)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("an event is no JSON") from error
        if not isinstance(event, dict):
            raise ChunkMalformed("an event is no object")
        failure = _error_of(event)
        if failure is not None:
            return [_encode({"choices": [], "error": failure})]
        choices = event.get("choices")
        if isinstance(choices, list):
            self._has_data = True
            self._has_reason = self._has_reason or any(
                isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
            )
            return [payload]
        return self._native(event, payload)

    def end(self) -> list[bytes]:
        """A body that ends after a reason was given has ended."""
        return self._last() if self._has_reason else []

    def _native(self, event: dict[str, Any], payload: bytes) -> list[bytes]:
        chunks: list[bytes] = []
        text = _text(event.get("response"))
        delta: dict[str, Any] = {}
        if text:
            delta["content"] = text
        for name in ("reasoning_content", "reasoning"):
            if isinstance(event.get(name), str) and event[name]:
                delta["reasoning_content"] = event[name]
        calls = _calls(event.get("tool_calls"), payload)
        if calls:
            delta["tool_calls"] = [
                {"index": self._calls + place, **call} for place, call in enumerate(calls)
            ]
            self._calls += len(calls)
        if delta:
            self._has_data = True
            chunks.append(self._chunk(delta))
        reason = event.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._has_reason = True
            chunks.append(self._chunk({}, reason))
        if isinstance(event.get("usage"), dict):
            chunks.append(_encode({"choices": [], "usage": event["usage"]}))
        return chunks

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        ident = self._ident
        return _encode(
            {
                "id": ident.chat_id,
                "object": "chat.completion.chunk",
                "created": ident.created,
                "model": ident.model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
            }
        )

    def _last(self) -> list[bytes]:
        if self._is_over:
            return []
        self._is_over = True
        if self._has_reason or not self._has_data:
            return [DONE]
        # Its end mark says that it is whole, and nothing says why it ended.
        return [self._chunk({}, "tool_calls" if self._calls else "stop"), DONE]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Write a message as all models there take it: content is never null, texts are one text."""
    written = plain_message(message)
    if written.get("content") is None:
        written["content"] = ""
    reasoning = written.pop("reasoning_content", None)
    if reasoning:
        written["reasoning"] = reasoning
    return written


def _text(value: object) -> str:
    """Give a text that may have come as a number or, in JSON mode, as an object."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()


def _calls(rows: object, payload: bytes) -> list[dict[str, Any]]:
    """Give calls in OpenAI's shape, whether they came flat or nested; empty ones are left out."""
    calls: list[dict[str, Any]] = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        inner = row.get("function")
        function = inner if isinstance(inner, dict) else row
        name = function.get("name")
        if not isinstance(name, str) or not name:
            continue
        given = function.get("arguments")
        arguments = given if isinstance(given, str) else _encode(given or {}).decode()
        seed = payload + len(calls).to_bytes(2, "big")
        made = hashlib.blake2b(seed, digest_size=CALL_ID_BYTES).hexdigest()
        call_id = row.get("id") if isinstance(row.get("id"), str) else f"call_{made}"
        calls.append(
            {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )
    return calls


def _error_of(envelope: dict[str, Any]) -> dict[str, Any] | None:
    errors = envelope.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return {"code": errors[0].get("code"), "message": str(errors[0].get("message") or "")}
    if envelope.get("success") is False:
        return {"code": None, "message": "the run did not succeed"}
    error = envelope.get("error")
    if error:
        return error if isinstance(error, dict) else {"code": None, "message": str(error)}
    return None

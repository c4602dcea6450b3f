"""Anthropic Messages as a provider API: answers, streams and errors in canonical form."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.stream_state import DONE, ChunkMalformed, UpstreamFailure
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.interfaces import Headers, ProviderStream
from jusinfer.wire.upstream.anthropic.request import FORMAT, encode_messages
from jusinfer.wire.upstream.errors import read_error
from jusinfer.wire.upstream.usage_shapes import MessagesUsage, merged, messages_usage, neutral_usage

FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "pause_turn": "length",
        "refusal": "content_filter",
        "stop_sequence": "stop",
        "tool_use": "tool_calls",
    }
)
_ABSENT: Final = msgspec.Raw(b"null")
_QUOTES: Final = msgspec.Raw(b'""')
_encode: Final = msgspec.json.Encoder().encode


class Block(msgspec.Struct, gc=False):
    """One block of content, of any kind."""

    type: str = ""
    text: msgspec.Raw = _QUOTES
    thinking: msgspec.Raw = _QUOTES
    signature: msgspec.Raw = _QUOTES
    data: msgspec.Raw = _QUOTES
    id: msgspec.Raw = _QUOTES
    name: msgspec.Raw = _QUOTES
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Delta(msgspec.Struct, gc=False):
    """What an event adds: to a block, or to the message as a whole."""

    type: str = ""
    text: msgspec.Raw = _QUOTES
    thinking: msgspec.Raw = _QUOTES
    signature: msgspec.Raw = _QUOTES
    partial_json: msgspec.Raw = _QUOTES
    stop_reason: str | None = None


class Message(msgspec.Struct, gc=False):
    """A message, whole or as it begins."""

    id: str = ""
    model: str = ""
    content: list[Block] = []
    stop_reason: str | None = None
    usage: msgspec.Raw = _ABSENT


class Event(msgspec.Struct, gc=False):
    """One event of a stream."""

    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


read_event: Final = msgspec.json.Decoder(Event).decode
read_message: Final = msgspec.json.Decoder(Message).decode


class AnthropicProviderApi:
    """Messages as Anthropic speaks it."""

    name = "anthropic"

    def path(self, upstream_model: str, *, is_stream: bool) -> str:
        """Give the path of Messages."""
        del upstream_model, is_stream
        return "/messages"

    def encode(
        self,
        asked: CompletionRequest,
        *,
        upstream_model: str,
        output_tokens_max: int | None,
        flags: tuple[str, ...],
    ) -> bytes:
        """Write a request; raises InvalidRequest naming what cannot be said."""
        return encode_messages(asked, upstream_model, output_tokens_max, flags)

    def answer(self, body: bytes) -> bytes:
        """Turn a message into a chat completion; raises ChunkMalformed."""
        try:
            message = read_message(body)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("the answer is no message") from error
        if messages_usage(message.usage) is None and not message.content:
            return body
        return _encode(whole(message))

    def stream(self, ident: AnswerIdent) -> ProviderStream:
        """Begin to read a stream."""
        return AnthropicStream(ident)

    def failure(self, status: int, headers: Headers, body: bytes, now: float) -> UpstreamFailure:
        """Judge a refusal."""
        return read_error(status, headers, body, now)


def whole(message: Message) -> dict[str, Any]:
    """Give a whole message in the canonical form."""
    texts: list[str] = []
    thoughts: list[str] = []
    details: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for place, block in enumerate(message.content):
        if block.type == "text":
            texts.append(_str(block.text))
        elif block.type == "thinking":
            text = _str(block.thinking)
            thoughts.append(text)
            details.append(_detail(place, text=text, signature=_str(block.signature)))
        elif block.type == "redacted_thinking":
            details.append(_encrypted(place, block.data))
        elif block.type == "tool_use":
            arguments = bytes(block.input).decode("utf-8", "replace")
            function = {"name": block.name, "arguments": arguments}
            calls.append({"id": block.id, "type": "function", "function": function})
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        said["reasoning"] = "".join(thoughts)
    if details:
        said["reasoning_details"] = details
    if calls:
        said["tool_calls"] = calls
    reason = message.stop_reason
    choice = {
        "index": 0,
        "message": said,
        "finish_reason": FINISH.get(reason or "", "stop"),
        "native_finish_reason": reason,
        "logprobs": None,
    }
    answer: dict[str, Any] = {
        "id": message.id,
        "object": "chat.completion",
        "created": 0,
        "model": message.model,
        "choices": [choice],
    }
    usage = messages_usage(message.usage)
    if usage is not None:
        answer["usage"] = neutral_usage(usage)
    return answer


class AnthropicStream:
    """Turns the events of one message into chat chunks."""

    __slots__ = ("_calls", "_has_delta", "_head", "_ident", "_is_over", "_slots", "_usage")

    def __init__(self, ident: AnswerIdent) -> None:
        self._ident = ident
        self._head = _head(ident, ident.model)
        self._usage = MessagesUsage()
        self._slots: dict[int, int] = {}
        self._calls = 0
        self._has_delta = False
        self._is_over = False

    def chunks(self, payload: bytes) -> list[bytes]:
        """Turn one event into chunks; what is not understood is left out."""
        try:
            event = read_event(payload)
        except (ValueError, RecursionError) as error:
            raise ChunkMalformed("an event is no part of a message") from error
        read = _READERS.get(event.type)
        return [] if read is None else read(self, event)

    def end(self) -> list[bytes]:
        """A body that ends after a reason was given has ended, though it does not say so."""
        return self._last() if self._has_delta else []

    def _begin(self, event: Event) -> list[bytes]:
        message = event.message or Message()
        self._head = _head(self._ident, message.model or self._ident.model)
        begun = [self._chunk(b'{"role":"assistant","content":""}')]
        said = messages_usage(message.usage)
        if said is not None:
            # Said at once, so that it is known if the stream breaks; clients do not see it.
            self._usage = merged(self._usage, said)
            begun.append(self._usage_chunk())
        return begun

    def _start(self, event: Event) -> list[bytes]:
        block = event.content_block
        if block is None:
            return []
        if block.type == "tool_use":
            index = self._slots[event.index] = self._calls
            self._calls += 1
            given = bytes(block.input)
            arguments = b'""' if given == b"{}" else _encode(given.decode("utf-8", "replace"))
            return [
                self._chunk(
                    b'{"tool_calls":[{"index":%d,"id":%b,"type":"function",'
                    b'"function":{"name":%b,"arguments":%b}}]}'
                    % (index, bytes(block.id), bytes(block.name), arguments)
                )
            ]
        if block.type == "redacted_thinking":
            detail = _encode([_encrypted(event.index, block.data)])
            return [self._chunk(b'{"reasoning_details":%b}' % detail)]
        if block.type == "text" and bytes(block.text) != b'""':
            return [self._chunk(b'{"content":%b}' % bytes(block.text))]
        return []

    def _delta(self, event: Event) -> list[bytes]:
        delta = event.delta
        if delta is None:
            return []
        said: bytes | None = None
        kind = delta.type
        if kind == "text_delta":
            said = b'{"content":%b}' % bytes(delta.text)
        elif kind == "input_json_delta":
            part = bytes(delta.partial_json)
            index = self._slots.get(event.index)
            if part != b'""' and index is not None:
                said = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, part)
        elif kind == "thinking_delta":
            text = bytes(delta.thinking)
            said = (
                b'{"reasoning":%b,"reasoning_details":[{"type":"reasoning.text","text":%b,'
                b'"format":"anthropic-claude-v1","index":%d}]}' % (text, text, event.index)
            )
        elif kind == "signature_delta":
            said = (
                b'{"reasoning_details":[{"type":"reasoning.text","signature":%b,'
                b'"format":"anthropic-claude-v1","index":%d}]}'
                % (bytes(delta.signature), event.index)
            )
        return [] if said is None else [self._chunk(said)]

    def _close(self, event: Event) -> list[bytes]:
        said = messages_usage(event.usage)
        if said is not None:
            self._usage = merged(self._usage, said)
            self._has_delta = True
        delta = event.delta
        if delta is None or delta.stop_reason is None:
            return []
        self._has_delta = True
        reason = FINISH.get(delta.stop_reason, "stop")
        return [
            b'%b,"choices":[{"index":0,"delta":{},"finish_reason":"%b",'
            b'"native_finish_reason":%b}]}'
            % (self._head, reason.encode(), _encode(delta.stop_reason))
        ]

    def _fail(self, event: Event) -> list[bytes]:
        return [b'%b,"choices":[],"error":%b}' % (self._head, bytes(event.error))]

    def _stop(self, event: Event) -> list[bytes]:
        del event
        return self._last()

    def _last(self) -> list[bytes]:
        if self._is_over:
            return []
        self._is_over = True
        usage = self._usage
        if usage.input_tokens is None and usage.output_tokens is None:
            return [DONE]
        return [self._usage_chunk(), DONE]

    def _usage_chunk(self) -> bytes:
        usage = self._usage
        if not self._has_delta:
            # The first event counts an answer that had only begun.
            usage = merged(usage, MessagesUsage(output_tokens=0))
        return b'%b,"choices":[],"usage":%b}' % (self._head, _encode(neutral_usage(usage)))

    def _chunk(self, delta: bytes) -> bytes:
        return b'%b,"choices":[{"index":0,"delta":%b,"finish_reason":null}]}' % (self._head, delta)


_READERS: Final[Mapping[str, Callable[[AnthropicStream, Event], list[bytes]]]] = MappingProxyType(
    {
        "content_block_delta": AnthropicStream._delta,  # noqa: SLF001 (its own table)
        "content_block_start": AnthropicStream._start,  # noqa: SLF001
        "error": AnthropicStream._fail,  # noqa: SLF001
        "message_delta": AnthropicStream._close,  # noqa: SLF001
        "message_start": AnthropicStream._begin,  # noqa: SLF001
        "message_stop": AnthropicStream._stop,  # noqa: SLF001
    }
)


def _head(ident: AnswerIdent, model: str) -> bytes:
    return b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b' % (
        _encode(ident.chat_id),
        ident.created,
        _encode(model),
    )


def _str(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError:
        return ""


def _detail(index: int, **members: str) -> dict[str, Any]:
    return {"type": "reasoning.text", **members, "format": FORMAT, "index": index}


def _encrypted(index: int, data: msgspec.Raw) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": index}

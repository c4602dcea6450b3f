"""Chat Completions as upstreams speak it: events, whole answers, usage in its many shapes."""

import re
from typing import Final

import msgspec

from jusinfer.domain.stream import (
    Chunk,
    ChunkMalformed,
    UpstreamFailure,
    estimate_completion_tokens,
)
from jusinfer.domain.usage import TokenUsage, plausible

TOKENS_MAX: Final = 2**40
FAILING_REASONS: Final = frozenset({"error", "insufficient_system_resource"})
# What JSON writes for nothing at all; an empty text is no content either.
_NOTHING: Final = frozenset({b"", b"null", b'""', b"[]"})
_LEADING: Final = re.compile(rb"\s*")


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_details: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()
    images: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    text: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    x_groq: _Groq | None = None


class _Ident(msgspec.Struct):
    id: str | None = None
    created: int | None = None
    model: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    reasoning_tokens: float | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    prompt_eval_count: float | None = None
    eval_count: float | None = None
    prompt_cache_hit_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _WireError(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


_event: Final = msgspec.json.Decoder(_Event).decode
_usage: Final = msgspec.json.Decoder(_Usage).decode
_ident: Final = msgspec.json.Decoder(_Ident).decode
_wire_error: Final = msgspec.json.Decoder(_WireError | str).decode


class Answer(msgspec.Struct):
    """What a whole answer says of itself."""

    usage: TokenUsage | None = None
    finish_reason: str | None = None
    failure: UpstreamFailure | None = None
    has_content: bool = False
    estimated_tokens: int = 0

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        """Give the usage to charge: as reported if it can be believed, else counted here."""
        reported = self.usage
        if reported is not None and (reported.completion_tokens > 0 or not self.has_content):
            return plausible(reported)
        prompt = prompt_tokens_estimate
        if reported is not None and reported.prompt_tokens > 0:
            prompt = reported.prompt_tokens
        return TokenUsage(
            prompt_tokens=prompt, completion_tokens=self.estimated_tokens, is_estimated=True
        )


class ChunkIdent(msgspec.Struct, frozen=True):
    """How a stream names itself, for events that are made here."""

    id: str
    created: int
    model: str


def decode_chunk(payload: bytes) -> Chunk:
    """Read one event; raises ChunkMalformed."""
    try:
        event = _event(payload)
    except msgspec.MsgspecError as error:
        raise ChunkMalformed("an event is no chunk of a chat completion") from error
    chunk = Chunk()
    choices = event.choices
    if choices:
        if len(choices) == 1:
            _read_choice(choices[0], chunk)
        else:
            for choice in choices:
                _read_choice(choice, chunk)
    raw = bytes(event.usage)
    if raw not in _NOTHING:
        chunk.usage = read_usage(raw)
        chunk.raw_usage = raw
    groq = event.x_groq
    if groq is not None:
        _read_groq(groq, chunk)
    if chunk.usage is not None and not choices:
        chunk.is_usage_only = True
    if bytes(event.error) not in _NOTHING:
        chunk.failure = _failure_in(bytes(event.error))
    elif chunk.finish_reason in FAILING_REASONS and chunk.failure is None:
        chunk.failure = _failed("upstream_error", "the upstream reported an error")
    return chunk


def _read_choice(choice: _Choice, chunk: Chunk) -> None:
    delta = choice.delta or choice.message
    if delta is not None:
        size = _content_bytes(delta)
        if size:
            chunk.has_content = True
            chunk.content_bytes += size
    if choice.finish_reason is not None:
        chunk.is_finish = True
        chunk.finish_reason = choice.finish_reason
        chunk.finished_choices = (*chunk.finished_choices, choice.index or 0)
    if bytes(choice.error) not in _NOTHING:
        chunk.failure = _failure_in(bytes(choice.error))


def _content_bytes(delta: _Delta) -> int:
    """Give the size of what a caller would see of a delta; the common case first."""
    content = bytes(delta.content)
    if content not in _NOTHING:
        return max(len(content) - 2, 1)
    size = 0
    for raw in (
        delta.reasoning_content,
        delta.reasoning,
        delta.tool_calls,
        delta.refusal,
        delta.function_call,
        delta.audio,
        delta.images,
        delta.reasoning_details,
    ):
        part = bytes(raw)
        if part not in _NOTHING:
            size += max(len(part) - 2, 1)
    return size


def _read_groq(groq: _Groq, chunk: Chunk) -> None:
    raw = bytes(groq.usage)
    if chunk.usage is None and raw not in _NOTHING:
        chunk.usage = read_usage(raw)
        chunk.raw_usage = raw
    if bytes(groq.error) not in _NOTHING:
        chunk.failure = _failure_in(bytes(groq.error))


def read_usage(raw: bytes) -> TokenUsage | None:
    """Read a usage object of any shape we know; None when it says nothing; never raises."""
    try:
        usage = _usage(raw)
    except msgspec.MsgspecError:
        return None
    prompt = _first(usage.prompt_tokens, usage.input_tokens, usage.prompt_eval_count)
    completion = _first(usage.completion_tokens, usage.output_tokens, usage.eval_count)
    if prompt is None and completion is None:
        return None
    details = usage.prompt_tokens_details or _Details()
    produced = usage.completion_tokens_details or _Details()
    return TokenUsage(
        prompt_tokens=prompt or 0,
        cached_prompt_tokens=_first(details.cached_tokens, usage.prompt_cache_hit_tokens) or 0,
        cache_write_tokens=_first(details.cache_write_tokens) or 0,
        completion_tokens=completion or 0,
        reasoning_tokens=_first(produced.reasoning_tokens) or 0,
    )


def _first(*counts: float | None) -> int | None:
    for count in counts:
        if count is not None:
            return min(max(int(count), 0), TOKENS_MAX)
    return None


def decode_answer(body: bytes) -> Answer:
    """Read a whole answer that came with status 200; what is no answer is a failure."""
    try:
        event = _event(body)
    except msgspec.MsgspecError:
        return Answer(failure=_failed("not_an_answer", "the upstream's answer is no completion"))
    if bytes(event.error) not in _NOTHING:
        return Answer(failure=_failure_in(bytes(event.error)))
    if not event.choices:
        return Answer(failure=_failed("empty_answer", "the upstream produced nothing"))
    answer = _read_choices(event.choices)
    if answer.failure is None:
        _read_answer_usage(event, answer)
    return answer


def _read_choices(choices: list[_Choice]) -> Answer:
    answer = Answer()
    size = 0
    for choice in choices:
        if bytes(choice.error) not in _NOTHING:
            return Answer(failure=_failure_in(bytes(choice.error)))
        if choice.finish_reason in FAILING_REASONS:
            return Answer(failure=_failed("upstream_error", "the upstream reported an error"))
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        if choice.message is not None:
            size += _content_bytes(choice.message)
    if size == 0 and answer.finish_reason is None:
        return Answer(failure=_failed("empty_answer", "the upstream produced nothing"))
    answer.has_content = size > 0
    answer.estimated_tokens = estimate_completion_tokens(0, size)
    return answer


def _read_answer_usage(event: _Event, answer: Answer) -> None:
    raw = bytes(event.usage)
    if raw not in _NOTHING:
        answer.usage = read_usage(raw)
    if answer.usage is None and event.x_groq is not None:
        answer.usage = read_usage(bytes(event.x_groq.usage))


def answer_as_events(body: bytes) -> list[bytes]:
    """Turn a whole answer into the events of a stream, for an upstream that did not stream."""
    whole = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    choices = msgspec.json.decode(whole["choices"], type=list[dict[str, msgspec.Raw]])
    names = ("id", "created", "model")
    kept: dict[str, object] = {name: whole[name] for name in names if name in whole}
    kept["object"] = msgspec.Raw(b'"chat.completion.chunk"')
    events: list[bytes] = []
    for choice in choices:
        index = choice.get("index", msgspec.Raw(b"0"))
        message = choice.get("message", msgspec.Raw(b"{}"))
        none = msgspec.Raw(b"null")
        for delta, reason in (
            (_streamed(message), none),
            (msgspec.Raw(b"{}"), choice.get("finish_reason", none)),
        ):
            row = {"index": index, "delta": delta, "finish_reason": reason}
            events.append(msgspec.json.encode(kept | {"choices": [row]}))
    if "usage" in whole:
        events.append(msgspec.json.encode(kept | {"choices": [], "usage": whole["usage"]}))
    return events


def _streamed(message: msgspec.Raw) -> msgspec.Raw:
    """Give a message's tool calls the index that a delta needs."""
    members = msgspec.json.decode(message, type=dict[str, msgspec.Raw])
    calls = bytes(members.get("tool_calls", b""))
    if calls in _NOTHING:
        return message
    rows = msgspec.json.decode(calls, type=list[dict[str, msgspec.Raw]])
    indexed = [{"index": msgspec.Raw(b"%d" % number)} | row for number, row in enumerate(rows)]
    members["tool_calls"] = msgspec.Raw(msgspec.json.encode(indexed))
    return msgspec.Raw(msgspec.json.encode(members))


def ident_of(payload: bytes | None) -> ChunkIdent:
    """Read how a stream names itself from its first event."""
    found = _Ident()
    if payload is not None:
        try:
            found = _ident(payload)
        except msgspec.MsgspecError:
            found = _Ident()
    return ChunkIdent(id=found.id or "", created=found.created or 0, model=found.model or "")


def usage_chunk(
    ident: ChunkIdent, usage: TokenUsage, raw_usage: bytes | None, cost_usd: str
) -> bytes:
    """Build the last usage event: the upstream's own members, with our counts and our cost."""
    members: dict[str, object] = {}
    if raw_usage is not None and not usage.is_estimated:
        members.update(msgspec.json.decode(raw_usage, type=dict[str, msgspec.Raw]))
    members["prompt_tokens"] = usage.prompt_tokens
    members["completion_tokens"] = usage.completion_tokens
    members["total_tokens"] = usage.prompt_tokens + usage.completion_tokens
    members["cost"] = cost_usd
    if usage.is_estimated:
        members["is_estimated"] = True
    return _framed(ident, {"choices": [], "usage": members})


def error_chunk(ident: ChunkIdent, code: str, message: str) -> bytes:
    """Build the one error event that ends a stream which broke after it had begun."""
    error = {"message": message, "type": "upstream_error", "param": None, "code": code}
    choice = {"index": 0, "delta": {}, "finish_reason": "error"}
    return _framed(ident, {"choices": [choice], "error": error})


def _framed(ident: ChunkIdent, rest: dict[str, object]) -> bytes:
    event: dict[str, object] = {
        "id": ident.id,
        "object": "chat.completion.chunk",
        "created": ident.created,
        "model": ident.model,
        **rest,
    }
    return b"data: %b\n\n" % msgspec.json.encode(event)


def _failure_in(raw: bytes) -> UpstreamFailure:
    """Read an error that stands inside an answer with status 200."""
    try:
        error = _wire_error(raw)
    except msgspec.MsgspecError:
        return _failed("upstream_error", "")
    if isinstance(error, str):
        return _failed("upstream_error", error)
    code = error.code
    status = code if isinstance(code, int) and 400 <= code <= 599 else 502  # noqa: PLR2004 (statuses)
    return UpstreamFailure(
        code="upstream_error", message=error.message or "", status=int(status), is_retryable=True
    )


def _failed(code: str, message: str) -> UpstreamFailure:
    return UpstreamFailure(code=code, message=message, status=502)

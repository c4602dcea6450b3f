"""Chat Completions as upstreams speak it: events, whole answers, usage in its many shapes."""

from typing import Final

import msgspec

from jusinfer.domain.inference.stream_state import (
    DONE,
    Chunk,
    ChunkMalformed,
    UpstreamFailure,
    estimate_completion_tokens,
    usage_to_charge,
)
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.error_kinds import stream_error
from jusinfer.wire.upstream.errors import plain_error, read_inner_error
from jusinfer.wire.upstream.usage_shapes import UsualUsage, read_usage, tried, usual_usage

FAILING_REASONS: Final = frozenset({"error", "insufficient_system_resource"})
# What JSON writes for nothing at all; an empty text is no content either.
_NOTHING: Final = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_ABSENT: Final = frozenset({b"", b"null"})
_NULL: Final = msgspec.Raw(b"null")
# Stands for a member that is missing; compared by identity, which copies nothing.
_NOT_SENT: Final = msgspec.Raw()


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = _NOT_SENT
    reasoning_content: msgspec.Raw = _NOT_SENT
    reasoning: msgspec.Raw = _NOT_SENT
    reasoning_details: msgspec.Raw = _NOT_SENT
    tool_calls: msgspec.Raw = _NOT_SENT
    function_call: msgspec.Raw = _NOT_SENT
    refusal: msgspec.Raw = _NOT_SENT
    audio: msgspec.Raw = _NOT_SENT
    images: msgspec.Raw = _NOT_SENT
    annotations: msgspec.Raw = _NOT_SENT


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = _NOT_SENT
    usage: msgspec.Raw = _NOT_SENT


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NOT_SENT
    error: msgspec.Raw = _NOT_SENT


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOT_SENT
    error: msgspec.Raw = _NOT_SENT
    x_groq: _Groq | None = None


class _UsualAnswer(msgspec.Struct, gc=False):
    """An answer of the shape that nearly all have: read in one go, else member by member."""

    choices: list[_Choice]
    usage: UsualUsage
    error: msgspec.Raw | None = None
    x_groq: msgspec.Raw | None = None


_Members = dict[str, msgspec.Raw]
_fast_path: Final = msgspec.json.Decoder(_UsualAnswer).decode
_event: Final = msgspec.json.Decoder(_Event).decode
_delta: Final = msgspec.json.Decoder(_Delta).decode
_groq: Final = msgspec.json.Decoder(_Groq).decode
_members: Final = msgspec.json.Decoder(_Members).decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_whole: Final = msgspec.json.Decoder(int, strict=False).decode
_text: Final = msgspec.json.Decoder(str).decode


class Answer(msgspec.Struct):
    """What a whole answer says of itself."""

    usage: TokenUsage | None = None
    finish_reason: str | None = None
    failure: UpstreamFailure | None = None
    has_content: bool = False
    estimated_tokens: int = 0

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        """Give the usage to charge: as reported if it can be believed, else counted here."""
        return usage_to_charge(
            self.usage,
            has_content=self.has_content,
            prompt_tokens=prompt_tokens_estimate,
            completion_tokens=self.estimated_tokens,
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
    except (ValueError, RecursionError):
        event = _read_loosely(payload)
    chunk = Chunk()
    choices = event.choices
    has_usage = event.x_groq is not None or event.usage is not _NOT_SENT
    if choices:
        _read_choices(choices, chunk)
        has_usage = has_usage or any(choice.usage is not _NOT_SENT for choice in choices)
    if has_usage:
        _read_event_usage(event, chunk)
        chunk.is_usage_only = not choices and chunk.raw_usage is not None
    if event.error is not _NOT_SENT and bytes(event.error) not in _ABSENT:
        chunk.failure = read_inner_error(bytes(event.error))
    elif not choices and not has_usage:
        chunk.failure = plain_error(payload)
    return chunk


def _read_loosely(payload: bytes) -> _Event:
    """Read member by member an event in which one of them has an unheard-of type."""
    try:
        members = _members(payload)
    except (ValueError, RecursionError) as error:
        raise ChunkMalformed("an event is no chunk of a chat completion") from error
    return _Event(
        choices=[
            _choice_of(row)
            for raw in tried(_rows, members.get("choices", _NULL)) or []
            if (row := tried(_members, raw)) is not None
        ],
        usage=members.get("usage", _NOT_SENT),
        error=members.get("error", _NOT_SENT),
        x_groq=tried(_groq, members.get("x_groq", _NULL)),
    )


def _choice_of(row: dict[str, msgspec.Raw]) -> _Choice:
    return _Choice(
        index=tried(_whole, row.get("index", _NULL)),
        delta=tried(_delta, row.get("delta", _NULL)),
        message=tried(_delta, row.get("message", _NULL)),
        finish_reason=tried(_text, row.get("finish_reason", _NULL)),
        error=row.get("error", _NOT_SENT),
        usage=row.get("usage", _NOT_SENT),
    )


def _read_choices(choices: list[_Choice], chunk: Chunk) -> None:
    finished = [choice.index or 0 for choice in choices if choice.finish_reason]
    if finished:
        chunk.finished_choices = tuple(finished)
    for choice in choices:
        _read_choice(choice, chunk)


def _read_choice(choice: _Choice, chunk: Chunk) -> None:
    delta = choice.delta or choice.message
    if delta is not None:
        size = _content_bytes(delta)
        if size:
            chunk.has_content = True
            chunk.content_bytes += size
    reason = choice.finish_reason
    # Some upstreams write an empty reason where others write none.
    if reason:
        chunk.finish_reason = reason
        if reason in FAILING_REASONS and chunk.failure is None:
            chunk.failure = _failed("upstream_error", "the upstream reported an error")
    if choice.error is not _NOT_SENT and bytes(choice.error) not in _ABSENT:
        chunk.failure = read_inner_error(bytes(choice.error))


def _content_bytes(delta: _Delta) -> int:
    """Give the size of what a client would see of a delta; the common case first."""
    if delta.content is not _NOT_SENT:
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
        delta.annotations,
    ):
        if raw is not _NOT_SENT:
            size += _shown_bytes(raw)
    # Details repeat the reasoning beside them; alone they are all there is.
    return size or _shown_bytes(delta.reasoning_details)


def _shown_bytes(raw: msgspec.Raw) -> int:
    part = bytes(raw)
    return 0 if part in _NOTHING else max(len(part) - 2, 1)


def _read_event_usage(event: _Event, holder: Chunk | Answer) -> None:
    """Take the usage from where an event has it; what says nothing is noted as raw only."""
    groq = event.x_groq
    inside = [choice.usage for choice in event.choices or () if choice.usage is not _NOT_SENT]
    # Moonshot's stands in the choice that ends; of several each repeats the whole.
    for raw in (event.usage, _NOT_SENT if groq is None else groq.usage, *reversed(inside)):
        said = bytes(raw)
        if said in _ABSENT:
            continue
        if isinstance(holder, Chunk):
            holder.raw_usage = said
        holder.usage = read_usage(said)
        if holder.usage is not None:
            break
    if groq is not None and bytes(groq.error) not in _ABSENT:
        holder.failure = read_inner_error(bytes(groq.error))


def decode_answer(body: bytes) -> Answer:
    """Read a whole answer that came with status 200; what is no answer is a failure."""
    try:
        usual = _fast_path(body)
    except (ValueError, RecursionError):
        return _decode_unusual(body)
    if usual.error is not None or usual.x_groq is not None or not usual.choices:
        return _decode_unusual(body)
    answer = _answer_of(usual.choices)
    if answer.failure is None:
        answer.usage = usual_usage(usual.usage)
        if answer.usage is None:
            return _decode_unusual(body)
    return answer


def _decode_unusual(body: bytes) -> Answer:
    try:
        event = _read_loosely(body)
    except ChunkMalformed:
        return Answer(failure=_failed("not_an_answer", "the upstream's answer is no completion"))
    if bytes(event.error) not in _ABSENT:
        return Answer(failure=read_inner_error(bytes(event.error)))
    if not event.choices:
        return Answer(failure=_failed("empty_answer", "the upstream produced nothing"))
    answer = _answer_of(event.choices)
    if answer.failure is None:
        _read_event_usage(event, answer)
    return answer


def _answer_of(choices: list[_Choice]) -> Answer:
    whole = Chunk()
    _read_choices(choices, whole)
    failure = whole.failure
    if failure is None and not whole.has_content and whole.finish_reason is None:
        failure = _failed("empty_answer", "the upstream produced nothing")
    return Answer(
        finish_reason=whole.finish_reason,
        failure=failure,
        has_content=whole.has_content,
        estimated_tokens=estimate_completion_tokens(0, whole.content_bytes),
    )


def answer_as_events(body: bytes) -> list[bytes]:
    """Turn a whole answer into the events of a stream, for an upstream that did not stream.

    Takes what `decode_answer` found good; members that are not understood are carried along. The
    end mark comes last: a whole answer has ended, whether or not it gives a reason.
    """
    whole = _members(body)
    rows = tried(_rows, whole.pop("choices", _NULL)) or []
    usage = whole.pop("usage", _NULL)
    kept: dict[str, object] = {**whole, "object": "chat.completion.chunk"}
    events: list[bytes] = []
    for raw in rows:
        choice = tried(_members, raw)
        if choice is None:
            continue
        delta, message = choice.pop("delta", _NULL), choice.pop("message", _NULL)
        if bytes(message) in _ABSENT:
            message = delta
        last: dict[str, object] = {
            "index": choice.get("index", 0),
            "delta": {},
            "finish_reason": choice.pop("finish_reason", None),
        }
        first = {"index": 0, **choice, "delta": _streamed(message), "finish_reason": None}
        events.extend(msgspec.json.encode({**kept, "choices": [row]}) for row in (first, last))
    if bytes(usage) not in _ABSENT:
        events.append(msgspec.json.encode({**kept, "choices": [], "usage": usage}))
    return [*events, DONE]


def _streamed(message: msgspec.Raw) -> dict[str, object]:
    """Give a message as a delta: its tool calls need the index by which clients join them."""
    members = tried(_members, message)
    if members is None:
        return {}
    calls = [tried(_members, raw) for raw in tried(_rows, members.get("tool_calls", _NULL)) or []]
    delta: dict[str, object] = {**members}
    if calls:
        known = [call for call in calls if call is not None]
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(known)]
    return delta


def named_so(payload: bytes | None, ident: AnswerIdent) -> ChunkIdent:
    """Say how a stream names itself: under our id, else as one of its events has it."""
    said = {} if payload is None else tried(_members, msgspec.Raw(payload)) or {}
    return ChunkIdent(
        id=ident.chat_id,
        created=tried(_whole, said.get("created", _NULL)) or ident.created,
        model=tried(_text, said.get("model", _NULL)) or ident.model,
    )


def usage_chunk(
    ident: ChunkIdent, usage: TokenUsage, raw_usage: bytes | None, cost_usd: str
) -> bytes:
    """Build the last usage event: the upstream's own members, with our counts and our cost."""
    return _framed(ident, {"choices": [], "usage": shown_usage(usage, raw_usage, cost_usd)})


def shown_usage(usage: TokenUsage, raw_usage: bytes | None, cost_usd: str) -> dict[str, object]:
    """Give the usage that a client is shown: what is charged, beside the provider's own members.

    `cost_usd` is a number as text: it is written as it stands, never as a float.
    """
    members: dict[str, object] = {}
    if raw_usage is not None and not usage.is_estimated:
        members.update(tried(_members, msgspec.Raw(raw_usage)) or {})
    members["prompt_tokens"] = usage.prompt_tokens
    members["completion_tokens"] = usage.completion_tokens
    members["total_tokens"] = usage.prompt_tokens + usage.completion_tokens
    _detail(members, "prompt_tokens_details", "cached_tokens", usage.cached_prompt_tokens)
    _detail(members, "prompt_tokens_details", "cache_write_tokens", usage.cache_write_tokens)
    _detail(members, "completion_tokens_details", "reasoning_tokens", usage.reasoning_tokens)
    # Counts in another API's words leave out what was cached, or do not: Chat's own say it.
    for name in _FOREIGN & members.keys():
        del members[name]
    for name, count in _repeated(usage):
        if name in members:
            members[name] = count
    # What the provider asks of us is not what the client pays.
    members.pop("cost_details", None)
    members["cost"] = msgspec.Raw(cost_usd.encode("ascii"))
    if usage.is_estimated:
        members["is_estimated"] = True
    return members


_FOREIGN: Final = frozenset(
    {"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"}
)


def _repeated(usage: TokenUsage) -> tuple[tuple[str, int], ...]:
    cached, prompt = usage.cached_prompt_tokens, usage.prompt_tokens
    return (
        ("cached_tokens", cached),
        ("prompt_cache_hit_tokens", cached),
        ("prompt_cache_miss_tokens", prompt - cached),
        ("reasoning_tokens", usage.reasoning_tokens),
    )


def _detail(members: dict[str, object], group: str, name: str, count: int) -> None:
    """Set a count inside a group of the usage; a count of nothing only where one stands."""
    held = members.get(group)
    details: dict[str, object] = {}
    if isinstance(held, msgspec.Raw):
        details.update(tried(_members, held) or {})
    elif isinstance(held, dict):
        details = held
    if count or name in details:
        members[group] = {**details, name: count}


def error_chunk(ident: ChunkIdent, code: str, message: str) -> bytes:
    """Build the one error event that ends a stream which broke after it had begun."""
    error = stream_error(code, message)
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


def _failed(code: str, message: str) -> UpstreamFailure:
    return UpstreamFailure(code=code, message=message, status=502)

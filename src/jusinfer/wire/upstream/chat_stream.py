"""Reads a stream of Chat Completions loosely and gives its events in one strict form.

What is counted here is what is relayed: an event that cannot be read whole ends the stream, it is
never left out. Events of the usual shape pass as bytes but for their id, which is ours.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

from jusinfer.domain.inference.stream_state import Chunk, ChunkMalformed, UpstreamFailure
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_calls import CallTracker, UsualCall
from jusinfer.wire.upstream.chat_choice import CHOICES_MAX, Choice, final_reason, read_choice
from jusinfer.wire.upstream.lenient_text import (
    ABSENT,
    NULL,
    QUOTE,
    Members,
    object_of,
    plain,
    rows_of,
    whole_number,
)
from jusinfer.wire.upstream.openai_chat import decode_chunk
from jusinfer.wire.upstream.utf16_halves import joined, without_half

CHUNK: Final = "chat.completion.chunk"
# Choices of one stream that may call tools, as what is kept of calls has a bound: as many as a
# client may ask for.
CALLING_CHOICES_MAX: Final = 128
# Seconds since 1970 that can be believed: later ones are milliseconds or nonsense.
CREATED_MAX: Final = 2**33
_NOT_SENT: Final = msgspec.Raw()
# Stands in place of a text while it is made sure where texts stand; how often a stream is tried.
_OTHER_TEXT: Final = b'"~jusinfer~"'
LEARNED_MAX: Final = 8
_ID: Final = re.compile(rb'\s*\{\s*"id"\s*:\s*("[^"\\]*")')
_encode: Final = msgspec.json.Encoder().encode

DROPPED_REQUEST_HEADERS: Final = UpstreamFailure(
    code="content_not_carried",
    message="the model answered with images or sound, which this API cannot carry",
    status=502,
    is_retryable=False,
)
# What stands in the text in place of images and sound that a client's API cannot carry.
NOTE: Final = "\n\n[The model also made media that this API cannot carry; Chat Completions can.]"
NOTE_BYTES: Final = len(_encode(NOTE)) - 2


class _Delta(msgspec.Struct, gc=False):
    content: msgspec.Raw = _NOT_SENT
    role: Literal["assistant"] | None = None
    tool_calls: list[UsualCall] | None = None
    reasoning_content: msgspec.Raw = _NOT_SENT
    reasoning: msgspec.Raw = _NOT_SENT
    refusal: msgspec.Raw = _NOT_SENT
    reasoning_details: msgspec.Raw = _NOT_SENT
    # Whatever these say is read with care.
    reasoning_text: None = None
    thinking: None = None
    function_call: None = None
    audio: None = None
    images: None = None
    annotations: None = None


class _Choice(msgspec.Struct, gc=False):
    index: int
    delta: _Delta
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    logprobs: dict[str, msgspec.Raw] | None = None
    message: None = None
    error: None = None
    usage: None = None


class _Event(msgspec.Struct, gc=False):
    id: str
    object: Literal["chat.completion.chunk"]
    created: Annotated[int, msgspec.Meta(gt=0, lt=CREATED_MAX)]
    model: Annotated[str, msgspec.Meta(min_length=1)]
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: None = None
    error: None = None
    x_groq: None = None


_text: Final = msgspec.json.Decoder(str).decode
_fast_path: Final = msgspec.json.Decoder(_Event).decode


def with_note(content: object) -> str:
    """Add the note on media to the strict content of a message or delta, which may be null."""
    return (plain(content) if isinstance(content, msgspec.Raw) else "") + NOTE


class ChatStreamDecoder:
    """Reads one stream; `is_chat` says that its client speaks Chat Completions too."""

    __slots__ = (
        "_begun",
        "_created",
        "_ended",
        "_first",
        "_function_calls",
        "_half",
        "_has_content",
        "_has_media",
        "_head",
        "_ident",
        "_is_chat",
        "_lead",
        "_learned",
        "_model",
        "_own_lead",
        "_prefix",
        "_tail",
        "_takes_function_call",
        "_trackers",
    )

    def __init__(self, ident: AnswerIdent, *, is_chat: bool = True) -> None:
        self._ident = ident
        self._is_chat = is_chat
        self._takes_function_call = is_chat and ident.takes_function_call
        # Choices whose role was said, as the first delta must: SDKs send back what they got.
        self._begun: set[int] = set()
        self._head = b'{"id":"%b"' % ident.chat_id.encode()
        self._prefix = b""
        # What stands before and after the text of the last event that was nothing but a text.
        self._lead = b""
        self._own_lead = b""
        self._tail = b""
        self._learned = 0
        self._created = ident.created
        self._model = ident.model
        self._trackers: dict[int, CallTracker] = {}
        self._function_calls: set[int] = set()
        self._has_content = False
        self._has_media = False
        # Choices that gave a reason; the place of the only choice, where one was asked for.
        self._ended: set[int] = set()
        self._first: int | None = None
        self._half = b""

    def decode(self, payload: bytes) -> Chunk:
        """Read one event and write it strictly; raises ChunkMalformed."""
        if self._half:
            payload, self._half = joined(self._half, payload), b""
        if self._lead and not self._trackers:
            chunk = self._like_the_last(payload)
            if chunk is not None:
                return chunk
        try:
            event = _fast_path(payload)
        except (ValueError, RecursionError):
            return self._loose(payload)
        chunk = Chunk()
        choices = event.choices
        for choice in choices:
            if not self._passes(choice, chunk, is_alone=len(choices) == 1):
                return self._loose(payload)
        prefix = self._prefix
        if prefix and payload.startswith(prefix):
            chunk.payload = self._head + payload[len(prefix) :]
        else:
            chunk.payload = self._named(payload, event.id)
        if chunk.has_content:
            self._has_content = True
            if self._learned < LEARNED_MAX:
                self._learn(payload, choices)
        return chunk

    def _like_the_last(self, payload: bytes) -> Chunk | None:
        """Read an event that differs from one before in its text alone; None for any other."""
        lead, tail = self._lead, self._tail
        if not payload.startswith(lead) or not payload.endswith(tail):
            return None
        text = payload[len(lead) : -len(tail)]
        try:
            _text(text)
        except (ValueError, RecursionError):
            return None
        size = len(text) - 2
        chunk = Chunk(size > 0, size)
        chunk.payload = self._own_lead + payload[len(lead) :]
        return chunk

    def _learn(self, payload: bytes, choices: list[_Choice]) -> None:
        """Note what stands around the text of an event, if there is nothing else to count in it.

        The event is read once more with another text in that place: so it is sure that what stands
        there is the text, whatever else the event repeats.
        """
        choice = choices[0]
        text = bytes(choice.delta.content)
        if len(choices) != 1 or choice != _Choice(choice.index, _Delta(choice.delta.content)):
            return
        self._learned += 1
        lead, found, tail = payload.rpartition(text)
        if not found or _OTHER_TEXT in payload or not lead.startswith(self._prefix):
            return
        try:
            again = _fast_path(lead + _OTHER_TEXT + tail)
        except (ValueError, RecursionError):
            return
        if self._prefix and bytes(again.choices[0].delta.content) == _OTHER_TEXT:
            self._lead, self._tail = lead, tail
            self._own_lead = self._head + lead[len(self._prefix) :]

    def flush(self) -> Chunk | None:
        """Give what is still held when the stream has come to its end, if anything is."""
        rows: list[dict[str, object]] = []
        chunk = Chunk()
        for index, tracker in self._trackers.items():
            calls = self._counted(tracker, chunk, tracker.finish)
            if calls:
                delta = self._with_role(index, {"tool_calls": calls})
                rows.append({"index": index, "delta": delta, "finish_reason": None})
        if self._ident.choice_count == 1 and not self._ended and (self._has_content or rows):
            # A stream that says something and gives no reason has come to its end all the same.
            reason = self._final(0, "stop")
            rows.append({"index": 0, "delta": {}, "finish_reason": reason})
            chunk.finish_reason = reason
            chunk.finished_choices = (0,)
        if not rows:
            return None
        chunk.payload = self._written({}, rows)
        return chunk

    # ------------------------------------------------------------------ the usual shape

    def _passes(self, choice: _Choice, chunk: Chunk, *, is_alone: bool) -> bool:
        """Count a choice that is strict as it came; tells whether it is."""
        delta = choice.delta
        size = _usual_bytes(delta)
        if size < 0 or (choice.index not in self._begun and not self._begins(choice)):
            return False
        reason = choice.finish_reason
        if delta.tool_calls is not None:
            # Its tracker remembers it, so nothing of the event may be read a second time.
            if reason is not None or not is_alone or len(delta.tool_calls) != 1:
                return False
            tracker = self._tracker(choice.index)
            before = tracker.counted
            if not tracker.passes(delta.tool_calls[0]):
                return False
            chunk.has_content = True
            chunk.content_bytes += tracker.counted - before
        elif choice.index in self._trackers and self._trackers[choice.index].has_held:
            return False
        if reason is not None:
            if not is_alone or not self._is_final(choice.index, reason):
                return False
            chunk.finish_reason = reason
            chunk.finished_choices = (choice.index,)
            self._end(choice.index)
        if size:
            chunk.has_content = True
            chunk.content_bytes += size
        return True

    def _begins(self, choice: _Choice) -> bool:
        """Tell whether a choice can begin as it came, and note it if so."""
        if choice.index and self._ident.choice_count == 1:
            return False
        if self._is_chat and choice.delta.role is None:
            return False
        self._begun.add(choice.index)
        return True

    def _is_final(self, index: int, reason: str) -> bool:
        """Tell whether a choice can end with this reason as it came."""
        tracker = self._trackers.get(index)
        return (
            (tracker is None or tracker.is_settled)
            and not self._has_media
            and self._final(index, reason) == reason
        )

    def _named(self, payload: bytes, name: str) -> bytes:
        """Put our id in place of the provider's."""
        found = _ID.match(payload)
        if found is not None and plain(found[1]) == name:
            self._prefix = found[0]
            return self._head + payload[found.end() :]
        members: dict[str, object] = dict(object_of(payload))
        members["id"] = self._ident.chat_id
        return _encode(members)

    # ------------------------------------------------------------------ any other shape

    def _loose(self, payload: bytes) -> Chunk:
        """Read an event of any other shape; what cannot be read is an error, never left out."""
        payload, self._half = without_half(payload)
        chunk = decode_chunk(payload)
        chunk.has_content = False
        chunk.content_bytes = 0
        chunk.finish_reason = None
        chunk.finished_choices = ()
        if chunk.failure is not None:
            return chunk
        members = object_of(payload)
        created = whole_number(members.get("created"), CREATED_MAX)
        self._created = created or self._created
        self._model = plain(members.get("model")) or self._model
        raw_choices = bytes(members.pop("choices", NULL))
        raws = rows_of(raw_choices)
        if len(raws) > CHOICES_MAX:
            raise ChunkMalformed("an event has more choices than can be told apart")
        choices = [read_choice(raw, place) for place, raw in enumerate(raws)]
        self._place(choices)
        rows = [self._row(choice, chunk) for choice in choices]
        chunk.is_usage_only = not choices and chunk.raw_usage is not None
        if any(choice.reason for choice in choices) and self._has_media and not self._has_content:
            chunk.failure = DROPPED_REQUEST_HEADERS
        chunk.payload = self._written(_without_usage(members), rows)
        return chunk

    def _place(self, choices: list[Choice]) -> None:
        """Put the only choice that was asked for in the first place, wherever it came."""
        if self._ident.choice_count > 1 or len(choices) != 1:
            return
        if self._first is None:
            self._first = choices[0].index
        if choices[0].index == self._first:
            choices[0].index = 0

    def _row(self, choice: Choice, chunk: Chunk) -> dict[str, object]:
        delta = choice.delta
        size = choice.text_bytes
        calls = choice.calls
        if not self._takes_function_call:
            calls = [*calls, *_modern(delta)]
        elif choice.has_function_call:
            size += choice.function_bytes
            self._function_calls.add(choice.index)
        if not self._is_chat:
            self._has_media = self._has_media or choice.has_media
            delta.pop("images", None)
            delta.pop("audio", None)
        delta.pop("tool_calls", None)
        if calls or choice.index in self._trackers:
            made = self._taken(choice, calls, chunk, has_text=bool(size))
            if made:
                delta["tool_calls"] = made
        reason = choice.reason
        if reason is not None:
            reason = self._final(choice.index, reason)
            if self._has_media and (size or self._has_content):
                delta["content"] = with_note(delta.get("content"))
                size += NOTE_BYTES
            chunk.finish_reason = reason
            chunk.finished_choices = (*chunk.finished_choices, choice.index)
            self._end(choice.index)
        if size or choice.has_parts or (self._is_chat and choice.has_media):
            chunk.has_content = True
            chunk.content_bytes += size
        self._has_content = self._has_content or chunk.has_content
        return {
            "index": choice.index,
            "delta": self._with_role(choice.index, delta),
            "finish_reason": reason,
            **choice.members,
        }

    def _taken(
        self, choice: Choice, calls: list[msgspec.Raw], chunk: Chunk, *, has_text: bool
    ) -> list[msgspec.Raw]:
        """Let the calls of an event go through their tracker; gives what is written of them."""
        tracker = self._tracker(choice.index)
        made: list[msgspec.Raw] = []
        if calls:
            made += self._counted(tracker, chunk, lambda: tracker.take(calls))
        elif has_text:
            made += self._counted(tracker, chunk, tracker.release)
        if choice.reason is not None:
            made += self._counted(tracker, chunk, tracker.finish)
        return made

    def _with_role(self, index: int, delta: dict[str, object]) -> dict[str, object]:
        """Say the role in the first delta of a choice."""
        if not self._is_chat or index in self._begun:
            return delta
        self._begun.add(index)
        return {"role": "assistant", **delta}

    def _counted(
        self, tracker: CallTracker, chunk: Chunk, take: Callable[[], list[msgspec.Raw]]
    ) -> list[msgspec.Raw]:
        """Let a tracker give out deltas, and count them as content of this event."""
        before = tracker.counted
        made = take()
        if made:
            chunk.has_content = True
            chunk.content_bytes += tracker.counted - before
        return made

    def _tracker(self, index: int) -> CallTracker:
        tracker = self._trackers.get(index)
        if tracker is None:
            if len(self._trackers) >= CALLING_CHOICES_MAX:
                raise ChunkMalformed("an answer has more choices than can be told apart")
            seed = b"%b/%d" % (self._ident.completion_id.encode(), index)
            tracker = self._trackers[index] = CallTracker(seed)
        return tracker

    def _end(self, index: int) -> None:
        if len(self._ended) < CHOICES_MAX:
            self._ended.add(index)

    def _final(self, index: int, reason: str) -> str:
        tracker = self._trackers.get(index)
        return final_reason(
            reason,
            has_calls=tracker is not None and bool(tracker.calls),
            has_function_call=index in self._function_calls,
        )

    def _written(self, members: Members, rows: list[dict[str, object]]) -> bytes:
        head: dict[str, object] = {
            "id": self._ident.chat_id,
            "object": CHUNK,
            "created": self._created,
            "model": self._model,
        }
        return _encode(head | {**members, **head} | {"choices": rows})


def _usual_bytes(delta: _Delta) -> int:
    """Give the size of the texts of a strict delta; -1 where one of them is no text."""
    size = 0
    content = delta.content
    if content is not _NOT_SENT:
        size = _text_bytes(content)
    if delta.refusal is not _NOT_SENT:
        size = _sum(size, _text_bytes(delta.refusal))
    thought = 0
    if delta.reasoning_content is not _NOT_SENT:
        thought = _text_bytes(delta.reasoning_content)
    if delta.reasoning is not _NOT_SENT:
        # Some say the same twice, under both names.
        again = _text_bytes(delta.reasoning)
        thought = -1 if again < 0 else thought or again
    if delta.reasoning_details is not _NOT_SENT and not thought:
        return -1
    return _sum(size, thought)


def _text_bytes(raw: msgspec.Raw) -> int:
    said = bytes(raw)
    if said[0] == QUOTE:
        return len(said) - 2
    return 0 if said == b"null" else -1


def _sum(one: int, other: int) -> int:
    return -1 if one < 0 or other < 0 else one + other


def _without_usage(members: Members) -> Members:
    """Leave out what was used: the last event of a stream says it, if it was asked for."""
    if bytes(members.get("usage", NULL)) not in ABSENT:
        del members["usage"]
    groq = bytes(members.get("x_groq", NULL))
    if groq.startswith(b"{"):
        inner = object_of(groq)
        if inner.pop("usage", None) is not None:
            members["x_groq"] = msgspec.Raw(_encode(inner))
    return members


def _modern(delta: dict[str, object]) -> list[msgspec.Raw]:
    """Take the old form of a call out of a delta; gives it in the new form."""
    old = delta.pop("function_call", None)
    return [] if old is None else [msgspec.Raw(_encode({"function": old}))]

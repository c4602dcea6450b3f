"""Plays an upstream's bytes to the attempt machine the way the relay does, without a socket."""

from typing import NamedTuple

from jusinfer.domain.inference.stream_state import (
    AttemptState,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.sse import SseDecoder, SseTooLarge
from jusinfer.wire.upstream.openai_chat import decode_chunk

DEADLINES = Deadlines(
    first_event_seconds=30.0,
    between_events_seconds=20.0,
    total_seconds=600.0,
    keep_alive_seconds=15.0,
)
PROMPT_TOKENS_ESTIMATE = 11
IDENT = AnswerIdent("0123456789abcdef" * 2, 1_790_000_000, "public/model")
USAGE_EVENT = b"data: <usage>\n\n"
ERROR_EVENT = b"data: <error>\n\n"
DONE_EVENT = b"data: [DONE]\n\n"


class Render:
    """Stands in for the completion, which builds these two events."""

    def usage_event(self, machine: StreamAttempt) -> bytes:
        assert machine.failure is None
        return USAGE_EVENT

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        assert machine.failure is failure
        return ERROR_EVENT


class Played(NamedTuple):
    """What a client got, and what the attempt came to."""

    sent: bytes
    state: AttemptState
    code: str | None
    finish_reason: str | None
    has_sent_content: bool
    usage: TokenUsage | None
    final_usage: TokenUsage

    @property
    def events(self) -> list[bytes]:
        """The data of the events that the client got."""
        if not self.sent:
            return []
        assert self.sent.startswith(b"data: ")
        assert self.sent.endswith(b"\n\n")
        return [part.removeprefix(b"data: ") for part in self.sent[:-2].split(b"\n\n")]


def machine_for(*, wants_usage: bool = False, choice_count: int = 1) -> StreamAttempt:
    return StreamAttempt(
        decode_chunk,
        Render(),
        wants_usage=wants_usage,
        choice_count=choice_count,
        deadlines=DEADLINES,
        now=0.0,
    )


def play(
    reads: list[bytes], *, ending: str = "end", wants_usage: bool = False, choice_count: int = 1
) -> Played:
    """Play reads, then an `end`, a `cut`, or nothing more (`open`)."""
    machine = machine_for(wants_usage=wants_usage, choice_count=choice_count)
    decoder = SseDecoder()
    sent = b""
    for read in reads:
        try:
            payloads = decoder.feed(read)
        except SseTooLarge:
            sent += machine.cut()
            break
        sent += machine.feed(payloads, 1.0)
    if ending == "end":
        sent += machine.feed(decoder.end(), 2.0)
        sent += machine.end(2.0)
    elif ending == "cut":
        sent += machine.cut()
    failure = machine.failure
    return Played(
        sent=sent,
        state=machine.state,
        code=None if failure is None else failure.code,
        finish_reason=machine.finish_reason,
        has_sent_content=machine.has_sent_content,
        usage=machine.usage,
        final_usage=machine.final_usage(PROMPT_TOKENS_ESTIMATE),
    )


def stream(*payloads: str | bytes) -> bytes:
    """Frame payloads as most upstreams do."""
    raw = [part.encode() if isinstance(part, str) else part for part in payloads]
    return b"".join(b"data: %b\n\n" % part for part in raw)


def chunk(delta: str = "{}", finish: str = "null", *, index: int = 0, more: str = "") -> str:
    """Write a chunk of one choice; `more` are further members at the top."""
    head = '"id":"c-1","object":"chat.completion.chunk","created":1790000000,"model":"m"'
    choice = f'{{"index":{index},"delta":{delta},"finish_reason":{finish}}}'
    return f'{{{head},"choices":[{choice}]{more}}}'


def text(content: str) -> str:
    """Write a chunk with this text."""
    return chunk(f'{{"content":"{content}"}}')


ROLE = chunk('{"role":"assistant","content":""}')
STOP = chunk("{}", '"stop"')
DONE = "[DONE]"
USAGE = (
    '{"id":"c-1","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":[],'
    '"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
)

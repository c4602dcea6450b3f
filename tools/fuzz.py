"""`make fuzz`: feeds mutated upstream bytes to the production readers, guided by what they reach.

An input that reaches a line transition never reached before is kept and mutated further. What must
hold: nothing is raised but what is declared, no answer is larger than what came in allows, and no
text is delivered that the upstream did not send.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import msgspec

from jusinfer.domain.inference.stream_state import (
    ChunkMalformed,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.responses.client_api import ResponsesClientApi
from jusinfer.wire.interfaces import ClientStream, ProviderStream, StreamDecoder
from jusinfer.wire.passthrough.anthropic import NativeDecoder, NativeReader, NativeWriter
from jusinfer.wire.passthrough.responses_answer import read_response
from jusinfer.wire.passthrough.responses_stream import ResponsesRelay
from jusinfer.wire.sse import SseDecoder, SseTooLarge
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi
from jusinfer.wire.upstream.chat_answer import read_answer
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.errors import read_error
from jusinfer.wire.upstream.openai_chat import answer_as_events
from jusinfer.wire.upstream.workers_ai import WorkersAiProviderApi

ROOT: Final = str(Path(__file__).resolve().parent.parent / "src" / "jusinfer")
DEADLINES: Final = Deadlines(30.0, 20.0, 600.0, 15.0)
INPUT_BYTES_MAX: Final = 4_096
GROWTH_MAX: Final = 64
SPARE_BYTES: Final = 16_384
SEEDS: Final = (
    (
        b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"alpha"},'
        b'"finish_reason":null}],"usage":null}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","function":'
        b'{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
        b"data: [DONE]\n\n"
    ),
    (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":'
        b'{"input_tokens":3,"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":'
        b'"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}\n\n'
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta",'
        b'"thinking":"beta"}}\n\ndata: {"type":"content_block_delta","index":0,"delta":{"type":'
        b'"signature_delta","signature":"s"}}\n\ndata: {"type":"message_delta","delta":'
        b'{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}\n\n'
        b'data: {"type":"message_stop"}\n\n'
    ),
    (
        b'data: {"response":"gamma"}\n\ndata: {"response":"","tool_calls":[{"name":"f",'
        b'"arguments":{"a":1}}],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
    ),
    (
        b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
        b'{"id":"r","status":"in_progress"}}\n\nevent: response.output_text.delta\ndata: {"type":'
        b'"response.output_text.delta","output_index":0,"delta":"zeta"}\n\ndata: {"type":'
        b'"response.completed","response":{"id":"r","status":"completed","output":[{"type":'
        b'"message","content":[{"text":"zeta"}]}],"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    ),
    b'data: {"error":{"code":502,"message":"m","metadata":{"error_type":"timeout"}}}\n\n',
    b'{"result":{"response":"delta"},"success":true,"errors":[]}',
    b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}',
    b': comment\r\n\r\ndata:{"choices":[{"delta":{"reasoning":"eps"}}]}\r\rdata: [DONE]\n\n',
)
TOKENS: Final = (
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"-1",
    b"1e999",
    b'"stop"',
    b"\n\n",
    b"\r",
    b"data: ",
    b"event: x\n",
    b'"error":',
    b'"usage":',
    b'"choices":',
    b'"index":7',
    b"\xff",
    b"\\ud800",
    b"[" * 40,
    b"[DONE]",
)


class Fell(Exception):
    """An input broke a promise."""


class Render:
    """Stands in for the completion, which builds these two events."""

    def __init__(self, writer: ClientStream | None) -> None:
        self._writer = writer

    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Close as the client API does."""
        usage = machine.final_usage(1)
        return b"" if self._writer is None else self._writer.finish(usage, "0")

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Break off as the client API does."""
        del machine
        return b"" if self._writer is None else self._writer.fail(failure.code, "broken")


class Passing:
    """Chat Completions on the upstream's side: events pass."""

    def chunks(self, payload: bytes) -> list[bytes]:
        """Give the event as it came."""
        return [payload]

    def end(self) -> list[bytes]:
        """Add nothing."""
        return []


IDENT: Final = AnswerIdent("0123456789abcdef" * 2, 1_790_000_000, "public/model")
HEAD: Final = b'{"id":"%b"' % IDENT.chat_id.encode()


def to_chat() -> ChatStreamDecoder:
    """Read for a client of Chat Completions."""
    return ChatStreamDecoder(IDENT)


def to_other() -> ChatStreamDecoder:
    """Read for a writer of another API."""
    return ChatStreamDecoder(IDENT, is_chat=False)


def messages() -> ClientStream:
    """Write Messages."""
    return AnthropicClientApi().stream(b"{}", IDENT)


def responses() -> ClientStream:
    """Write Responses."""
    return ResponsesClientApi().stream(b"{}", IDENT)


def _relay() -> ResponsesRelay:
    return ResponsesRelay("resp_1", b"{}")


Pair = tuple[
    Callable[[], ProviderStream],
    Callable[[], StreamDecoder],
    Callable[[], ClientStream | None],
]
PAIRS: Final[tuple[Pair, ...]] = (
    (Passing, to_chat, lambda: None),
    (Passing, to_other, messages),
    (Passing, to_other, responses),
    (lambda: AnthropicProviderApi().stream(IDENT), to_chat, lambda: None),
    (lambda: AnthropicProviderApi().stream(IDENT), to_other, responses),
    (lambda: WorkersAiProviderApi().stream(IDENT), to_other, messages),
    (NativeReader, NativeDecoder, lambda: NativeWriter(IDENT)),
    (_relay, _relay, _relay),
)


def play(data: bytes, pair: Pair, cut: int) -> bytes:
    """Play bytes, cut once, through one pair of APIs; return what was sent."""
    reader, reads, writer = pair[0](), pair[1](), pair[2]()
    machine = StreamAttempt(
        reads.decode,
        Render(writer),
        wants_usage=writer is not None,
        choice_count=1,
        deadlines=DEADLINES,
        now=0.0,
        frame=None if writer is None else writer.events,
        done_event=b"data: [DONE]\n\n" if writer is None else b"",
        flush=reads.flush,
    )
    decoder = SseDecoder()
    sent = b""
    for part in (data[:cut], data[cut:]):
        try:
            payloads = decoder.feed(part)
        except SseTooLarge:
            sent += machine.cut()
            break
        sent += machine.feed(list(_translated(reader, payloads)), 1.0)
    rest = list(_translated(reader, decoder.end()))
    if not machine.is_over:
        rest += reader.end()
    sent += machine.feed(rest, 2.0)
    sent += machine.end(3.0)
    machine.final_usage(1)
    return sent


def _translated(reader: ProviderStream, payloads: list[bytes]) -> Iterator[bytes]:
    for payload in payloads:
        try:
            yield from reader.chunks(payload)
        except ChunkMalformed:
            yield b"?"
            return


def judge(data: bytes, rng: random.Random) -> None:
    """Let every reader read an input; raises Fell when a promise does not hold."""
    cut = rng.randrange(len(data) + 1)
    for pair in PAIRS:
        sent = play(data, pair, cut)
        if len(sent) > GROWTH_MAX * len(data) + SPARE_BYTES:
            raise Fell("far more was sent than came")
    whole = play(data, PAIRS[0], len(data))
    if whole != play(data, PAIRS[0], cut):
        raise Fell("a cut changed what was sent")
    for payload in whole.split(b"\n\n"):
        line = payload.removeprefix(b"data: ")
        if line and line != b"[DONE]" and not line.startswith(HEAD):
            raise Fell("an event was delivered that has not our id")
    read_whole(data)
    read_response(data)
    read_error(500, [], data, 0.0)
    for provider_api in (AnthropicProviderApi(), WorkersAiProviderApi()):
        try:
            read_whole(provider_api.answer(data))
        except ChunkMalformed:
            continue


def read_whole(data: bytes) -> None:
    """Read a whole answer, and write what is good of it in each shape."""
    for is_chat in (True, False):
        answer, strict = read_answer(data, is_chat=is_chat)
        if answer.failure is not None:
            continue
        answer_as_events(strict)
        for client_api in (AnthropicClientApi(), ResponsesClientApi()):
            if not is_chat:
                client_api.answer(strict, b"{}", answer.final_usage(1), "0", IDENT)


class Reached:
    """Line transitions inside the product that inputs have reached."""

    def __init__(self) -> None:
        self.all: set[tuple[CodeType, int, int]] = set()
        self._new = 0
        self._last: dict[CodeType, int] = {}

    def count(self, run: Callable[[], None]) -> int:
        """Run, and give how many transitions are new."""
        self._new = 0
        self._last.clear()
        sys.settrace(self._trace)
        try:
            run()
        finally:
            sys.settrace(None)
        return self._new

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        del arg
        code = frame.f_code
        if event == "call":
            return self._trace if code.co_filename.startswith(ROOT) else None
        if event == "line":
            step = (code, self._last.get(code, 0), frame.f_lineno)
            self._last[code] = frame.f_lineno
            if step not in self.all:
                self.all.add(step)
                self._new += 1
        return self._trace


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Give a changed input: bytes flipped, pieces cut, doubled, put in, or crossed with another."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        size = rng.randint(1, 24)
        kind = rng.randrange(6)
        if kind == 0 and at < len(found):
            found[at] = rng.randrange(256)
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:  # noqa: PLR2004 (one of six kinds)
            found[at:at] = found[at : at + size]
        elif kind == 3:  # noqa: PLR2004
            found[at:at] = rng.choice(TOKENS)
        elif kind == 4:  # noqa: PLR2004
            found[at : at + size] = rng.choice(TOKENS)
        else:
            start = rng.randrange(len(other) + 1)
            found[at:at] = other[start : start + 4 * size]
    return bytes(found[:INPUT_BYTES_MAX])


def fuzz(seconds: float, seed: int) -> tuple[int, int, int]:
    """Fuzz for a while; gives inputs tried, inputs kept and transitions reached."""
    rng = random.Random(seed)  # noqa: S311 (not for secrets)
    reached = Reached()
    corpus = list(SEEDS)
    for data in corpus:
        reached.count(lambda data=data: judge(data, rng))  # type: ignore[misc]
    ends = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < ends:
        data = mutated(rng.choice(corpus), rng.choice(corpus), rng)
        tried += 1
        try:
            new = reached.count(lambda data=data: judge(data, rng))  # type: ignore[misc]
        except Exception:
            print(f"fuzz: seed {seed}, input {tried}: {data!r}", file=sys.stderr)
            raise
        if new:
            corpus.append(data)
    return tried, len(corpus), len(reached.all)


def main() -> int:
    """Fuzz from the command line."""
    options = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=0, help="0 draws one")
    chosen = options.parse_args()
    seed = chosen.seed or random.SystemRandom().randrange(1, 2**31)
    tried, kept, transitions = fuzz(chosen.seconds, seed)
    figures = {"seed": seed, "tried": tried, "kept": kept, "transitions": transitions}
    print(msgspec.json.encode(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Streams of a hostile provider end in an honest failure, with what is kept of them bounded."""

import pytest

from jusinfer.domain.inference.stream_state import (
    AttemptState,
    Chunk,
    ChunkMalformed,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.inbound import answer_parts
from jusinfer.wire.inbound.anthropic.stream_writer import MessageWriter
from jusinfer.wire.inbound.responses.stream_writer import ResponseWriter
from jusinfer.wire.passthrough.anthropic import NativeReader, NativeWriter
from jusinfer.wire.sealed import merged
from jusinfer.wire.upstream.call_order import in_call_order
from jusinfer.wire.upstream.chat_stream import CALLING_CHOICES_MAX, ChatStreamDecoder

IDENT = AnswerIdent("0" * 32, 1, "m", 1)


class Endings:
    """The two events that a machine cannot build itself."""

    def usage_event(self, machine: StreamAttempt) -> bytes:
        del machine
        return b"usage"

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        del machine
        return failure.code.encode()


def chunk(choices: str) -> bytes:
    return f'{{"id":"a","choices":[{choices}]}}'.encode()


def strict(delta: str) -> bytes:
    return (
        f'{{"id":"a","created":1,"model":"m","choices":[{{"index":0,"delta":{delta}}}]}}'
    ).encode()


def test_an_event_of_too_many_choices_is_refused() -> None:
    with pytest.raises(ChunkMalformed):
        ChatStreamDecoder(IDENT).decode(chunk(",".join(['{"delta":{"content":"a"}}'] * 1_025)))


def test_calls_of_too_many_choices_are_refused() -> None:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 1, "m", 2))
    call = '{"index":%d,"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}'
    for index in range(CALLING_CHOICES_MAX):
        decoder.decode(chunk(call % index))
    with pytest.raises(ChunkMalformed):
        decoder.decode(chunk(call % CALLING_CHOICES_MAX))


@pytest.mark.parametrize("index", ["1" * 5_000, "-1", "1e400", '"1"', "1.0", "[]"])
def test_any_place_of_a_choice_is_read(index: str) -> None:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 1, "m", 2))
    read = decoder.decode(chunk(f'{{"index":{index},"delta":{{"content":"a"}}}}'))
    assert read.content_bytes == 1


def test_a_name_that_does_not_end_is_refused() -> None:
    decoder = ChatStreamDecoder(IDENT)
    more = '{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"%s"}}]}}'
    decoder.decode(chunk(more % ("a" * 1_000)))
    with pytest.raises(ChunkMalformed):
        decoder.decode(chunk(more % ("b" * 100)))


def test_calls_that_wait_are_opened_once_and_in_order() -> None:
    decoder = ChatStreamDecoder(IDENT)
    calls = ",".join(f'{{"index":{at},"function":{{"name":"f{at}"}}}}' for at in range(3))
    first = decoder.decode(chunk(f'{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}'))
    second = decoder.decode(chunk('{"index":0,"delta":{"content":"x"}}'))
    third = decoder.decode(chunk('{"index":0,"delta":{},"finish_reason":"stop"}'))
    written = b"".join(part.payload or b"" for part in (first, second, third))
    assert [written.count(b'"name":"f%d"' % at) for at in range(3)] == [1, 1, 1]
    assert written.count(b'"arguments":"{}"') == 3


@pytest.mark.parametrize("writer", [ResponseWriter(b"{}", IDENT), MessageWriter(IDENT, b"{}")])
def test_parts_without_end_are_refused(writer: ResponseWriter | MessageWriter) -> None:
    pair = [strict('{"content":"a"}'), strict('{"reasoning":"b"}')]
    with pytest.raises(ChunkMalformed):
        writer.events(pair * answer_parts.PARTS_MAX)


def test_details_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_parts, "KEPT_MAX", 10)
    writer = ResponseWriter(b"{}", IDENT)
    details = strict('{"reasoning_details":[{"type":"reasoning.text","text":"a"}]}')
    with pytest.raises(ChunkMalformed):
        writer.events([details] * 11)


@pytest.mark.parametrize("value", ['"\\ud800"', "[" * 2_000 + "]" * 2_000])
def test_an_extra_that_cannot_be_read_fails_the_stream(value: str) -> None:
    call = '{"index":0,"id":"a","function":{"name":"f","arguments":""},"extra_content":'
    call += value + "}"
    for writer in (ResponseWriter(b"{}", IDENT), MessageWriter(IDENT, b"{}")):
        with pytest.raises(ChunkMalformed):
            writer.events([strict(f'{{"tool_calls":[{call}]}}')])


def test_only_the_event_itself_ends_a_message() -> None:
    said = (
        b'{"delta":{"text":"message_stop","type":"text_delta"},"index":0,'
        b'"type":"content_block_delta"}'
    )
    assert NativeReader().chunks(said) == [said]
    assert NativeReader().chunks(b'{"type":"message_stop"}')[1:] == [b"[DONE]"]


def test_what_is_nested_too_deeply_for_its_writer_fails_the_stream() -> None:
    deep = b'{"type":"ping","a":' + b"[" * 2_000 + b"]" * 2_000 + b"}"
    writer = NativeWriter(IDENT)
    machine = StreamAttempt(
        lambda _: Chunk(has_content=True),
        Endings(),
        wants_usage=True,
        choice_count=1,
        deadlines=Deadlines(1, 1, 1, 1),
        now=0,
        frame=writer.events,
    )
    assert machine.feed([deep], 0) == b"malformed_stream"
    assert machine.state is AttemptState.FAILED


def test_many_results_in_any_order_come_right() -> None:
    calls = [{"id": f"c{at}", "type": "function", "function": {}} for at in range(3_000)]
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": ""} for at in range(3_000)]
    turn = {"role": "assistant", "tool_calls": calls}
    backwards = [turn, *reversed(results)]
    assert in_call_order(backwards) == backwards
    twice = in_call_order([turn, *results, results[0]])
    assert [message["role"] for message in twice] == ["assistant", *["tool"] * 3_000, "user"]


def test_pieces_of_a_thought_are_joined_and_left_as_they_were() -> None:
    piece = {"type": "reasoning.text", "text": "ab", "index": 0}
    signed = {"type": "reasoning.text", "index": 0, "signature": "s"}
    pieces = [dict(piece), dict(piece), dict(piece), signed]
    whole = merged([*pieces, dict(piece)])
    assert whole == [piece | {"text": "ababab", "signature": "s"}, piece]
    assert pieces[0] == piece

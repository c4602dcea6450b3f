"""Characters cut in two between events: found, held, joined."""

import json

import pytest

from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.utf16_halves import joined, without_half


@pytest.mark.parametrize(
    ("payload", "rest", "half"),
    [
        (rb'{"content":"a\ud83d"}', rb'{"content":"a"}', rb"\ud83d"),
        (rb'{"content":"\\\ud83d"}', rb'{"content":"\\"}', rb"\ud83d"),
        (rb'{"content":"\\ud83d"}', rb'{"content":"\\ud83d"}', b""),
        (rb'{"content":"\ud83d\ude00"}', rb'{"content":"\ud83d\ude00"}', b""),
        (rb'{"content":"a"}', rb'{"content":"a"}', b""),
    ],
)
def test_a_half_at_the_end_is_taken_out(payload: bytes, rest: bytes, half: bytes) -> None:
    assert without_half(payload) == (rest, half)


def test_a_half_is_joined_to_what_fits_it() -> None:
    assert joined(rb"\ud83d", rb'{"content":"\ude00b"}') == rb'{"content":"\ud83d\ude00b"}'
    assert joined(rb"\ud83d", rb'{"content":"b"}') == rb'{"content":"b"}'


def event(delta: bytes, index: int = 0) -> bytes:
    return (
        b'{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":%d,"delta":%b,"finish_reason":null}]}' % (index, delta)
    )


def said(*deltas: bytes, index: int = 0) -> tuple[str, str | None, int]:
    """Return the text that is relayed of a stream, why it ended, and its choice's place."""
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 5, "m"))
    chunks = [decoder.decode(event(delta, index)) for delta in deltas]
    rest = decoder.flush()
    payloads = [chunk.payload for chunk in (*chunks, *(() if rest is None else (rest,)))]
    choices = [json.loads(payload)["choices"][0] for payload in payloads if payload]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, choices[-1]["finish_reason"], max(choice["index"] for choice in choices)


def test_a_character_cut_in_two_arrives_whole() -> None:
    found = said(rb'{"content":"a\ud83d"}', rb'{"content":"\ude00b"}')
    assert found == ("a\U0001f600b", "stop", 0)


def test_a_stream_without_a_reason_ends_with_one() -> None:
    assert said(b'{"content":"a"}') == ("a", "stop", 0)


def test_the_only_choice_stands_in_the_first_place() -> None:
    assert said(b'{"content":"a"}', b'{"content":"b"}', index=1) == ("ab", "stop", 0)

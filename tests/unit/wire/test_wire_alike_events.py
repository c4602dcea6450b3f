"""Events that differ from the one before in their text alone are read as any other event is."""

import json
import random
from typing import Any, Final

import msgspec
import pytest

from jusinfer.domain.inference.stream_state import Chunk
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.chat_stream import _OTHER_TEXT, ChatStreamDecoder

TEXTS: Final = [
    b'"a"',
    b'" token"',
    b'""',
    b"null",
    rb'"\""',
    rb'"\\"',
    rb'"\u00e9"',
    rb'"\ud83d"',
    rb'"\ude00 b"',
    '"é 你 🙂"'.encode(),
    b'"a","role":"assistant"',
    b'"a","content":"b"',
    b'"a","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]',
    b'"a"},"finish_reason":"stop","logprobs":{"content":[]}',
    b'"a","refusal":"r"',
    b"7",
    b'"open',
    _OTHER_TEXT,
]
FORMS: Final = [
    (
        b'{"id":"x","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":%b},"finish_reason":null}]}'
    ),
    (
        b'{"id":"a","object":"chat.completion.chunk","created":1790000000,"model":"a","choices":'
        b'[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":null}],"note":"a"}'
    ),
    (
        b' {"id" : "x", "object":"chat.completion.chunk","created":1790000000,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content": %b }}]}\n'
    ),
    (
        b'{"object":"chat.completion.chunk","id":"x","created":1790000000,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":%b},"finish_reason":null}]}'
    ),
    (
        b'{"id":"x","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":"b","content":%b},"finish_reason":null}]}'
    ),
]
BEGIN: Final = FORMS[0].replace(b'"content":%b', b'"role":"assistant","content":""')


def fields(chunk: Chunk) -> dict[str, Any]:
    return msgspec.structs.asdict(chunk)


def read(decoder: ChatStreamDecoder, payload: bytes) -> object:
    try:
        return fields(decoder.decode(payload))
    except ValueError as error:
        return repr(error)


def played(payloads: list[bytes], *, learns: bool) -> list[object]:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 5, "m"))
    found = []
    for payload in payloads:
        if not learns:
            decoder._lead = b""
        found.append(read(decoder, payload))
    rest = decoder.flush()
    return [*found, None if rest is None else fields(rest)]


@pytest.mark.parametrize("seed", range(60))
def test_what_was_learned_of_a_stream_changes_nothing_of_it(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 (no secret)
    forms = source.sample(FORMS, 2)
    payloads = [BEGIN, *[source.choice(forms) % source.choice(TEXTS) for _ in range(40)]]
    assert played(payloads, learns=True) == played(payloads, learns=False)


def test_most_events_of_a_stream_are_read_by_what_was_learned() -> None:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 5, "m"))
    decoder.decode(BEGIN)
    decoder.decode(FORMS[0] % b'"a"')
    assert decoder._lead.endswith(b'"content":')
    chunk = decoder.decode(FORMS[0] % b'"three"')
    assert (chunk.has_content, chunk.content_bytes) == (True, 5)
    assert json.loads(chunk.payload or b"")["id"] == "gen-" + "0" * 32


def test_a_text_that_stands_elsewhere_too_is_not_taken_for_the_text() -> None:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 5, "m"))
    decoder.decode(BEGIN)
    odd = FORMS[1] % b'"a"'
    decoder.decode(odd)
    # The last place that reads like the text is another member.
    assert decoder._lead == b""
    assert decoder.decode(odd.replace(b'"note":"a"', b'"note":"longer"')).content_bytes == 1


def test_a_stream_whose_events_all_differ_is_tried_a_few_times_only() -> None:
    decoder = ChatStreamDecoder(AnswerIdent("0" * 32, 5, "m"))
    decoder.decode(BEGIN)
    for number in range(30):
        decoder.decode((FORMS[0] % b'"a"').replace(b'"m"', b'"m%d"' % number))
    assert decoder._learned == 8

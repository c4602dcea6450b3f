"""Where an answer of OpenRouter's kind names itself."""

import pytest

from jusinfer.wire.upstream.generation_id import generation_id, repeats

HEAD = [(b"content-type", b"text/event-stream"), (b"x-generation-id", b"gen-head")]


def test_the_head_names_it_first() -> None:
    assert generation_id(HEAD, b'{"id":"gen-body"}') == "gen-head"
    assert generation_id(HEAD, b"") == "gen-head"


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (b'{"id":"gen-1","object":"chat.completion.chunk","choices":[]}', "gen-1"),
        (b'{"id":"chatcmpl-5f"}', "chatcmpl-5f"),
        (b'{"id":"Maria-Gonzalez"}', ""),
        (b'{"type":"response.created","response":{"id":"gen-2","output":[]}}', "gen-2"),
        (b'{"type":"response.created","response":{"id":"resp_2"}}', ""),
        (b'{"id":7}', ""),
        (b'{"id":"a b"}', ""),
        (b'{"id":"%b"}' % (b"x" * 129), ""),
        (b'{"response":[]}', ""),
        (b"[DONE]", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_else_the_first_event_does(first: bytes, found: str) -> None:
    assert generation_id([], first) == found
    assert generation_id([(b"x-generation-id", b"bad id")], first) == found


def test_an_id_that_repeats_a_part_of_the_request_is_known() -> None:
    request = b'{"messages":[{"content":"Dear Zwiebelfisch, all is well"}]}'
    assert repeats("gen-1764000000-zwiebelfisch", request)
    assert repeats("gen-Dear", request)
    assert not repeats("gen-1764000000-AbCdEf9", request)
    assert not repeats("gen-all", request)

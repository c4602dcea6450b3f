"""The attempt machine under any cutting, any truncation, and any bytes at all."""

import itertools

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from tests.playbook.script import (
    DONE,
    DONE_EVENT,
    ERROR_EVENT,
    IDENT,
    ROLE,
    STOP,
    USAGE,
    USAGE_EVENT,
    chunk,
    play,
    stream,
    text,
)

from jusinfer.domain.inference.stream_state import AttemptState, Chunk, ChunkMalformed
from jusinfer.domain.usage import clamp_usage
from jusinfer.wire.upstream.errors import read_error, read_inner_error
from jusinfer.wire.upstream.openai_chat import (
    answer_as_events,
    decode_answer,
    decode_chunk,
    named_so,
    usage_chunk,
)
from jusinfer.wire.upstream.usage_shapes import read_usage

TEXTS = st.sampled_from(["a", "é", "世界", "😀", "a b", "data: ", "[DONE]"]).map(text)
BROKEN = st.sampled_from(
    [chunk("{}", '"error"'), '{"error":{"message":"m"}}', "garbage", "null", '{"choices":[{']
)
PAYLOADS = st.lists(
    st.one_of(
        TEXTS,
        TEXTS,
        st.sampled_from([ROLE, STOP, USAGE, DONE, '{"choices":[]}', "{}", chunk()]),
        BROKEN,
    ),
    max_size=10,
)
BETWEEN = st.sampled_from([b"", b"", b"", b": x\n\n", b"\n", b"event: e\n", b"\r\n"])
ENDS = st.sampled_from([b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r"])
CUTS = st.lists(st.integers(min_value=0, max_value=2_000), max_size=8)
ENDINGS = st.sampled_from(["end", "cut", "open"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Give the bytes of a stream, and the payloads in it."""
    payloads = draw(PAYLOADS)
    parts = [
        draw(BETWEEN) + draw(st.sampled_from([b"data: ", b"data:"])) + payload.encode() + draw(ENDS)
        for payload in payloads
    ]
    return b"".join(parts), payloads


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[left:right] for left, right in itertools.pairwise(places)]


@given(made=streams(), cuts=CUTS, ending=ENDINGS, wants_usage=st.booleans())
def test_any_cutting_gives_the_same(
    made: tuple[bytes, list[str]],
    cuts: list[int],
    ending: str,
    wants_usage: bool,  # noqa: FBT001 (drawn by name)
) -> None:
    data, _ = made
    whole = play([data], ending=ending, wants_usage=wants_usage)
    assert play(cut_at(data, cuts), ending=ending, wants_usage=wants_usage) == whole


@given(made=streams(), at=st.integers(min_value=0, max_value=2_000), ending=ENDINGS)
def test_any_truncation_ends_honestly(made: tuple[bytes, list[str]], at: int, ending: str) -> None:
    data, payloads = made
    kept = data[:at]
    played = play([kept], ending=ending, wants_usage=True)
    own = [ERROR_EVENT[6:-2], USAGE_EVENT[6:-2], b"[DONE]"]
    relayed = [event for event in played.events if event not in own]
    # Nothing is delivered that the upstream did not send, in its order and at most once.
    sent = [payload.encode() for payload in payloads]
    rest = iter(sent)
    assert all(event in rest for event in relayed)
    if ending != "open":
        assert played.state in {AttemptState.COMPLETED, AttemptState.FAILED}
    if played.state is AttemptState.COMPLETED:
        assert played.finish_reason is not None or DONE.encode() in kept
        assert played.sent.endswith(USAGE_EVENT + DONE_EVENT)
        assert played.sent.count(USAGE_EVENT) == 1
        assert played.events.count(b"[DONE]") == 1
        assert ERROR_EVENT not in played.sent
    elif played.state is AttemptState.FAILED:
        assert DONE_EVENT not in played.sent
        assert USAGE_EVENT not in played.sent
        assert played.sent.count(ERROR_EVENT) == (1 if played.has_sent_content else 0)
        assert bool(played.sent) == played.has_sent_content
        assert played.sent == b"" or played.sent.endswith(ERROR_EVENT)


@given(tokens=st.lists(TEXTS, min_size=1, max_size=6), at=st.integers(0, 2_000))
def test_a_stream_cut_before_its_finish_never_completes(tokens: list[str], at: int) -> None:
    data = stream(ROLE, *tokens)[:at]
    for ending in ("end", "cut"):
        assert play([data], ending=ending).state is AttemptState.FAILED


@given(reads=st.lists(st.binary(max_size=80), max_size=8), ending=ENDINGS)
def test_random_bytes_raise_nothing(reads: list[bytes], ending: str) -> None:
    played = play([b"data: " + read + b"\n\n" for read in reads], ending=ending)
    assert played.final_usage == clamp_usage(played.final_usage)
    play(reads, ending=ending)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "finish_reason",
                    "index",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "error",
                    "code",
                    "metadata",
                    "x_groq",
                    "tool_calls",
                    "id",
                    "created",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SHAPES = st.one_of(JSON, st.builds(lambda inner: {"choices": [inner]}, JSON))


@given(value=SHAPES)
def test_any_json_is_read_or_malformed(value: object) -> None:
    payload = msgspec.json.encode(value)
    try:
        found = decode_chunk(payload)
    except ChunkMalformed:
        assert not isinstance(value, dict)
    else:
        assert isinstance(found, Chunk)
    named_so(payload, IDENT)


@given(value=SHAPES)
@example(value={"choices": [{"message": None, "delta": {"content": False}}]})
def test_any_json_is_an_answer_or_a_failure(value: object) -> None:
    body = msgspec.json.encode(value)
    answer = decode_answer(body)
    charged = answer.final_usage(5)
    assert charged == clamp_usage(charged)
    if answer.failure is None:
        played = play([stream(*answer_as_events(body))])
        assert played.state is AttemptState.COMPLETED


@given(value=JSON)
def test_any_json_is_usage_or_nothing(value: object) -> None:
    raw = msgspec.json.encode(value)
    usage = read_usage(raw)
    if usage is not None:
        event = usage_chunk(named_so(None, IDENT), clamp_usage(usage), raw, "0")
        read = decode_chunk(event[6:-2])
        said = msgspec.structs.replace(usage, reported_cost_pico=0, is_estimated=False)
        assert read.usage == clamp_usage(said)


@given(
    body=st.one_of(st.binary(max_size=100), JSON.map(msgspec.json.encode)),
    status=st.integers(min_value=100, max_value=999),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"retry-after",
                    b"retry-after-ms",
                    b"x-should-retry",
                    b"x-ratelimit-remaining-tokens",
                    b"x-ratelimit-reset-tokens",
                ]
            ),
            st.one_of(
                st.binary(max_size=30),
                st.from_regex(rb"[0-9]{1,20}(\.[0-9]{1,20})?(ms|s|m|h)?", fullmatch=True),
                st.sampled_from([b"0", b"Mon, 21 Sep 2026 14:13:30 GMT", b"0001-01-01T00:00:00Z"]),
            ),
        ),
        max_size=4,
    ),
)
def test_any_refusal_is_a_failure(
    body: bytes, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    failure = read_error(status, headers, body, 1.79e9)
    assert 400 <= failure.status <= 599
    assert failure.retry_after_seconds is None or 0 <= failure.retry_after_seconds <= 86_400
    assert not (failure.is_retryable and (failure.is_quota or failure.is_clients_fault))
    assert 400 <= read_inner_error(body).status <= 599

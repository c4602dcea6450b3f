"""However bytes are cut, the decoder gives the same events."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jusinfer.wire.sse import SseDecoder, encode_event

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [b"", b"", b"data: a", b"data:b", b"data: ", b"data", b": x", b":", b"event: e", b"id", b"\xff"]
)
STREAMS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.tuples(LINES, LINE_ENDS), max_size=20).map(
        lambda rows: b"".join(line + end for line, end in rows)
    ),
    st.lists(st.binary(max_size=20).map(encode_event), max_size=6).map(b"".join),
)
CUTS = st.lists(st.integers(min_value=0, max_value=250), max_size=12)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[left:right] for left, right in itertools.pairwise(places)]


def decoded(reads: list[bytes]) -> tuple[list[bytes], list[bytes], bool]:
    decoder = SseDecoder()
    payloads = [payload for read in reads for payload in decoder.feed(read)]
    return payloads, decoder.end(), decoder.saw_comment


@given(data=STREAMS, cuts=CUTS)
def test_any_cutting_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    assert decoded(cut_at(data, cuts)) == decoded([data])


def by_the_rules(data: bytes) -> list[bytes]:
    """Read events the slow and plain way: the rules of the format, line by line."""
    text = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    payloads: list[bytes] = []
    held: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        name, _, value = line.partition(b":")
        if not line:
            payload = b"\n".join(held)
            held = []
            if payload.strip():
                payloads.append(payload)
        elif name == b"data":
            held.append(value.removeprefix(b" "))
    return payloads


@given(data=STREAMS)
def test_events_are_those_of_the_rules(data: bytes) -> None:
    assert decoded([data])[0] == by_the_rules(data)


@given(
    payloads=st.lists(
        st.text(min_size=1).filter(lambda text: not text.isspace() and "\r" not in text),
        max_size=5,
    )
)
def test_what_was_framed_is_read_again(payloads: list[str]) -> None:
    raw = [payload.encode() for payload in payloads if payload.encode().strip()]
    assert decoded([b"".join(encode_event(payload) for payload in raw)]) == (raw, [], False)

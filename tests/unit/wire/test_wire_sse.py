import pytest

from jusinfer.wire.sse import EVENT_BYTES_MAX, SseDecoder, SseTooLarge, encode_event


def decoded(*reads: bytes) -> list[bytes]:
    decoder = SseDecoder()
    payloads: list[bytes] = []
    for read in reads:
        payloads += decoder.feed(read)
    return payloads + decoder.end()


@pytest.mark.parametrize(
    ("name", "data", "payloads"),
    [
        ("one event", b"data: a\n\n", [b"a"]),
        ("two events", b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        ("F01 comment", b": OPENROUTER PROCESSING\n\ndata: a\n\n", [b"a"]),
        ("comment inside an event", b"data: a\n: x\ndata: b\n\n", [b"a\nb"]),
        ("F05 blank lines", b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"a", b"b"]),
        ("F08 CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        ("F08 CR", b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        ("F08 mixed", b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        ("F08 no space", b"data:a\n\n", [b"a"]),
        ("only one space is taken", b"data:  a\n\n", [b" a"]),
        ("F08 several lines", b"data: a\ndata: b\n\n", [b"a\nb"]),
        ("F08 several lines, CRLF", b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        ("other fields", b"event: x\nid: 1\nretry: 3\ndata: a\n\n", [b"a"]),
        ("other fields alone", b"event: x\n\ndata: a\n\n", [b"a"]),
        ("an unknown field", b"datum: x\ndata: a\n\n", [b"a"]),
        ("a field without a colon", b"data\n\ndata: a\n\n", [b"a"]),
        ("blank data", b"data: \n\ndata:\n\ndata:   \n\n", []),
        ("blank data beside an event", b"data: \n\ndata: a\n\n", [b"a"]),
        ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        ("colons in the data", b"data: a:b: c\n\n", [b"a:b: c"]),
        ("nothing", b"", []),
        ("no end, no JSON", b"data: a", []),
        ("no end, whole JSON", b'data: {"a":1}', [b'{"a":1}']),
        ("no blank line, whole JSON", b'data: {"a":1}\n', [b'{"a":1}']),
        ("no end, on two lines", b'data: {"a":\ndata: 1}', [b'{"a":\n1}']),
        ("no end, torn JSON", b'data: {"a":', []),
        ("no end, too deep", b"data: " + b"[" * 100_000, []),
        ("no end, end mark", b"data: [DONE]", [b"[DONE]"]),
        ("no end, torn end mark", b"data: [DON", []),
    ],
)
def test_data_of_events(name: str, data: bytes, payloads: list[bytes]) -> None:
    assert decoded(data) == payloads, name
    if len(data) < 1_000:
        for cut in range(len(data) + 1):
            assert decoded(data[:cut], data[cut:]) == payloads, (name, cut)
        assert decoded(*[data[at : at + 1] for at in range(len(data))]) == payloads


def test_f06_characters_cut_at_every_byte() -> None:
    data = "data: é世😀\n\n".encode()
    for cut in range(len(data)):
        assert decoded(data[:cut], data[cut:]) == ["é世😀".encode()]


def test_an_event_is_given_as_soon_as_its_blank_line_has_begun() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [b"a"]
    assert decoder.feed(b"\ndata: b\r\r") == [b"b"]
    assert decoder.feed(b"data: c\n\n") == [b"c"]


def test_an_empty_read_between_the_halves_of_a_line_end() -> None:
    assert decoded(b"data: a\r", b"", b"\n", b"\r\n") == decoded(b"data: a\r\n\r\n")


def test_comments_are_seen() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: a\n\n")
    assert not decoder.saw_comment
    decoder.feed(b": pi")
    assert not decoder.saw_comment
    decoder.feed(b"ng\n")
    assert decoder.saw_comment


def event_of(size: int) -> bytes:
    return b"data: " + b"x" * (size - 6)


def test_an_event_at_its_bound_is_given_however_it_is_cut() -> None:
    data = event_of(EVENT_BYTES_MAX - 1)
    assert len(decoded(data + b"\n\n")[0]) == EVENT_BYTES_MAX - 7
    assert len(decoded(data[:1_000], data[1_000:], b"\n", b"\n")[0]) == EVENT_BYTES_MAX - 7


@pytest.mark.parametrize(
    "reads",
    [
        [event_of(EVENT_BYTES_MAX) + b"\n\n"],
        [event_of(EVENT_BYTES_MAX)],
        [event_of(EVENT_BYTES_MAX - 1), b"x"],
        [event_of(EVENT_BYTES_MAX - 1), b"\n", b"data: y\n"],
        [b":" + b"x" * (EVENT_BYTES_MAX - 1)],
        [b"data:\n" * (EVENT_BYTES_MAX // 6 + 1)],
    ],
    ids=["whole", "open", "cut", "second-line", "comment", "empty-lines"],
)
def test_an_event_over_its_bound_is_refused(reads: list[bytes]) -> None:
    decoder = SseDecoder()
    for read in reads[:-1]:
        assert decoder.feed(read) == []
    with pytest.raises(SseTooLarge):
        decoder.feed(reads[-1])
    with pytest.raises(SseTooLarge):
        decoder.feed(b"data: a\n\n")
    assert decoder.end() == []


def test_what_came_before_an_event_over_its_bound_is_given_first() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\n" + event_of(EVENT_BYTES_MAX + 1)) == [b"a"]
    with pytest.raises(SseTooLarge):
        decoder.feed(b"\n")


def test_events_are_framed() -> None:
    assert encode_event(b"a") == b"data: a\n\n"
    assert encode_event(b"a\nb") == b"data: a\ndata: b\n\n"
    assert decoded(encode_event(b"a\nb")) == [b"a\nb"]

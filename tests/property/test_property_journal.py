from hypothesis import given
from hypothesis import strategies as st

from jusinfer.domain.journal import (
    CorruptTail,
    FrameDecoder,
    FrameEncoder,
    Record,
    RequestAdmitted,
    RequestEnded,
    SegmentHeader,
)

TEXTS = st.text(max_size=40)
COUNTS = st.integers(min_value=-(2**63), max_value=2**64 - 1)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(SegmentHeader, format_version=COUNTS, worker_id=TEXTS, opened_at_us=COUNTS),
    *(
        st.builds(
            kind,
            **{
                name: {str: TEXTS, int: COUNTS, bool: st.booleans()}[kind.__annotations__[name]]
                for name in kind.__struct_fields__
            },
        )
        for kind in (RequestAdmitted, RequestEnded)
    ),
)


def read(data: bytes) -> tuple[list[Record], CorruptTail | None]:
    records: list[Record] = []
    torn: CorruptTail | None = None
    for item in FrameDecoder().records(data):
        assert torn is None
        if isinstance(item, CorruptTail):
            torn = item
        else:
            records.append(item[1])
    return records, torn


def frames(records: list[Record]) -> list[bytes]:
    encoder = FrameEncoder()
    return [encoder.frame(record) for record in records]


@given(st.lists(RECORDS, max_size=6))
def test_what_was_written_is_read(records: list[Record]) -> None:
    assert read(b"".join(frames(records))) == (records, None)


@given(st.lists(RECORDS, min_size=1, max_size=4), st.data())
def test_a_journal_cut_anywhere_gives_the_records_before_the_cut(
    records: list[Record], data: st.DataObject
) -> None:
    whole = frames(records)
    size = sum(map(len, whole))
    cut = data.draw(st.integers(min_value=0, max_value=size))
    found, torn = read(b"".join(whole)[:cut])
    assert found == records[: len(found)]
    complete = sum(map(len, whole[: len(found)]))
    if torn is None:
        assert complete == cut
    else:
        assert (torn.offset_bytes, torn.left_bytes) == (complete, cut - complete)
        assert complete + len(whole[len(found)]) > cut


@given(st.lists(RECORDS, min_size=1, max_size=4), st.data())
def test_a_flipped_bit_never_changes_what_is_read(
    records: list[Record], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(frames(records)))
    place = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    found, torn = read(bytes(whole))
    assert found == records[: len(found)]
    assert torn is not None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    found, torn = read(data)
    assert not found or torn is None or torn.offset_bytes > 0


@given(st.lists(RECORDS, max_size=4), st.data())
def test_reading_goes_on_from_any_place_that_was_given(
    records: list[Record], data: st.DataObject
) -> None:
    whole = b"".join(frames(records))
    items = [item for item in FrameDecoder().records(whole) if not isinstance(item, CorruptTail)]
    count = data.draw(st.integers(min_value=0, max_value=len(items)))
    start = items[count - 1][0] if count else 0
    assert read(whole[start:]) == (records[count:], None)

import pytest

from jusinfer.domain.leases import CHUNK_NANO_MAX, chunk_nano


@pytest.mark.parametrize(
    ("available_nano", "need_nano", "chunk"),
    [
        (0, 0, 0),
        (-5, 0, 0),
        (-5, -6, 0),
        (100, 101, 0),
        (100, 100, 100),
        (100, 0, 12),
        (100, 30, 30),
        (800, 30, 90),
        (40_000_000, 1, 5_000_000),
        (7, 1, 1),
        (800, 200, 200),
        (CHUNK_NANO_MAX * 100, 1, CHUNK_NANO_MAX),
        (CHUNK_NANO_MAX * 100, CHUNK_NANO_MAX * 2, CHUNK_NANO_MAX * 2),
    ],
)
def test_a_chunk_is_a_share_within_its_bounds(
    available_nano: int, need_nano: int, chunk: int
) -> None:
    assert chunk_nano(available_nano, need_nano) == chunk


def test_credit_lent_bit_by_bit_ends_and_is_never_exceeded() -> None:
    left_nano, lent_nano, rounds = CHUNK_NANO_MAX, 0, 0
    while left_nano > 0:
        chunk = chunk_nano(left_nano, 1)
        assert 0 < chunk <= left_nano
        left_nano, lent_nano, rounds = left_nano - chunk, lent_nano + chunk, rounds + 1
    assert lent_nano == CHUNK_NANO_MAX
    assert rounds < 200

"""Sizes of leases and the arithmetic of spending from them: pure rules, no clock."""

from typing import Final

CHUNK_DIVISOR: Final = 8
CHUNK_NANO_MAX: Final = 10_000_000_000


def chunk_nano(available_nano: int, need_nano: int) -> int:
    """Give how much credit to lend next: 0 when even the need cannot be met.

    The chunk is a share of what is available, within bounds, so that it shrinks as the remainder
    does; it is never below the need, and never above what is available.
    """
    if need_nano > available_nano or available_nano <= 0:
        return 0
    share = available_nano // CHUNK_DIVISOR
    chunk = min(max(min(share, CHUNK_NANO_MAX), need_nano, 1), available_nano)
    # Whole needs only: what is left over of several leases would serve nobody.
    return chunk - chunk % max(need_nano, 1)

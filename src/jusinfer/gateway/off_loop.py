"""Work on large bodies: on a thread beside the event loop, one body at a time.

A thread does not make the work cheaper: Python runs one thread at a time. But between two calls
into a decoder, and every few milliseconds in Python's own code, the loop serves everybody else.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

# What is smaller costs less than the way to another thread and back.
LARGE_BYTES_MIN: Final = 256 * 1024

T = TypeVar("T")


class Heavy:
    """One thread. What waits for it is bounded by the bytes that all requests may hold."""

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        # It starts with the first large body.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

    async def run(self, work: Callable[[], T]) -> T:
        """Do work that touches nothing of the loop's; raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

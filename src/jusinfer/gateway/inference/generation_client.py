"""Asks an upstream for one page about one completion: a GET within bounds and a deadline."""

import asyncio
from typing import Final

from jusinfer.domain.provider_report import ANSWER_BYTES_MAX, NoReport
from jusinfer.gateway.http.client_connection import ClientLimits
from jusinfer.gateway.http.connection_pool import Failure, Pool, PoolLimits
from jusinfer.gateway.inference.upstream_headers import asking_lines
from jusinfer.gateway.runtime_config import UpstreamTarget

ASK_SECONDS: Final = 10.0
LIMITS: Final = PoolLimits(
    connections_max=2,
    waiting_max=8,
    answer=ClientLimits(
        head_bytes_max=32 * 1024, header_lines_max=100, body_bytes_max=ANSWER_BYTES_MAX
    ),
)


class _Asking:
    """Collects one answer."""

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self.done = done
        self._body: list[bytes] = []
        self.status = 0

    @property
    def body(self) -> bytes:
        return b"".join(self._body)

    def upstream_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the status."""
        del headers
        self.status = status

    def upstream_body(self, data: bytes) -> None:
        """Keep a piece; the connection bounds their sum."""
        self._body.append(data)

    def upstream_end(self) -> None:
        """Say that it is whole."""
        if not self.done.done():
            self.done.set_result(None)

    def upstream_failed(self, failure: Failure) -> None:
        """Say why there is none."""
        if not self.done.done():
            self.done.set_exception(NoReport(failure.kind.value))


async def ask(
    pool: Pool,
    dispatch: UpstreamTarget,
    generation_id: str,
    completion_id: str,
    seconds: float = ASK_SECONDS,
) -> tuple[int, bytes]:
    """Ask for a generation; gives status and body, or raises NoReport with a code.

    Redirects are an answer like any other: nothing follows them.
    """
    head = dispatch.question("/generation", f"id={generation_id}")
    if dispatch.is_gateway:
        head += asking_lines(dispatch.upstream, completion_id)
    asking = _Asking(pool.loop.create_future())
    exchange = pool.open(dispatch.target, head + b"\r\n", b"", asking)
    try:
        async with asyncio.timeout(seconds):
            await asking.done
    except TimeoutError:
        raise NoReport("timeout") from None
    finally:
        exchange.cancel()
    return asking.status, asking.body

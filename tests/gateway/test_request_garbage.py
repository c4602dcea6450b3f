"""What a request held is free once it is over: nothing waits for the garbage collector."""

import asyncio
import gc
from pathlib import Path

from bench.journey import ANSWER, SETTLE_SECONDS, Bench, tiny

from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.pending_request import PendingRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.settlement import Settlement
from jusinfer.gateway.inference.attempt import StreamingAttempt, UnaryAttempt
from jusinfer.gateway.inference.handler import InferenceHandler

KINDS = (
    AdmittedRequest,
    CompletionRequest,
    InferenceHandler,
    PendingRequest,
    Settlement,
    StreamingAttempt,
    UnaryAttempt,
)


async def left_by_requests(directory: Path) -> list[str]:
    """Play an answer and a refusal; give what is still there without a collection."""
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(directory, tasks)
        bench.ask(tiny())
        await asyncio.sleep(SETTLE_SECONDS)
        bench.answer(ANSWER)
        gc.collect()
        gc.disable()
        others = [one for one in gc.get_objects() if isinstance(one, KINDS)]
        try:
            bench.ask(tiny())
            bench.answer(ANSWER)
            bench.ask(tiny(model="nothing"))
            there = [one for one in gc.get_objects() if isinstance(one, KINDS)]
            left = [type(one).__name__ for one in there if one not in others]
        finally:
            gc.enable()
        assert bench.client.taken().count(b"HTTP/1.1 200 ") == 2
        bench.context.journal.close()
        ticker = bench.server._ticker
        assert ticker is not None
        ticker.cancel()
    return left


def test_nothing_of_a_request_waits_for_the_collector(tmp_path: Path) -> None:
    assert asyncio.run(left_by_requests(tmp_path)) == []

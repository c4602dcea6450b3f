"""Builds the reconciler; it holds the keys of the upstreams that it asks, and of no other."""

import asyncio
import contextlib
import signal

from jusinfer.bootstrap import parts
from jusinfer.bootstrap.process_lifecycle import say_ready, watch_parent
from jusinfer.domain.catalog import Upstream
from jusinfer.domain.provider_report import ProviderReport, read_report
from jusinfer.gateway.http.connection_pool import Pool
from jusinfer.gateway.inference.generation_client import LIMITS, ask
from jusinfer.gateway.runtime_config import UpstreamTarget
from jusinfer.observability import Events
from jusinfer.settler.reconcile import Ask, Reconciler
from jusinfer.store.report_link import Due, ReportLink


def main() -> None:
    """Run the reconciler until it is told to stop."""
    part, pipes = parts.receive(parts.ReconcilerPart)
    asyncio.run(run(part, pipes))


async def run(part: parts.ReconcilerPart, pipes: parts.Descriptors) -> None:
    """Ask until told to stop; a question under way is dropped, and asked again later."""
    watch_parent(pipes.parent)
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is None:
        raise AssertionError("this runs in a task")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    events = Events("reconciler")
    upstreams = list(part.upstreams)
    link = ReportLink(part.dsn)
    reconciler = Reconciler(link, sorted(one.name for one in upstreams), events)
    with contextlib.closing(link), contextlib.suppress(asyncio.CancelledError):
        async with asyncio.TaskGroup() as tasks:
            pool = Pool(loop, LIMITS, tasks)
            say_ready(pipes.ready)
            events.emit("reconciler_ready", count=len(upstreams))
            await reconciler.run(asker(pool, upstreams))
    events.emit("reconciler_stopped", count=reconciler.reported_count)


def asker(pool: Pool, upstreams: list[Upstream]) -> Ask:
    """Give the way to ask any of these upstreams."""
    dispatches = {upstream.name: UpstreamTarget(upstream) for upstream in upstreams}

    async def report(due: Due) -> ProviderReport:
        pool.expire_idle(pool.loop.time())
        dispatch = dispatches[due.upstream]
        status, body = await ask(pool, dispatch, due.generation_id, due.completion_id)
        return read_report(status, body, due.generation_id)

    return report


if __name__ == "__main__":
    main()

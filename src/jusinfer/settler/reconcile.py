"""Asks providers what completions cost us that broke off before they said it; never charges.

A question is counted in the database before it is asked, so a process that is killed anywhere
only asks again later, and no answer is recorded twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jusinfer.domain.provider_report import NoReport, ProviderReport
from jusinfer.observability import Events
from jusinfer.store.report_link import Due, ReportLink, ReportLinkDown

# At most twenty questions in ten seconds.
BATCH_ROWS: Final = 4
LOOK_SECONDS: Final = 2.0

# Asks one provider about one completion, within a deadline; raises NoReport.
Ask = Callable[[Due], Awaitable[ProviderReport]]


class Reconciler:
    """Works through what is due for the upstreams that may be asked."""

    def __init__(self, link: ReportLink, upstreams: list[str], events: Events) -> None:
        self._link = link
        self._upstreams = upstreams
        self._events = events
        self.reported_count = 0

    async def run(self, ask: Ask) -> None:
        """Ask until cancelled; an outage of the database is waited out."""
        is_down = False
        while True:
            try:
                await self.run_once(ask)
            except ReportLinkDown as down:
                if not is_down:
                    self._events.emit("database_away", error=str(down))
                is_down = True
            else:
                if is_down:
                    self._events.emit("database_back")
                is_down = False
            await asyncio.sleep(LOOK_SECONDS)

    async def run_once(self, ask: Ask) -> int:
        """Give up what is too old, then ask about one batch; gives how many were asked."""
        given_up = self._link.give_up(self._upstreams)
        if given_up:
            self._events.emit("reports_given_up", count=given_up)
        batch = self._link.due(self._upstreams, BATCH_ROWS)
        for due in batch:
            await self._reconcile(due, ask)
        return len(batch)

    async def _reconcile(self, due: Due, ask: Ask) -> None:
        try:
            report = await ask(due)
        except NoReport as failure:
            self._link.note_failure(due.completion_id, failure.code)
            self._events.emit(
                "no_report",
                completion_id=due.completion_id,
                upstream=due.upstream,
                code=failure.code,
            )
            return
        if self._link.note(due.completion_id, report):
            self.reported_count += 1
            self._events.emit("reported", completion_id=due.completion_id, upstream=due.upstream)

"""Answers a key that asks for its own: one completion, its tenant's credit, its spending."""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol

from jusinfer.domain.errors import InvalidRequest, JusinferError, PathNotFound, Unavailable
from jusinfer.domain.identity import Mode, Principal
from jusinfer.domain.usage import KeyUsageSummary
from jusinfer.gateway.http.server import Request, Responder
from jusinfer.gateway.inference.authentication import entered
from jusinfer.gateway.state import WorkerState
from jusinfer.wire.errors import render
from jusinfer.wire.json.account import (
    completion_id_of,
    credits_of,
    generation,
    key_of,
)

GENERATION: Final = "/v1/generation"
CREDITS: Final = "/v1/credits"
KEY: Final = "/v1/key"
PATHS: Final = frozenset({GENERATION, CREDITS, KEY})
# A completion is posted a fraction of a second after its end: wait that long before saying no.
LOOKUPS_MAX: Final = 4
LOOK_SECONDS: Final = 0.25
# How many may wait so; whoever comes when there are more is told at once.
WAITING_MAX: Final = 32


class AccountReader(Protocol):
    """What is asked of the database."""

    def own_completion(
        self, member_id: str, mode: str, completion_id: str
    ) -> Awaitable[dict[str, object] | None]:
        """Give the usage row of a completion of the member; None when there is none yet."""
        ...

    def own_credits(self, tenant_id: str, mode: str) -> Awaitable[tuple[int, int]]:
        """Give what the tenant was given and what is left, in nano-USD."""
        ...

    def own_key(self, key_id: str) -> Awaitable[KeyUsageSummary | None]:
        """Give what a key has spent."""
        ...


class AccountApi:
    """Serves the three paths; the database is asked each time, and may be away."""

    def __init__(self, context: WorkerState, books: AccountReader, outage: type[Exception]) -> None:
        self._context = context
        self._books = books
        self._outage = outage
        self._waiting_count = 0

    async def serve(
        self, path: str, request: Request, responder: Responder, request_id: str
    ) -> None:
        """Authenticate and answer one request."""
        context = self._context
        block = f"x-request-id: {request_id}\r\ncache-control: no-store\r\n".encode("ascii")
        try:
            principal = await entered(context, request)
            body = await self._body(path, request.query, principal)
            status = 200
            block += b"content-type: application/json\r\n"
        except JusinferError as error:
            status, own, body = render(error, request_id)
            block += own
        if not responder.is_gone:
            responder.send(status, block, body)

    async def _body(self, path: str, query: str, principal: Principal) -> bytes:
        try:
            if path == CREDITS:
                found = await self._books.own_credits(principal.tenant_id, principal.mode)
                return credits_of(*found)
            if path == KEY:
                spending = await self._books.own_key(principal.key_id)
                if spending is None:
                    raise PathNotFound("this key is gone")
                return key_of(spending, is_test=principal.mode is Mode.TEST)
            return await self._generation(query, principal)
        except self._outage as error:
            raise Unavailable(
                "the records cannot be read right now", retry_after_seconds=2
            ) from error

    async def _generation(self, query: str, principal: Principal) -> bytes:
        asked = completion_id_of(query)
        if asked is None:
            raise InvalidRequest(
                "`id` is missing or is not a completion's id",
                param="id",
                hint="Send an answer's id, or the value of x-jusinfer-completion-id, as ?id=….",
            )
        row = await self._posted(principal, asked.completion_id)
        if row is not None:
            return generation(row, asked.asked)
        raise PathNotFound(
            "there is no such completion of this key's member",
            param="id",
            hint="It is posted a moment after its end; records are kept 13 months.",
        )

    async def _posted(self, principal: Principal, completion_id: str) -> dict[str, object] | None:
        """Give a row, waiting longer each time: it may be posted within a moment."""
        for look in range(LOOKUPS_MAX):
            row = await self._books.own_completion(
                principal.member_id, principal.mode, completion_id
            )
            if row is not None or look == LOOKUPS_MAX - 1 or self._waiting_count >= WAITING_MAX:
                return row
            self._waiting_count += 1
            try:
                await asyncio.sleep(LOOK_SECONDS * (look + 1))
            finally:
                self._waiting_count -= 1
        return None

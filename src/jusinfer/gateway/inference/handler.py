"""Does what the state machines of one request ask for: database, journal, provider, client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.identity import Principal, fingerprint
from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.effects import Attempt, HeldLimits, Reservation, Timer
from jusinfer.domain.inference.pending_request import PendingRequest
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.response_headers import US_PER_SECOND
from jusinfer.domain.journal import RequestAdmitted, RequestEnded
from jusinfer.domain.routing.features import CacheAffinity
from jusinfer.domain.secret_masking import OwnSecrets
from jusinfer.domain.upstream_health import Health
from jusinfer.gateway.accounting.credit_leases import nothing_reserved
from jusinfer.gateway.accounting.journal_writer import Segment
from jusinfer.gateway.accounting.request_holds import RequestHold
from jusinfer.gateway.http.response_writer import Request, Responder
from jusinfer.gateway.inference.admission import examine, read
from jusinfer.gateway.inference.attempt import StreamingAttempt, UnaryAttempt
from jusinfer.gateway.inference.authentication import credential, identify
from jusinfer.gateway.inference.endpoints import Endpoint
from jusinfer.gateway.inference.event_writer import Collecting
from jusinfer.gateway.inference.route_preview import route_json
from jusinfer.gateway.inference.route_request import Asked, RouteRequest, write_request
from jusinfer.gateway.inference.settlement import append_ended
from jusinfer.gateway.inference.translator import render_error
from jusinfer.gateway.off_loop import LARGE_BYTES_MIN
from jusinfer.gateway.request_origin import country_of
from jusinfer.gateway.state import WorkerState
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.errors import status_of
from jusinfer.wire.interfaces import ClientApi

T = TypeVar("T")
FAULT: Final = Unavailable("an internal fault; the request was not served")


class Said(msgspec.Struct, frozen=True):
    """What a head says of a request: read once for all requests that repeat it."""

    key: bytes
    fingerprint: bytes
    passed_lines: bytes
    task: bytes | None


class InferenceHandler:
    """One request by a client: its effects, and what its connection tells of it."""

    __slots__ = (
        "_admitted",
        "_collecting",
        "_context",
        "_endpoint",
        "_passed_lines",
        "_pending",
        "_responder",
        "_segment",
        "_task",
        "body",
        "epoch_us",
        "now",
    )

    def __init__(
        self,
        context: WorkerState,
        request: Request,
        responder: Responder,
        request_id: str,
        endpoint: Endpoint,
    ) -> None:
        self._context = context
        # Monotonic seconds and microseconds since 1970: asked of so often that no call is between.
        self.now = context.loop.time
        self.epoch_us = context.clock_us
        self._endpoint = endpoint
        self._responder = responder
        self._passed_lines = b""
        self._task: bytes | None = None
        self._segment: Segment | None = None
        self._admitted: AdmittedRequest | None = None
        self._collecting: Collecting | None = None
        self.body = request.body
        bounds = context.bounds
        self._pending = PendingRequest(
            self,
            request_id,
            context.new_id(),
            request.arrived_at,
            country_of(request, bounds.country_header, bounds.trusted_proxies),
        )

    def begin(self, request: Request) -> None:
        """Authenticate and admit; answers by itself, now or later."""
        context = self._context
        self._responder.client = self
        try:
            said = request.head.memo
            if not isinstance(said, Said):
                said = request.head.memo = self._read_head(request)
            self._passed_lines = said.passed_lines
            self._task = said.task
            principal = context.keys.get(said.fingerprint, context.loop.time())
            if principal is None:
                self._later(identify(context, request, said.key), self._pending.authenticated)
            else:
                self._pending.authenticated(principal)
        except JusinferError as error:
            self._pending.failed(error)

    def _read_head(self, request: Request) -> "Said":
        key = credential(request)
        return Said(
            key,
            fingerprint(key),
            self._endpoint.header_lines(request.headers),
            request.header(b"x-jusinfer-task"),
        )

    def _later(self, step: Awaitable[T], go_on: Callable[[T], None]) -> None:
        """Wait for a step, then go on; what it raises refuses the request."""
        self._context.spawn(self._wait(step, go_on))

    async def _wait(self, step: Awaitable[T], go_on: Callable[[T], None]) -> None:
        try:
            go_on(await step)
        except JusinferError as error:
            self._pending.failed(error)

    # ------------------------------------------------------------------ what the client does

    def client_disconnected(self) -> None:
        """The connection is lost."""
        if self._admitted is None:
            self._pending.client_gone()
        else:
            self._admitted.client_gone()

    def write_paused(self) -> None:
        """The client reads too slowly."""
        if self._admitted is not None:
            self._admitted.client_paused()

    def write_resumed(self) -> None:
        """The client has caught up."""
        if self._admitted is not None:
            self._admitted.client_resumed()

    # ------------------------------------------------------------------ what the worker does

    def tick(self, now: float) -> None:
        """Look at the deadlines; called a few times a second. `now` is monotonic seconds."""
        attempt = self._collecting
        if attempt is not None and attempt.held_since >= 0:
            self._read_on(attempt, now)
        if self._admitted is not None:
            self._admitted.tick(now)

    def stop(self) -> None:
        """End because the gateway stops."""
        if self._admitted is not None:
            self._admitted.stop()

    @property
    def collected_bytes(self) -> int:
        """What is held of an answer that is read whole before any of it is sent."""
        return 0 if self._collecting is None else self._collecting.collected_bytes

    def collected(self, attempt: Collecting, size: int) -> None:
        """Count what came of a whole answer; read no more where all of them hold too much."""
        self._collecting = attempt
        if not self._context.collected.take(self, size) and attempt.held_since < 0:
            attempt.pause()
            attempt.held_since = self._context.loop.time()

    def _read_on(self, attempt: Collecting, now: float) -> None:
        """Read a provider further, which was held back, when there is room."""
        attempt.was_held_back(now - attempt.held_since)
        attempt.held_since = now
        if self._context.collected.resume(self):
            attempt.held_since = -1.0
            if not self._responder.is_paused:
                attempt.resume()

    # ------------------------------------------------------------------ before admission

    def read(self) -> CompletionRequest | None:
        """Read the request, beside the loop if it is large; raises InvalidRequest."""
        if not self.is_large:
            return read(self._endpoint, self.body)
        pending, endpoint, body = self._pending, self._endpoint, self.body
        self._beside(lambda: read(endpoint, body), pending.request_read, pending.failed)
        return None

    def plan(self, principal: Principal, asked: CompletionRequest) -> PlannedRequest:
        """Plan the request's routes and bound its cost; raises what is wrong with it."""
        epoch_seconds = self._context.clock_us() // US_PER_SECOND
        return examine(self._context, principal, asked, epoch_seconds, self._endpoint, self._task)

    def take_limits(self, principal: Principal, tokens: int) -> HeldLimits | None:
        """Take what is lent here of all limits; raises RateLimited."""
        return self._context.holds.take(principal, tokens)

    def fetch_limits(self, principal: Principal, tokens: int) -> None:
        """Take limits with the database's help."""
        self._later(self._context.holds.fetch(principal, tokens), self._pending.limits_acquired)

    def delay(self, seconds: float) -> None:
        """Wait before the request goes on."""
        self._later(asyncio.sleep(seconds), lambda _: self._pending.delayed())

    def reserve_spend_limits(self, principal: Principal, hold: HeldLimits, bound_nano: int) -> None:
        """Reserve the bound under every hard spend limit."""
        if not isinstance(hold, RequestHold):
            raise TypeError("a hold comes from take_limits or fetch_limits")
        epoch_seconds = self._context.clock_us() // US_PER_SECOND
        self._later(
            self._context.holds.reserve(principal, hold, bound_nano, epoch_seconds),
            lambda _: self._pending.spend_limits_reserved(),
        )

    def reserve_nothing(self) -> Reservation:
        """Return the reservation of what is free."""
        return nothing_reserved(self._context.loop.time())

    def take_credit(self, principal: Principal, bound_nano: int) -> Reservation | None:
        """Reserve the bound from the credit that is lent here; borrows more before it runs out."""
        balances, now = self._context.balances, self._context.loop.time()
        balance = balances.balance(principal.tenant_id, principal.mode)
        reservation = balance.reserve(bound_nano, now)
        if reservation is not None and balance.is_low:
            balances.refill_in_background(balance, bound_nano, now)
        return reservation

    def fetch_credit(self, principal: Principal, bound_nano: int) -> None:
        """Borrow more credit."""
        balances = self._context.balances
        balance = balances.balance(principal.tenant_id, principal.mode)
        self._later(
            balances.refill(balance, bound_nano, self._context.loop.time()),
            self._pending.credit_fetched,
        )

    def append_admitted(self, record: RequestAdmitted) -> None:
        """Write that money may be spent; raises Unavailable."""
        self._segment = self._context.journal.admit(record)

    def admitted(self, request: AdmittedRequest) -> None:
        """Go on with an admitted request from now on."""
        self._admitted = request
        self._context.active.add(self)
        request.begin()

    def refuse(self, error: JusinferError, headers: str) -> None:
        """Answer with an error; nothing was spent."""
        refusals = self._context.counters.refusals
        refusals[error.code] = refusals.get(error.code, 0) + 1
        self._send_error(error, headers)
        self.release()

    # ------------------------------------------------------------------ after admission

    @property
    def health(self) -> Health:
        """How well each endpoint works."""
        return self._context.health

    @property
    def secrets(self) -> OwnSecrets:
        """What no client may read."""
        return self._context.snapshot.secrets

    @property
    def is_started(self) -> bool:
        """Whether the client has been sent a part of an answer."""
        return self._responder.is_started

    @property
    def is_paused(self) -> bool:
        """Whether the client reads too slowly."""
        return self._responder.is_paused

    def upstream(self, name: str) -> Upstream:
        """Return the settings of a provider's account."""
        return self._context.snapshot.dispatch(self._request().principal.mode, name).upstream

    @property
    def is_large(self) -> bool:
        """Whether the request is read and written beside the loop."""
        return len(self.body) >= LARGE_BYTES_MIN

    def send_attempt(self, index: int) -> UnaryAttempt | StreamingAttempt | None:
        """Send the request to a planned route; raises InvalidRequest where it cannot carry it."""
        request = self._request()
        planned, principal = request.planned, request.principal
        name = planned.plan.routes[index].route.upstream
        dispatch = self._context.snapshot.dispatch(principal.mode, name)
        asked = Asked(
            self._pending.completion_id,
            self.body,
            self._passed_lines,
            self.ident(index) if planned.asked.is_stream else None,
        )
        if not self.is_large:
            sent = write_request(self._endpoint, dispatch, principal, planned, index, asked)
            return self._open(dispatch.upstream, index, sent)
        endpoint = self._endpoint
        self._beside(
            lambda: write_request(endpoint, dispatch, principal, planned, index, asked),
            lambda sent: request.attempt_sent(self._open(dispatch.upstream, index, sent)),
            request.cannot_carry,
        )
        return None

    def _open(
        self, upstream: Upstream, index: int, sent: RouteRequest
    ) -> UnaryAttempt | StreamingAttempt:
        request = self._request()
        attempt: UnaryAttempt | StreamingAttempt
        if sent.ident is None:
            attempt = UnaryAttempt(self, request, sent.translator, upstream, index)
        else:
            names = (sent.ident, sent.writer)
            attempt = StreamingAttempt(self, request, sent.translator, upstream, index, names)
        self._collecting = None
        attempt.exchange = self._context.pool.open(sent.target, sent.head, sent.body, attempt)
        return attempt

    def _beside(
        self,
        work: Callable[[], T],
        go_on: Callable[[T], None],
        refuse: Callable[[JusinferError], None],
    ) -> None:
        """Do work on a large body beside the loop, then go on with what it gives."""
        self._context.spawn(self._worked(work, go_on, refuse))

    async def _worked(
        self,
        work: Callable[[], T],
        go_on: Callable[[T], None],
        refuse: Callable[[JusinferError], None],
    ) -> None:
        is_told = False
        try:
            # Other bodies may be worked on first: for a client that has left nothing is done.
            result = await self._context.heavy.run(lambda: None if self._is_over() else work())
            if result is not None and not self._is_over():
                go_on(result)
            is_told = True
        except JusinferError as error:
            is_told = True
            if not self._is_over():
                refuse(error)
        finally:
            if not is_told:
                self._fault()

    def _is_over(self) -> bool:
        return self._pending.is_over if self._admitted is None else self._admitted.is_over

    def _fault(self) -> None:
        """End because of a fault of ours."""
        if self._admitted is None:
            self._pending.failed(FAULT)
        else:
            self._admitted.fault(FAULT)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after a time."""
        return self._context.loop.call_later(seconds, callback)

    def respond(self, status: int, headers: str, body: bytes) -> None:
        """Send a whole answer."""
        self._responder.send(status, headers.encode("ascii"), body)

    def start_stream(self, headers: str) -> None:
        """Begin a streamed answer."""
        block = (
            "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
            f"{headers}"
        )
        self._responder.start(200, block.encode("ascii"))

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed answer."""
        self._responder.write(data)

    def finish(self) -> None:
        """End a streamed answer."""
        self._responder.finish()

    def show_error(self, error: JusinferError, headers: str, attempt: Attempt | None) -> None:
        """Answer with an error, as an event of the attempt's stream where one has begun."""
        responder = self._responder
        if attempt is None or not responder.is_started:
            self._send_error(error, headers)
        elif not responder.is_gone:
            responder.write(attempt.error_event(error.code, error.message))
            responder.finish()

    def _send_error(self, error: JusinferError, headers: str) -> None:
        if not self._responder.is_gone:
            request_id = self._pending.request_id
            status, block, body = render_error(self._endpoint.client_api, error, request_id)
            self._responder.send(status, block + headers.encode("ascii"), body)

    def status_of(self, error: JusinferError) -> int:
        """Return the HTTP status of an error."""
        return status_of(error)

    def append_ended(self, record: RequestEnded, overrun_nano: int) -> None:
        """Write how the request ended, and count it."""
        if self._segment is None:
            raise AssertionError("a request that was not admitted cannot end")
        self._context.active.discard(self)
        append_ended(self._context, self._segment, record, overrun_nano)

    def remember_affinity(self, conversation: bytes, warmth: CacheAffinity, now: float) -> None:
        """Remember who has the beginning of a conversation in its cache."""
        self._context.affinity.note(conversation, warmth, now)

    def count_failed_attempt(self, upstream: str, code: str) -> None:
        """Count an attempt that failed."""
        counts = self._context.counters.attempts_failed
        counts[upstream, code] = counts.get((upstream, code), 0) + 1

    def count_unbilled(self, cost_pico: int) -> None:
        """Count what a provider may charge us and no client pays."""
        self._context.counters.unbilled_pico += cost_pico

    def release(self) -> None:
        """Let go of the client and of the request's text."""
        self._responder.client = None
        self._collecting = None
        self._admitted = None
        self._pending.detach()
        self.body = b""

    def _request(self) -> AdmittedRequest:
        if self._admitted is None:
            raise AssertionError("the request has not been admitted")
        return self._admitted

    # ------------------------------------------------------------------ what attempts ask

    @property
    def client_api(self) -> ClientApi | None:
        """The client API that is spoken; None for Chat Completions."""
        return self._endpoint.client_api

    def wall_seconds(self) -> float:
        """Return seconds since 1970."""
        return self._context.clock_us() / US_PER_SECOND

    def ident(self, index: int) -> AnswerIdent:
        """Return how an answer by a route names itself."""
        planned = self._request().planned
        return AnswerIdent(
            self._pending.completion_id,
            self._context.clock_us() // US_PER_SECOND,
            planned.plan.routes[index].model.model_id,
            planned.asked.choice_count,
            takes_function_call="functions" in planned.asked.fields,
        )

    def route_json(self, index: int) -> bytes:
        """Write the plan that led to an answer by a route."""
        return route_json(self._context, self._request().planned.plan, index)

    def keep_alive_seconds(self) -> float:
        """Return after how much silence a comment is sent."""
        return self._context.bounds.keep_alive_seconds

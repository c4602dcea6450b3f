"""How a completion comes in: authenticated, examined, held under limits, covered by credit."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import JusinferError, Unavailable
from jusinfer.domain.health import Way
from jusinfer.domain.identity import Principal
from jusinfer.domain.limits import CapAction, in_force
from jusinfer.gateway.admission import Admission, clamp, examine, limited_tokens, read
from jusinfer.gateway.context import Context
from jusinfer.gateway.doors import Door
from jusinfer.gateway.entrance import credential, identify, known
from jusinfer.gateway.heavy import LARGE_BYTES_MIN
from jusinfer.gateway.holds import NO_HOLD, SLOW_SECONDS, Hold
from jusinfer.gateway.leases import Reservation, nothing_reserved
from jusinfer.gateway.rates import RateWindow
from jusinfer.gateway.receipt import admitted_record, country_of
from jusinfer.gateway.relay import PlainAttempt, StreamedAttempt
from jusinfer.gateway.rivals import Rival
from jusinfer.gateway.server import Request, Responder
from jusinfer.gateway.settlement import Opening
from jusinfer.gateway.speech import PLAIN
from jusinfer.wire.pivot import SurfaceStream

REFILLS_MAX: Final = 3
US_PER_SECOND: Final = 1_000_000
FAULT: Final = Unavailable("an internal fault; the request was not served")

T = TypeVar("T")


class Arrival:
    """A request on its way in; `_try_route` is called once, when its money is secured."""

    __slots__ = (
        "_admission",
        "_attempt",
        "_attempt_log",
        "_attempts",
        "_body",
        "_context",
        "_country",
        "_dispatched_at",
        "_door",
        "_first_byte_at",
        "_held_since",
        "_hold",
        "_index",
        "_is_over",
        "_opening",
        "_overhead_seconds",
        "_passed_lines",
        "_principal",
        "_reused_retries",
        "_rival",
        "_speech",
        "_started_at",
        "_task",
        "_timer",
        "_tries",
        "_way",
        "_window",
        "_writer",
        "completion_id",
        "request_id",
        "responder",
    )

    def __init__(
        self, context: Context, request: Request, responder: Responder, request_id: str, door: Door
    ) -> None:
        self._context = context
        self._door = door
        self._speech = PLAIN
        self._writer: SurfaceStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._way: Way | None = None
        self._rival: Rival | None = None
        self._tries = 0
        self._body = request.body
        self._country = country_of(
            request, context.bounds.country_header, context.bounds.trusted_proxies
        )
        self._started_at = request.arrived_at
        self._task = request.header(b"x-jusinfer-task")
        self._passed_lines = b""
        self.responder = responder
        self.request_id = request_id
        self.completion_id = context.new_id()
        self._principal: Principal | None = None
        self._admission: Admission | None = None
        self._window: RateWindow | None = None
        self._hold = NO_HOLD
        self._opening: Opening | None = None
        self._attempt: PlainAttempt | StreamedAttempt | None = None
        self._attempts = 0
        self._attempt_log = ""
        self._reused_retries = 0
        self._index = 0
        self._dispatched_at = 0.0
        self._first_byte_at = -1.0
        # Since when the upstream is not read because of all answers together; below 0: it is.
        self._held_since = -1.0
        self._overhead_seconds = 0.0
        self._is_over = False

    def begin(self, request: Request) -> None:
        """Authenticate and admit; answers by itself, now or later."""
        context = self._context
        self.responder.caller = self
        try:
            key = credential(request)
            self._passed_lines = self._door.header_lines(request.headers)
            principal = known(context, key)
            if principal is None:
                context.spawn(self._authenticate(request, key))
            else:
                self._admit(principal)
        except JusinferError as error:
            self._refuse(error)

    async def _authenticate(self, request: Request, key: bytes) -> None:
        try:
            principal = await identify(self._context, request, key)
            if not self._is_over:
                self._admit(principal)
        except JusinferError as error:
            self._refuse(error)

    def _admit(self, principal: Principal) -> None:
        self._principal = principal
        body, door = self._body, self._door
        if len(body) < LARGE_BYTES_MIN:
            self._take_in(principal, read(door, body))
        else:
            take_in = partial(self._take_in, principal)
            self._context.spawn(self._beside(lambda: read(door, body), take_in, self._refuse))

    async def _beside(
        self,
        work: Callable[[], T],
        go_on: Callable[[T], None],
        refuse: Callable[[JusinferError], None],
    ) -> None:
        """Do work on a large body beside the loop, then go on with what it gives."""
        is_told = False
        try:
            # Other bodies may be worked on first: for a caller that has left nothing is done.
            result = await self._context.heavy.run(lambda: None if self._is_over else work())
            if result is not None and not self._is_over:
                go_on(result)
            is_told = True
        except JusinferError as error:
            is_told = True
            if not self._is_over:
                refuse(error)
        finally:
            if not is_told:
                self._broke()

    def _take_in(self, principal: Principal, asked: CompletionRequest) -> None:
        context = self._context
        now = context.loop.time()
        epoch_seconds = context.clock_us() // US_PER_SECOND
        admission = examine(context, principal, asked, epoch_seconds, self._door, self._task)
        self._admission = admission
        window = context.rates.window(
            principal.key_id, principal.requests_per_minute, principal.tokens_per_minute, now
        )
        window.admit(admission.asked.traits.input_tokens, now)
        self._window = window
        if principal.limits or principal.caps:
            self._take_hold(principal, admission)
        else:
            self._reserve(principal, admission)

    def _take_hold(self, principal: Principal, admission: Admission) -> None:
        """Take what limits ask for, now if it is here; caps and slowness take their time."""
        context = self._context
        tokens = limited_tokens(admission)
        hold = context.holds.take(principal, tokens)
        if hold is None or principal.caps:
            context.spawn(self._hold_later(principal, admission, hold, tokens))
            return
        self._hold = hold
        self._reserve(principal, admission)

    async def _hold_later(
        self, principal: Principal, admission: Admission, hold: Hold | None, tokens: int
    ) -> None:
        context = self._context
        try:
            if hold is None:
                hold = await context.holds.fetch(principal, tokens)
            self._hold = hold
            epoch_seconds = context.clock_us() // US_PER_SECOND
            if in_force(principal.caps, CapAction.SLOW, epoch_seconds):
                await asyncio.sleep(SLOW_SECONDS)
            if not admission.is_free:
                await context.holds.reserve(principal, hold, admission.bound_nano, epoch_seconds)
            if self._is_over:
                hold.release()
            else:
                self._reserve(principal, admission)
        except JusinferError as error:
            self._refuse(error)

    def _reserve(self, principal: Principal, admission: Admission) -> None:
        """Reserve the bound from the credit that is lent here, or ask for more."""
        context = self._context
        now = context.loop.time()
        if admission.is_free:
            self._open(principal, admission, nothing_reserved(now))
            return
        purse = context.purses.purse(principal.tenant_id, principal.mode)
        reservation = purse.reserve(admission.bound_nano, now)
        if reservation is None:
            context.spawn(self._refill(principal, admission))
            return
        if purse.is_low:
            context.purses.top_up(purse, admission.bound_nano, now)
        self._open(principal, admission, reservation)

    async def _refill(self, principal: Principal, admission: Admission) -> None:
        """Ask for more credit until the bound is covered, is cut to fit, or is refused."""
        context = self._context
        try:
            for _ in range(REFILLS_MAX):
                purse = context.purses.purse(principal.tenant_id, principal.mode)
                reservation = purse.reserve(admission.bound_nano, context.loop.time())
                if reservation is not None:
                    if self._is_over:
                        reservation.end(0)
                        self._hold.release()
                    else:
                        self._open(principal, admission, reservation)
                    return
                if self._is_over:
                    self._hold.release()
                    return
                available_nano = await context.purses.refill(
                    purse, admission.bound_nano, context.loop.time()
                )
                if available_nano is not None:
                    clamp(admission, available_nano)
            raise Unavailable("credit is contended right now", retry_after_seconds=1)
        except JusinferError as error:
            self._refuse(error)

    def _open(self, principal: Principal, admission: Admission, reservation: Reservation) -> None:
        """Write the admitted record; only after it may money be spent elsewhere."""
        context = self._context
        record = admitted_record(
            self.completion_id,
            principal,
            admission,
            reservation.lease.lease_id,
            context.clock_us(),
        )
        try:
            segment = context.journal.admit(record)
        except JusinferError:
            reservation.end(0)
            raise
        self._opening = Opening(record, reservation, segment, self._hold)
        context.active.add(self)
        self._try_route(0)

    def _broke(self) -> None:
        """End because of a fault of ours."""
        self._refuse(FAULT)

    def _refuse(self, error: JusinferError) -> None:
        """Answer with an error before anything was reserved."""
        if self._is_over:
            return
        self._is_over = True
        self._hold.release()
        counters = self._context.counters
        counters.refusals[error.code] = counters.refusals.get(error.code, 0) + 1
        self._body = b""
        self._show(error)

    def _known(self) -> tuple[Admission, Principal]:
        if self._admission is None or self._principal is None:
            raise AssertionError("the completion has not been admitted")
        return self._admission, self._principal

    @abstractmethod
    def _try_route(self, index: int) -> None:
        """Send the request to one of the planned routes."""

    @property
    @abstractmethod
    def collected_bytes(self) -> int:
        """What is held of an answer that is read whole before any of it is sent."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Look at the deadlines."""

    @abstractmethod
    def stop(self) -> None:
        """End honestly because the gateway stops."""

    @abstractmethod
    def caller_gone(self) -> None:
        """Stop for a caller that left."""

    @abstractmethod
    def caller_paused(self) -> None:
        """Let the upstream wait for a slow caller."""

    @abstractmethod
    def caller_resumed(self) -> None:
        """Let the upstream go on."""

    @abstractmethod
    def _show(self, error: JusinferError) -> None:
        """Answer with an error."""

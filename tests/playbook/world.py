"""Plays the life of one request without a socket: `>>` is what happens, `<<` what is done then.

    assert Playbook() >> arrives << "admitted" << "send 0" >> answer("hi") << … << "respond 200"

The state machines, the stream machine and the breakers are the product's own; only the world around
them is played. Effects are words, in the order in which they were asked for.
"""

from collections import deque
from collections.abc import Callable
from typing import Self

from tests.playbook import script

from jusinfer.domain.catalog import Model, Price, Route, Upstream
from jusinfer.domain.errors import InvalidRequest, JusinferError, RateLimited, Unavailable
from jusinfer.domain.identity import KeyId, MemberId, Mode, Principal, TenantId
from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.pending_request import PendingRequest
from jusinfer.domain.inference.planned_request import PlannedRequest, bound_nano
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.stream_state import StreamAttempt, UpstreamFailure
from jusinfer.domain.journal import RequestAdmitted, RequestEnded
from jusinfer.domain.limits import Limit, LimitStatus, SpendLimit
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.routing.features import CacheAffinity, RequestFeatures
from jusinfer.domain.routing.plan import PlannedRoute, RoutePlan
from jusinfer.domain.secret_masking import NO_SECRETS, OwnSecrets
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy
from jusinfer.domain.upstream_health import Health, UpstreamEndpoint
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.errors import status_of
from jusinfer.wire.sse import SseDecoder
from jusinfer.wire.upstream.openai_chat import decode_chunk

PRICE = Price(1_000_000, 2_000_000)
USAGE = TokenUsage(prompt_tokens=9, completion_tokens=2)
FULL_NANO = charge_nano(cost_pico(PRICE, USAGE))
ATTEMPT_SECONDS = 30.0

Step = Callable[["Playbook"], object]


class Credit:
    """A reservation that says how it ended."""

    lease_id = "f" * 32

    def __init__(self, world: "Playbook", bound_nano: int) -> None:
        self._world = world
        self._bound_nano = bound_nano
        self._is_open = True

    def end(self, charge_nano: int) -> int:
        assert self._is_open, "a reservation ended twice"
        self._is_open = False
        self._world.charged_nano = charge_nano
        return max(charge_nano - self._bound_nano, 0)


class Permits:
    """What is held under limits; says when it is returned or counted."""

    spend_limit_leases = ""

    def __init__(self, world: "Playbook") -> None:
        self._world = world
        self._is_open = True

    def end(self, record: RequestEnded) -> None:
        self._finish(f"count {record.prompt_tokens + record.completion_tokens} tokens")

    def release(self) -> None:
        self._finish("return limits")

    def statuses(self, now: float) -> list[LimitStatus]:
        assert now >= 0
        return [LimitStatus("requests", 60, 59, 30)]

    def _finish(self, word: str) -> None:
        if self._is_open:
            self._is_open = False
            self._world.did(word)


class Alarm:
    """A timer of the world's clock."""

    def __init__(self, world: "Playbook", at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self._world = world

    def cancel(self) -> None:
        if self in self._world.alarms:
            self._world.alarms.remove(self)


class PlayedAttempt:
    """One attempt of the world; its stream is the product's."""

    def __init__(self, world: "Playbook", number: int, index: int) -> None:
        self._world = world
        self.number = number
        self.index = index
        self.sent_at = world.now()
        self.upstream = world.upstream(f"p{index}")
        self.endpoint: UpstreamEndpoint | None = None
        self.is_heard = True
        self.is_unwritable = False
        self.sse = SseDecoder()
        self.stream: StreamAttempt | None = None
        if world.is_stream:
            self.stream = StreamAttempt(
                decode_chunk,
                self,
                wants_usage=True,
                choice_count=1,
                deadlines=script.DEADLINES,
                now=world.now(),
            )

    def usage_event(self, machine: StreamAttempt) -> bytes:
        assert self._world.request.usage_of(machine)
        return script.USAGE_EVENT

    def error_event(self, machine: StreamAttempt | str, failure: object) -> bytes:
        del machine, failure
        return script.ERROR_EVENT

    def failure_event(self, failure: UpstreamFailure) -> bytes:
        assert self._world.request.error_of(failure)
        return script.ERROR_EVENT

    def render(self, usage: TokenUsage, cost_usd: str) -> bytes | None:
        assert usage
        return None if self.is_unwritable else cost_usd.encode()

    def generation_id(self, usage: TokenUsage) -> str:
        del usage
        return ""

    def tick(self, now: float) -> UpstreamFailure | None:
        late = UpstreamFailure(code="upstream_timeout", message="", status=504)
        if self.stream is None:
            return late if now - self.sent_at > ATTEMPT_SECONDS else None
        return late if self.stream.tick(now).name.endswith(("TIMEOUT", "STALLED")) else None

    def client_is_slow(self, now: float) -> None:
        if self.stream is not None:
            self.stream.client_is_slow(now)

    def cancel(self) -> None:
        if self.is_heard:
            self.is_heard = False
            self._world.did(f"cancel {self.number}")

    def release(self) -> None:
        self.is_heard = False
        self._world.did(f"keep connection {self.number}")

    def pause(self) -> None:
        self._world.did(f"pause {self.number}")

    def resume(self) -> None:
        self._world.did(f"resume {self.number}")

    def detach(self) -> None:
        self.is_heard = False


class Playbook:
    """The world around one request."""

    def __init__(  # noqa: PLR0913 (what a world can differ in)
        self,
        *,
        is_stream: bool = False,
        routes: int = 1,
        hedge_seconds: float = 0.0,
        attempts_max: int = 2,
        tools: int = 0,
        budget: int | None = 100,
        price: Price = PRICE,
        limits: bool = False,
        spend_limits: tuple[SpendLimit, ...] = (),
        policy: TenantPolicy = NO_POLICY,
        cannot_carry: tuple[int, ...] = (),
    ) -> None:
        self.effects: deque[str] = deque()
        self.alarms: list[Alarm] = []
        self.attempts: list[PlayedAttempt] = []
        self.is_stream = is_stream
        self.is_started = False
        self.is_paused = False
        self.is_large = False
        self.body = b'{"messages": []}'
        self.health = Health(lambda: 0.0)
        self.charged_nano: int | None = None
        self.record: RequestEnded | None = None
        self.is_credit_here = True
        self.is_rate_left = True
        self.are_limits_here = True
        self.is_journal_open = True
        self._time = 1_000.0
        self._cannot_carry = cannot_carry
        names = [f"p{number}" for number in range(routes)]
        self._upstreams = {
            name: Upstream(
                name,
                "h",
                1,
                is_tls=True,
                base_path="",
                hedge_seconds=hedge_seconds,
                attempts_max=attempts_max,
            )
            for name in names
        }
        limit = Limit("key", "k", "requests", 5)
        self._principal = Principal(
            TenantId("t"),
            MemberId("m"),
            KeyId("k"),
            Mode.LIVE,
            limits=(limit,) if limits else (),
            spend_limits=spend_limits,
            policy=policy,
        )
        self.planned = _planned(names, price, tools=tools, budget=budget, is_stream=is_stream)
        self.pending = PendingRequest(self, "r" * 32, "c" * 32, self.now(), "")
        self._admitted: AdmittedRequest | None = None

    # ------------------------------------------------------------------ playing

    def __rshift__(self, step: Step) -> Self:
        """Let something happen."""
        try:
            step(self)
        except JusinferError as error:
            self.pending.failed(error)
        return self

    def __lshift__(self, effect: str) -> Self:
        """Expect the next effect."""
        done = self.effects.popleft() if self.effects else "nothing"
        assert done == effect, f"expected {effect!r}, got {done!r}, then {list(self.effects)}"
        return self

    def __bool__(self) -> bool:
        """Tell that nothing else was done."""
        assert not self.effects, f"more was done: {list(self.effects)}"
        return True

    def did(self, effect: str) -> None:
        self.effects.append(effect)

    def pass_time(self, seconds: float) -> None:
        """Let time pass: timers come when they are due, and the deadlines are looked at."""
        end = self._time + seconds
        while due := [alarm for alarm in self.alarms if alarm.at <= end]:
            alarm = min(due, key=lambda one: one.at)
            self.alarms.remove(alarm)
            self._time = max(self._time, alarm.at)
            alarm.callback()
        self._time = end
        if self._admitted is not None:
            self._admitted.tick(end)

    @property
    def request(self) -> AdmittedRequest:
        assert self._admitted is not None, "the request was not admitted"
        return self._admitted

    @property
    def is_admitted(self) -> bool:
        return self._admitted is not None

    @property
    def principal(self) -> Principal:
        return self._principal

    @property
    def secrets(self) -> OwnSecrets:
        return NO_SECRETS

    # ------------------------------------------------------------------ effects

    def now(self) -> float:
        return self._time

    def epoch_us(self) -> int:
        return 1_790_000_000_000_000

    def read(self) -> CompletionRequest | None:
        if not self.is_large:
            return self.planned.asked
        self.did("read")
        return None

    def plan(self, principal: Principal, asked: CompletionRequest) -> PlannedRequest:
        assert principal is self._principal
        assert asked is self.planned.asked
        return self.planned

    def take_limits(self, principal: Principal, tokens: int) -> Permits | None:
        assert principal
        if not self.is_rate_left:
            raise RateLimited("the key's requests per minute are used up")
        assert tokens > 0
        return Permits(self) if self.are_limits_here else None

    def fetch_limits(self, principal: Principal, tokens: int) -> None:
        assert principal
        assert tokens > 0
        self.did("fetch limits")

    def delay(self, seconds: float) -> None:
        self.did(f"delay {seconds:g}")

    def reserve_spend_limits(self, principal: Principal, hold: object, bound_nano: int) -> None:
        assert principal
        assert hold
        assert bound_nano
        self.did("reserve spend limits")

    def reserve_nothing(self) -> Credit:
        return Credit(self, 0)

    def take_credit(self, principal: Principal, bound_nano: int) -> Credit | None:
        assert principal
        return Credit(self, bound_nano) if self.is_credit_here else None

    def fetch_credit(self, principal: Principal, bound_nano: int) -> None:
        assert principal
        assert bound_nano
        self.did("fetch credit")

    def append_admitted(self, record: RequestAdmitted) -> None:
        if not self.is_journal_open:
            raise Unavailable("the journal cannot be written")
        self.did(f"admitted up to {record.bound_nano}")

    def admitted(self, request: AdmittedRequest) -> None:
        self._admitted = request
        request.begin()

    def refuse(self, error: JusinferError, headers: str) -> None:
        assert "x-request-id: " in headers
        self.did(f"refuse {status_of(error)} {error.code}")

    def upstream(self, name: str) -> Upstream:
        return self._upstreams[name]

    def send_attempt(self, index: int) -> PlayedAttempt | None:
        if self.is_large:
            self.did(f"write for {index}")
            return None
        return self.send(index)

    def send(self, index: int) -> PlayedAttempt:
        if index in self._cannot_carry:
            raise InvalidRequest("this provider cannot take that")
        attempt = PlayedAttempt(self, len(self.attempts), index)
        self.attempts.append(attempt)
        self.did(f"send {attempt.number} to {index}")
        return attempt

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self, self._time + seconds, callback)
        self.alarms.append(alarm)
        return alarm

    def respond(self, status: int, headers: str, body: bytes) -> None:
        assert f"x-jusinfer-cost: {body.decode()}\r\n" in headers
        self.did(f"respond {status}")

    def start_stream(self, headers: str) -> None:
        self.is_started = True
        served = headers.partition("x-jusinfer-upstream: ")[2].partition("\r\n")[0]
        self.did(f"start from {served}")

    def write(self, data: bytes) -> None:
        ends = [b"usage" if b"<usage>" in data else b"", b"error" if b"<error>" in data else b""]
        texts = [word for word in (b"one", b"two", b"keep-alive") if word in data]
        self.did(f"write {b' '.join([*texts, *filter(None, ends)]).decode()}")

    def finish(self) -> None:
        self.did("finish")

    def show_error(self, error: JusinferError, headers: str, attempt: object) -> None:
        assert "x-jusinfer-model: " in headers
        assert attempt is not None or not self.is_started
        kind = "show in stream" if self.is_started else "show"
        self.did(f"{kind} {status_of(error)} {error.code}")

    def status_of(self, error: JusinferError) -> int:
        return status_of(error)

    def append_ended(self, record: RequestEnded, overrun_nano: int) -> None:
        assert overrun_nano == 0
        assert self.record is None, "a request ended twice"
        assert record.charge_nano == self.charged_nano
        self.record = record
        paid = "free" if record.charge_nano == 0 else "paid"
        self.did(f"end {record.outcome} {paid}")

    def remember_affinity(self, conversation: bytes, warmth: CacheAffinity, now: float) -> None:
        self.did(f"remember {conversation!r} {warmth.upstream} {now}")

    def count_failed_attempt(self, upstream: str, code: str) -> None:
        assert upstream in self._upstreams
        assert code

    def count_unbilled(self, cost_pico: int) -> None:
        assert cost_pico >= 0

    def release(self) -> None:
        self.body = b""


def _planned(
    names: list[str], price: Price, *, tools: int, budget: int | None, is_stream: bool
) -> PlannedRequest:
    traits = RequestFeatures(11, 40, budget, 1, tool_count=tools, is_stream=is_stream)
    asked = CompletionRequest(
        model="m",
        is_stream=is_stream,
        wants_usage=is_stream,
        output_tokens_max=budget,
        choice_count=1,
        fields={},
        traits=traits,
        body_bytes=16,
    )
    routes = tuple(Route(f"{name}:m", name, "m", price) for name in names)
    model = Model("m", 10_000, 1_000, routes)
    plan = RoutePlan(tuple(PlannedRoute(model, route) for route in routes), (), "named", "v1")
    prices = (price,) * len(names)
    output_tokens = 1_000 if budget is None else budget
    bound = bound_nano(asked, plan, prices, output_tokens)
    return PlannedRequest(asked, plan, prices, "p1", output_tokens, bound)

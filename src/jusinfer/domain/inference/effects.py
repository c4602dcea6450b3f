"""What an admitted request asks of the world, and of the parts that it holds."""

from collections.abc import Callable
from typing import Protocol

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.errors import JusinferError
from jusinfer.domain.inference.stream_state import StreamAttempt, UpstreamFailure
from jusinfer.domain.journal import RequestEnded
from jusinfer.domain.limits import LimitStatus
from jusinfer.domain.routing.features import CacheAffinity
from jusinfer.domain.secret_masking import OwnSecrets
from jusinfer.domain.upstream_health import Health, UpstreamEndpoint
from jusinfer.domain.usage import TokenUsage


class Reservation(Protocol):
    """Credit that is held for one request."""

    @property
    def lease_id(self) -> str:
        """The lease that it was taken from."""
        ...

    def end(self, charge_nano: int) -> int:
        """Spend the charge, return the rest, and give the overrun (0 if none); once."""
        ...


class HeldLimits(Protocol):
    """What one request holds under rate limits and spend limits; ends once."""

    @property
    def spend_limit_leases(self) -> str:
        """The leases of spend limits that the charge counts against."""
        ...

    def statuses(self, now: float) -> list[LimitStatus]:
        """Return what is left of the tightest limit by the minute of each kind."""
        ...

    def end(self, record: RequestEnded) -> None:
        """Count what was used."""
        ...

    def release(self) -> None:
        """Return everything: the request was refused before it began."""
        ...


class Timer(Protocol):
    """A callback that will come."""

    def cancel(self) -> None:
        """Let it not come."""
        ...


class Attempt(Protocol):
    """One attempt at one planned route."""

    index: int
    # Monotonic seconds.
    sent_at: float
    upstream: Upstream
    endpoint: UpstreamEndpoint | None

    @property
    def stream(self) -> StreamAttempt | None:
        """The stream that is relayed; None where the answer is read whole."""
        ...

    def render(self, usage: TokenUsage, cost_usd: str) -> bytes | None:
        """Write a whole answer for the client; None where it cannot be written."""
        ...

    def error_event(self, code: str, message: str) -> bytes:
        """Write the event that ends a stream which has begun."""
        ...

    def failure_event(self, failure: UpstreamFailure) -> bytes:
        """Write the event that ends a stream which broke."""
        ...

    def generation_id(self, usage: TokenUsage) -> str:
        """Return the provider's name for an answer whose usage it did not report; else empty."""
        ...

    def tick(self, now: float) -> UpstreamFailure | None:
        """Return the failure once a deadline has passed; may send a keep-alive."""
        ...

    def client_is_slow(self, now: float) -> None:
        """Count no silence while the provider is kept waiting."""
        ...

    def cancel(self) -> None:
        """Stop; nothing more is heard, and the provider sees the connection close."""
        ...

    def release(self) -> None:
        """Hear nothing more, but let the connection be used again."""
        ...

    def pause(self) -> None:
        """Stop reading until `resume`."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def detach(self) -> None:
        """Let go of what points back to it, so that nothing waits for the garbage collector."""
        ...


class WholeAnswer(Protocol):
    """An answer that was read whole and is good."""

    finish_reason: str | None

    def final_usage(self, prompt_tokens_estimate: int) -> TokenUsage:
        """Return the usage to charge."""
        ...


class Effects(Protocol):
    """What an admitted request needs."""

    @property
    def health(self) -> Health:
        """How well each endpoint works."""
        ...

    @property
    def secrets(self) -> OwnSecrets:
        """What no client may read."""
        ...

    @property
    def body(self) -> bytes:
        """The request's own bytes."""
        ...

    @property
    def is_started(self) -> bool:
        """Whether the client has been sent a part of an answer."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether the client reads too slowly."""
        ...

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def epoch_us(self) -> int:
        """Return microseconds since 1970."""
        ...

    def upstream(self, name: str) -> Upstream:
        """Return the settings of a provider's account."""
        ...

    @property
    def is_large(self) -> bool:
        """Whether a second copy of the request is dearer than waiting for the first."""
        ...

    def send_attempt(self, index: int) -> Attempt | None:
        """Send the request to a planned route; raises InvalidRequest where it cannot carry it.

        None means that `attempt_sent` or `cannot_carry` comes later.
        """
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after a time."""
        ...

    def respond(self, status: int, headers: str, body: bytes) -> None:
        """Send a whole answer."""
        ...

    def start_stream(self, headers: str) -> None:
        """Begin a streamed answer."""
        ...

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed answer."""
        ...

    def finish(self) -> None:
        """End a streamed answer."""
        ...

    def show_error(self, error: JusinferError, headers: str, attempt: Attempt | None) -> None:
        """Answer with an error, as an event of the attempt's stream where one has begun."""
        ...

    def status_of(self, error: JusinferError) -> int:
        """Return the HTTP status of an error."""
        ...

    def append_ended(self, record: RequestEnded, overrun_nano: int) -> None:
        """Write how the request ended, and count it."""
        ...

    def remember_affinity(self, conversation: bytes, warmth: CacheAffinity, now: float) -> None:
        """Remember who has the beginning of a conversation in its cache."""
        ...

    def count_failed_attempt(self, upstream: str, code: str) -> None:
        """Count an attempt that failed."""
        ...

    def count_unbilled(self, cost_pico: int) -> None:
        """Count what a provider may charge us and no client pays."""
        ...

    def release(self) -> None:
        """Let go of what points back here."""
        ...

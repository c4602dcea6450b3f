"""What an attempt knows of its client, and the events of a stream that are written here."""

from typing import Protocol

from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.failures import code_of
from jusinfer.domain.inference.stream_state import StreamAttempt, UpstreamFailure
from jusinfer.domain.secret_masking import OwnSecrets
from jusinfer.gateway.inference.translator import client_message
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.interfaces import ClientApi, ClientStream
from jusinfer.wire.json.route import event_with_route
from jusinfer.wire.upstream.openai_chat import error_chunk, named_so, usage_chunk


class Collecting(Protocol):
    """An attempt that reads an answer whole before any of it is sent."""

    # Monotonic seconds since when it is not read because of all answers together; below 0: it is.
    held_since: float

    @property
    def collected_bytes(self) -> int:
        """What it holds."""
        ...

    def was_held_back(self, seconds: float) -> None:
        """Give the provider the time for which it was not read."""
        ...

    def pause(self) -> None:
        """Stop reading until `resume`."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class Client(Protocol):
    """What an attempt needs to know of who asked."""

    @property
    def body(self) -> bytes:
        """The request's own bytes."""
        ...

    @property
    def secrets(self) -> OwnSecrets:
        """What nobody else may read."""
        ...

    @property
    def client_api(self) -> ClientApi | None:
        """The client API that is spoken; None for Chat Completions."""
        ...

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def wall_seconds(self) -> float:
        """Return seconds since 1970."""
        ...

    def ident(self, index: int) -> AnswerIdent:
        """Return how an answer by a route names itself."""
        ...

    def route_json(self, index: int) -> bytes:
        """Write the plan that led to an answer by a route."""
        ...

    def collected(self, attempt: Collecting, size: int) -> None:
        """Count bytes of an answer that is read whole before any of it is sent."""
        ...

    def keep_alive_seconds(self) -> float:
        """Return after how much silence a comment is sent."""
        ...


class EventWriter:
    """Writes the events of a stream that its provider did not send: usage, and errors."""

    __slots__ = ("_client", "_ident", "_index", "_request", "writer")

    def __init__(
        self,
        client: Client,
        request: AdmittedRequest,
        index: int,
        ident: AnswerIdent,
        writer: ClientStream | None,
    ) -> None:
        """Begin; `writer` speaks the client's API where that is not Chat Completions."""
        self._client = client
        self._request = request
        self._index = index
        self._ident = ident
        self.writer = writer

    def usage_event(self, machine: StreamAttempt) -> bytes:
        """Write the last usage event, with what the answer costs."""
        request = self._request
        usage = request.usage_of(machine)
        cost = request.cost_usd(usage)
        if self.writer is not None:
            return self.writer.finish(usage, cost)
        names = named_so(machine.first_payload, self._ident)
        event = usage_chunk(names, usage, machine.raw_usage, cost)
        if not request.planned.asked.wants_route:
            return event
        return event_with_route(event, self._client.route_json(self._index))

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        """Write the one error event that ends a stream which broke after it had begun."""
        message = client_message(self._client.client_api, self._request.error_of(failure))
        return self.write_error(machine, code_of(failure), message)

    def write_error(self, machine: StreamAttempt, code: str, message: str) -> bytes:
        """Write an error event."""
        if self.writer is not None:
            return self.writer.fail(code, message)
        return error_chunk(named_so(machine.first_payload, self._ident), code, message)

"""What a worker tells its supervisor on a private Unix socket: health and counters."""

from collections.abc import Mapping
from typing import Final

from jusinfer.gateway.http.server import HttpError, Request, Responder, Visitor
from jusinfer.gateway.state import LATENCY_BUCKETS_MS, WorkerState
from jusinfer.observability import Metric, exposition

Samples = tuple[tuple[tuple[tuple[str, str], ...], float], ...]
TEXT: Final = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class ControlPage:
    """Answers `/healthz` and `/metrics` for one worker."""

    def __init__(self, context: WorkerState, index: int) -> None:
        self._context = context
        self._worker = ("worker", str(index))

    def handle(self, request: Request, responder: Responder) -> None:
        """Serve one request of the supervisor."""
        if request.path == "/metrics":
            responder.send(200, TEXT, exposition(self.metrics()).encode())
        elif request.path == "/healthz":
            is_shedding = self._context.journal.is_shedding
            body = b'{"status":"shedding"}' if is_shedding else b'{"status":"ok"}'
            responder.send(200, b"content-type: application/json\r\n", body)
        else:
            responder.send(404, TEXT, b"not found\n")

    def greet(self, request: Request, visitor: Visitor) -> None:
        """Read no body of the supervisor's: it sends none."""
        visitor.admit(request, 0)

    def refuse(self, refusal: HttpError, path: str) -> tuple[int, bytes, bytes]:
        """Say shortly what was wrong with a request of the supervisor."""
        del path
        return refusal.status, TEXT, refusal.message.encode()

    def metrics(self) -> list[Metric]:
        """Gather the worker's counters; no label names a person, a key or a tenant."""
        context, counters = self._context, self._context.counters
        return [
            self._labelled(
                "jusinfer_completions_total",
                "Completions by upstream and outcome.",
                ("upstream", "outcome"),
                counters.completions,
            ),
            self._labelled(
                "jusinfer_attempt_failures_total",
                "Failed attempts by upstream and code.",
                ("upstream", "code"),
                counters.attempts_failed,
            ),
            self._labelled(
                "jusinfer_refusals_total",
                "Requests refused before anything was spent, by code.",
                ("code",),
                {(code,): value for code, value in counters.refusals.items()},
            ),
            *self._counts(),
            *self._gauges(),
            self._first_bytes(),
            self._upstreams(),
            self._one(
                "jusinfer_key_cache_keys", "gauge", "Keys known here.", context.keys.known_count
            ),
        ]

    def _counts(self) -> list[Metric]:
        counters = self._context.counters
        rows = (
            ("client_cuts", "Completions whose client left.", counters.client_cuts),
            ("forwarded_requests", "Requests carried to the console.", counters.forwarded),
            ("journal_failures", "Records the disk refused at first.", counters.journal_failures),
            ("overruns", "Completions that cost more than their bound.", counters.overruns),
            (
                "unbilled_pico_usd",
                "Cost at our prices of what clients need not pay.",
                counters.unbilled_pico,
            ),
            ("prompt_tokens", "Prompt tokens metered.", counters.tokens_prompt),
            ("completion_tokens", "Completion tokens metered.", counters.tokens_completion),
        )
        return [
            self._one(f"jusinfer_{name}_total", "counter", text, value)
            for name, text, value in rows
        ]

    def _gauges(self) -> list[Metric]:
        context = self._context
        rows = (
            ("completions_active", "Completions under way.", len(context.active)),
            ("journal_bytes", "Bytes of journal on disk.", context.journal.kept_bytes),
            ("journal_shedding", "1 while load is shed.", int(context.journal.is_shedding)),
            ("records_unwritten", "Records held in memory.", len(context.pending_records)),
            ("lease_free_nano", "Credit lent and unspent.", context.balances.free_total_nano()),
            ("events_dropped_fields", "Log fields dropped.", context.events.dropped_field_count),
        )
        return [self._one(f"jusinfer_{name}", "gauge", text, value) for name, text, value in rows]

    def _first_bytes(self) -> Metric:
        total = 0
        samples = []
        for index, bound in enumerate((*LATENCY_BUCKETS_MS, None)):
            total += self._context.counters.first_byte_ms[index]
            le = "+Inf" if bound is None else str(bound)
            samples.append(((self._worker, ("le", le)), float(total)))
        return Metric(
            "jusinfer_first_byte_ms_bucket",
            "counter",
            "Completions whose first byte came within so many milliseconds.",
            tuple(samples),
        )

    def _upstreams(self) -> Metric:
        """Say of each upstream how many of the models asked there are down or on trial."""
        context = self._context
        states = context.health.states(context.loop.time())
        found: dict[str, int] = {}
        for (upstream, _), state in states.items():
            found[upstream] = found.get(upstream, 0) + (state != "up")
        samples: Samples = tuple(
            ((self._worker, ("upstream", name)), float(count)) for name, count in found.items()
        )
        text = "Models of an upstream whose breaker is open, or whose account is used up."
        return Metric("jusinfer_upstream_models_down", "gauge", text, samples)

    def _one(self, name: str, kind: str, text: str, value: float) -> Metric:
        return Metric(name, kind, text, (((self._worker,), float(value)),))

    def _labelled(
        self, name: str, text: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]
    ) -> Metric:
        samples: Samples = tuple(
            ((self._worker, *zip(labels, key, strict=True)), float(value))
            for key, value in counts.items()
        )
        return Metric(name, "counter", text, samples)

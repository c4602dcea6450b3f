"""Plays one request through the gateway's own code, with a provider that says what a case says.

All is as it runs in production, from the path of the request to the record of its end: only the
clock, the ids, the journal's disk and the sockets are not there.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, cast

import msgspec

from jusinfer import rules
from jusinfer.config import builtin_entries
from jusinfer.domain.catalog_loader import ModelEntry, UpstreamEntry, offers_of
from jusinfer.domain.identity import KeyId, MemberId, Mode, Principal, TenantId
from jusinfer.domain.journal import RequestAdmitted, RequestEnded
from jusinfer.domain.upstream_health import Health
from jusinfer.gateway.accounting.credit_leases import CreditBalances, Lease
from jusinfer.gateway.api.router import Gateway
from jusinfer.gateway.http.connection_pool import Failure, FailureKind
from jusinfer.gateway.http.request_parser import RequestHead
from jusinfer.gateway.http.response_writer import Request, Responder
from jusinfer.gateway.runtime_config import Snapshot
from jusinfer.gateway.state import Counters, WorkerLimits, WorkerState

NOW_SECONDS: Final = 1_764_300_000
NOW: Final = 1_000.0
OK: Final = 200
KEY: Final = "ji_live_" + "k" * 43
PATHS: Final = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
MODELS: Final = {
    "chat": "local-model",
    "openai": "gpt-6-sol",
    "responses": "gpt-6-sol",
    "deepseek": "deepseek-flash",
    "openrouter": "z-ai/glm-5.3",
    "gemini": "gemini-3.8-flash",
    "anthropic": "claude-opus-5-5",
    "workers_ai": "@cf/openai/gpt-oss-120b",
    "embeddings": "text-embedding-3-small",
}
# What each request's head says, whatever it asks for.
USUAL_HEADERS: Final = frozenset(
    {
        "host",
        "user-agent",
        "content-type",
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "x-api-key",
        "x-openrouter-cache",
    }
)
SHOWN_HEADERS: Final = frozenset({"retry-after", "x-should-retry", "x-jusinfer-output-tokens-max"})


class Reply(msgspec.Struct, frozen=True):
    """What a provider answers: a status, header lines and either a whole body or a stream."""

    status: int = OK
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    is_stream: bool = False
    is_cut: bool = False


class Played(msgspec.Struct, frozen=True):
    """What was sent, what the client got, what it cost, and what was counted."""

    path: str
    sent_headers: tuple[str, ...]
    sent: bytes
    status: int
    headers: tuple[str, ...]
    delivered: bytes
    ended: RequestEnded | None
    head: bytes
    counters: Counters


class _Loop:
    """A clock that stands still; whoever would wait is told that there is nobody to wait."""

    def time(self) -> float:
        return NOW

    def call_later(self, delay: float, *rest: object) -> None:
        raise AssertionError(f"a case waits for nothing, but {delay} s were asked: {rest}")


class _Exchange:
    """A request under way."""

    is_over = False

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self) -> None: ...

    def release(self) -> None: ...


class _Pool:
    """Keeps the one request that is sent, and who listens to its answer."""

    head = b""
    body = b""
    listener: Any = None

    def open(self, target: object, head: bytes, body: bytes, listener: Any) -> _Exchange:
        del target
        if self.listener is not None:
            raise AssertionError("a case is tried once")
        self.head, self.body, self.listener = head, body, listener
        return _Exchange()


class _Journal:
    """Keeps the record of an end."""

    ended: RequestEnded | None = None

    def admit(self, record: RequestAdmitted) -> object:
        return record

    def end(self, segment: object, record: RequestEnded) -> None:
        del segment
        self.ended = record


class _Keys:
    """Knows everybody."""

    def get(self, fingerprint: bytes, now: float) -> Principal:
        del fingerprint, now
        return Principal(TenantId("tenant"), MemberId("member"), KeyId("key"), Mode.LIVE)


class Line:
    """The client's connection."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, data: bytes) -> None:
        self.data += data

    def date_line(self) -> bytes:
        return b""

    def response_complete(self, *, keep: bool) -> None:
        del keep

    def abort_incomplete(self, *, is_ended_by_close: bool) -> None:
        raise AssertionError(f"broken off: {is_ended_by_close}")


def entry_of(provider: str) -> UpstreamEntry:
    """Give a provider as the catalog that comes with the product states it, with one model."""
    entries = {entry.name: entry for entry in builtin_entries()}
    plain = UpstreamEntry(name=provider)
    entry = entries.get("openai" if provider == "responses" else provider, plain)
    flags = entry.flags
    if provider != "responses":
        # Whoever speaks Responses natively has a folder of its own.
        flags = tuple(flag for flag in flags if flag != "responses")
    kinds = ["tools", "vision", "json_schema", "reasoning", "audio"]
    model = {
        "id": f"{provider}/model",
        "upstream_model": MODELS[provider],
        "input": "1",
        "output": "0" if provider == "embeddings" else "2",
        "cache_read": "0.1",
        "cache_write": "1.25",
        "output_tokens_max": 8_192,
        "capabilities": ["embeddings"] if provider == "embeddings" else kinds,
    }
    return msgspec.structs.replace(
        entry,
        name=provider,
        base_url="https://provider.example/v1",
        flags=flags,
        attempts_max=1,
        model=(msgspec.convert(model, ModelEntry),),
    )


@cache
def snapshot() -> Snapshot:
    """Give a catalog with one model at each provider, all at the same price."""
    live = [(entry_of(provider), "provider-key") for provider in MODELS]
    return Snapshot(offers_of(live, [], None), rules.builtin().table)


def staged(spawn: Callable[[Any], None]) -> tuple[WorkerState, "_Pool", "_Journal"]:
    """Give the parts of a worker; `spawn` runs what a request leaves for later."""
    context = WorkerState(WorkerLimits(worker_id="worker"))
    loop, pool, journal = _Loop(), _Pool(), _Journal()
    context.loop = cast("asyncio.AbstractEventLoop", loop)
    context.pool = cast("Any", pool)
    context.journal = cast("Any", journal)
    context.keys = cast("Any", _Keys())
    context.health = Health(random.Random(0).random)  # noqa: S311 (no secret)
    ids = iter(f"{number:032x}" for number in range(1, 100))
    context.new_id = cast("Any", lambda: next(ids))
    context.clock_us = lambda: NOW_SECONDS * 1_000_000
    context.snapshot = snapshot()
    context.spawn = spawn
    context.balances = CreditBalances(cast("Any", None), OSError, spawn)
    context.balances.balance("tenant", "live").leases.append(Lease("lease", 10**15, NOW))
    return context, pool, journal


def asked(path: str, body: bytes, headers: Mapping[str, str]) -> Request:
    """Give a request of a known key's."""
    head = RequestHead(b"POST", path.encode(), b"1")
    head.path, head.query, head.keep_alive = path, "", True
    head.headers = [(b"authorization", b"Bearer " + KEY.encode())]
    head.headers += [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request(head, body, NOW, None)


def play(
    client: str,
    body: bytes,
    reply: Reply,
    headers: Mapping[str, str],
    catalog: Snapshot | None = None,
) -> Played:
    """Send a request through the gateway to a provider that answers so."""
    context, pool, journal = staged(_nothing_waits)
    context.snapshot = catalog or context.snapshot
    line = Line()
    responder = Responder(line, minor=1, keep=True, is_head=False)
    gateway = Gateway(context, cast("Any", None), cast("Any", None))
    gateway.handle(asked(PATHS[client], body, headers), responder)
    if pool.listener is not None:
        _answer(pool.listener, reply)
    if not responder.is_finished:
        raise AssertionError("the client still waits")
    status, shown, delivered = _http(line.data)
    path, sent_headers = _sent_head(pool.head)
    got = line.data.partition(b"\r\n\r\n")[0]
    ended, counters = journal.ended, context.counters
    return Played(path, sent_headers, pool.body, status, shown, delivered, ended, got, counters)


def _nothing_waits(coroutine: Any) -> None:
    coroutine.close()
    raise AssertionError("a case waits for nothing")


def _answer(listener: Any, reply: Reply) -> None:
    kind = "text/event-stream" if reply.is_stream else "application/json"
    lines = [("content-type", kind), *reply.headers]
    raw = [(name.encode(), value.encode()) for name, value in lines]
    listener.upstream_head(reply.status, raw)
    if reply.body:
        listener.upstream_body(reply.body)
    if listener.exchange is None:
        # The stream said that it has ended before HTTP did.
        return
    if reply.is_cut:
        listener.upstream_failed(Failure(FailureKind.TRUNCATED, is_reused=False))
    else:
        listener.upstream_end()


def _sent_head(head: bytes) -> tuple[str, tuple[str, ...]]:
    if not head:
        return "", ()
    first, *lines = head.decode().strip().split("\r\n")
    kept = [line for line in lines if line.partition(":")[0] not in USUAL_HEADERS]
    return first.removesuffix(" HTTP/1.1"), tuple(sorted(kept))


def _http(data: bytes) -> tuple[int, tuple[str, ...], bytes]:
    """Read an answer as a client does."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    shown = tuple(f"{name}: {headers[name]}" for name in sorted(SHOWN_HEADERS & headers.keys()))
    body = rest
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if not int(size, 16):
                break
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
    return int(first.split()[1]), shown, body


def as_bytes(value: object) -> bytes:
    """Write JSON as most clients do."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

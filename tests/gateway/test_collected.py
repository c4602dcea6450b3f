"""Whole answers that are still read have one bound, and all of them end."""

import json
from typing import Any, cast

import pytest
from tests.golden.harness import NOW, Line, asked, staged

from jusinfer.gateway.api.router import Gateway
from jusinfer.gateway.http.connection_pool import Failure, FailureKind
from jusinfer.gateway.http.response_writer import Responder
from jusinfer.gateway.state import WorkerState

CLIENTS = 30
PIECE = 16 * 1024
PIECES = 16
BOUND = 4 * PIECE * PIECES
CHAT = "/v1/chat/completions"


class Exchange:
    """An upstream that sends a piece whenever it is read."""

    is_over = False

    def __init__(self, listener: Any, content_type: bytes) -> None:
        message = {"role": "assistant", "content": "x" * (PIECE * PIECES)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
        self.left = json.dumps(body | {"choices": [choice]}).encode()
        self.sent_bytes = 0
        self.pauses = 0
        self.is_paused = False
        self.is_ended = False
        self.listener = listener
        self.head = [(b"content-type", content_type)]

    def pause(self) -> None:
        self.pauses += 1
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def cancel(self) -> None:
        self.is_ended = True

    def release(self) -> None:
        self.is_ended = True

    def send(self) -> None:
        if self.is_paused or self.is_ended:
            return
        if not self.sent_bytes:
            self.listener.upstream_head(200, self.head)
        piece, self.left = self.left[:PIECE], self.left[PIECE:]
        self.sent_bytes += len(piece)
        self.listener.upstream_body(piece)
        if not self.left:
            self.is_ended = True
            self.listener.upstream_end()


class Upstreams:
    """Opens exchanges."""

    def __init__(self, content_type: bytes) -> None:
        self.content_type = content_type
        self.opened: list[Exchange] = []

    def open(self, target: object, head: bytes, body: bytes, listener: Any) -> Exchange:
        del target, head, body
        self.opened.append(Exchange(listener, self.content_type))
        return self.opened[-1]

    def held_bytes(self) -> int:
        return sum(one.sent_bytes for one in self.opened if not one.is_ended)


def begun(
    content_type: bytes, path: str, **fields: Any
) -> tuple[WorkerState, Upstreams, list[Line]]:
    """Ask for many answers at once, of which four have room."""
    context, _, _ = staged(lambda later: later.close())
    context.collected.bytes_max = BOUND
    upstreams, lines = Upstreams(content_type), []
    context.pool = cast("Any", upstreams)
    gateway = Gateway(context, cast("Any", None), cast("Any", None))
    turns = [{"role": "user", "content": "Hello!"}]
    body = {"model": "chat/model", "messages": turns, "max_tokens": 9} | fields
    for _ in range(CLIENTS):
        lines.append(Line())
        responder = Responder(lines[-1], minor=1, keep=True, is_head=False)
        gateway.handle(asked(path, json.dumps(body).encode(), {}), responder)
    return context, upstreams, lines


def ticked(context: WorkerState, now: float = NOW) -> None:
    """Do what the worker does a few times a second."""
    context.collected.weigh(context.active)
    for completion in tuple(context.active):
        completion.tick(now)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {}),
        (CHAT, {"stream": True}),
        ("/v1/messages", {}),
        ("/v1/messages", {"stream": True}),
    ],
)
def test_all_whole_answers_together_stay_within_the_bound_and_end(
    path: str, fields: dict[str, Any]
) -> None:
    context, upstreams, lines = begun(b"application/json", path, **fields)
    most = rounds = 0
    while context.active:
        rounds += 1
        assert rounds < 10 * CLIENTS * PIECES
        for one in upstreams.opened:
            one.send()
            most = max(most, upstreams.held_bytes())
        ticked(context)
    # Each upstream has sent one piece when it hears that it must wait.
    assert BOUND // 2 < most <= BOUND + CLIENTS * PIECE
    assert len(upstreams.opened) == CLIENTS
    assert all(line.data.startswith(b"HTTP/1.1 200 ") for line in lines)
    assert all(line.data.count(b"x" * PIECE) for line in lines)
    ticked(context)
    assert context.collected.held_bytes == 0


def test_what_waits_for_slow_clients_leaves_less_for_answers_that_are_read() -> None:
    context, upstreams, _ = begun(b"application/json", CHAT)
    context.collected.unread_bytes = BOUND
    for one in upstreams.opened:
        one.send()
    assert all(one.is_paused for one in upstreams.opened)
    context.collected.unread_bytes = 0
    ticked(context)
    # As many are read again as have room for what may come at once.
    assert 0 < sum(one.is_paused for one in upstreams.opened) < CLIENTS
    context.collected.bytes_max *= 100
    ticked(context)
    assert not any(one.is_paused for one in upstreams.opened)


def test_the_upstream_is_not_blamed_for_the_time_in_which_it_is_not_read() -> None:
    context, upstreams, lines = begun(b"application/json", CHAT)
    context.collected.unread_bytes = BOUND
    for one in upstreams.opened:
        one.send()
    # One is read on, whatever is held: it says no more, and falls. Those that wait do not.
    now = NOW
    while len(context.active) == CLIENTS:
        now += 60.0
        context.loop.time = lambda now=now: now  # type: ignore[method-assign]
        ticked(context, now)
    assert len(context.active) == CLIENTS - 1
    assert sum(bool(line.data) for line in lines) == 1
    ticked(context, now + 1)
    assert len(context.active) == CLIENTS - 1


def test_a_stream_of_events_is_not_held_back() -> None:
    context, upstreams, _ = begun(b"text/event-stream", CHAT, stream=True)
    context.collected.unread_bytes = BOUND
    for one in upstreams.opened:
        one.left = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n' * 10
        one.send()
    assert not any(one.pauses for one in upstreams.opened)


@pytest.mark.parametrize("ending", ["client_disconnected", "failed"])
def test_an_answer_that_ends_early_gives_its_room_back(ending: str) -> None:
    context, upstreams, _ = begun(b"application/json", CHAT)
    for one in upstreams.opened:
        one.send()
    for completion, one in zip(tuple(context.active), upstreams.opened, strict=True):
        if ending == "client_disconnected":
            cast("Any", completion).client_disconnected()
        else:
            one.listener.upstream_failed(Failure(FailureKind.TRUNCATED))
    ticked(context)
    assert context.collected.held_bytes == 0

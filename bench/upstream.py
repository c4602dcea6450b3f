"""A provider whose answers are made before it starts: one thread, one epoll, plain Python.

What it answers is chosen by the model that the request's body names. Over `/v1/messages` the same
streams come in Anthropic's form. Every event is an HTTP chunk of its own.

    bench/short  a stream of 5 events, all at once
    bench/paced  a stream of 100 events, one each 10 ms
    bench/burst  a stream of 2,000 events, 20 in each write, one write each 10 ms
    bench/held   a stream whose first event comes at once and the rest after `POST /end`
    bench/big    a whole answer of 100 KB
"""

import argparse
import heapq
import json
import re
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

BODY_BYTES_MAX: Final = 4 << 20
BIG_BYTES: Final = 100_000
PAUSE_SECONDS: Final = 0.01
LENGTH: Final = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Plan(NamedTuple):
    """What is written, in order; a pause of 10 ms, or the word to go on, is between two writes."""

    writes: tuple[bytes, ...]
    is_held: bool = False


def plain(body: bytes, status: str = "200 OK") -> Plan:
    """Answer once, with JSON."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return Plan((head.encode() + b"\r\n" + body,))


def plans() -> dict[tuple[bool, bytes], Plan]:
    """Give what is answered, by (whether over Messages, model)."""
    found: dict[tuple[bool, bytes], Plan] = {}
    for is_messages, form in ((False, chat_events), (True, messages_events)):
        for name, events, together, is_held in (
            ("short", 5, 5, False),
            ("paced", 100, 1, False),
            ("burst", 2_000, 20, False),
            ("held", 2, 1, True),
        ):
            model = f"bench/{name}"
            writes = stream(form(model, events), together)
            found[is_messages, model.encode()] = Plan(writes, is_held)
    found[False, b"bench/big"] = plain(big_answer())
    return found


def stream(parts: tuple[list[str], list[str], list[str]], together: int) -> tuple[bytes, ...]:
    """Give the writes of a stream, so many of its contents in each; raises nothing."""
    before, contents, after = ([_chunk(event) for event in part] for part in parts)
    groups = [b"".join(contents[at : at + together]) for at in range(0, len(contents), together)]
    groups[0] = STREAM_HEAD + b"".join(before) + groups[0]
    groups[-1] += b"".join(after) + b"0\r\n\r\n"
    return tuple(groups)


def chat_events(model: str, count: int) -> tuple[list[str], list[str], list[str]]:
    """Give a stream of Chat Completions: what comes before its contents, they, what follows."""

    def event(delta: dict[str, str], reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data({**_CHAT, "model": model, "choices": [choice], **more})

    usage = {"prompt_tokens": 140, "completion_tokens": count, "total_tokens": 140 + count}
    return (
        [event({"role": "assistant", "content": ""})],
        [event({"content": f" tok{number} lorem"}) for number in range(count)],
        [
            event({}, "stop"),
            _data({**_CHAT, "model": model, "choices": [], "usage": usage}),
            "data: [DONE]\n\n",
        ],
    )


def messages_events(model: str, count: int) -> tuple[list[str], list[str], list[str]]:
    """Give a stream of Messages in the same three parts."""
    message: dict[str, object] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 140, "output_tokens": 1},
    }
    block = {"type": "content_block_start", "index": 0}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return (
        [
            _named({"type": "message_start", "message": message}),
            _named({**block, "content_block": {"type": "text", "text": ""}}),
        ],
        [
            _named(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": f" tok{number} lorem"},
                }
            )
            for number in range(count)
        ],
        [
            _named({"type": "content_block_stop", "index": 0}),
            _named({"type": "message_delta", "delta": ended, "usage": {"output_tokens": count}}),
            _named({"type": "message_stop"}),
        ],
    )


def big_answer() -> bytes:
    """Give a whole answer of 100 KB."""
    # 44 characters are 48 bytes of JSON.
    words = 'A long answer: "quoted", naïve, and so on. \n'
    text = words * ((BIG_BYTES - 300) // 48)
    message = {"role": "assistant", "content": text}
    body = {
        **_CHAT,
        "object": "chat.completion",
        "model": "bench/big",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 140, "completion_tokens": 25_000, "total_tokens": 25_140},
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_CHAT: Final[Mapping[str, object]] = {
    "id": "chatcmpl-9abcdefghijklmnopqrstuvwxyz",
    "object": "chat.completion.chunk",
    "created": 1764000000,
}


def _data(event: object) -> str:
    return f"data: {json.dumps(event, separators=(',', ':'))}\n\n"


def _named(event: dict[str, object]) -> str:
    return f"event: {event['type']}\n{_data(event)}"


def _chunk(event: str) -> bytes:
    data = event.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection:
    """One client: what came of its request, what is still to be sent, where its plan stands."""

    def __init__(self, own: socket.socket) -> None:
        self.socket = own
        self.taken = bytearray()
        self.waiting = bytearray()
        self.plan: Plan | None = None
        self.place = 0
        self.is_closed = False


class Upstream:
    """All clients, in one thread."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        self._clients: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._count = 0
        self._held: list[Connection] = []
        self._plans = plans()
        names = sorted({model.decode() for _, model in self._plans})
        listed = [{"id": name, "object": "model", "owned_by": "bench"} for name in names]
        self._models = plain(json.dumps({"object": "list", "data": listed}).encode())
        unknown = b'{"error":{"message":"the bench knows no such model"}}'
        self._unknown = plain(unknown, "404 Not Found")
        self._ended = plain(b"{}")

    def run(self, is_over: Callable[[], bool]) -> None:
        """Serve until it is over, which is asked at least once a second."""
        while not is_over():
            wait = 1.0
            if self._due:
                wait = min(max(self._due[0][0] - time.monotonic(), 0.0), 1.0)
            for descriptor, mask in self._epoll.poll(wait):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._clients:
                    self._serve(self._clients[descriptor], mask)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._advance(heapq.heappop(self._due)[2], now)

    def close(self) -> None:
        """Close every connection."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._epoll.close()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                own, _ = self._listener.accept()
            except OSError:
                return
            own.settimeout(0)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients[own.fileno()] = Connection(own)
            self._epoll.register(own.fileno(), select.EPOLLIN)

    def _serve(self, client: Connection, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._send(client, b"")
        if not mask & ~select.EPOLLOUT or client.is_closed:
            return
        try:
            data = client.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.taken += data
        if not data or len(client.taken) > BODY_BYTES_MAX:
            self._drop(client)
            return
        self._read(client)

    def _read(self, client: Connection) -> None:
        while client.plan is None and not client.is_closed:
            blank = client.taken.find(b"\r\n\r\n")
            if blank < 0:
                return
            end = blank + 4
            head = bytes(client.taken[:end])
            if b"chunked" in head.lower():
                last = client.taken.find(b"0\r\n\r\n", end)
                if last < 0:
                    return
                size = last + 5
            else:
                length = LENGTH.search(head)
                size = end + (int(length[1]) if length else 0)
            if len(client.taken) < size:
                return
            body = bytes(client.taken[end:size])
            del client.taken[:size]
            self._answer(client, head, body)

    def _answer(self, client: Connection, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/end"):
            held, self._held = self._held, []
            now = time.monotonic()
            for other in held:
                self._advance(other, now)
            client.plan = self._ended
        elif path.endswith(b"/models"):
            client.plan = self._models
        else:
            is_messages = b"/messages" in path
            found = re.search(rb"bench/(short|paced|burst|held|big)\b", body)
            name = b"" if found is None else found[0]
            client.plan = self._plans.get((is_messages, name), self._unknown)
        client.place = 0
        self._advance(client, time.monotonic())

    def _advance(self, client: Connection, now: float) -> None:
        plan = client.plan
        if plan is None or client.is_closed:
            return
        self._send(client, plan.writes[client.place])
        client.place += 1
        if client.place == len(plan.writes):
            client.plan = None
            self._read(client)
        elif plan.is_held:
            self._held.append(client)
        else:
            self._count += 1
            heapq.heappush(self._due, (now + PAUSE_SECONDS, self._count, client))

    def _send(self, client: Connection, data: bytes) -> None:
        if client.is_closed:
            return
        waited = bool(client.waiting)
        if waited:
            client.waiting += data
            data = bytes(client.waiting)
        try:
            sent = client.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        client.waiting = bytearray(data[sent:]) if sent < len(data) else bytearray()
        if bool(client.waiting) != waited:
            also = select.EPOLLOUT if client.waiting else 0
            self._epoll.modify(client.socket.fileno(), select.EPOLLIN | also)

    def _drop(self, client: Connection) -> None:
        if client.is_closed:
            return
        client.is_closed = True
        del self._clients[client.socket.fileno()]
        self._epoll.unregister(client.socket.fileno())
        client.socket.close()


def listen(port: int) -> socket.socket:
    """Listen on loopback; port 0 takes any."""
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.settimeout(0)
    return listener


def main() -> None:
    """Serve until the process is ended."""
    options = argparse.ArgumentParser(prog="bench.upstream", description=__doc__)
    options.add_argument("--port", type=int, default=0, help="0 takes any")
    listener = listen(options.parse_args().port)
    sys.stdout.write(json.dumps({"event": "listens", "port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    Upstream(listener).run(lambda: False)


if __name__ == "__main__":
    main()

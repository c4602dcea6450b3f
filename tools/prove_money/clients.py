"""Clients who note what they were given: plain and streamed, some of whom hang up."""

import asyncio
import json
import random
from decimal import Decimal
from typing import Final

NANO: Final = Decimal(10**9)
WAIT_SECONDS: Final = 20.0
LEAVE_SECONDS: Final = 0.4
LEAVE_SHARE: Final = 0.15
STREAM_SHARE: Final = 0.5
TOKENS_MAX: Final = 60
OK: Final = 200
NO_CREDIT: Final = 402
# What tenants ask for whose balance is counted in requests: its cost is always the same.
STEADY_MODEL: Final = "sandbox/plain"
MODELS: Final = (
    STEADY_MODEL,
    STEADY_MODEL,
    "sandbox/tokens?n=30",
    "sandbox/tokens?n=40&token_ms=10",
    "sandbox/missing_usage?n=20",
    "sandbox/zero_usage",
    "sandbox/wrong_usage?kind=cached",
    "sandbox/wrong_usage?kind=negative",
    "sandbox/cut?after=5&n=20",
    "sandbox/reset?after=3&n=20",
    "sandbox/truncated_chunked",
    "sandbox/bad_json?after=3",
    "sandbox/error_in_stream?after=5",
    "sandbox/error_in_200",
    "sandbox/close_before_answer",
    "sandbox/status?code=500",
    "sandbox/status?code=429&retry_after=1",
    "sandbox/usage_every_chunk",
    "sandbox/plain_json",
    "sandbox/split?bytes=7",
    "sandbox/delay?ms=300",
    "sandbox/no_done",
    "gpt-6-astra",
)


class Tally:
    """What clients saw.

    `delivered` has the completions given whole, with the cost that the answer named; `partly` those
    whose answer began, with the tokens that came; `refused` those answered with an error. `blind`
    counts requests whose client learnt no id: it hung up, or the connection broke, before the head.
    """

    def __init__(self) -> None:
        self.delivered: dict[str, int] = {}
        self.partly: dict[str, int] = {}
        self.refused: set[str] = set()
        self.statuses: dict[int, int] = {}
        self.asked = 0
        self.left = 0
        self.broken = 0
        self.blind = 0

    def note(self, raw: bytes, *, is_stream: bool, has_left: bool) -> int:
        """Sort in what came of one request; gives the status, 0 when none came."""
        head, answer = split(raw)
        if not head:
            self.blind += 1
            self.left += has_left
            self.broken += not has_left
            return 0
        status = int(head["status"])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        completion_id = head.get("x-jusinfer-completion-id", "")
        if status != OK:
            self.left += has_left
            if completion_id:
                self.refused.add(completion_id)
            return status
        cost = last_cost(answer) if is_stream else plain_cost(head, answer)
        if cost is not None:
            self.delivered[completion_id] = cost
            return status
        self.partly[completion_id] = token_count(answer) if is_stream else 0
        self.left += has_left
        self.broken += not has_left
        return status


class Client:
    """Asks again and again with the keys of random tenants until told to stop."""

    def __init__(
        self, port: int, keys: list[str], steady: frozenset[str], tally: Tally, rng: random.Random
    ) -> None:
        self._port = port
        self._keys = keys
        self._steady = steady
        self._tally = tally
        self._rng = rng

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop; a gateway that is away is asked again."""
        rng = self._rng
        while not stop.is_set():
            key = rng.choice(self._keys)
            is_steady = key in self._steady
            status = await ask(
                self._port,
                key,
                STEADY_MODEL if is_steady else rng.choice(MODELS),
                self._tally,
                is_stream=not is_steady and rng.random() < STREAM_SHARE,
                # Most answers are quick, so most who leave do so within a few milliseconds.
                leaves_after=rng.random() ** 3 * LEAVE_SECONDS
                if rng.random() < LEAVE_SHARE
                else None,
            )
            if status == 0:
                await asyncio.sleep(0.05)


async def ask(
    port: int,
    key: str,
    model: str,
    tally: Tally,
    *,
    is_stream: bool = False,
    leaves_after: float | None = None,
) -> int:
    """Ask once over a connection of its own and note what came; gives the status or 0."""
    raw = bytearray()
    has_left = False
    writer = None
    try:
        async with asyncio.timeout(WAIT_SECONDS if leaves_after is None else leaves_after):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(key, model, is_stream=is_stream))
            tally.asked += 1
            while data := await reader.read(65_536):
                raw += data
    except TimeoutError:
        has_left = leaves_after is not None
    except OSError:
        # The worker is away or died: what had come until then is all there is.
        has_left = False
    finally:
        if writer is not None:
            writer.close()
    return tally.note(bytes(raw), is_stream=is_stream, has_left=has_left)


def request(key: str, model: str, *, is_stream: bool) -> bytes:
    """Write one request, head and body."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "count to ten"}],
            "max_tokens": TOKENS_MAX,
            "stream": is_stream,
            **({"stream_options": {"include_usage": True}} if is_stream else {}),
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def split(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Split as much of an answer as came into its headers and its body, chunks undone."""
    head, mark, rest = raw.partition(b"\r\n\r\n")
    if not mark:
        return {}, b""
    lines = head.decode("latin-1").split("\r\n")
    found = {"status": lines[0].split(" ")[1]}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        found[name.lower()] = value.strip()
    if found.get("transfer-encoding") != "chunked":
        return found, rest
    body = b""
    while rest:
        size, mark, rest = rest.partition(b"\r\n")
        if not mark:
            break
        length = int(size or b"0", 16)
        body += rest[:length]
        rest = rest[length + 2 :]
    return found, body


def plain_cost(head: dict[str, str], answer: bytes) -> int | None:
    """Give what a whole plain answer says it costs, in nano-USD; None when it is not whole."""
    if len(answer) != int(head.get("content-length", "-1")):
        return None
    return nano(head["x-jusinfer-cost"])


def last_cost(answer: bytes) -> int | None:
    """Give the cost in the last usage event of a stream that ended as it should."""
    found = events(answer)
    if not found or found[-1].strip() != b"[DONE]":
        return None
    for event in reversed(found[:-1]):
        usage = json.loads(event).get("usage")
        if usage:
            return nano(str(usage["cost"]))
    return None


def token_count(answer: bytes) -> int:
    """Count the tokens that came of a stream: the sandbox writes each as an event of its own."""
    count = 0
    for event in events(answer):
        if event.strip() == b"[DONE]":
            continue
        for choice in json.loads(event).get("choices", ()):
            count += bool(choice.get("delta", {}).get("content"))
    return count


def events(answer: bytes) -> list[bytes]:
    """Give the payloads of the events that came whole; a last line without its end is none."""
    whole, _, _ = answer.rpartition(b"\n")
    return [line[6:] for line in whole.split(b"\n") if line.startswith(b"data: ")]


def nano(dollars: str) -> int:
    """Read an amount of US dollars as nano-USD; it must be exact."""
    amount = Decimal(dollars) * NANO
    if amount != int(amount):
        raise ValueError(f"{dollars} is finer than a nano-dollar")
    return int(amount)

"""Callers who note what they were given: plain and streamed, some of whom hang up."""

import asyncio
import json
import random
from decimal import Decimal
from typing import Final

NANO: Final = Decimal(10**9)
WAIT_SECONDS: Final = 20.0
LEAVE_SHARE: Final = 0.15
STREAM_SHARE: Final = 0.5
MODELS: Final = (
    "sandbox/plain",
    "sandbox/plain",
    "sandbox/tokens?n=30",
    "sandbox/tokens?n=40&token_ms=10",
    "sandbox/missing_usage?n=20",
    "sandbox/cut?after=5&n=20",
    "sandbox/reset?after=3&n=20",
    "sandbox/error_in_stream?after=5",
    "sandbox/status?code=500",
    "sandbox/status?code=429&retry_after=1",
    "sandbox/usage_every_chunk",
    "sandbox/delay?ms=300",
    "sandbox/no_done",
    "gpt-6-astra",
)


class Tally:
    """What callers saw: completions given whole with their cost, and counts of the rest."""

    def __init__(self) -> None:
        self.delivered: dict[str, int] = {}
        self.seen: set[str] = set()
        self.statuses: dict[int, int] = {}
        self.asked = 0
        self.left = 0
        self.broken = 0

    def note_status(self, status: int) -> None:
        """Count an answer's status."""
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Caller:
    """Asks again and again with the keys of random tenants until told to stop."""

    def __init__(self, port: int, keys: list[str], tally: Tally, rng: random.Random) -> None:
        self._port = port
        self._keys = keys
        self._tally = tally
        self._rng = rng

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop; a gateway that is away is asked again."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._once()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                self._tally.broken += 1
                await asyncio.sleep(0.05)

    async def _once(self) -> None:
        rng, tally = self._rng, self._tally
        is_stream = rng.random() < STREAM_SHARE
        body = json.dumps(
            {
                "model": rng.choice(MODELS),
                "messages": [{"role": "user", "content": "count to ten"}],
                "max_tokens": 60,
                "stream": is_stream,
                **({"stream_options": {"include_usage": True}} if is_stream else {}),
            }
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                f"authorization: Bearer {rng.choice(self._keys)}\r\n"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            tally.asked += 1
            if rng.random() < LEAVE_SHARE:
                await self._leave(reader)
                return
            head, answer = split(await reader.read())
            self._note(head, answer, is_stream=is_stream)
        finally:
            writer.close()

    async def _leave(self, reader: asyncio.StreamReader) -> None:
        """Hang up after a while, perhaps in the middle of an answer."""
        self._tally.left += 1
        try:
            async with asyncio.timeout(self._rng.random() * 0.4):
                # Reading on is what a caller does; the time-out is what makes it hang up.
                await reader.read()
        except TimeoutError:
            return

    def _note(self, head: dict[str, str], answer: bytes, *, is_stream: bool) -> None:
        tally = self._tally
        if not head:
            tally.broken += 1
            return
        tally.note_status(int(head["status"]))
        completion_id = head.get("x-jusinfer-completion-id", "")
        if completion_id:
            tally.seen.add(completion_id)
        if head["status"] != "200":
            return
        cost = last_cost(answer) if is_stream else plain_cost(head, answer)
        if cost is None:
            tally.broken += 1
        else:
            tally.delivered[completion_id] = cost


def split(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Split an answer that came whole into its headers and its body, chunks undone."""
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
        size, _, rest = rest.partition(b"\r\n")
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
    events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: ")]
    if not events or events[-1].strip() != b"[DONE]":
        return None
    for event in reversed(events[:-1]):
        usage = json.loads(event).get("usage")
        if usage:
            return nano(str(usage["cost"]))
    return None


def nano(dollars: str) -> int:
    """Read an amount of US dollars as nano-USD; it must be exact."""
    amount = Decimal(dollars) * NANO
    if amount != int(amount):
        raise ValueError(f"{dollars} is finer than a nano-dollar")
    return int(amount)

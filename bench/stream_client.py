"""Opens many streams at once, counts their events, and checks that every answer is whole.

Run as `python -m bench.stream_client`, with a `Job` as JSON on the first line of its input. With
`is_held` it says how many streams have begun, keeps them open until its input ends, and drops
them. The last line of its output is a `Tally` as JSON.
"""

import asyncio
import re
import sys
from typing import Final

import httptools
import msgspec
import uvloop

CONNECTING_MAX: Final = 64
CONNECT_SECONDS: Final = 10.0
HOLD_SECONDS_MAX: Final = 150.0
FAULTS_SHOWN: Final = 5
OK: Final = 200
_TOKEN: Final = re.compile(rb'"content":\s*"tok')
_USAGE: Final = re.compile(rb'"total_tokens":\s*\d')


class Job(msgspec.Struct, frozen=True):
    """What to ask, how many at once, how often each, and what makes an answer whole."""

    port: int
    request: str
    streams: int
    rounds: int
    tokens: int
    seconds_max: float
    is_held: bool = False


class Tally(msgspec.Struct):
    """What came; times in microseconds, from the request to the first token."""

    whole: int = 0
    events: int = 0
    first_token_us: list[int] = []
    faults: list[str] = []
    fault_count: int = 0


class Answer:
    """Counts the events of one stream, however its bytes are cut."""

    __slots__ = ("_tail", "events", "has_usage", "is_done", "tokens")

    def __init__(self) -> None:
        self._tail = b""
        self.events = 0
        self.tokens = 0
        self.has_usage = False
        self.is_done = False

    def feed(self, data: bytes) -> None:
        """Take bytes of the body."""
        whole, mark, self._tail = (self._tail + data).rpartition(b"\n\n")
        if not mark:
            return
        for event in whole.split(b"\n\n"):
            if not event.startswith(b"data:"):
                continue
            self.events += 1
            if _TOKEN.search(event):
                self.tokens += 1
            elif _USAGE.search(event):
                self.has_usage = True
            elif event.endswith(b"[DONE]"):
                self.is_done = True

    def lack(self, tokens: int) -> str:
        """Say what is missing from an answer of so many tokens; empty when it is whole."""
        if self.tokens != tokens:
            return f"{self.tokens} of {tokens} tokens"
        return "" if self.is_done and self.has_usage else "no usage or no end"


class Stream(asyncio.Protocol):
    """One connection that asks again and again."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._asked_at = 0.0
        self._rounds_left = client.job.rounds
        self._has_token = False
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._ask()

    def _ask(self) -> None:
        if self._transport is None or self._is_over:
            return
        self._parser = httptools.HttpResponseParser(self)
        self._rounds_left -= 1
        self._answer = Answer()
        self._has_token = False
        self._asked_at = self._client.loop.time()
        self._transport.write(self._client.request)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(type(error).__name__)

    def on_body(self, data: bytes) -> None:
        """Count what a piece of the body completes."""
        answer = self._answer
        answer.feed(data)
        if not self._has_token and answer.tokens:
            self._has_token = True
            elapsed_seconds = self._client.loop.time() - self._asked_at
            self._client.heard_token(round(elapsed_seconds * 1_000_000))

    def on_message_complete(self) -> None:
        """Judge the answer, and ask again or end."""
        status = self._parser.get_status_code()
        lack = self._answer.lack(self._client.job.tokens)
        if status != OK or lack:
            self.fail(f"status {status}, {lack}")
            return
        self._client.heard_whole(self._answer)
        if self._rounds_left == 0:
            self.end()
        elif not self._parser.should_keep_alive():
            self.fail("the connection was not kept")
        else:
            # A parser is not to be replaced from within itself.
            self._client.loop.call_soon(self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        """An end that nobody asked for is a fault."""
        if not self._is_over:
            self.fail(f"closed early ({type(exc).__name__ if exc else 'end'})")

    def fail(self, cause: str) -> None:
        """Note a fault and end."""
        if not self._is_over:
            self._client.fault(cause)
            self.end()

    def end(self) -> None:
        """Close without waiting for anything."""
        if self._is_over:
            return
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()
        self._client.ended()


class Client:
    """All streams of one job."""

    def __init__(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.loop = loop
        self.request = job.request.encode()
        self.tally = Tally()
        self._over = asyncio.Event()
        self._all_begun = asyncio.Event()
        self._left = job.streams

    def heard_token(self, elapsed_us: int) -> None:
        """Note the time of a first token."""
        self.tally.first_token_us.append(elapsed_us)
        if len(self.tally.first_token_us) >= self.job.streams:
            self._all_begun.set()

    def heard_whole(self, answer: Answer) -> None:
        """Note a whole answer."""
        self.tally.whole += 1
        self.tally.events += answer.events

    def fault(self, cause: str) -> None:
        """Note that something went wrong; the first few are shown."""
        self.tally.fault_count += 1
        if len(self.tally.faults) < FAULTS_SHOWN:
            self.tally.faults.append(cause)

    def ended(self) -> None:
        """Note the end of a connection."""
        self._left -= 1
        if self._left == 0:
            self._all_begun.set()
            self._over.set()

    async def run(self) -> Tally:
        """Open the streams, a few at a time, and wait for their end."""
        streams = [Stream(self) for _ in range(self.job.streams)]
        gate = asyncio.Semaphore(CONNECTING_MAX)
        try:
            async with asyncio.timeout(self.job.seconds_max):
                async with asyncio.TaskGroup() as tasks:
                    for stream in streams:
                        tasks.create_task(self._open(stream, gate))
                if self.job.is_held:
                    await self._hold(streams)
                else:
                    await self._over.wait()
        except TimeoutError:
            self.fault(f"not over after {self.job.seconds_max:.0f} s")
        return self.tally

    async def _open(self, stream: Stream, gate: asyncio.Semaphore) -> None:
        try:
            async with gate, asyncio.timeout(CONNECT_SECONDS):
                await self.loop.create_connection(lambda: stream, "127.0.0.1", self.job.port)
        except (OSError, TimeoutError) as error:
            stream.fail(type(error).__name__)

    async def _hold(self, streams: list[Stream]) -> None:
        await self._all_begun.wait()
        sys.stdout.write(f"{len(self.tally.first_token_us)}\n")
        sys.stdout.flush()
        async with asyncio.timeout(HOLD_SECONDS_MAX):
            await self.loop.run_in_executor(None, sys.stdin.read, 1)
        for stream in streams:
            stream.end()


async def main() -> None:
    """Do the job that the first line of the input describes."""
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    tally = await Client(job, asyncio.get_running_loop()).run()
    sys.stdout.write(msgspec.json.encode(tally).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())

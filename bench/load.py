"""Load: wrk for plain answers, a client process for streams. Bounded in count and in time."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.bodies import PATH, SHAPES, Kind, request_body
from bench.stream_client import Job, Tally
from bench.subjects import BenchError, Subject, filled

GRACE_SECONDS: Final = 30.0
STREAM_SECONDS_MAX: Final = 180.0
MARK: Final = "figures "
# Read by wrk: asks with the keys of a file in turn, and says its figures as JSON at the end.
SCRIPT: Final = """
local keys = {}
for line in io.lines("@KEYS@") do keys[#keys + 1] = line end
local file = io.open("@BODY@", "rb")
local body = file:read("*a")
file:close()
local head = "POST @PATH@ HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nContent-Type: application/json"
  .. "\\r\\nContent-Length: " .. #body .. "\\r\\nAuthorization: Bearer "
local tail = "\\r\\n\\r\\n" .. body
local fixed = head .. keys[1] .. tail
local count, place = #keys, 0
function request()
  if count == 1 then return fixed end
  place = place % count + 1
  return head .. keys[place] .. tail
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '@MARK@{"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,' ..
    '"bad_status":%d,"broken":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What wrk saw; latencies in microseconds."""

    requests: int
    duration_us: int
    p50_us: float
    p99_us: float
    bad_status: int
    broken: int

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests * 1e6 / self.duration_us if self.duration_us else 0.0

    @property
    def faults(self) -> int:
        """Answers that were not good, and connections that broke."""
        return self.bad_status + self.broken


class Ask(msgspec.Struct, frozen=True):
    """How to load a subject: over so many connections, for so long, with these keys in turn."""

    kind: Kind
    connections: int
    seconds: int
    keys: Sequence[str] = ()


def press(subject: Subject, folder: Path, ask: Ask) -> Load:
    """Ask as fast as answers come."""
    files = {name: folder / f"wrk.{name.lower()}" for name in ("BODY", "KEYS", "SCRIPT")}
    files["BODY"].write_bytes(request_body(ask.kind))
    files["KEYS"].write_text("".join(f"{key}\n" for key in ask.keys or (subject.key,)))
    values = {"PATH": PATH, "MARK": MARK, "BODY": str(files["BODY"]), "KEYS": str(files["KEYS"])}
    files["SCRIPT"].write_text(filled(SCRIPT, values))
    command = [
        shutil.which("wrk") or "wrk",
        "--threads=1",
        f"--connections={ask.connections}",
        f"--duration={ask.seconds}s",
        "--timeout=10s",
        f"--script={files['SCRIPT']}",
        f"http://127.0.0.1:{subject.ports[ask.kind]}{PATH}",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=ask.seconds + GRACE_SECONDS, check=False
    )
    return parse(done.stdout + done.stderr)


def parse(text: str) -> Load:
    """Read the line that the script writes at the end."""
    for line in text.splitlines():
        if line.startswith(MARK):
            return msgspec.json.decode(line.removeprefix(MARK), type=Load)
    raise BenchError(f"wrk gave no figures:\n{text}")


def job(subject: Subject, kind: Kind, streams: int, rounds: int, *, is_held: bool = False) -> Job:
    """Describe streams to the client."""
    body = request_body(kind).decode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {subject.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Job(
        port=subject.ports[kind],
        request=head + body,
        streams=streams,
        rounds=rounds,
        tokens=SHAPES[kind][0],
        seconds_max=STREAM_SECONDS_MAX,
        is_held=is_held,
    )


def stream(work: Job) -> Tally:
    """Read streams to their end; each must be whole."""
    done = subprocess.run(
        _client(),
        input=msgspec.json.encode(work) + b"\n",
        capture_output=True,
        timeout=STREAM_SECONDS_MAX + GRACE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"the client of streams failed:\n{done.stderr.decode()[-1000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Tally)


@contextlib.contextmanager
def held(work: Job) -> Iterator[int]:
    """Keep streams open for the length of the block; gives how many have begun."""
    with subprocess.Popen(_client(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        if client.stdin is None or client.stdout is None:
            raise AssertionError("pipes were asked for")
        try:
            client.stdin.write(msgspec.json.encode(work) + b"\n")
            client.stdin.flush()
            # The client itself ends after its time, which ends this line too.
            said = client.stdout.readline()
            if not said.strip().isdigit():
                raise BenchError(f"streams cannot be held open: {said[:500]!r}")
            yield int(said)
        finally:
            client.stdin.close()
            try:
                client.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                client.kill()


def _client() -> list[str]:
    return [sys.executable, "-m", "bench.stream_client"]

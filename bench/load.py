"""Load of whole answers: wrk, bounded in time."""

import http.client
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bench import machine
from bench.rounds import Cell
from bench.subjects import NoFigure, Subject

PATH: Final = "/v1/chat/completions"
ANSWER_SECONDS_MAX: Final = 30
RUN_SECONDS_SPARE: Final = 90


class RequestsFailed(NoFigure):
    """Requests were not answered with 2xx, so that their cost says nothing."""


def plain(subject: Subject, folder: Path, body: bytes, *, connections: int, seconds: float) -> Cell:
    """Run wrk against a subject, and see what each request cost.

    Raises RequestsFailed unless all are answered with 2xx.
    """
    script = _script(subject, folder, body)
    before = spent(subject)
    scheme, host = ("https", "localhost") if subject.is_tls else ("http", "127.0.0.1")
    url = f"{scheme}://{host}:{subject.port}{PATH}"
    command = [shutil.which("wrk") or "wrk", "-t1", f"-c{connections}"]
    command += [f"-d{max(round(seconds), 1)}", f"--timeout={ANSWER_SECONDS_MAX}s", "--latency"]
    done = subprocess.run(
        [*command, "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + RUN_SECONDS_SPARE,
    )
    own = machine.family_seconds(subject.pids)
    count, sockets = judged(done.stdout, lambda: _one(subject, body))
    beside, note = beside_us(subject, before, count)
    return Cell(
        cpu_us=(own - before.own) / count * 1e6,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", done.stdout) or 0),
        p50_ms=_milliseconds(_find(r"50%\s+(\S+)", done.stdout)),
        p99_ms=_milliseconds(_find(r"99%\s+(\S+)", done.stdout)),
        beside_us=beside,
        note="; ".join(part for part in (sockets, note) if part),
    )


def judged(said: str, ask_again: Callable[[], str]) -> tuple[int, str]:
    """Read how many requests wrk made, and a note on errors of sockets, which it repairs itself.

    Raises RequestsFailed where any was answered with other than 2xx or none at all, with what
    `ask_again` tells.
    """
    count = int(_find(r"(\d+) requests in", said) or 0)
    failed = int(_find(r"Non-2xx or 3xx responses: (\d+)", said) or 0)
    found = _find(r"Socket errors: (.+)", said)
    sockets = f"errors of sockets: {found}" if found else ""
    if not failed and count:
        return count, sockets
    told = f"{failed} of {count} requests failed" if count else "no request was answered in time"
    parts = (told, sockets, ask_again())
    raise RequestsFailed("; ".join(part for part in parts if part))


class Spent(NamedTuple):
    """The seconds of CPU that a subject and what works beside it had spent at an instant."""

    at: float
    own: float
    beside: dict[str, float]


def spent(subject: Subject) -> Spent:
    """Look what a subject and what works beside it have spent by now."""
    beside = {name: machine.family_seconds(pids) for name, pids in subject.beside.items()}
    return Spent(time.monotonic(), machine.family_seconds(subject.pids), beside)


def beside_us(subject: Subject, before: Spent, count: int) -> tuple[dict[str, float], str]:
    """Give what works beside a subject for each of so many requests, when it has done it all.

    What it would have spent idle in that time is taken off. The second value is a note where it
    took longer than is waited for.
    """
    if not subject.beside:
        return {}, ""
    everyone = [pid for pids in subject.beside.values() for pid in pids]
    is_quiet = machine.wait_until_quiet(everyone)
    after = spent(subject)
    took = after.at - before.at
    found = {
        name: max(seconds - before.beside[name] - subject.idle_rates.get(name, 0.0) * took, 0.0)
        / count
        * 1e6
        for name, seconds in after.beside.items()
    }
    return found, "" if is_quiet else "the settler or PostgreSQL still worked after 30 s"


def _script(subject: Subject, folder: Path, body: bytes) -> Path:
    file, keys, script = (folder / name for name in ("body.json", "keys.txt", "post.lua"))
    file.write_bytes(body)
    keys.write_text("".join(f"{key}\n" for key in subject.keys))
    headers = {"Content-Type": "application/json", **subject.headers}
    lines = [
        'wrk.method = "POST"',
        *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()),
        f'local file = io.open("{file}", "rb"); wrk.body = file:read("*a"); file:close()',
    ]
    if len(subject.keys) == 1:
        lines.append(f'wrk.headers["Authorization"] = "Bearer {subject.keys[0]}"')
    else:
        lines += [
            "local requests, at = {}, 0",
            "init = function()",
            f'  for key in io.lines("{keys}") do',
            '    wrk.headers["Authorization"] = "Bearer " .. key',
            "    requests[#requests + 1] = wrk.format()",
            "  end",
            "end",
            "request = function() at = at % #requests + 1; return requests[at] end",
        ]
    script.write_text("\n".join(lines) + "\n")
    return script


def _one(subject: Subject, body: bytes) -> str:
    """Ask once more, to tell what is answered."""
    sent = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {subject.keys[0]}",
        **subject.headers,
    }
    if subject.is_tls:
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 (its own certificate)
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            "localhost", subject.port, timeout=ANSWER_SECONDS_MAX, context=context
        )
    else:
        link = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=ANSWER_SECONDS_MAX)
    try:
        link.request("POST", PATH, body, sent)
        answer = link.getresponse()
        text = answer.read(200).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"one more: {type(error).__name__}"
    finally:
        link.close()
    return f"one more: {answer.status} {text}"


def _find(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _milliseconds(text: str | None) -> float:
    match = None if text is None else re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        return 0.0
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[match[2]]

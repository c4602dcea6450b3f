"""The programs that are measured, each started here and ended here by its own pid."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
import trustme

from bench import machine
from bench.bodies import ANSWER_TOKENS, PATH, SHAPES, Kind, answer_body, request_body

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
PROBE_SECONDS: Final = 20.0
SAID_CHARS_MAX: Final = 2_000
CONNECTIONS_MAX: Final = 12_000
TEMPLATES: Final = Path(__file__).parent / "nginx"
OWN: Final = "own"


class BenchError(Exception):
    """Something that a figure needs is not there; the text says what."""


class Subject(msgspec.Struct):
    """Something that answers completions.

    `ports` says where each kind is taken. `parts` names processes whose CPU is counted: `OWN` for
    the proxy itself, others in columns of their own. `settle` waits for what goes on behind.
    """

    name: str
    ports: dict[Kind, int]
    parts: dict[str, list[int]] = {}
    key: str = "none"
    version: str = ""
    settle: Callable[[], None] = lambda: None

    def cpu(self) -> dict[str, float]:
        """Give the CPU seconds that each part has used so far."""
        return {part: machine.cpu_seconds(pids) for part, pids in self.parts.items()}

    def memory(self) -> machine.Size:
        """Give the memory of the proxy itself."""
        return machine.memory(self.parts[OWN])


class Stage:
    """Starts programs and ends them all, whatever happens in between."""

    def __init__(self, folder: Path, files: int) -> None:
        self.folder = folder
        self._files = files
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Begin with nothing running."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything, the last first."""
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)

    def start(
        self, command: Sequence[str], name: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; what it says goes to `<name>.out` and `<name>.err` in the folder."""
        with self._file(name, "out").open("wb") as out, self._file(name, "err").open("wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(variables or {})},
            )
        self._running.append(process)
        return process

    def wait(
        self, name: str, process: subprocess.Popen[bytes], is_ready: Callable[[], bool]
    ) -> None:
        """Wait until a program is ready; raises with its last words when it will not be."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = self._file(name, "out").read_text("utf-8", "replace")
                said += self._file(name, "err").read_text("utf-8", "replace")
                raise BenchError(f"{name} did not start:\n{said[-SAID_CHARS_MAX:]}")
            time.sleep(POLL_SECONDS)

    def _file(self, name: str, kind: str) -> Path:
        return self.folder / f"{name}.{kind}"

    # ------------------------------------------------------------------ upstreams and floor

    def nginx(self, name: str, template: str, values: Mapping[str, str]) -> list[int]:
        """Start an nginx of one worker; gives the worker's pid."""
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        common = {
            "FOLDER": str(folder),
            "FILES": str(self._files),
            "CONNECTIONS": str(min(self._files, CONNECTIONS_MAX)),
        }
        conf = self._file(name, "conf")
        conf.write_text(filled((TEMPLATES / template).read_text(), {**common, **values}))
        program = nginx_program()
        process = self.start([program, "-e", str(folder / "log"), "-c", str(conf)], name)
        self.wait(name, process, lambda: bool(machine.children(process.pid)))
        return machine.children(process.pid)

    def direct(self) -> tuple[Subject, Path]:
        """Start every upstream; gives them as a subject of their own, and their authority."""
        authority = trustme.CA()
        ca_file, pair = self.folder / "ca.pem", self.folder / "leaf.pem"
        authority.cert_pem.write_to_path(ca_file)
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(pair)
        plain, tls = machine.free_ports(2)
        values = {
            "PLAIN_PORT": str(plain),
            "TLS_PORT": str(tls),
            "CERTIFICATE": str(pair),
            "ANSWER": answer_body(),
        }
        self.nginx("upstream", "upstream.conf.in", values)
        command = [sys.executable, "-m", "bench.stream_upstream"]
        process = self.start(command, "stream-upstream")
        out = self._file("stream-upstream", "out")
        self.wait("stream-upstream", process, lambda: out.read_text().endswith("\n"))
        stream = int(out.read_text())
        ports = {Kind.PLAIN: plain, Kind.TLS: tls, **dict.fromkeys(SHAPES, stream)}
        return Subject("direct", ports), ca_file

    def floor(self, upstreams: Mapping[Kind, int], ca_file: Path) -> Subject:
        """Start a bare reverse proxy."""
        plain, tls, stream = machine.free_ports(3)
        values = {
            "PLAIN_PORT": str(upstreams[Kind.PLAIN]),
            "TLS_PORT": str(upstreams[Kind.TLS]),
            "STREAM_PORT": str(upstreams[Kind.STREAM]),
            "PROXY_PLAIN_PORT": str(plain),
            "PROXY_TLS_PORT": str(tls),
            "PROXY_STREAM_PORT": str(stream),
            "AUTHORITY": str(ca_file),
        }
        pids = self.nginx("floor", "proxy.conf.in", values)
        ports = {Kind.PLAIN: plain, Kind.TLS: tls, **dict.fromkeys(SHAPES, stream)}
        return Subject("nginx", ports, {OWN: pids})


def nginx_program() -> str:
    """Find nginx, also where only root looks."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("nginx is not installed")
    return found


def filled(template: str, values: Mapping[str, str]) -> str:
    """Put values in place of `@NAME@`; raises when one is left without."""
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    start = template.find("@")
    if start >= 0:
        raise BenchError(f"no value for {template[start : start + 30]!r}")
    return template


def is_listening(port: int) -> bool:
    """Tell whether somebody takes connections at a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def probe(subject: Subject, kind: Kind) -> None:
    """Ask once and read the answer; raises when it is not the one that the upstream gives."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.ports[kind], timeout=PROBE_SECONDS)
    headers = {"authorization": f"Bearer {subject.key}", "content-type": "application/json"}
    try:
        connection.request("POST", PATH, request_body(kind), headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{subject.name}: no answer to {kind} ({error!r})") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK or not is_good(text, kind):
        raise BenchError(f"{subject.name}: {kind} was answered {status}: {text[:500]}")


def is_good(text: str, kind: Kind) -> bool:
    """Tell whether an answer is whole."""
    if kind.is_stream:
        return "[DONE]" in text and text.count('"content":') >= SHAPES[kind][0]
    found = json.loads(text)
    has_words = bool(found["choices"][0]["message"]["content"])
    return has_words and found["usage"]["total_tokens"] == ANSWER_TOKENS

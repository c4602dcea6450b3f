"""The whole product, started as a person would, and ended with nothing left behind."""

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import openai

from jusinfer.store import logins
from jusinfer.store.embedded import EmbeddedPostgres

START_SECONDS = 60.0
STOP_SECONDS = 60.0


class Running:
    """A started product; its processes are found below the supervisor."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        config: str = "",
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """`variables` are added to the environment; core dumps of any size are allowed in `cwd`."""
        self.folder = folder
        self.environment = {**os.environ, **(variables or {})}
        self.cwd = cwd
        self.data_dir = folder / "data"
        self.workers = workers
        self.port, self.operator_port = free_port(), free_port()
        self.config_file = folder / "jusinfer.toml"
        self.config_file.write_text(config)
        self.config_file.chmod(0o600)
        self.key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._clients: list[openai.OpenAI] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self.start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as ends:
            ends.callback(self.stop)
            for client in self._clients:
                ends.callback(client.close)

    @property
    def common(self) -> list[str]:
        return ["--config", str(self.config_file), "--data-dir", str(self.data_dir)]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        self._starts += 1
        self.out = self.folder / f"out-{self._starts}"
        self.err = self.folder / f"err-{self._starts}"
        ports = ["--port", str(self.port), "--operator-port", str(self.operator_port)]
        command = [sys.executable, "-m", "jusinfer", "serve", *self.common, *ports]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [*command, "--workers", str(self.workers)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment,
                cwd=self.cwd,
                preexec_fn=allow_dumps if self.cwd is not None else None,  # noqa: PLW1509
            )
        wait_until(lambda: '"event":"ready"' in self.err.read_text() or self._died())
        assert not self._died(), self.err.read_text()
        first = self.data_dir / "first-test-key"
        if first.exists():
            self.key = first.read_text().strip()
            first.unlink()

    def _died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the product; every process below it must be gone afterwards."""
        process = self._process
        if process is None or process.poll() is not None:
            return 0 if process is None else process.returncode
        below = children(process.pid)
        process.send_signal(number)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The processes below end by themselves when it is gone.
            process.kill()
            process.wait()
            raise
        wait_until(lambda: not [pid for pid in below if is_alive(pid)])
        return code

    def pids(self, text: str) -> list[int]:
        """Give the processes whose command line holds a text."""
        return [pid for pid in children(self.pid) if text in command_of(pid)]

    @property
    def gateways(self) -> list[int]:
        return self.pids("bootstrap.gateway")

    @property
    def dsn(self) -> str:
        """Where the operator signs in, who may read every table."""
        found = logins.known(EmbeddedPostgres(self.data_dir).dsn, self.data_dir)
        assert found is not None
        return found.dsn_of("operator")

    @property
    def admin_dsn(self) -> str:
        """Where the superuser signs in, for what no login of the product may do."""
        return EmbeddedPostgres(self.data_dir).admin_dsn

    def cli(self, *arguments: str) -> Any:
        """Run a command with --json; gives what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "jusinfer", *arguments, *self.common, "--json"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def client(self, key: str | None = None, **options: Any) -> openai.OpenAI:
        """Give the official client; it is closed when the product is."""
        settings: dict[str, Any] = {"max_retries": 0, "timeout": 30} | options
        made = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key or self.key, **settings
        )
        self._clients.append(made)
        return made

    def ask(self, model: str, key: str | None = None, **fields: Any) -> httpx.Response:
        """Ask over a connection of its own."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]} | fields
        return httpx.post(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key or self.key}"},
            timeout=30,
        )

    def sandbox(self, page: str) -> Any:
        """Ask the sandbox for one of its pages, past the gateway."""
        port = re.search(r'"event":"sandbox_ready","port":(\d+)', self.err.read_text())
        assert port is not None
        return httpx.get(f"http://127.0.0.1:{port[1]}/sandbox/{page}", timeout=10).json()

    def ready(self) -> bool:
        """Whether the operator's page says that all is well."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.operator_port}/readyz", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


def allow_dumps() -> None:
    """Let a program leave a core dump of any size, as far as that is up to us."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def free_port() -> int:
    """Find a port outside the range from which the kernel gives connections theirs."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextlib.contextmanager
def lone_sandbox() -> Iterator[int]:
    """Run a sandbox beside the product; gives its port once it listens there."""
    command = [sys.executable, "-m", "jusinfer.sandbox.app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def fresh_minute(seconds: float) -> None:
    """Wait until the UTC minute lasts so long still: at its end limits begin anew."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.2)


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
    except FileNotFoundError:
        return found  # it has ended meanwhile
    for task in tasks:
        try:
            below = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in below:
            found += [child, *children(child)]
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

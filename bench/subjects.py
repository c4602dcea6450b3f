"""The programs that are measured, each started here and ended here by its own pid."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

import msgspec

from bench import machine

ROOT: Final = Path(__file__).parents[1]
START_SECONDS: Final = 120.0
COMMAND_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 3.0


class NoFigure(RuntimeError):
    """Something cannot be measured; the text says why."""


class Subject(msgspec.Struct):
    """Something that answers on a port; `pids` are the processes whose CPU is its cost.

    `beside` are processes whose work follows from its own, each with a cost of its own, and
    `idle_rates` the part of a core that each of them uses when nobody calls. `idle` are the other
    processes of its program. Requests take `keys` in turn; `headers` go with each.
    """

    name: str
    port: int
    model: str
    pids: list[int]
    keys: tuple[str, ...] = ("x",)
    headers: dict[str, str] = {}
    beside: dict[str, list[int]] = {}
    idle_rates: dict[str, float] = {}
    idle: dict[str, list[int]] = {}
    is_tls: bool = False

    def asked(self, model: str, name: str = "") -> "Subject":
        """Give the same program with another model, and perhaps another name."""
        return msgspec.structs.replace(self, model=model, name=name or self.name)


class Stage:
    """Starts programs and ends them all, whatever happens in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def start(
        self,
        command: list[str],
        name: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Start a program with its output in `<name>.out` and `<name>.err`; gives its pid."""
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd or self.folder,
            )
        self._running.append(process)
        return process.pid

    def wait_for_text(self, name: str, text: str) -> None:
        """Wait until a program has said a text; raises NoFigure when it ends or does not."""
        deadline = time.monotonic() + START_SECONDS
        files = [self.folder / f"{name}.out", self.folder / f"{name}.err"]
        while not any(text in path.read_text(errors="replace") for path in files):
            if time.monotonic() > deadline:
                raise NoFigure(f"{name} did not start within {START_SECONDS:.0f} s")
            self._require_running(name)
            time.sleep(0.1)

    def wait_for_port(self, name: str, port: int) -> None:
        """Wait until somebody listens; raises NoFigure when its program ends or it does not."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise NoFigure(f"{name} did not listen in {START_SECONDS:.0f} s") from error
                self._require_running(name)
                time.sleep(0.2)
            else:
                return

    def _require_running(self, name: str) -> None:
        code = self._running[-1].poll()
        if code is not None:
            said = (self.folder / f"{name}.err").read_text(errors="replace").strip()
            last = said.splitlines()[-1][:160] if said else "it said nothing"
            raise NoFigure(f"{name} ended with {code}: {last}")

    def upstream(self) -> int:
        """Start the provider of streams and long answers; gives its port."""
        command = [sys.executable, "-m", "bench.upstream"]
        self.start(command, "upstream", cwd=ROOT)
        self.wait_for_text("upstream", '"listens"')
        return int(json.loads((self.folder / "upstream.out").read_text())["port"])

    def authority(self) -> tuple[Path, Path]:
        """Make a certificate for localhost; gives its file with its key, and its authority's."""
        import trustme  # noqa: PLC0415 (only where TLS is measured)

        ca_file, pair = self.folder / "ca.pem", self.folder / "leaf.pem"
        if not pair.exists():
            authority = trustme.CA()
            authority.cert_pem.write_to_path(ca_file)
            leaf = authority.issue_cert("localhost", "127.0.0.1")
            leaf.private_key_and_cert_chain_pem.write_to_path(pair)
        return pair, ca_file

    def product(
        self, name: str, config: str, program: list[str] | None = None, tls: Path | None = None
    ) -> Subject:
        """Start the whole product with one worker, live credit and a live key."""
        folder = self.folder / name
        folder.mkdir()
        file = folder / "jusinfer.toml"
        write_private(file, config)
        file.chmod(0o600)
        port, operator_port = free_port(), free_port()
        command = program or [sys.executable, "-m", "jusinfer"]
        common = ["--config", str(file), "--data-dir", str(folder / "data")]
        ports = ["--port", str(port), "--operator-port", str(operator_port), "--workers", "1"]
        pid = self.start([*command, "serve", *common, *ports], name)
        self.wait_for_text(name, '"event":"ready"')
        made = _run([*command, "keys", "create", "--mode", "live", "--json", *common])
        _run([*command, "grant", "default", "1000000", "--reason", "bench", "--json", *common])
        below = machine.children(pid)
        parts = {
            part: machine.named(below, module)
            for part, module in (
                ("settler", "bootstrap.settler"),
                ("PostgreSQL", "postgres"),
                ("console", "bootstrap.console"),
                ("sandbox", "sandbox.app"),
            )
        }
        workers = machine.named(below, "bootstrap.gateway")
        missing = [part for part, pids in {"gateway": workers, **parts}.items() if not pids]
        if missing:
            raise NoFigure(f"{name}: no process is named as its {' or '.join(missing)}")
        beside = {part: parts.pop(part) for part in ("settler", "PostgreSQL")}
        return Subject(
            name,
            port,
            "bench/model",
            workers,
            (str(json.loads(made)["key"]),),
            beside=beside,
            idle_rates=idle_rates(beside),
            idle={"supervisor": [pid], **parts},
            is_tls=tls is not None,
        )


def write_private(file: Path, text: str) -> None:
    """Write a file that nobody else may read: the product refuses others that hold a key."""
    file.touch(0o600)
    file.write_text(text)


def idle_rates(processes: dict[str, list[int]]) -> dict[str, float]:
    """Give the part of a core that idle processes use, by name, when they have become quiet."""
    machine.wait_until_quiet([pid for pids in processes.values() for pid in pids])
    before = {name: machine.family_seconds(pids) for name, pids in processes.items()}
    began = time.monotonic()
    time.sleep(IDLE_SECONDS)
    took = time.monotonic() - began
    return {
        name: (machine.family_seconds(pids) - before[name]) / took
        for name, pids in processes.items()
    }


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    if done.returncode:
        raise NoFigure(f"{' '.join(command[2:4])} failed: {done.stderr.strip()[-160:]}")
    return done.stdout


def installed(names: list[str]) -> bool:
    """Tell whether programs are there, or could be installed from the system's packages."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return True
    if shutil.which("apt-get") is None:
        return False
    command = ["apt-get", "install", "-y", "-qq", *missing]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def free_port() -> int:
    """Give a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

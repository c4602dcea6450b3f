"""Plays the odd shapes of answers through clients that have to be installed, by their own scripts.

To play all of them: python -m tools.agents.odd; or name some.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.e2e.odd_played import LAST_WORDS, played, public_id
from tests.e2e.odd_shapes import SHAPES
from tools.agents.install import agents, install, libraries

ROOT: Final = Path(__file__).parents[2]
# The script by which each client plays, and what runs it.
SCRIPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "ai-sdk": ("node", "tools/agents/odd.mjs"),
    "openai-agents": ("python", "tools/agents/odd_agents.py"),
    "instructor": ("python", "tools/agents/odd_instructor.py"),
}
SECONDS: Final = 600.0


def play(client: str) -> list[str]:
    """Run every shape by every API of a client; gives what was not as it must be."""
    agent = (agents() | libraries())[client]
    runner, script = SCRIPTS[client]
    missing = install(agent)
    if missing:
        return [missing]
    with tempfile.TemporaryDirectory() as name, played(Path(name)) as place:
        folder = Path(name)
        (folder / "shapes.json").write_text(json.dumps(wanted()), encoding="utf-8")
        shutil.copy(ROOT / script, folder)
        (folder / "node_modules").symlink_to(agent.folder / "node_modules")
        paths = os.pathsep.join([*map(str, agent.paths), os.environ["PATH"]])
        done = subprocess.run(
            [runner, Path(script).name, place.url, place.key, "shapes.json"],
            cwd=folder,
            env={"HOME": name, "LANG": "C.UTF-8", "PATH": paths},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("played "):
        return [*lines, done.stderr.strip() or f"exit {done.returncode}"]
    print(f"agents: odd shapes, {client}, {lines[-1]}", file=sys.stderr)
    return lines[:-1]


def wanted() -> list[dict[str, object]]:
    """Give what a client must make of each shape."""
    return [
        {
            "model": public_id(name),
            "text": shape.text,
            "calls": shape.calls,
            "stop": shape.stops_for,
            "usage": shape.usage,
            "last": LAST_WORDS,
        }
        for name, shape in SHAPES.items()
    ]


def main(clients: Iterable[str] = SCRIPTS) -> int:
    """Play and print; gives 0 when all was well."""
    wrong = [f"{client} {line}" for client in clients for line in play(client)]
    if wrong:
        print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SCRIPTS))

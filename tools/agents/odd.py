"""Plays the odd shapes of answers through the AI SDK: python -m tools.agents.odd."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.e2e.odd_played import LAST_WORDS, played, public_id
from tests.e2e.odd_shapes import SHAPES
from tools.agents.install import agents, install

SCRIPT: Final = Path(__file__).with_name("odd.mjs")
SECONDS: Final = 600.0


def play() -> list[str]:
    """Run every shape by every client API; gives what was not as it must be."""
    agent = agents()["ai-sdk"]
    missing = install(agent)
    if missing:
        return [missing]
    with tempfile.TemporaryDirectory() as name, played(Path(name)) as place:
        folder = Path(name)
        (folder / "shapes.json").write_text(json.dumps(wanted()), encoding="utf-8")
        (folder / SCRIPT.name).write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "node_modules").symlink_to(agent.folder / "node_modules")
        done = subprocess.run(
            ["node", SCRIPT.name, place.url, place.key, "shapes.json"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines or not lines[-1].startswith("played "):
        return [*lines, done.stderr.strip() or f"exit {done.returncode}"]
    print(f"agents: odd shapes, {lines[-1]}", file=sys.stderr)
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


def main() -> int:
    """Play and print; gives 0 when all was well."""
    wrong = play()
    if wrong:
        print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""The suite's own sweep: what a module leaves open fails there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEAKS = """
import socket

class Ring:
    pass

def test_leaves_a_socket():
    ring = Ring()
    ring.itself, ring.socket = ring, socket.socket()
"""
TIDY = "def test_nothing():\n    pass\n"


def test_a_socket_that_is_left_open_fails_its_own_module(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "tests").mkdir()
    for name in ("__init__.py", "effort.py"):
        source = ROOT / "tests" / name
        (tmp_path / "tests" / name).write_text(source.read_text() if source.exists() else "")
    (tmp_path / "test_a.py").write_text(LEAKS)
    (tmp_path / "test_b.py").write_text(TIDY)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "-W", "error", "-rE", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "ERROR test_a.py::test_leaves_a_socket" in done.stdout
    assert "unclosed <socket" in done.stdout
    assert "test_b.py" not in done.stdout.split("short test summary")[1]

"""A child that cannot be started leaves nothing open."""

import io
from pathlib import Path

import pytest

from jusinfer.cli.children import Child, Recipe
from jusinfer.observability import Events


def test_a_program_that_is_missing_leaves_no_pipe_open() -> None:
    child = Child(
        Recipe("x", lambda: ["/nowhere/program"], lambda: b"part"), Events("serve", io.StringIO())
    )
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        child.start(0.0)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    child.stop(0.0)

"""Children are told their part through a pipe, whole, and refuse anything else."""

import io
import os
import sys
from pathlib import Path

import pytest
from tests.e2e.running import wait_until

from jusinfer import config, confine
from jusinfer.bootstrap import parts
from jusinfer.observability import Events
from jusinfer.supervisor.child_process import Child, ProcessSpec

SETTINGS = config.load(config.Overrides(), {"OPENAI_API_KEY": "key-o", "DEEPSEEK_API_KEY": "key-d"})
GATEWAY = parts.GatewayPart("w" * 32, 1, "dsn", "/run", 5, b"secret", SETTINGS)
PARTS: list[parts.Part] = [
    GATEWAY,
    parts.SettlerPart("dsn", "/journal"),
    parts.console_part(SETTINGS, "dsn", Path("/run")),
    parts.ReconcilerPart("dsn", tuple(config.offers(SETTINGS, None).live.upstreams.values())),
]


@pytest.fixture(autouse=True)
def _as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's own limits: they are the whole suite's."""
    monkeypatch.setattr(confine, "forbid_dumps", lambda: None)


def told(text: bytes) -> dict[str, str]:
    """Give the environment of a child that is told this."""
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    return {"PATH": "/bin", parts.PART_FD: str(read), parts.READY_FD: "7"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_part_arrives_as_it_was_sent(part: parts.Part) -> None:
    received, pipes = parts.receive(type(part), told(parts.encode(part)))  # type: ignore[type-var]
    assert received == part
    assert pipes == parts.Descriptors(ready=7, parent=None)
    assert "key-" not in repr(received)
    assert "dsn" not in repr(received)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"type":"console"',
        b"\xff",
        parts.encode(PARTS[1])[:-3],
        parts.encode(PARTS[1]),
    ],
    ids=["nothing", "empty", "cut", "bytes", "shortened", "of another"],
)
def test_what_is_not_the_part_is_refused_and_not_repeated(
    text: bytes,
) -> None:
    with pytest.raises(parts.PartError, match="start this by `jusinfer serve`") as refused:
        parts.receive(parts.ConsolePart, told(text))
    assert "journal" not in str(refused.value)


def test_a_variable_that_is_not_on_the_list_is_refused() -> None:
    environment = told(parts.encode(GATEWAY))
    with pytest.raises(parts.PartError, match="STRIPE_KEY"):
        parts.receive(parts.GatewayPart, environment | {"STRIPE_KEY": "x"})
    os.close(int(environment.pop(parts.PART_FD)))
    with pytest.raises(parts.PartError, match=parts.PART_FD):
        parts.receive(parts.GatewayPart, environment)


def test_nothing_that_calls_no_upstream_is_told_a_key() -> None:
    for part in PARTS[1:3]:
        assert b"key-" not in parts.encode(part)


def test_a_part_that_is_larger_than_a_pipe_is_told_whole(tmp_path: Path) -> None:
    text = os.urandom(1 << 20).hex().encode()
    place = tmp_path / "heard"
    script = (
        "import os, pathlib, sys;"
        "data = open(int(os.environ['JUSINFER_PART_FD']), 'rb').read();"
        "pathlib.Path(sys.argv[1]).write_bytes(data);"
        "os.write(int(os.environ['JUSINFER_READY_FD']), b'1')"
    )
    recipe = ProcessSpec("x", lambda: [sys.executable, "-c", script, str(place)], lambda: text)
    child = Child(recipe, Events("serve", io.StringIO()))
    child.start(0.0)
    try:
        wait_until(child.poll_ready, 30)
    finally:
        child.end()
    assert place.read_bytes() == text

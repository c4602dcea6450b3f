"""The product with providers played by a sandbox, for agents to be run against."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.running import Running
from tools.agents.page import KEY

from jusinfer.sandbox.agent.script import KINDS

# Every provider that agents are tried over, and its settings; the last is for those who speak
# Responses, which passes there as it comes.
PROVIDERS: Final[Mapping[str, str]] = {
    "chat": "",
    "anthropic": 'api = "anthropic"',
    "responses": 'compatibility = ["responses"]',
}
UPSTREAM: Final = """
[[upstream]]
name = "{name}"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "upstream-key"
is_local = true
{more}
"""
MODEL: Final = """
[[upstream.model]]
id = "{name}/mock-agent{kind}"
upstream_model = "mock-agent{kind}"
input = "3"
output = "15"
cache_read = "0.3"
cache_write = "3.75"
context_tokens = 400000
output_tokens_max = 64000
capabilities = ["tools", "vision", "json_schema", "reasoning"]
"""
CREDIT_USD: Final = "1000"


def providers_for(api: str) -> list[str]:
    """Give the providers over which an agent that speaks this API is tried."""
    return [name for name in PROVIDERS if name != "responses" or api == name]


class Place(NamedTuple):
    """Where agents find an API, and with which key."""

    url: str
    key: str
    sandbox_port: int


@contextmanager
def sandbox() -> Iterator[int]:
    """Start a sandbox; gives its port."""
    command = [sys.executable, "-m", "jusinfer.sandbox.app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the sandbox has no output")
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()


def config(port: int) -> str:
    """Write jusinfer.toml: each provider with a model for each script."""
    parts = []
    for name, more in PROVIDERS.items():
        parts.append(UPSTREAM.format(name=name, port=port, more=more))
        parts += [
            MODEL.format(name=name, kind=f"-{kind}" if kind else "") for kind in sorted(KINDS)
        ]
    return "".join(parts)


@contextmanager
def product() -> Iterator[Place]:
    """Start the product with an empty data folder, and give it a live key with credit."""
    with (
        sandbox() as port,
        tempfile.TemporaryDirectory() as folder,
        Running(Path(folder), config=config(port)) as running,
    ):
        key = running.cli("keys", "create", "--mode", "live")["key"]
        running.cli("grant", "default", CREDIT_USD, "--reason", "agents")
        yield Place(f"http://127.0.0.1:{running.port}", key, port)


@contextmanager
def bare() -> Iterator[Place]:
    """Start a sandbox alone, to see what an agent does without the product."""
    with sandbox() as port:
        yield Place(f"http://127.0.0.1:{port}", KEY, port)

"""Other gateways, each from an environment of its own in `bench/.peers`, made on first use.

All listen on loopback, with one worker, and get the same bodies from the same providers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.settings import STREAMS
from bench.subjects import NoFigure, Stage, Subject, free_port

HOME: Final = Path(__file__).parent / ".peers"
INSTALL_SECONDS: Final = 600.0
LITELLM: Final = "1.108.7"
SMG: Final = "1.13.0"
PORTKEY: Final = "1.15.2"
PORTKEY_PRELOAD: Final = Path(__file__).parent / "portkey.cjs"


class Peer:
    """A gateway of others: what it is called, and where each model is asked."""

    def __init__(self, name: str, by_model: dict[str, Subject]) -> None:
        self.name = name
        self._by_model = by_model

    def asked(self, model: str) -> Subject:
        """Give the subject to ask for a model."""
        return self._by_model[model].asked(model)


def litellm(stage: Stage, static: int, streams: int) -> Peer:
    """Start LiteLLM's proxy; raises NoFigure."""
    python = _environment("litellm", f"litellm[proxy]=={LITELLM}")
    places = {"bench/model": static, **dict.fromkeys(STREAMS, streams)}
    config = stage.folder / "litellm.yaml"
    config.write_text(
        "model_list:\n"
        + "".join(
            f"  - model_name: {model}\n    litellm_params:\n      model: openai/{model}\n"
            f"      api_base: http://127.0.0.1:{port}/v1\n      api_key: x\n"
            for model, port in places.items()
        )
        + "litellm_settings:\n  telemetry: false\n"
    )
    port = free_port()
    env = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # It listens on loopback for minutes, with nothing behind it.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [str(python.parent / "litellm"), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    pid = stage.start(command, "litellm", env)
    stage.wait_for_port("litellm", port)
    name = f"LiteLLM {LITELLM}"
    return Peer(name, dict.fromkeys(places, Subject(name, port, "bench/model", [pid])))


def smg(stage: Stage, static: int, streams: int) -> Peer:
    """Start Shepherd Model Gateway, once for each provider; raises NoFigure."""
    python = _environment("smg", f"smg=={SMG}")
    name = f"SMG {SMG}"
    found: dict[str, Subject] = {}
    for kind, upstream, models in (
        ("smg-static", static, ("bench/model",)),
        ("smg-streams", streams, STREAMS),
    ):
        port = free_port()
        command = [str(python.parent / "smg"), "launch", "--backend", "openai"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--api-key", "x"]
        command += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--disable-health-check"]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
        command += ["--log-level", "error"]
        pid = stage.start(command, kind, {**os.environ, "TOKIO_WORKER_THREADS": "1"})
        stage.wait_for_port(kind, port)
        found.update(dict.fromkeys(models, Subject(name, port, "bench/model", [pid])))
    return Peer(name, found)


def portkey(stage: Stage, static: int, streams: int) -> Peer:
    """Start Portkey's gateway; raises NoFigure."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NoFigure("node and npm are not here")
    home = HOME / "portkey"
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        home.mkdir(parents=True, exist_ok=True)
        package = f"@portkey-ai/gateway@{PORTKEY}"
        _install([npm, "install", "--no-fund", "--no-audit", "--prefix", str(home), package])
    port = free_port()
    command = [node, "--require", str(PORTKEY_PRELOAD), str(script)]
    env = {**os.environ, "NODE_ENV": "production"}
    pid = stage.start([*command, "--headless", f"--port={port}"], "portkey", env)
    stage.wait_for_port("portkey", port)
    name = f"Portkey {PORTKEY}"
    found = {}
    for model, upstream in {"bench/model": static, **dict.fromkeys(STREAMS, streams)}.items():
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
        }
        found[model] = Subject(name, port, model, [pid], headers=headers)
    return Peer(name, found)


def _environment(name: str, requirement: str) -> Path:
    """Make an environment with one requirement, on first use; gives its interpreter."""
    home = HOME / name
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists() or done.read_text() != requirement:
        _install([sys.executable, "-m", "venv", "--clear", str(home)])
        _install([str(python), "-m", "pip", "install", "-q", requirement])
        done.write_text(requirement)
    return python


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoFigure(f"could not be installed: {type(error).__name__}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise NoFigure(f"could not be installed: {said[-1].strip()[:160]}")

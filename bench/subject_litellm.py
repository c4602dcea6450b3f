"""LiteLLM's proxy as a peer: in an environment of its own, with no database behind it."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import machine
from bench.bodies import SHAPES, Kind
from bench.subjects import OWN, BenchError, Stage, Subject, is_listening

HOME: Final = Path(__file__).parent / ".peers"
INSTALL_SECONDS: Final = 900.0
KEY: Final = "sk-bench-only"


def configuration(upstreams: Mapping[Kind, int]) -> str:
    """Write LiteLLM's configuration: each model with the upstream that serves it."""
    addresses = {
        Kind.PLAIN: f"http://127.0.0.1:{upstreams[Kind.PLAIN]}/v1",
        Kind.TLS: f"https://localhost:{upstreams[Kind.TLS]}/v1",
        **{kind: f"http://127.0.0.1:{upstreams[kind]}/v1" for kind in SHAPES},
    }
    models = "".join(
        f"  - model_name: {kind.model}\n    litellm_params:\n      model: openai/{kind.model}\n"
        f"      api_base: {address}\n      api_key: x\n"
        for kind, address in addresses.items()
    )
    return f"model_list:\n{models}general_settings:\n  master_key: {KEY}\n"


def install() -> str:
    """Make its environment on first use; gives its version."""
    python = HOME / "bin" / "python"
    if not (HOME / "bin" / "litellm").exists():
        for command in (
            [sys.executable, "-m", "venv", str(HOME)],
            [str(python), "-m", "pip", "install", "--quiet", "litellm[proxy]"],
        ):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
            )
            if done.returncode != 0:
                raise BenchError(f"LiteLLM cannot be installed: {done.stderr[-500:]}")
    words = "import importlib.metadata as m; print(m.version('litellm'))"
    done = subprocess.run(
        [str(python), "-c", words], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def start(stage: Stage, upstreams: Mapping[Kind, int], ca_file: Path) -> Subject:
    """Start it with one worker."""
    version = install()
    config = stage.folder / "litellm.yaml"
    config.write_text(configuration(upstreams))
    (port,) = machine.free_ports(1)
    variables = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "SSL_CERT_FILE": str(ca_file),
    }
    command = [str(HOME / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1"]
    process = stage.start(command, "litellm", variables)
    stage.wait("litellm", process, lambda: is_listening(port))
    return Subject(
        "litellm", dict.fromkeys(Kind, port), {OWN: [process.pid]}, key=KEY, version=version
    )

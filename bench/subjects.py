"""The programs that are measured, each started here and ended here by its own pid."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import msgspec

from bench import machine

START_SECONDS = 120.0
ANSWER = (
    '{"id":"chatcmpl-9abcdefghijklmnopqrstuvwxyz","object":"chat.completion","created":1764000000,'
    '"model":"bench/model","choices":[{"index":0,"message":{"role":"assistant","content":"'
    + ("A short answer of a fair length, as many are. " * 6).strip()
    + '"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":140,'
    '"completion_tokens":60,"total_tokens":200,"prompt_tokens_details":{"cached_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":0}}}'
)
NGINX_HEAD = (
    "worker_processes 1; daemon off; pid {pid}; error_log /dev/null;\n"
    "events {{ worker_connections 16384; }}\n"
    "http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n"
    "client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n"
    "uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
)
UPSTREAM = "server {{ listen 127.0.0.1:{port} backlog=4096;{tls} location / {{ default_type "
UPSTREAM += "application/json; return 200 '{answer}'; }} }} }}\n"
PROXY = (
    "upstream u {{ server 127.0.0.1:{to}; keepalive 512; keepalive_requests 1000000000; }}\n"
    "server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u;"
    ' proxy_http_version 1.1; proxy_set_header Connection "";'
    " proxy_buffering {buffering}; }} }} }}\n"
)


class Subject(msgspec.Struct):
    """Something that answers on a port; `pids` are the processes whose CPU is its cost."""

    name: str
    port: int
    key: str
    model: str
    pids: list[int]
    beside: dict[str, list[int]] = {}


class Stage:
    """Starts programs and ends them all, whatever happens in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def start(self, command: list[str], name: str, env: dict[str, str] | None = None) -> int:
        """Start a program with its output in files; gives its pid."""
        with (self.folder / f"{name}.out").open("wb") as out:
            err = (self.folder / f"{name}.err").open("wb")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env
            )
            err.close()
        self._running.append(process)
        return process.pid

    def nginx(self, name: str, rest: str) -> int:
        """Start an nginx of one worker; gives the worker's pid."""
        folder = self.folder / name
        folder.mkdir()
        conf = self.folder / f"{name}.conf"
        conf.write_text(NGINX_HEAD.format(pid=folder / "pid", folder=folder) + rest)
        folder.chmod(0o777)
        master = self.start([shutil.which("nginx") or "nginx", "-c", str(conf)], name)
        deadline = time.monotonic() + 10
        while not machine.children(master):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nginx {name} did not start; see {self.folder}/{name}.err")
            time.sleep(0.05)
        return machine.children(master)[0]

    def upstream(self) -> int:
        """Start the static upstream; gives its port."""
        port = free_port()
        self.nginx("upstream", UPSTREAM.format(port=port, tls="", answer=ANSWER))
        return port

    def tls_upstream(self) -> tuple[int, str]:
        """Start the static upstream behind TLS; gives its port and its authority's file."""
        import trustme  # noqa: PLC0415 (only when it is measured)

        authority = trustme.CA()
        ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        pair = self.folder / "leaf.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(pair)
        port = free_port()
        tls = f" ssl_certificate {pair}; ssl_certificate_key {pair};"
        rest = UPSTREAM.format(port=port, tls=tls, answer=ANSWER)
        self.nginx("tls-upstream", rest.replace("backlog=4096;", "ssl backlog=4096;", 1))
        return port, str(ca_file)

    def proxy(self, name: str, to: int, *, is_buffered: bool) -> Subject:
        """Start a bare reverse proxy: the floor."""
        port = free_port()
        buffering = "on" if is_buffered else "off"
        pid = self.nginx(name, PROXY.format(port=port, to=to, buffering=buffering))
        return Subject("nginx", port, "x", "bench/model", [pid])

    def jusinfer(self, upstreams: dict[str, str]) -> Subject:
        """Start the whole product with one worker, live credit and a live key."""
        config = self.folder / "jusinfer.toml"
        config.write_text("".join(upstreams.values()))
        data = self.folder / "data"
        port, operator_port = free_port(), free_port()
        program = [sys.executable, "-m", "jusinfer"]
        common = ["--config", str(config), "--data-dir", str(data)]
        ports = ["--port", str(port), "--operator-port", str(operator_port), "--workers", "1"]
        pid = self.start([*program, "serve", *common, *ports], "jusinfer")
        wait_for(self.folder / "jusinfer.err", '"event":"ready"')
        made = [*program, "keys", "create", "--mode", "live", "--json", *common]
        key = json.loads(subprocess.run(made, capture_output=True, check=True).stdout)["key"]
        grant = [*program, "grant", "default", "1000000", "--reason", "bench", "--json", *common]
        subprocess.run(grant, capture_output=True, check=True)
        below = machine.children(pid)
        postmaster = machine.named(below, "postgres")
        return Subject(
            "jusinfer",
            port,
            key,
            "bench/model",
            machine.named(below, "bootstrap.gateway"),
            {"settler": machine.named(below, "bootstrap.settler"), "postgres": postmaster},
        )

    def litellm(self, to: int) -> Subject:
        """Start LiteLLM's proxy from an environment of its own, made on first use."""
        home = Path(__file__).parent / ".peers"
        python = home / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "-q", "litellm[proxy]"], check=True
            )
        config = self.folder / "litellm.yaml"
        config.write_text(
            "model_list:\n  - model_name: bench/model\n    litellm_params:\n"
            f"      model: openai/bench\n      api_base: http://127.0.0.1:{to}/v1\n"
            "      api_key: x\n"
        )
        port = free_port()
        env = {
            **os.environ,
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # It listens on loopback for a minute, with nothing behind it.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        command = [str(home / "bin" / "litellm"), "--config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        pid = self.start([*command, "--num_workers", "1"], "litellm", env)
        wait_for_port(port)
        return Subject("litellm", port, "x", "bench/model", [pid, *machine.children(pid)])


def upstream_entry(name: str, base_url: str, model: str, extra: str = "") -> str:
    """Write an upstream of `jusinfer.toml`."""
    return (
        f'[[upstream]]\nname = "{name}"\nbase_url = "{base_url}"\nis_local = true\n'
        f'api_key = "x"\n{extra}[[upstream.model]]\nid = "{model}"\ninput = "0.15"\n'
        'output = "0.60"\n'
    )


def free_port() -> int:
    """Give a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(path: Path, text: str) -> None:
    """Wait until a file holds a text."""
    deadline = time.monotonic() + START_SECONDS
    while text not in path.read_text(errors="replace"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} never said {text}")
        time.sleep(0.1)


def wait_for_port(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return

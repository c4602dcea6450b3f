"""nginx as the provider of short answers, and as the bare proxy that all are compared with."""

import os
import shutil
import time
from pathlib import Path
from typing import Final

from bench import machine
from bench.subjects import NoFigure, Stage, Subject, free_port

START_SECONDS: Final = 10.0
ANSWER: Final = (
    '{"id":"chatcmpl-9abcdefghijklmnopqrstuvwxyz","object":"chat.completion","created":1764000000,'
    '"model":"bench/model","choices":[{"index":0,"message":{"role":"assistant","content":"'
    + ("A short answer of a fair length, as many are. " * 6).strip()
    + '"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":140,'
    '"completion_tokens":60,"total_tokens":200,"prompt_tokens_details":{"cached_tokens":0},'
    '"completion_tokens_details":{"reasoning_tokens":0}}}'
)
MODELS: Final = (
    '{"object":"list","data":[{"id":"bench/model","object":"model","owned_by":"bench"}]}'
)
# Buffers hold the largest bodies and answers of the bench, so that none goes to a file.
HEAD: Final = (
    "worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error;\n"
    "events {{ worker_connections {connections}; }}\n"
    "http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n"
    "client_body_buffer_size 1m; client_max_body_size 4m; proxy_max_temp_file_size 0;\n"
    "proxy_buffers 32 8k; proxy_read_timeout 600s;\n"
    "client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n"
    "uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
)
STATIC: Final = (
    "server {{ listen 127.0.0.1:{port}{tls} default_type application/json;\n"
    "location = /v1/models {{ return 200 '{models}'; }}\n"
    "location / {{ return 200 '{answer}'; }} }} }}\n"
)
PROXY: Final = (
    "upstream u {{ server 127.0.0.1:{to}; keepalive 512; keepalive_requests 1000000000; }}\n"
    "server {{ listen 127.0.0.1:{port}{tls} location / {{ proxy_pass {scheme}://u;"
    ' proxy_http_version 1.1; proxy_set_header Connection "";'
    " proxy_buffering {buffering}; }} }} }}\n"
)


def static(stage: Stage, *, pair: Path | None = None) -> int:
    """Start the provider of short answers, behind TLS where a certificate is given; its port."""
    port = free_port()
    name = "static" if pair is None else "static-tls"
    _start(stage, name, STATIC.format(port=port, tls=_tls(pair), models=MODELS, answer=ANSWER))
    return port


def proxy(
    stage: Stage,
    name: str,
    to: int,
    *,
    is_buffered: bool,
    pair: Path | None = None,
    is_tls_to: bool = False,
) -> Subject:
    """Start a bare reverse proxy with kept connections to its provider."""
    port = free_port()
    rest = PROXY.format(
        port=port,
        to=to,
        tls=_tls(pair),
        scheme="https" if is_tls_to else "http",
        buffering="on" if is_buffered else "off",
    )
    worker = _start(stage, name, rest)
    return Subject("nginx", port, "bench/model", [worker], is_tls=pair is not None)


def _tls(pair: Path | None) -> str:
    if pair is None:
        return " backlog=4096;"
    return f" ssl backlog=4096; ssl_certificate {pair}; ssl_certificate_key {pair};"


def _start(stage: Stage, name: str, rest: str) -> int:
    folder = stage.folder / name
    folder.mkdir()
    file = folder / "nginx.conf"
    # More than open files allow: nginx cuts clients when a sixteenth of these is left.
    connections = min(os.sysconf("SC_OPEN_MAX"), machine.FILES_WANTED) * 9 // 8
    file.write_text(HEAD.format(folder=folder, connections=connections) + rest)
    master = stage.start([shutil.which("nginx") or "nginx", "-c", str(file)], name)
    deadline = time.monotonic() + START_SECONDS
    while not machine.children(master):
        if time.monotonic() > deadline:
            said = (stage.folder / f"{name}.err").read_text(errors="replace").strip()
            raise NoFigure(f"nginx did not start: {said[-160:]}")
        time.sleep(0.05)
    return machine.children(master)[0]

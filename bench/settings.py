"""The settings of the product that is measured."""

from pathlib import Path
from typing import Final

# Limits that no load here may reach: what is measured is the work, not a refusal.
GATEWAY: Final = """
[gateway]
connections_max = 32768
upstream_connections_max = 32768
"""
LISTEN_TLS: Final = """
[listen]
tls_certificate = "{pair}"
tls_key = "{pair}"
"""
UPSTREAM: Final = """
[[upstream]]
name = "{name}"
base_url = "{base_url}"
is_local = true
api_key = "x"
first_event_seconds = 600.0
between_events_seconds = 600.0
{extra}"""
MODEL: Final = """
[[upstream.model]]
id = "{model}"
input = "0.15"
output = "0.60"
capabilities = ["tools"]
{extra}"""
STREAMS: Final = ("bench/short", "bench/paced", "bench/burst", "bench/held", "bench/big")


def config(
    static: int,
    streams: int,
    *,
    tls: tuple[int, Path] | None = None,
    listen_pair: Path | None = None,
) -> str:
    """Write `jusinfer.toml` for the providers at these ports.

    `tls` is the port of the provider behind TLS with its authority's file.
    """
    plain_url, streams_url = (f"http://127.0.0.1:{port}/v1" for port in (static, streams))
    parts = [
        GATEWAY,
        LISTEN_TLS.format(pair=listen_pair) if listen_pair else "",
        UPSTREAM.format(name="bench", base_url=plain_url, extra=""),
        MODEL.format(model="bench/model", extra=""),
        UPSTREAM.format(name="benchstrong", base_url=plain_url, extra=""),
        MODEL.format(model="bench/strong", extra="tier = 3\n"),
        UPSTREAM.format(name="benchstreams", base_url=streams_url, extra=""),
        *(MODEL.format(model=model, extra="") for model in STREAMS),
        UPSTREAM.format(name="benchclaude", base_url=streams_url, extra='api = "anthropic"\n'),
        MODEL.format(model="bench/claude", extra='upstream_model = "bench/paced"\n'),
    ]
    if tls is not None:
        url, extra = f"https://localhost:{tls[0]}/v1", f'ca_file = "{tls[1]}"\n'
        parts.append(UPSTREAM.format(name="benchtls", base_url=url, extra=extra))
        parts.append(MODEL.format(model="bench/tls", extra=""))
    return "".join(parts)

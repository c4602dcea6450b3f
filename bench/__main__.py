"""`make bench`: starts every subject, measures them in the same minutes, prints one table."""

import argparse
import datetime as dt
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench import load, machine
from bench.posting import posting
from bench.subjects import Stage, Subject, free_port, upstream_entry, wait_for

STREAM_MODEL = "sandbox/tokens?n=100&token_ms=10"
PLAIN_RATIO_MAX = 4.5
EVENT_RATIO_MAX = 1.8
TRANSLATION_US_MAX = 15
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, print, and keep the figures."""
    options = argparse.ArgumentParser(prog="bench", description=__doc__)
    options.add_argument("--peers", action="store_true", help="measure LiteLLM's proxy too")
    options.add_argument("--quick", action="store_true", help="about a minute in all")
    chosen = options.parse_args()
    missing = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    if missing and not _install(missing):
        print(f"bench: {' and '.join(missing)} missing and not to be had here; nothing measured")
        return 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    figures: dict[str, object] = {"machine": machine.facts(), "files": soft}
    with tempfile.TemporaryDirectory(prefix="ji-bench-") as name:
        folder = Path(name)
        with Stage(folder) as stage:
            _measure(stage, folder, figures, chosen)
    with tempfile.TemporaryDirectory(prefix="ji-bench-") as name:
        figures["posting"] = posting(Path(name), 20_000 if chosen.quick else 120_000)
    _say_posting(figures)
    RESULTS.mkdir(exist_ok=True)
    stamp = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    kept = RESULTS / f"{stamp}.local.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    print(f"\nkept in {kept.relative_to(Path.cwd()) if kept.is_relative_to(Path.cwd()) else kept}")
    return 0


def _install(names: list[str]) -> bool:
    command = ["apt-get", "install", "-y", "-qq", *names]
    if shutil.which("apt-get") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _measure(
    stage: Stage, folder: Path, figures: dict[str, object], chosen: argparse.Namespace
) -> None:
    seconds = 3 if chosen.quick else 8
    upstream = stage.upstream()
    tls_port, ca_file = stage.tls_upstream()
    sandbox_port = free_port()
    sandbox = [sys.executable, "-m", "jusinfer.sandbox.app", "--port", str(sandbox_port)]
    stage.start(sandbox, "sandbox")
    wait_for(folder / "sandbox.out", "sandbox_ready")
    ours = stage.jusinfer(
        {
            "plain": upstream_entry("bench", f"http://127.0.0.1:{upstream}/v1", "bench/model"),
            "tls": upstream_entry(
                "benchtls",
                f"https://localhost:{tls_port}/v1",
                "bench/tls",
                f'ca_file = "{ca_file}"\n',
            ),
            "stream": upstream_entry(
                "benchstream", f"http://127.0.0.1:{sandbox_port}/v1", STREAM_MODEL
            ),
            "claude": upstream_entry(
                "benchclaude",
                f"http://127.0.0.1:{sandbox_port}/v1",
                "bench/claude",
                'dialect = "anthropic"\n',
            )
            + f'upstream_model = "{STREAM_MODEL}"\n',
        }
    )
    idle_mb = machine.resident_kb(ours.pids[0]) / 1024
    floor = stage.proxy("floor", upstream, is_buffered=True)
    unbuffered = stage.proxy("unbuffered", sandbox_port, is_buffered=False)
    direct = Subject("direct", upstream, "x", "bench/model", [])
    subjects = [direct, floor, ours]
    if chosen.peers:
        subjects.append(stage.litellm(upstream))
    load.plain(ours, folder, connections=32, seconds=2)
    rows = {
        f"{subject.name} c={connections}": load.plain(
            subject, folder, connections=connections, seconds=seconds
        )
        for connections in (1, 32)
        for subject in subjects
    }
    tls = msgspec.structs.replace(ours, model="bench/tls")
    rows["jusinfer, TLS upstream c=32"] = load.plain(tls, folder, connections=32, seconds=seconds)
    routed = msgspec.structs.replace(ours, model="jusinfer/auto:bench/model,bench/tls")
    rows["jusinfer, routed c=32"] = load.plain(routed, folder, connections=32, seconds=seconds)
    figures["plain"] = rows
    _say_plain(rows, idle_mb)
    counts = (64, 1_000) if chosen.quick else (64, 1_000, 5_000)
    streams = {
        f"{subject.name} s={count}": load.streamed(subject, STREAM_MODEL, count)
        for count in counts
        for subject in (unbuffered, ours)
    }
    for name, model, surface in (
        ("chat over chat", STREAM_MODEL, load.CHAT),
        ("messages over messages", "bench/claude", load.MESSAGES),
        ("chat over messages", "bench/claude", load.CHAT),
        ("messages over chat", STREAM_MODEL, load.MESSAGES),
    ):
        streams[name] = load.streamed(ours, model, counts[0], surface)
    figures["streams"] = streams
    figures["idle_mb"] = idle_mb
    _say_streams(streams)


def _say_plain(rows: dict[str, load.Plain], idle_mb: float) -> None:
    print(json.dumps(machine.facts()))
    print(
        f"\n{'plain answers':32}{'CPU µs':>9}{'x nginx':>8}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
    )
    for name, row in rows.items():
        floor = rows[f"nginx {name.split()[-1]}"].cpu_us
        ratio = f"{row.cpu_us / floor:8.1f}" if row.cpu_us else " " * 8
        print(
            f"{name:32}{row.cpu_us:9.1f}{ratio}{row.per_second:9.0f}{row.p50_ms:9.2f}"
            f"{row.p99_ms:9.2f}" + (f"  {row.failures} failed" if row.failures else "")
        )
        for part, spent in row.beside_us.items():
            print(f"{'  ' + part:32}{spent:9.1f}")
    print(f"idle gateway worker: {idle_mb:.0f} MB (expected at most 55)")
    if "litellm c=32" in rows:
        times = rows["litellm c=32"].cpu_us / rows["jusinfer c=32"].cpu_us
        print(f"LiteLLM spends {times:.0f} times our CPU per request (expected at least 100)")
    ratio = rows["jusinfer c=32"].cpu_us / rows["nginx c=32"].cpu_us
    _say_ratio(ratio, PLAIN_RATIO_MAX)


def _say_streams(rows: dict[str, load.Streamed]) -> None:
    print(f"\n{'streams of 100 events, 10 ms':32}{'µs/event':>9}{'first ms':>10}{'KB each':>9}")
    for name, row in rows.items():
        print(
            f"{name:32}{row.cpu_us_per_event:9.1f}{row.first_event_ms_p50:10.1f}"
            f"{row.kb_per_stream:9.1f}"
        )
    passed = rows["chat over chat"].cpu_us_per_event
    for name in ("chat over messages", "messages over chat"):
        more = rows[name].cpu_us_per_event - passed
        judgement = "met" if more <= TRANSLATION_US_MAX else "not met"
        print(f"{name}: {more:.1f} µs more (expected at most {TRANSLATION_US_MAX}): {judgement}")
    ratio = rows["jusinfer s=64"].cpu_us_per_event / rows["nginx s=64"].cpu_us_per_event
    _say_ratio(ratio, EVENT_RATIO_MAX)


def _say_ratio(ratio: float, bound: float) -> None:
    judgement = "met" if ratio <= bound else "not met"
    print(f"expected at most {bound} x nginx: {judgement} ({ratio:.1f})")


def _say_posting(figures: dict[str, object]) -> None:
    row: dict[str, float] = figures["posting"]
    print(
        f"\nposting: {row['per_second']:.0f} records/s (expected 30000); CPU per completion:"
        f" settler {row['settler_us']:.1f} µs, PostgreSQL {row['postgres_us']:.1f} µs"
        " (expected 40 together)"
    )


if __name__ == "__main__":
    sys.exit(main())

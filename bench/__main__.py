"""`make bench`: starts every subject, measures them in the same minutes, prints tables."""

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import machine, measure, report, subject_litellm
from bench.bodies import Kind
from bench.figures import Figures
from bench.measure import CONNECTIONS, FULL, PEER_STREAMS, QUICK, STREAMS, Plan
from bench.posting import posting
from bench.subject_jusinfer import Product
from bench.subjects import BenchError, Stage, Subject, nginx_program, probe

RESULTS: Final = Path(__file__).parent / "results"
PARTS: Final = ("plain", "stream", "ttft", "memory", "keys", "settler", "tls")
PEER: Final = "litellm"
INSTALL_SECONDS: Final = 300.0


class Choice(msgspec.Struct, frozen=True):
    """What is to be measured."""

    plan: Plan
    parts: tuple[str, ...]
    has_peers: bool


def main() -> int:
    """Measure, print, and keep the figures; 1 when something that is needed is missing."""
    options = argparse.ArgumentParser(prog="bench", description=__doc__)
    options.add_argument("--peers", action="store_true", help="measure LiteLLM's proxy too")
    options.add_argument("--quick", action="store_true", help="about a minute in all")
    options.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    options.add_argument("--keep", action="store_true", help="write figures that git sees")
    given = options.parse_args()
    parts = tuple(given.only.split(","))
    if not set(parts) <= set(PARTS):
        options.error(f"--only takes some of {','.join(PARTS)}")
    choice = Choice(QUICK if given.quick else FULL, parts, given.peers)
    try:
        _ensure_tools()
        figures = _run(choice)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for line in report.tables(figures):
        print(line)
    print(f"\nkept in {_keep(figures, is_seen=given.keep)}")
    return 0


def _ensure_tools() -> None:
    """Install nginx and wrk where that is allowed, or say what is missing."""
    missing = [name for name in ("nginx", "wrk") if not _has(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        command = ["apt-get", "install", "-y", "-qq", *missing]
        subprocess.run(command, capture_output=True, check=False, timeout=INSTALL_SECONDS)
        missing = [name for name in missing if not _has(name)]
    if missing:
        raise BenchError(
            f"{' and '.join(missing)} missing, so there is nothing to measure with or against;"
            " install with your system's packages"
        )


def _has(name: str) -> bool:
    if name != "nginx":
        return shutil.which(name) is not None
    try:
        nginx_program()
    except BenchError:
        return False
    return True


def _run(choice: Choice) -> Figures:
    files = machine.raise_file_limit()
    figures = Figures(
        machine=machine.facts(),
        options={"files": files, "seconds": choice.plan.seconds, "rounds": choice.plan.rounds},
    )
    if set(choice.parts) - {"settler"}:
        with (
            tempfile.TemporaryDirectory(prefix="ji-bench-") as name,
            Stage(Path(name), files) as stage,
        ):
            # nginx's worker is another user than root, and looks for its folders below this one.
            stage.folder.chmod(0o711)
            _measure(stage, figures, choice)
    if "settler" in choice.parts:
        _say("settler: posting a pile")
        with tempfile.TemporaryDirectory(prefix="ji-bench-") as name:
            figures.settler = posting(Path(name), choice.plan.posted)
    return figures


def _measure(stage: Stage, figures: Figures, choice: Choice) -> None:
    _say("starting the subjects")
    direct, ca_file = stage.direct()
    floor = stage.floor(direct.ports, ca_file)
    product = Product(stage, direct.ports, ca_file)
    try:
        proxies = [floor, product.subject]
        if choice.has_peers:
            _say("starting LiteLLM (its first installation takes minutes)")
            proxies.append(subject_litellm.start(stage, direct.ports, ca_file))
        figures.versions = {subject.name: subject.version for subject in proxies}
        for subject in (direct, *proxies):
            for kind in (Kind.PLAIN, Kind.TLS, Kind.FIRST):
                if kind is not Kind.TLS or subject is not direct:
                    probe(subject, kind)
        _take(stage.folder, figures, choice, (direct, *proxies))
        if "keys" in choice.parts:
            _say("keys")
            figures.keys = measure.keys(product, stage.folder, choice.plan)
    finally:
        product.close()


def _take(folder: Path, figures: Figures, choice: Choice, subjects: Sequence[Subject]) -> None:
    """Take every figure that compares subjects; the first of them is the upstream itself."""
    plan, proxies = choice.plan, subjects[1:]
    idle = {subject.name: subject.memory() for subject in proxies}
    if "plain" in choice.parts:
        for connections in CONNECTIONS:
            _say(f"plain answers, {connections} connections")
            rows = measure.plain(subjects, folder, plan, Kind.PLAIN, connections)
            figures.plain[str(connections)] = rows
    if "tls" in choice.parts:
        _say("TLS upstream")
        figures.tls = measure.plain(proxies, folder, plan, Kind.TLS, CONNECTIONS[-1])
    for subject in subjects:
        if "ttft" in choice.parts:
            _say(f"first token, {subject.name}")
            figures.ttft[subject.name] = measure.first_token(subject, plan)
    for subject in proxies:
        is_peer = subject.name == PEER
        if "stream" in choice.parts:
            _say(f"streams, {subject.name}")
            streams = PEER_STREAMS if is_peer else STREAMS
            figures.stream[subject.name] = measure.streamed(subject, plan, streams)
        if "memory" in choice.parts:
            _say(f"memory, {subject.name}")
            counts = plan.open_counts[:1] if is_peer else plan.open_counts
            figures.memory[subject.name] = measure.memory(subject, idle[subject.name], counts)


def _keep(figures: Figures, *, is_seen: bool) -> Path:
    RESULTS.mkdir(exist_ok=True)
    stamp = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = RESULTS / f"{stamp}{'' if is_seen else '.local'}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    return path


def _say(text: str) -> None:
    print(f"bench: {text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: starts every subject, measures them in the same minutes, prints the tables."""

import argparse
import datetime as dt
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bench import groups, machine, report
from bench.groups import Outcome, Plan
from bench.posting import posting
from bench.rounds import FAULTS, reason
from bench.subjects import installed

RESULTS: Final = Path(__file__).parent / "results"
ROUNDS: Final = 3
SECONDS: Final = 4.0
QUICK_SECONDS: Final = 2.0


def main() -> int:
    """Measure, print, and keep the figures."""
    chosen = _options()
    if not installed(["nginx", "wrk"]):
        print("bench: nginx or wrk is missing and not to be had here; nothing measured")
        return 1
    # So that an end from outside ends the programs that were started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(
        rounds=chosen.rounds or (1 if chosen.quick else ROUNDS),
        seconds=QUICK_SECONDS if chosen.quick else SECONDS,
        is_quick=chosen.quick,
        has_peers=chosen.peers,
        against=chosen.against,
    )
    facts = machine.facts() | {
        "open_files": machine.open_files(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
    }
    figures: dict[str, object] = {"machine": facts}
    lines = _measure(plan, figures)
    facts["load_at_end"] = machine.load_average()
    for line in (*report.machine_lines(facts), *lines):
        print(line)
    RESULTS.mkdir(exist_ok=True)
    stamp = dt.datetime.now(tz=dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    kept = RESULTS / f"{stamp}.local.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    print(f"\nkept in {kept.relative_to(Path.cwd()) if kept.is_relative_to(Path.cwd()) else kept}")
    return 0


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="bench", description=__doc__)
    options.add_argument("--peers", action="store_true", help="measure other gateways too")
    options.add_argument("--quick", action="store_true", help="few rows, one round: a minute")
    options.add_argument("--rounds", type=int, default=0, help=f"how many (default {ROUNDS})")
    options.add_argument(
        "--against",
        type=Path,
        default=None,
        help="another checkout of the product, with its .venv, to measure beside this one",
    )
    chosen = options.parse_args()
    if chosen.rounds < 0:
        options.error("--rounds must be 1 or more")
    if chosen.against is not None:
        chosen.against = chosen.against.resolve()
        if not (chosen.against / ".venv" / "bin" / "python").exists():
            options.error(f"--against {chosen.against}: no .venv there; run `make setup` in it")
    return chosen


def _measure(plan: Plan, figures: dict[str, object]) -> list[str]:
    """Run every group; one that cannot run has its reason in the tables."""
    lines: list[str] = []
    cells: dict[str, object] = {}
    kinds: list[tuple[str, Callable[[Plan, groups.Say], Outcome]]] = [("main rows", groups.main)]
    if not plan.is_quick:
        kinds += [("TLS from clients", groups.tls), ("many tenants", groups.many_tenants)]
    for name, measure in kinds:
        try:
            found = measure(plan, _say)
        except FAULTS as error:
            lines += ["", f"{name}: not measured: {reason(error)}"]
            continue
        cells |= found.cells
        for row in found.rows:
            lines += report.row_lines(row, found.cells[row.name])
        lines += found.not_tried
        if measure is groups.main:
            shown = (
                found.cells.get(one) for one in (groups.PLAIN, groups.PACED, groups.CLIENT_APIS)
            )
            lines += report.judgements(*shown)
    figures["rows"] = cells
    try:
        quiet = groups.quiet(plan, _say)
        figures["idle_ms_per_second"], figures["memory"] = quiet.idle_ms, quiet.memory
        lines += report.idle_lines(quiet.idle_ms)
        if quiet.memory:
            lines += [*report.memory_lines(quiet.memory), *quiet.not_tried]
    except FAULTS as error:
        lines += ["", f"idle processes and open streams: not measured: {reason(error)}"]
    lines += _posting(plan, figures)
    if plan.is_quick:
        lines += ["", "left out of --quick: smaller agents, long text and answers, first content,"]
        lines += ["client APIs, TLS, many tenants, memory of open streams, and further rounds"]
    return lines


def _posting(plan: Plan, figures: dict[str, object]) -> list[str]:
    try:
        with tempfile.TemporaryDirectory(prefix="ji-bench-") as name:
            row = posting(Path(name), 20_000 if plan.is_quick else 120_000)
    except FAULTS as error:
        return ["", f"posting: not measured: {reason(error)}"]
    figures["posting"] = row
    return list(report.posting_lines(row))


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

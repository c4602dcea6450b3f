"""`make bench-routing`: how good the rules are, beside simpler ones; `score` ranks requests.

`--data FOLDER` (or ROUTING_DATA) holds `dev/` and `check/` with paired outcomes. `score` reads
requests as JSON lines and writes one number for each: the higher, the sooner to the strong model.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec

from bench.routing.outcomes import PARTS, MissingData
from bench.routing.report import Report, measured
from bench.routing.rules import Asked, TableRule
from bench.routing.speed import speeds
from bench.routing.writing import tables, write
from jusinfer import rules
from jusinfer.domain.routing.rules import RuleTable

RESULTS = Path(__file__).parent.parent / "results"


def main() -> int:
    """Measure and write a report, or rank what is read."""
    options = argparse.ArgumentParser(prog="bench.routing", description=__doc__)
    options.add_argument(
        "what", nargs="?", choices=["measure", "score", "speed"], default="measure"
    )
    folder = os.environ.get("ROUTING_DATA", "")
    options.add_argument("--data", default=folder, help="the folder with dev/ and check/")
    options.add_argument("--part", choices=PARTS, default="check")
    options.add_argument("--rules", help="a rule table in place of the built-in one")
    options.add_argument("--quick", action="store_true", help="fewer draws, nothing fitted")
    chosen = options.parse_args()
    found = rules.read_file(Path(chosen.rules)) if chosen.rules else rules.builtin()
    if chosen.what == "score":
        return _score(found.table)
    if chosen.what == "speed":
        print(tables(Report(found.table.version, "", {}, {}, {}, {}, speeds(found.table))))
        return 0
    if not chosen.data:
        print("bench.routing: give the folder of outcomes with --data FOLDER or ROUTING_DATA")
        return 2
    try:
        report = measured(Path(chosen.data), chosen.part, found.table, is_quick=chosen.quick)
    except MissingData as error:
        print(f"bench.routing: {error}")
        return 2
    RESULTS.mkdir(exist_ok=True)
    print(tables(report))
    print(f"kept in {write(report, RESULTS)}")
    return 0


def _score(table: RuleTable) -> int:
    """Rank requests that come as JSON lines."""
    rule = TableRule(table)
    decode = msgspec.json.Decoder(Asked).decode
    for line in sys.stdin.buffer:
        if line.strip():
            sys.stdout.write(f"{rule(decode(line))!r}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

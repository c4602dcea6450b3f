"""Run real agents against the product and print a table: python -m tools.agents --help."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from tools.agents import odd, record
from tools.agents.install import SCENARIOS, Agent, agents, install, libraries
from tools.agents.page import PAGE, recipes
from tools.agents.product import PROVIDERS, Place, bare, product, providers_for
from tools.agents.runs import FAILED, Run, Verdict, perform
from tools.agents.tee import Tee

BASE: Final = "plain"
RECORDED: Final = "reason"
HEADINGS: Final = ("agent", "version", "API", "provider", "scenario", "verdict", "reason")


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, run, print; gives 0 when every run was good."""
    options = argparse.ArgumentParser(prog="agents", description=__doc__)
    names = list(agents())
    options.add_argument("--agent", action="append", choices=names, help="only this one")
    options.add_argument("--api", action="append", help="only this one")
    options.add_argument("--provider", action="append", choices=list(PROVIDERS), help="only this")
    options.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one")
    options.add_argument(
        "--all", action="store_true", help="each scenario by each API and provider"
    )
    options.add_argument("--direct", action="store_true", help="at the sandbox, past the product")
    options.add_argument("--record", action="store_true", help="write tests/agents/requests anew")
    options.add_argument("--jobs", type=int, default=2, help="so many runs at a time")
    options.add_argument("--timeout", type=float, default=120.0, help="seconds for one run")
    chosen = options.parse_args(arguments)
    missing = _installed([agents()[name] for name in chosen.agent or names])
    if chosen.record:
        return _record(_runs(chosen, missing), chosen.timeout)
    runs = _runs(chosen, missing)
    if not (chosen.all or chosen.scenario or chosen.api or chosen.provider):
        runs = spread(runs)
    with bare() if chosen.direct else product() as place:
        verdicts = _all(runs, place, chosen.jobs, chosen.timeout)
    show(verdicts, untried(chosen, runs), missing)
    is_good = not missing and all(not verdict.reason for verdict in verdicts)
    tried = {run.agent.name for run in runs}
    if not chosen.agent:
        tried |= set(libraries())
    if not chosen.direct:
        is_good = odd.main([name for name in odd.SCRIPTS if name in tried]) == 0 and is_good
    return 0 if is_good else 1


def _installed(wanted: list[Agent]) -> dict[str, str]:
    """Install all; gives the reasons of those that cannot be had."""
    missing: dict[str, str] = {}
    for agent in wanted:
        print(f"agents: {agent.name} {agent.version}", file=sys.stderr)
        reason = install(agent)
        if reason:
            missing[agent.name] = reason
    return missing


def _runs(chosen: argparse.Namespace, missing: dict[str, str]) -> list[Run]:
    known = agents()
    return [
        Run(known[recipe.agent], recipe, provider, scenario)
        for recipe in recipes(PAGE.read_text(encoding="utf-8"))
        if recipe.agent in (chosen.agent or known) and recipe.agent not in missing
        if not chosen.api or recipe.api in chosen.api
        for provider in providers_for(recipe.api)
        if not chosen.provider or provider in chosen.provider
        for scenario in known[recipe.agent].scenarios
        if not chosen.scenario or scenario in chosen.scenario
    ]


def spread(runs: list[Run]) -> list[Run]:
    """Keep the plain runs, and of each other scenario one for each agent.

    Which API and provider that one goes by moves on from scenario to scenario, so that over all
    of them each way is gone.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.agent.name, run.scenario), []).append(run)
    kept: set[Run] = set()
    turns: Counter[str] = Counter()
    for (agent, scenario), group in groups.items():
        if scenario == BASE:
            kept.update(group)
        else:
            kept.add(group[turns[agent] % len(group)])
            turns[agent] += 1
    return [run for run in runs if run in kept]


def _all(runs: list[Run], place: Place, jobs: int, timeout: float) -> list[Verdict]:
    verdicts: dict[Run, Verdict] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(perform, run, place.url, place.key, timeout) for run in runs]
        for number, future in enumerate(as_completed(futures), 1):
            verdict = future.result()
            verdicts[verdict.run] = verdict
            row = " ".join(_row(verdict))
            print(f"agents: {number}/{len(runs)} {row}", file=sys.stderr, flush=True)
    return [verdicts[run] for run in runs]


def _row(verdict: Verdict) -> tuple[str, ...]:
    run = verdict.run
    return (
        run.agent.name,
        run.agent.version,
        run.recipe.api,
        run.provider,
        run.scenario,
        "failed" if verdict.reason else "ok",
        verdict.reason,
    )


def untried(chosen: argparse.Namespace, runs: list[Run]) -> list[tuple[str, ...]]:
    """Give a row for each scenario that an agent of these runs cannot do, with the reason."""
    tried = {run.agent.name: run.agent for run in runs}
    return [
        (name, agent.version, "", "", scenario, "not tried", reason)
        for name, agent in tried.items()
        for scenario, reason in agent.cannot
        if not chosen.scenario or scenario in chosen.scenario
    ]


def show(verdicts: list[Verdict], untried: list[tuple[str, ...]], missing: dict[str, str]) -> None:
    """Print the table: what was run, what no run is made of, and who could not be installed."""
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for row in [*map(_row, verdicts), *untried]:
        cells = [cell.replace("|", "/") for cell in row]
        print(f"| {' | '.join(cells)} |")
    for name, reason in missing.items():
        print(f"| {name} | {agents()[name].version} | | | | not installed | {reason} |")
    bad = sum(bool(verdict.reason) for verdict in verdicts)
    print(f"\n{len(verdicts) - bad} passed, {bad} failed")
    if bad:
        print(f"What the failed ones said is below {FAILED}.", file=sys.stderr)


def _record(runs: list[Run], timeout: float) -> int:
    """Let each agent do one task at the sandbox, and keep what it sent."""
    faults = 0
    for run in runs:
        if (run.scenario, run.provider) != (RECORDED, "chat"):
            continue
        with bare() as place, Tee(place.sandbox_port) as tee:
            verdict = perform(run, f"http://127.0.0.1:{tee.port}", place.key, timeout)
        faults += bool(verdict.reason)
        name = f"{run.agent.name}-{run.recipe.api}"
        path = record.write(name, tee.heard)
        print(f"{path.name}: {path.stat().st_size} bytes {verdict.reason}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""A report as text for a terminal, as Markdown with a picture, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.routing.measures import SHARES
from bench.routing.plot import picture
from bench.routing.report import CHEAPEST, LEFT_OUT, LITELLM_DOLLAR, OURS, Report

TITLES: Final[Mapping[str, str]] = {
    "A": "A: multiple choice",
    "B": "B: word problems",
    "C": "C: mixed tasks with code",
}


def write(report: Report, folder: Path) -> Path:
    """Write a report into a folder, and give its Markdown file."""
    name = f"routing-{report.part}.local"
    named = {TITLES[name]: lines for name, lines in report.curves.items()}
    (folder / f"{name}.svg").write_text(picture(named), "utf-8")
    kept = msgspec.structs.replace(report, curves={})
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    page = folder / f"{name}.md"
    page.write_text(
        f"# Routing, table {report.version}, part `{report.part}`\n\n"
        f"![Cost and quality]({name}.svg)\n\n{tables(report)}",
        "utf-8",
    )
    return page


def tables(report: Report) -> str:
    """Write every table of a report in Markdown."""
    parts = [*_quality(report), *_signals(report), *_neutral(report), *_speed(report)]
    return "\n".join([*parts, *report.notes, ""])


def _quality(report: Report) -> Iterator[str]:
    for name, rows in report.rows.items():
        shares = " | ".join(f"at {share:.0%}" for share in SHARES)
        yield f"\n{TITLES[name]}\n"
        yield from _head(f"rule | AIQ | headroom | APGR | CPT50 | CPT80 | {shares} | over cheapest")
        for rule, row in rows.items():
            own = row.measures
            at = " | ".join(f"{value:.3f}" for value in own.at)
            gap, error = row.over.get(CHEAPEST, (0.0, 0.0))
            over = f"{gap:+.4f} ± {error:.4f}" if CHEAPEST in row.over else ""
            yield (
                f"| {rule} | {own.aiq:.4f} ± {row.error:.4f} | {row.headroom:+.1%} | "
                f"{own.apgr:.3f} | {own.cpt50:.2f} | {own.cpt80:.2f} | {at} | {over} |"
            )
    yield from _verdicts(report)


def _verdicts(report: Report) -> Iterator[str]:
    """Say what must hold, and whether it does."""
    if not report.rows:
        return
    yield ""
    for rule in (OURS, LEFT_OUT):
        rows = {name: found[rule] for name, found in report.rows.items() if rule in found}
        if not rows:
            continue
        mean = sum(row.headroom for row in rows.values()) / len(rows)
        yield f"- {rule}: mean gain over random {mean:.1%} of the oracle's headroom"
        for other in (CHEAPEST, LITELLM_DOLLAR):
            gaps = {name: row.over[other] for name, row in rows.items() if other in row.over}
            if gaps:
                said = ", ".join(
                    f"{name} {gap:+.4f} ± {error:.4f} {_verdict(gap, error)}"
                    for name, (gap, error) in gaps.items()
                )
                yield f"- {rule} over {other}: {said}"
    for name, points in report.fitted.items():
        said = ", ".join(f"{signal} {value:+d}" for signal, value in points.items() if value)
        yield f"- points fitted without {name}: {said}"


def _verdict(gap: float, error: float) -> str:
    if gap >= 0:
        return "(holds)"
    return "(within one standard error)" if gap >= -error else "(DOES NOT HOLD)"


def _signals(report: Report) -> Iterator[str]:
    if not report.signals:
        return
    yield "\nSignals: share of requests, and gain of the strong model where it fires\n"
    yield from _head(f"signal | {' | '.join(report.signals)}")
    names = sorted({name for found in report.signals.values() for name in found})
    for signal in names:
        cells = [
            f"{found[signal].share:.1%}, {found[signal].gain:+.3f}" if signal in found else "-"
            for found in report.signals.values()
        ]
        yield f"| {signal} | {' | '.join(cells)} |"


def _neutral(report: Report) -> Iterator[str]:
    if not report.neutral:
        return
    yield "\nNeutrality: flipped decisions, and AIQ after the change\n"
    yield from _head(f"change | {' | '.join(report.neutral)}")
    for change in next(iter(report.neutral.values())):
        cells = [
            f"{found[change].flips:.1%}, {found[change].after - found[change].before:+.4f}"
            for found in report.neutral.values()
        ]
        yield f"| {change} | {' | '.join(cells)} |"


def _speed(report: Report) -> Iterator[str]:
    if not report.speeds:
        return
    yield "\nOne decision among 12 models: hints and choice, µs\n"
    yield from _head("text | bytes | p50 | p99")
    for one in report.speeds:
        yield f"| {one.language} | {one.size_bytes:,} | {one.p50_us:.1f} | {one.p99_us:.1f} |"


def _head(titles: str) -> Sequence[str]:
    return (f"| {titles} |", "|" + "---|" * (titles.count("|") + 1))

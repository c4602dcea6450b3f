"""The project's own lint: one pass over the syntax trees. Run as `python -m tools.tidy`."""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tools.tidy_rules import house, money, shape, words
from tools.tidy_rules.model import Escape, FileRule, Finding, HouseRule, Repository, Source

FILE_RULES: Final[tuple[FileRule, ...]] = (
    shape.syntax,
    shape.file_lines,
    shape.function_lines,
    shape.blind_except,
    shape.no_global,
    shape.mutable_module,
    shape.stray_task,
    money.money,
    words.todo,
    words.words,
    house.pure_imports,
)
HOUSE_RULES: Final[tuple[HouseRule, ...]] = (
    house.orphans,
    house.error_rows,
    house.settings,
    house.column_tags,
    house.event_fields,
)
RECORD: Final = "tools/tidy_escapes.txt"
# Escapes at the head of a file excuse the file, not a line.
HEAD_LINES: Final = 5
BYTES_MAX: Final = 2_000_000
TEXT_SUFFIXES: Final = (
    "",
    ".cfg",
    ".css",
    ".html",
    ".in",
    ".ini",
    ".js",
    ".json",
    ".lock",
    ".md",
    ".mako",
    ".py",
    ".sh",
    ".sql",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
)


class Verdict(NamedTuple):
    """What a run found: open findings, and the escapes that excused others."""

    findings: list[Finding]
    escapes: list[Escape]


def read(root: Path) -> Repository:
    """Read every file that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=30)
    sources = {}
    for name in sorted(set(listed.stdout.decode().split("\0"))):
        path = root / name
        if not name or path.suffix not in TEXT_SUFFIXES or not path.is_file():
            continue
        if path.stat().st_size <= BYTES_MAX:
            sources[name] = Source(name, path.read_text(encoding="utf-8"))
    return Repository(sources)


def judge(repository: Repository) -> Verdict:
    """Apply every rule; an escape beside a finding takes it away, one beside none is a finding."""
    found = [
        finding
        for source in repository.sources.values()
        for rule in FILE_RULES
        for finding in rule(source)
    ]
    found += [finding for rule in HOUSE_RULES for finding in rule(repository)]
    escapes = [escape for source in repository.python() for escape in source.escapes()]
    used = {escape for escape in escapes for finding in found if excuses(escape, finding)}
    left = [finding for finding in found if not any(excuses(escape, finding) for escape in used)]
    left += [
        Finding(escape.path, escape.line, "escape", f"excuses no finding of {escape.rule}")
        for escape in escapes
        if escape not in used
    ]
    return Verdict(sorted(left), escapes)


def excuses(escape: Escape, finding: Finding) -> bool:
    """Whether an escape stands on the finding's line, just above it, or at the file's head."""
    if (escape.path, escape.rule) != (finding.path, finding.rule):
        return False
    if finding.line == 1:
        return escape.line <= HEAD_LINES
    return escape.line in (finding.line, finding.line - 1)


def count_fault(count: int, recorded: int, committed: int) -> str:
    """Say what is wrong with the number of escapes, or nothing: it may only fall."""
    if recorded > committed:
        return f"{RECORD} rose from {committed} to {recorded}; it may only fall"
    if count > recorded:
        return f"{count} escapes, at most {recorded}; mend one or talk about the rule"
    if count < recorded:
        return f"{count} escapes where {recorded} were recorded; write {count} into {RECORD}"
    return ""


def committed_count(root: Path, recorded: int) -> int:
    """Read the number in the last commit; the present one where there is none yet."""
    command = ["git", "show", f"HEAD:{RECORD}"]
    shown = subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=30)
    return int(shown.stdout) if shown.returncode == 0 else recorded


def report(verdict: Verdict, faults: Iterable[str], file_count: int) -> int:
    """Print what was found and give the exit code."""
    for finding in verdict.findings:
        print(f"{finding.path}:{finding.line}: {finding.rule}: {finding.message}")
    for escape in verdict.escapes:
        print(f"{escape.path}:{escape.line}: excused from {escape.rule} because {escape.reason}")
    is_faulty = bool(verdict.findings)
    for fault in filter(None, faults):
        is_faulty = True
        print(f"escapes: {fault}")
    counts = f"{len(verdict.findings)} findings, {len(verdict.escapes)} escapes"
    print(f"tidy: {file_count} files, {counts}")
    return 1 if is_faulty else 0


def main(arguments: list[str]) -> int:
    """Judge the repository around this file, or the one named."""
    parser = argparse.ArgumentParser(prog="tidy", description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    root = parser.parse_args(arguments).root
    repository = read(root)
    verdict = judge(repository)
    record = repository.get(RECORD)
    recorded = 0 if record is None else int(record.text)
    fault = count_fault(len(verdict.escapes), recorded, committed_count(root, recorded))
    return report(verdict, [fault], len(repository.sources))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The house's pages: decisions complete and listed, paths and links that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DECISIONS: Final = ROOT / "docs" / "decisions"
PAGES: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "GLOSSARY.md",
    "SECURITY.md",
    "docs/adding-a-column.md",
    "docs/adding-an-endpoint.md",
    "docs/adding-an-upstream.md",
    "docs/decisions/README.md",
    "docs/security.md",
)
HEADINGS: Final = (
    "Context",
    "Decision",
    "Consequences",
    "Turned down",
    "Held by",
    "What would change it",
)
COMMANDS: Final = ("setup", "setup-run", "run", "check", "test", "bench", "golden", "migrate")


def records() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in records()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 28


def test_the_index_lists_every_decision_by_its_title() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    for path in records():
        title = path.read_text(encoding="utf-8").splitlines()[0]
        number = path.name[:4]
        assert title.startswith(f"# {number}. ")
        assert f"| [{number}]({path.name}) | {title[8:]} |" in index


@pytest.mark.parametrize("path", records(), ids=lambda path: path.stem)
def test_a_decision_has_its_headings_and_one_page(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert tuple(line[3:] for line in lines if line.startswith("## ")) == HEADINGS
    assert len(lines) <= 50


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    lost = [target for target in targets if not (page.parent / target).exists()]
    assert lost == []


@pytest.mark.parametrize("name", PAGES)
def test_named_files_of_the_product_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lost = [path for path in re.findall(r"`((?:src|tools)/[\w./-]+)`", text) if not exists(path)]
    assert lost == []


def exists(path: str) -> bool:
    return (ROOT / path).exists()


def test_make_lists_every_command() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    for command in (*COMMANDS, "lock", "clean", "coverage"):
        assert re.search(rf"^  make {command} +\S", listed, re.MULTILINE), command


def test_the_walls_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_locks_pin_every_library_with_a_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        pins = [line for line in text.splitlines() if line and line[0] not in " #"]
        assert pins
        loose = [line[:60] for line in pins if "==" not in line or "--hash=sha256:" not in line]
        assert loose == []


def test_the_security_checklist_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (S\d+) \|.*?\| (done|partly|not yet) \| (.+?) \| (.+?) \|$", page, re.MULTILINE
    )
    assert [name for name, *_ in rows] == [f"S{number}" for number in range(1, 73)]
    for name, state, test, missing in rows:
        assert (missing == "-") <= (state == "done"), name
        if test == "-":
            assert state != "done", name
            continue
        path, _, function = test.strip("`").partition("::")
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, name
    counts = [
        sum(state == wanted for _, state, *_ in rows) for wanted in ("done", "partly", "not yet")
    ]
    assert "{} done, {} partly, {} not yet.".format(*counts) in page

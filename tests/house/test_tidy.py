"""Each rule of tidy is shown one good and one bad example; the house itself is judged last."""

from pathlib import Path

import pytest
from tools import tidy
from tools.tidy_rules import house, money, shape, words
from tools.tidy_rules.model import FileRule, Finding, HouseRule, Repository, Source

PRODUCT = "src/jusinfer/store/leases.py"
LINE = "x = 1\n"


def lines_of_function(count: int) -> str:
    return "def f():\n" + "    pass\n" * (count - 1)


# rule, path, good text, bad text
FILE_CASES: list[tuple[FileRule, str, str, str]] = [
    (shape.syntax, PRODUCT, LINE, "x = (1\n"),
    (shape.file_lines, PRODUCT, LINE * 500, LINE * 501),
    (shape.file_lines, "tests/unit/test_x.py", LINE * 800, LINE * 801),
    (shape.function_lines, PRODUCT, lines_of_function(70), lines_of_function(71)),
    (
        shape.blind_except,
        PRODUCT,
        "try:\n    f()\nexcept OSError:\n    g()\n",
        "try:\n    f()\nexcept Exception:\n    g()\n",
    ),
    (
        shape.blind_except,
        PRODUCT,
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n",
        "try:\n    f()\nexcept BaseException:\n    g()\n    raise ValueError\n",
    ),
    (
        shape.blind_except,
        PRODUCT,
        "try:\n    f()\nexcept (OSError, ValueError):\n    g()\n",
        "try:\n    f()\nexcept (OSError, Exception):\n    g()\n",
    ),
    (
        shape.blind_except,
        PRODUCT,
        "with suppress(OSError):\n    f()\n",
        "with suppress(Exception):\n    f()\n",
    ),
    (
        shape.blind_except,
        "src/jusinfer/gateway/http/server.py",
        "try:\n    f()\nexcept Exception:\n    g()\n",
        "try:\n    f()\nexcept Exception:\n    g()\n" * 2,
    ),
    (shape.blind_except, PRODUCT, "f()\n", "try:\n    f()\nexcept:\n    g()\n"),
    (shape.no_global, PRODUCT, "def f():\n    x = 1\n", "def f():\n    global x\n    x = 1\n"),
    (shape.mutable_module, PRODUCT, "X = (1,)\n", "X = [1]\n"),
    (shape.mutable_module, PRODUCT, "X = frozenset({1})\n", "X = {1}\n"),
    (shape.mutable_module, PRODUCT, "__all__ = ['a']\n", "names = ['a']\n"),
    (
        shape.mutable_module,
        PRODUCT,
        "X: Final[Mapping[str, int]] = {'a': 1}\n",
        "X: Final[dict[str, int]] = {'a': 1}\n",
    ),
    (shape.mutable_module, PRODUCT, "def f():\n    x = dict()\n", "x = dict()\n"),
    (shape.stray_task, PRODUCT, "self._tasks.create_task(f())\n", "loop.create_task(f())\n"),
    (shape.stray_task, PRODUCT, "group.create_task(f())\n", "get_loop().create_task(f())\n"),
    (
        money.money,
        PRODUCT,
        "def f(cost_pico):\n    return -(-cost_pico // 1000)\n",
        "def f(cost_pico):\n    return cost_pico / 1000\n",
    ),
    (
        money.money,
        PRODUCT,
        "def f(folder):\n    return folder / 'x'\n",
        "def f(folder, price_micro_per_mtok):\n    return folder / price_micro_per_mtok\n",
    ),
    (
        money.money,
        PRODUCT,
        "def f(row):\n    row.amount_minor = 15\n",
        "def f(row):\n    row.amount_minor = 1.5\n",
    ),
    (
        money.money,
        PRODUCT,
        "def f(cost_nano: int):\n    ended_at = 0.0\n    wait(timeout_seconds=2.5)\n",
        "def f(cost_nano: int):\n    total = 0.0\n",
    ),
    (
        money.money,
        PRODUCT,
        "def f(cost_nano: int, now: float): ...\n",
        "def f(cost_nano: float): ...\n",
    ),
    (
        money.money,
        PRODUCT,
        "def f(cost_nano):\n    return str(cost_nano)\n",
        "def f(cost_nano):\n    return float(cost_nano)\n",
    ),
    (words.todo, PRODUCT, "# TO" + "DO(12): mend\n", "# TO" + "DO: mend\n"),
    (words.todo, "docs/x.md", "To do this, type that.\n", "FIX" + "ME later\n"),
    (words.words, "docs/x.md", "Look it up.\n", "See https://pyp" + "i.org/x\n"),
    (words.words, "docs/x.md", "Use ./work/here.\n", "Look into /ro" + "ot/x\n"),
    (words.words, "docs/x.md", "the assistant's message\n", "an assistant " + "session wrote\n"),
    (words.words, "docs/x.md", "issue a key\n", "as issue " + "12 says\n"),
    (
        house.pure_imports,
        "src/jusinfer/domain/money.py",
        "import re\nfrom urllib import parse\nfrom jusinfer.domain.usage import X\n",
        "from urllib import request\n",
    ),
    (
        house.pure_imports,
        "src/jusinfer/domain/money.py",
        "import msgspec\nfrom collections.abc import Mapping\n",
        "from jusinfer.wire import sse\n",
    ),
    (
        house.pure_imports,
        "src/jusinfer/wire/sse.py",
        "from jusinfer.domain import errors\nfrom jusinfer.wire import errors\n",
        "def f():\n    import time\n",
    ),
]

EVENTS = "FIELDS: Final = frozenset({'model', 'rows'})\n"
COLUMN = "Column('a', Integer, info={'holds': 1, 'kept': 2, 'export': 3, 'erase': 4})\n"
HELPER = "def column(name, *, holds, kept, export, erase):\n    return Column(name)\n"
SETTINGS = "class ListenSettings(Struct, forbid_unknown_fields=True):\n    port: int = 1\n"

# rule, good files, bad files
HOUSE_CASES: list[tuple[HouseRule, dict[str, str], dict[str, str]]] = [
    (
        house.orphans,
        {PRODUCT: LINE, "src/jusinfer/__main__.py": "from jusinfer.store import leases\n"},
        {PRODUCT: LINE, "tests/unit/test_x.py": "from jusinfer.store import leases\n"},
    ),
    (
        house.orphans,
        {"bench/load.py": LINE, "Makefile": "run:\n\tpython -m bench.load\n"},
        {"bench/load.py": LINE, "Makefile": "run:\n\ttrue\n"},
    ),
    (
        house.orphans,
        {"tests/fakes.py": LINE, "tests/test_x.py": "from tests.fakes import x\n"},
        {"tests/fakes.py": LINE, "tests/test_x.py": LINE},
    ),
    (
        house.orphans,
        {PRODUCT: LINE, "src/jusinfer/__main__.py": 'start("store.leases")\n'},
        {PRODUCT: LINE, "src/jusinfer/__main__.py": 'start("store.lease")\n'},
    ),
    (
        house.error_rows,
        {
            house.ERRORS: "class JusinferError(Exception): ...\nclass Gone(JusinferError): ...\n",
            house.ERROR_TABLES[0]: "TABLE = {errors.Gone: 410}\n",
        },
        {
            house.ERRORS: "class JusinferError(Exception): ...\nclass Gone(JusinferError): ...\n",
            house.ERROR_TABLES[0]: "from x import Gone\nTABLE = {}\n",
        },
    ),
    (
        house.settings,
        {house.CONFIG: SETTINGS, house.CONFIG_PAGE: "| `port` | where clients come |\n"},
        {house.CONFIG: SETTINGS, house.CONFIG_PAGE: "| `ports` | where clients come |\n"},
    ),
    (
        house.settings,
        {house.CONFIG: "env['JUSINFER_PORT']\n", house.CONFIG_PAGE: "`JUSINFER_PORT`\n"},
        {house.CONFIG: "env['JUSINFER_PORT']\n", house.CONFIG_PAGE: "nothing\n"},
    ),
    (
        house.column_tags,
        {house.TABLES: COLUMN},
        {house.TABLES: COLUMN.replace(", 'erase': 4", "")},
    ),
    (
        house.column_tags,
        {house.TABLES: HELPER},
        {house.TABLES: "Column('a', Integer)\n"},
    ),
    (
        house.event_fields,
        {house.OBSERVABILITY: EVENTS, PRODUCT: "self._events.emit('posted', rows=3)\n"},
        {house.OBSERVABILITY: EVENTS, PRODUCT: "self._events.emit('posted', text=3)\n"},
    ),
]


def repository(files: dict[str, str]) -> Repository:
    return Repository({path: Source(path, text) for path, text in files.items()})


@pytest.mark.parametrize(("rule", "path", "good", "bad"), FILE_CASES)
def test_file_rule(rule: FileRule, path: str, good: str, bad: str) -> None:
    assert list(rule(Source(path, good))) == []
    assert list(rule(Source(path, bad)))


@pytest.mark.parametrize(("rule", "good", "bad"), HOUSE_CASES)
def test_house_rule(rule: HouseRule, good: dict[str, str], bad: dict[str, str]) -> None:
    assert list(rule(repository(good))) == []
    assert list(rule(repository(bad)))


def test_every_rule_has_an_example() -> None:
    shown = {case[0] for case in FILE_CASES} | {case[0] for case in HOUSE_CASES}
    assert shown == {*tidy.FILE_RULES, *tidy.HOUSE_RULES}


@pytest.mark.parametrize("rule", [house.error_rows, house.settings, house.column_tags])
def test_rules_about_files_nobody_has_written_say_nothing(rule: HouseRule) -> None:
    assert list(rule(repository({PRODUCT: LINE}))) == []


def test_other_rooms_may_catch_everything_in_tests() -> None:
    text = "try:\n    f()\nexcept Exception:\n    g()\n"
    assert list(shape.blind_except(Source("tests/unit/test_x.py", text))) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = [1]  # tidy: mutable-module because it is filled once\n",
        "# tidy: mutable-module because it is filled once\nx = [1]\n",
    ],
)
def test_an_escape_with_a_reason_excuses_its_line(text: str) -> None:
    started = {"Makefile": f"python {PRODUCT}"}
    verdict = tidy.judge(repository({PRODUCT: text, **started}))
    assert verdict.findings == []
    assert [escape.reason for escape in verdict.escapes] == ["it is filled once"]


@pytest.mark.parametrize(
    "text",
    [
        "x = [1]  # tidy: mutable-module\n",
        "x = [1]  # tidy: global because the wrong rule\n",
        "# tidy: mutable-module because it is too far away\n\n\n\n\n\n\nx = [1]\n",
        "x = ['# tidy: mutable-module because a text is no comment']\n",
    ],
)
def test_an_escape_needs_a_reason_the_right_rule_and_nearness(text: str) -> None:
    verdict = tidy.judge(repository({PRODUCT: text, "Makefile": f"python {PRODUCT}"}))
    assert "mutable-module" in {finding.rule for finding in verdict.findings}


def test_an_escape_that_excuses_nothing_is_a_finding() -> None:
    text = "\n\n\n\n\n\n# tidy: global because it once was\nx = 1\n"
    verdict = tidy.judge(repository({PRODUCT: text, "Makefile": f"python {PRODUCT}"}))
    assert verdict.findings == [Finding(PRODUCT, 7, "escape", "excuses no finding of global")]


@pytest.mark.parametrize(
    ("count", "recorded", "committed", "word"),
    [(1, 1, 1, ""), (0, 0, 3, ""), (2, 1, 1, "at most"), (0, 1, 1, "write"), (2, 2, 1, "fall")],
)
def test_the_count_of_escapes_may_only_fall(
    count: int, recorded: int, committed: int, word: str
) -> None:
    fault = tidy.count_fault(count, recorded, committed)
    assert word in fault
    assert bool(fault) is bool(word)


def test_findings_are_printed_and_fail_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = tidy.Verdict([Finding("a.py", 3, "money", "has a division")], [])
    assert tidy.report(verdict, [""], 1) == 1
    assert "a.py:3: money: has a division" in capsys.readouterr().out
    assert tidy.report(tidy.Verdict([], []), [""], 1) == 0
    assert tidy.report(tidy.Verdict([], []), ["rose"], 1) == 1


@pytest.mark.slow  # `make check` runs the tool itself, beside the others.
def test_this_house_is_tidy(capsys: pytest.CaptureFixture[str]) -> None:
    code = tidy.main([str(Path(__file__).parents[2])])
    assert code == 0, capsys.readouterr().out

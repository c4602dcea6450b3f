"""Rule tables: what may stand in one, where a fault is, and what a change changes."""

from pathlib import Path

import pytest

from jusinfer import config, rules
from jusinfer.domain.routing.rules import GATES, OUTCOMES
from jusinfer.domain.routing.rules_diff import changes, flips
from jusinfer.domain.routing.rules_parser import TEXT_BYTES_MAX, RuleFileError, read_table
from jusinfer.rules import BUILTIN, RulesStore

FOUND = rules.builtin()
TEXT = FOUND.text


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


# ---------------------------------------------------------------- judged, with the line


@pytest.mark.parametrize(
    ("old", "new", "said", "at"),
    [
        ("points = 3", "points = 30", "<= 9", "points = 30"),
        ("points = 3", "points = 0", "does nothing", "points = 0"),
        ("points = 3", 'points = "3"', "Expected `int`", 'points = "3"'),
        ("points = 3", "pints = 3", "is not known", "pints = 3"),
        ('hint = "maths"', 'hint = "math"', "no hint `math`", 'hint = "math"'),
        ('id = "health"', 'id = "helth"', "`health` is missing", "[[gate]]"),
        ('sentence = "tools were sent"\n', "", "`sentence` is missing", None),
        ("base_gain = 0.10", "base_gain = 1.5", "<= 1", "base_gain = 1.5"),
        ("[estimate]", "[estimate", "end of a table", "[estimate"),
        ('"warum"', '"Warum"', "lower case", "Warum"),
        ('counted = ["%"', 'counted = [3, "%"', "Expected `str`", "counted = [3"),
        ('de = ["wer "', 'dk = ["wer "', "`dk` is not one of", "dk = ["),
        ('task = ["code"]', 'task = ["coding"]', "`coding` is not one of", "coding"),
        ('effort = ["high"', 'effort = ["hi"', "`hi` is not one of", 'effort = ["hi"'),
        ('id = "short"', 'id = "code"', "taken already", None),
        ('id = "short"', 'id = "Short"', "lower-case letters", 'id = "Short"'),
        ('id = "short"', 'id = "cheapest"', "taken already", 'id = "cheapest"'),
        ('balanced = "0.01"', 'balanced = "cheap"', "regex", 'balanced = "cheap"'),
        ("[pair.default]", '[pair."a to b"]', "pair.default", None),
        ("input_below = 15", "input_below = 15\ninput_from = 15", "nothing between", None),
        ("input_below = 15\n", "", "no condition", None),
        ('cheapest = "it is', 'dearest = "it is', "`cheapest` is missing", "[outcome]"),
        ('version = "', 'version = "!', "for a version", 'version = "!'),
        ("numbers_least = 6", "numbers_least = 0", ">= 1", "numbers_least = 0"),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, said: str, at: str | None) -> None:
    text = TEXT.replace(old, new, 1)
    with pytest.raises(RuleFileError, match="own") as caught:
        read_table(text, "own.toml")
    message = str(caught.value)
    assert said in message
    place = int(message.removeprefix("own.toml:").split(":")[0].split(" ")[0])
    if at is not None:
        assert abs(place - line_of(text, at)) <= 1, message


def test_a_fault_in_a_pair_of_models_is_found_too() -> None:
    text = TEXT + '\n[pair."a -> b"]\nbase_gain = 0.1\nper_point = 7.0\nevidence = "none"\n'
    with pytest.raises(RuleFileError) as caught:
        read_table(text, "t")
    assert str(caught.value).startswith(f"t:{line_of(text, 'per_point = 7.0')} ")
    with pytest.raises(RuleFileError, match="weak -> strong"):
        read_table(TEXT + '\n[pair.ab]\nbase_gain = 0.1\nper_point = 0.0\nevidence = "none"\n', "t")
    with pytest.raises(RuleFileError, match="larger"):
        read_table("#" * (TEXT_BYTES_MAX + 1), "t")
    with pytest.raises(RuleFileError, match="can never be on"):
        read_table(TEXT + '\n[[hint]]\nid = "idle"\n', "t")


def test_the_built_in_table_says_a_sentence_for_everything() -> None:
    says = FOUND.table.sentences()
    for name in (*GATES, *OUTCOMES, *(one.id for one in FOUND.table.signal)):
        assert says[name]
    assert all(len(sentence) < 90 and not sentence.endswith(".") for sentence in says.values())


SENSITIVE = ("doctor", "patient", "symptom", "disease", "lawsuit", "court", "pregnan", "religio")
WRAPPERS = ("answer:", "statement 1", "true, true", "boxed", "clue(s)", "option", "question:", "a.")


def test_no_rule_looks_for_sensitive_topics_or_for_the_wrapping_of_a_benchmark() -> None:
    words = [
        phrase
        for hint in FOUND.table.hint
        for group in (*hint.phrases.values(), *hint.openers.values(), hint.together)
        for phrase in group
    ]
    for word in words:
        assert not any(part in word for part in (*SENSITIVE, *WRAPPERS)), word


# ---------------------------------------------------------------- put in force and taken back


def own(version: str, points: int = 4) -> str:
    text = TEXT.replace(FOUND.table.version, version)
    return text.replace("points = 3", f"points = {points}", 1)


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_table_is_put_in_force_and_taken_back(tmp_path: Path) -> None:
    files = RulesStore(tmp_path / "rules")
    assert files.active().table == FOUND.table
    assert files.stamp() is None
    assert files.history() == []
    files.activate(rules.read_file(write(tmp_path, own("mine.1"))))
    assert files.active().table.version == "mine.1"
    stamp = files.stamp()
    files.activate(rules.read_file(write(tmp_path, own("mine.2", 5))))
    assert files.stamp() != stamp
    assert files.before() == "mine.1"
    files.activate(files.kept(files.before()))
    assert files.active().table.version == "mine.1"
    files.activate(files.kept(BUILTIN))
    assert files.active().table == FOUND.table
    first = FOUND.table.version
    assert files.history() == [first, "mine.1", "mine.2", "mine.1", first]
    assert files.kept("mine.2").table.signal[1].points == 5


def test_a_version_names_one_table_for_good(tmp_path: Path) -> None:
    files = RulesStore(tmp_path / "rules")
    with pytest.raises(RuleFileError, match="nothing to go back to"):
        files.before()
    files.activate(rules.read_file(write(tmp_path, own("mine.1"))))
    with pytest.raises(RuleFileError, match="another table already"):
        files.activate(rules.read_file(write(tmp_path, own("mine.1", 5))))
    edited = TEXT.replace("points = 3", "points = 4", 1)
    with pytest.raises(RuleFileError, match="another table already"):
        files.activate(rules.read_file(write(tmp_path, edited)))
    with pytest.raises(RuleFileError, match="was ever in force"):
        files.kept("mine.9")
    with pytest.raises(RuleFileError, match="is no version"):
        files.kept("../active")
    assert files.active().table.version == "mine.1"


def test_a_table_put_in_force_after_the_last_look_is_seen(tmp_path: Path) -> None:
    files, operator = RulesStore(tmp_path / "rules"), RulesStore(tmp_path / "rules")
    assert files.active().table == FOUND.table
    assert not files.has_changed()
    operator.activate(rules.read_file(write(tmp_path, own("mine.1"))))
    assert files.has_changed()
    assert files.active().table.version == "mine.1"
    assert not files.has_changed()


def test_a_file_that_cannot_be_read_is_a_fault_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuleFileError, match="cannot be read"):
        rules.read_file(tmp_path / "none.toml")
    path = tmp_path / "big.toml"
    path.write_bytes(b"#" * (TEXT_BYTES_MAX + 1))
    with pytest.raises(RuleFileError, match="larger"):
        rules.read_file(path)
    path.write_bytes(b"\xff")
    with pytest.raises(RuleFileError, match="cannot be read"):
        rules.read_file(path)
    assert RulesStore(tmp_path / "none").history() == []


# ---------------------------------------------------------------- what a change changes


def test_a_comparison_names_rules_and_counts_requests() -> None:
    offers = config.offers(config.load(config.Overrides(), {}), 1)
    then = read_table(own("mine.1", 9), "t")
    found = {one.rule for one in changes(FOUND.table, then)}
    assert found == {"version", "signal code"}
    moved = flips(FOUND.table, then, offers.test)
    assert moved.stronger > 0
    assert moved.weaker == 0
    same = flips(FOUND.table, FOUND.table, offers.test)
    assert (same.stronger, same.weaker) == (0, 0)
    assert same.requests == moved.requests > 1_000
    assert changes(FOUND.table, FOUND.table) == []

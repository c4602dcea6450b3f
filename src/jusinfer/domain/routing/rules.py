"""The rule table: hints, signals, gates, gains and the dial, as values that were judged.

A table has no code in it and knows nothing of a tenant. Gains are stored in millionths of a right
answer, what a right answer is worth in micro-USD: their product is pico-USD.
"""

import itertools
import re
from typing import Annotated, Final

import msgspec

GATES: Final = (
    "residency",
    "upstreams",
    "retention",
    "training",
    "preference",
    "modality",
    "tools",
    "schema",
    "context",
    "budget",
    "price_cap",
    "account",
    "health",
)
# What the router itself may give as a reason; each has its sentence in the table.
OUTCOMES: Final = (
    "explicit",
    "asked_cheap",
    "asked_best",
    "asked_fast",
    "asked_list",
    "spend_limit",
    "cheapest",
    "strongest",
    "fastest",
    "worth_it",
    "not_worth_it",
    "no_other",
    "kept_warm",
)
TASKS: Final = (
    "analysis",
    "chat",
    "classification",
    "code",
    "extraction",
    "facts",
    "maths",
    "reasoning",
    "summary",
    "translation",
    "writing",
)
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LANGUAGES: Final = ("any", "en", "hi", "es", "fr", "de", "zh", "ja")
MILLION: Final = 1_000_000
POINTS_MAX: Final = 9
UNBOUNDED: Final = 10**15
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}")

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
Sentence = Annotated[str, msgspec.Meta(min_length=3, max_length=120)]
Phrase = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Phrases = Annotated[tuple[Phrase, ...], msgspec.Meta(max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=1, le=512)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]


class TableError(ValueError):
    """A rule that cannot stand; `path` says where in the table (names and indices)."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the table; a key that nobody knows is refused."""


class Estimate(Strict, frozen=True):
    """How tokens are estimated without a tokenizer; output where no budget was given."""

    context_margin_percent: Annotated[int, msgspec.Meta(ge=0, le=100)]
    output_with_tools: Tokens
    output_with_json: Tokens
    output_plain: Tokens


class Hint(Strict, frozen=True):
    """A mark in the text; it is on when any of what it lists is there.

    `phrases` and `openers` (at the beginning) are lower-case texts by language; `together` must all
    be there; `counted` characters must be there at least `count_least` times; `lacks` are texts of
    which none may be there; `numbers_least` counts runs of digits.
    """

    id: Id
    phrases: dict[str, Phrases] = {}
    openers: dict[str, Phrases] = {}
    together: Phrases = ()
    counted: Phrases = ()
    count_least: Count = 1
    lacks: Phrases = ()
    numbers_least: Count | None = None


class Signal(Strict, frozen=True):
    """A rule: all of its conditions must hold; points move the request towards a stronger model.

    `input_*` and `output_*` are bounds of estimated tokens, from (inclusive) and below
    (exclusive). A signal with a hint is a guess: it does not count when the task is declared.
    """

    id: Id
    sentence: Sentence
    points: Annotated[int, msgspec.Meta(ge=-POINTS_MAX, le=POINTS_MAX)]
    hint: str = ""
    task: tuple[str, ...] = ()
    effort: tuple[str, ...] = ()
    input_from: Tokens | None = None
    input_below: Tokens | None = None
    output_from: Tokens | None = None
    output_below: Tokens | None = None
    tools_from: Tokens | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether anything but a hint, a task or an effort narrows it."""
        bounds = (
            self.input_from,
            self.input_below,
            self.output_from,
            self.output_below,
            self.tools_from,
        )
        return any(bound is not None for bound in bounds)


class Gate(Strict, frozen=True):
    """A filter by its id; what it does is fixed, its place and its sentence are data."""

    id: Id
    sentence: Sentence


class Pair(Strict, frozen=True):
    """What a stronger model gains over a weaker one, in parts of a right answer, with evidence."""

    base_gain: Annotated[float, msgspec.Meta(ge=0, le=1)]
    per_point: Annotated[float, msgspec.Meta(ge=0, le=1)]
    evidence: Sentence


class Choose(Strict, frozen=True):
    """The dial: US dollars that one more right answer is worth; and when to stay with a model."""

    balanced: Annotated[str, msgspec.Meta(pattern=r"^\d{1,6}(\.\d{1,6})?$")]
    least_gain: Annotated[float, msgspec.Meta(gt=0, le=1)]
    keep_until_rise: Annotated[int, msgspec.Meta(ge=0, le=100)]


class RuleTable(Strict, frozen=True, kw_only=True):
    """A whole table. `pair` holds `default` and pairs of models by `weak -> strong`."""

    version: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    estimate: Estimate
    choose: Choose
    hint: Annotated[tuple[Hint, ...], msgspec.Meta(max_length=64)] = ()
    signal: Annotated[tuple[Signal, ...], msgspec.Meta(max_length=128)] = ()
    gate: tuple[Gate, ...]
    outcome: dict[str, Sentence]
    pair: dict[str, Pair]

    def sentences(self) -> dict[str, str]:
        """Give the sentence of every reason."""
        signals = {row.id: row.sentence for row in self.signal}
        return {**self.outcome, **signals, **{row.id: row.sentence for row in self.gate}}


def check(table: RuleTable) -> RuleTable:
    """Judge what types cannot say; raises TableError at the first rule that cannot stand."""
    if not VERSION.fullmatch(table.version):
        raise TableError("use letters, digits, `.`, `_` and `-` for a version", ("version",))
    _check_ids(table)
    hints = {hint.id for hint in table.hint}
    for place, hint in enumerate(table.hint):
        _check_hint(hint, ("hint", place))
    for place, signal in enumerate(table.signal):
        _check_signal(signal, hints, ("signal", place))
    _check_complete("gate", [gate.id for gate in table.gate], GATES)
    _check_complete("outcome", list(table.outcome), OUTCOMES)
    if "default" not in table.pair:
        raise TableError("add [pair.default], for pairs that have no row of their own", ("pair",))
    for name in table.pair:
        if name != "default" and len(name.split(" -> ")) != 2:  # noqa: PLR2004 (two models)
            raise TableError('write a pair as "weak -> strong"', ("pair", name))
    return table


def _check_ids(table: RuleTable) -> None:
    rows: list[tuple[str, list[str]]] = [
        ("hint", [row.id for row in table.hint]),
        ("signal", [row.id for row in table.signal]),
        ("gate", [row.id for row in table.gate]),
    ]
    taken: set[str] = set(OUTCOMES)
    for kind, ids in rows:
        known: set[str] = set() if kind == "hint" else taken
        for place, name in enumerate(ids):
            if not _ID.fullmatch(name):
                raise TableError(
                    "use lower-case letters, digits and `_` for an id", (kind, place, "id")
                )
            if name in known:
                raise TableError(f"the id `{name}` is taken already", (kind, place, "id"))
            known.add(name)


def _check_hint(hint: Hint, path: tuple[str | int, ...]) -> None:
    for name, found in (("phrases", hint.phrases), ("openers", hint.openers)):
        for language, phrases in found.items():
            if language not in LANGUAGES:
                known = ", ".join(LANGUAGES)
                raise TableError(f"`{language}` is not one of {known}", (*path, name, language))
            for phrase in phrases:
                _check_phrase(phrase, (*path, name, language))
    for name, listed in (
        ("together", hint.together),
        ("counted", hint.counted),
        ("lacks", hint.lacks),
    ):
        for phrase in listed:
            _check_phrase(phrase, (*path, name))
    has_any = hint.phrases or hint.openers or hint.together or hint.counted or hint.lacks
    if not has_any and hint.numbers_least is None:
        raise TableError("this hint can never be on: list phrases or the like", path)


def _check_phrase(phrase: str, path: tuple[str | int, ...]) -> None:
    if phrase != phrase.lower() or not phrase.strip():
        raise TableError(f"write {phrase!r} in lower case; texts are looked at so", path)


def _check_signal(signal: Signal, hints: set[str], path: tuple[str | int, ...]) -> None:
    if signal.hint and signal.hint not in hints:
        raise TableError(f"there is no hint `{signal.hint}`", (*path, "hint"))
    for name, given, known in (("task", signal.task, TASKS), ("effort", signal.effort, EFFORTS)):
        for value in given:
            if value not in known:
                raise TableError(f"`{value}` is not one of {', '.join(known)}", (*path, name))
    if signal.points == 0:
        raise TableError("a signal of 0 points does nothing; leave it out", (*path, "points"))
    if not (signal.hint or signal.task or signal.effort or signal.is_bounded):
        raise TableError("this signal has no condition", path)
    for low, high, name in (
        (signal.input_from, signal.input_below, "input_below"),
        (signal.output_from, signal.output_below, "output_below"),
    ):
        if low is not None and high is not None and low >= high:
            raise TableError("these bounds leave nothing between them", (*path, name))


def _check_complete(kind: str, found: list[str], known: tuple[str, ...]) -> None:
    for name in itertools.filterfalse(found.__contains__, known):
        raise TableError(f"the {kind} `{name}` is missing; each of them needs its row", (kind,))
    for place, name in enumerate(found):
        if name not in known:
            path = (kind, place, "id") if kind == "gate" else (kind, name)
            raise TableError(f"there is no {kind} `{name}`; use {', '.join(known)}", path)

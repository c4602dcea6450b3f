"""What becomes of every member of a request, for each API that a provider may speak.

The tables are the files of `member_tables`, one for each client API; docs/members.md shows them. A
rule is one word a column:

- `same`: the value reaches the provider as it came;
- `translate`: the provider gets it in its own form;
- `hint`: left out, as it asks for nothing that changes the answer or its price;
- `refuse`: it changes one of them and cannot be sent; `refuse unless A, B` lists JSON values that
  ask for nothing. `null` always asks for nothing.

A path such as `messages[].content[]<text>.text` names a member of an object in a list whose `type`
is `text`; a type may end in `*`. A row `= "@path"` stands for the rows below another path, and the
type `<>` for objects that state none. A member
without rows below it may hold any JSON. What no row names is passed where client and provider speak
the same API, and refused by name elsewhere.
"""

import fnmatch
import pkgutil
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import MemberNote as Note

Word = Literal["same", "translate", "hint", "refuse"]
WORDS: Final = frozenset({"same", "translate", "hint", "refuse"})
NAME_CHARS_MAX: Final = 64
UNKNOWN_NOTES_MAX: Final = 32
KIND_CHARS_MAX: Final = 128
UNKNOWN: Final = "it is not known here, and this model is served through another API"
Place = tuple[Any, ...]


class Rule(msgspec.Struct, frozen=True):
    """What becomes of a member at a provider of one API; `neutral` values ask for nothing."""

    word: Word
    neutral: tuple[Any, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One line of a table: a rule for each column, and why."""

    path: str
    rules: tuple[Rule, ...]
    why: str = ""


class _Node(msgspec.Struct):
    row: Row | None = None
    members: dict[str, "_Node"] = {}
    items: "_Node | None" = None
    kinds: dict[str, "_Node"] = {}
    patterns: list[tuple[str, "_Node"]] = []

    def of_kind(self, kind: object) -> "_Node | None":
        """Return the node for objects of a type; None for a type that no row names."""
        if not self.kinds and not self.patterns:
            return self
        name = "" if kind is None else kind
        if not isinstance(name, str):
            return None
        found = self.kinds.get(name)
        if found is None and len(name) < KIND_CHARS_MAX:
            for pattern, node in self.patterns:
                if fnmatch.fnmatchcase(name, pattern):
                    return node
        return found


class _Found(msgspec.Struct):
    """What was noted so far, in order: by row and columns, and unknown members by their place."""

    notes: dict[str | tuple[str, frozenset[str]], Note] = {}
    unknown_count: int = 0


class MemberTable:
    """The table of one client API. `own` is the column of the provider API that is the same."""

    def __init__(self, client_api: str, columns: tuple[str, ...], own: str, text: str) -> None:
        self.client_api = client_api
        self.columns = columns
        self.own = own
        self.rows, aliases = _rows(tomllib.loads(text), columns)
        self._root = _Node()
        for row in self.rows:
            self._node(row.path).row = row
        for path, target in aliases.items():
            self._alias(path, target)
        self._foreign = frozenset(columns) - {own}

    def notes(self, request: Mapping[str, Any]) -> tuple[Note, ...]:
        """Return what providers of some API cannot be sent of a request; never raises."""
        found = _Found()
        self._walk(request, self._root, (), found)
        return tuple(found.notes.values())

    def dropped(self, column: str) -> frozenset[str]:
        """Return the top-level members that are left out for providers of an API."""
        at = self.columns.index(column)
        return frozenset(
            row.path
            for row in self.rows
            if row.rules[at].word == "hint" and row.path.isidentifier()
        )

    def without_hints(self, request: dict[str, Any], column: str) -> dict[str, Any]:
        """Return a request without the members that are left out for providers of an API."""
        at = self.columns.index(column)
        pruned: dict[str, Any] = _pruned(request, self._root, at)
        return pruned

    def knows(self, path: str) -> bool:
        """Tell whether a row names a path, or one above it that may hold any JSON."""
        node = self._root
        for step in _steps(path):
            if node is not self._root and _is_leaf(node):
                return True
            below = _child(node, step)
            if below is None and step.startswith("<") and not (node.kinds or node.patterns):
                continue
            if below is None and "" in node.kinds:
                below = _child(node.kinds[""], step)
            if below is None:
                return False
            node = below
        return True

    # ------------------------------------------------------------------ building

    def _node(self, path: str) -> _Node:
        node = self._root
        for step in _steps(path):
            found = _child(node, step, is_exact=True)
            node = _grown(node, step) if found is None else found
        return node

    def _alias(self, path: str, target: str) -> None:
        source, node = self._node(target), self._node(path)
        node.members, node.items = source.members, source.items
        node.kinds, node.patterns = source.kinds, source.patterns

    # ------------------------------------------------------------------ reading

    def _walk(self, value: Any, node: _Node, place: Place, found: _Found) -> None:
        if isinstance(value, list):
            if node.items is not None:
                for at, item in enumerate(value):
                    self._walk(item, node.items, (place, at), found)
        elif isinstance(value, dict) and not _is_leaf(node):
            inner = node.of_kind(value.get("type"))
            if inner is None:
                self._unknown(found, (place, "type"))
            # A type that nobody can be sent is noted once, not member by member.
            elif inner is node or self._descends(inner, value, (place, "type"), found):
                self._walk_members(value, inner, place, found)

    def _walk_members(
        self, value: dict[str, Any], node: _Node, place: Place, found: _Found
    ) -> None:
        if not node.members:
            return
        for name, member in value.items():
            if member is None:
                continue
            below = node.members.get(name)
            if below is None:
                self._unknown(found, (place, name))
            elif self._descends(below, member, (place, name), found):
                self._walk(member, below, (place, name), found)

    def _descends(self, node: _Node, value: Any, place: Place, found: _Found) -> bool:
        return node.row is None or self._judge(node.row, value, place, found)

    def _judge(self, row: Row, value: Any, place: Place, found: _Found) -> bool:
        """Note the columns that refuse a value; False when nothing below it matters."""
        refusing = frozenset(
            column
            for column, rule in zip(self.columns, row.rules, strict=True)
            if rule.word == "refuse" and not _is_neutral(value, rule.neutral)
        )
        if refusing:
            # Noted however many others there are: no number of members may hide one. Values of one
            # member may be refused by different providers.
            key = (row.path, refusing)
            if key not in found.notes:
                found.notes[key] = Note(shown(place), refusing, row.why)
        return any(rule.word in {"same", "translate"} for rule in row.rules)

    def _unknown(self, found: _Found, place: Place) -> None:
        # The same providers refuse them all, so not every one must be told. Those whose names are
        # not repeated count too: writing where one stands costs as much as it is deep.
        if found.unknown_count >= UNKNOWN_NOTES_MAX:
            return
        found.unknown_count += 1
        path = shown(place)
        if path not in found.notes:
            found.notes[path] = Note(path, self._foreign, UNKNOWN)


def judge(notes: tuple[Note, ...], column: str) -> None:
    """Refuse by name what a provider of an API cannot be sent; raises InvalidRequest."""
    for note in notes:
        if column in note.columns:
            raise InvalidRequest(
                f"`{note.path}` cannot be sent to this model: {note.why}",
                param=note.path,
                hint=f"Leave out `{note.path}`, or choose another model.",
            )


def speechless(
    name: str, notes: tuple[Note, ...], columns: Iterable[str]
) -> tuple[list[dict[str, Any]], tuple[Note, ...]]:
    """Return the messages of a request that says nothing to a model, and who refuses it.

    The provider of the same API judges such a request itself: its own bytes are sent.
    """
    why = "nothing in it says something to the model"
    return [{"role": "user", "content": ""}], (*notes, Note(name, frozenset(columns), why))


def shown(place: Place) -> str:
    """Write where a member stands; names that a client made up are not repeated whole."""
    if not place:
        return ""
    parent, step = place
    above = shown(parent)
    if isinstance(step, int):
        return f"{above}[{step}]"
    is_plain = step.replace("-", "_").isidentifier() and len(step) <= NAME_CHARS_MAX
    name = step if is_plain else "a member"
    return f"{above}.{name}" if above else name


@cache
def table_of(client_api: str) -> MemberTable:
    """Load the table of a client API."""
    columns, own = COLUMNS[client_api]
    data = pkgutil.get_data("jusinfer.wire", f"member_tables/{client_api}.toml")
    return MemberTable(client_api, columns, own, (data or b"").decode())


COLUMNS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "chat": (("chat", "anthropic", "workers_ai"), "chat"),
    "responses": (("chat", "responses", "anthropic", "workers_ai"), "responses"),
    "messages": (("chat", "anthropic", "workers_ai"), "anthropic"),
    "completions": (("chat", "anthropic", "workers_ai"), ""),
    "embeddings": (("embeddings",), "embeddings"),
}


def _rows(
    document: Mapping[str, Any], columns: tuple[str, ...]
) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    aliases: dict[str, str] = {}
    for path, line in document.items():
        if line.startswith("@"):
            aliases[path] = line[1:]
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) not in {len(columns), len(columns) + 1}:
            raise ValueError(f"{path}: {len(columns)} columns and a reason are wanted")
        rules = tuple(_rule(path, cell) for cell in cells[: len(columns)])
        rows.append(Row(path, rules, cells[len(columns)] if len(cells) > len(columns) else ""))
    return rows, aliases


def _rule(path: str, cell: str) -> Rule:
    word, _, rest = cell.partition(" unless ")
    if word not in WORDS:
        raise ValueError(f"{path}: {word!r} is no rule")
    neutral = tuple(msgspec.json.decode(f"[{rest}]")) if rest else ()
    return msgspec.convert({"word": word, "neutral": neutral}, Rule)


def _steps(path: str) -> list[str]:
    """Split a path into names, `[]` and `<type>`s."""
    spaced = path.replace("[]", ".[]").replace("<", ".<")
    return [step for step in spaced.split(".") if step]


def _child(node: _Node, step: str, *, is_exact: bool = False) -> _Node | None:
    if step == "[]":
        return node.items
    if step.startswith("<"):
        kind = step[1:-1]
        for pattern, found in node.patterns:
            if pattern == kind or (not is_exact and fnmatch.fnmatchcase(kind, pattern)):
                return found
        return node.kinds.get(kind)
    return node.members.get(step)


def _grown(node: _Node, step: str) -> _Node:
    made = _Node(members={}, kinds={}, patterns=[])
    if step == "[]":
        node.items = made
    elif step.startswith("<") and "*" in step:
        node.patterns.append((step[1:-1], made))
    elif step.startswith("<"):
        node.kinds[step[1:-1]] = made
    else:
        node.members[step] = made
    return made


def _pruned(value: Any, node: _Node, at: int) -> Any:
    if isinstance(value, list) and node.items is not None:
        return [_pruned(item, node.items, at) for item in value]
    if not isinstance(value, dict) or _is_leaf(node):
        return value
    inner = node.of_kind(value.get("type"))
    if inner is None or not inner.members:
        return value
    return {
        name: member if below is None else _pruned(member, below, at)
        for name, member in value.items()
        if not _is_hint(below := inner.members.get(name), at)
    }


def _is_hint(node: _Node | None, at: int) -> bool:
    return node is not None and node.row is not None and node.row.rules[at].word == "hint"


def _is_leaf(node: _Node) -> bool:
    return not (node.members or node.kinds or node.patterns or node.items)


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    return any(type(value) is type(other) and value == other for other in neutral)

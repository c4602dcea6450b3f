"""Tells the tool calls of one choice apart, and writes their deltas in one strict form.

A delta belongs to a call by its index and its id. The first delta of a call carries index, id,
type, name and arguments; later ones index and arguments. A call whose name has not come yet waits
for it. Providers leave out each of these, repeat them, or put several calls under one index.

Arguments of one call are written before those of the next, as OpenAI does: its own client takes a
call as finished when another begins. What comes for a later call meanwhile is held.
"""

import hashlib
from typing import Final

import msgspec

from jusinfer.domain.inference.stream_state import ChunkMalformed
from jusinfer.wire.json_end import JsonEnd
from jusinfer.wire.upstream.lenient_text import (
    ABSENT,
    NULL,
    QUOTE,
    Members,
    as_json_text,
    object_of,
    plain,
    whole_number,
)

HELD_BYTES_MAX: Final = 4 * 1024 * 1024
CALLS_MAX: Final = 1_024
NAME_CHARS_MAX: Final = 1_024
ID_BYTES: Final = 12
_STRUCTURE: Final = frozenset({"index", "id", "type", "function", "custom"})
_FLAT: Final = frozenset({"name", "arguments", "input"})
# What some providers give for arguments before the arguments come; others mean it.
_BLANK: Final = b"{}"
_encode: Final = msgspec.json.Encoder().encode


class UsualFunction(msgspec.Struct, gc=False):
    """A function within a delta of the usual shape."""

    name: str | None = None
    arguments: msgspec.Raw = NULL


class UsualCall(msgspec.Struct, gc=False):
    """A call within a delta of the usual shape."""

    index: int
    function: UsualFunction
    id: str | None = None
    type: str | None = None


class Piece(msgspec.Struct):
    """What one delta says of one call; `given` is the inside of a JSON string."""

    index: int | None
    call_id: str
    name: str
    kind: str
    given: bytes
    has_given: bool
    extras: Members


class Call:
    """One call as far as it is known."""

    __slots__ = (
        "_end",
        "call_id",
        "extras",
        "has_blank",
        "is_id_given",
        "is_open",
        "kind",
        "name",
        "number",
        "pieces",
    )

    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.call_id = ""
        self.is_id_given = False
        self.name = ""
        self.extras: Members = {}
        # Never empty ones.
        self.pieces: list[bytes] = []
        # Whether an empty object came for arguments, and is held until it is known to be all.
        self.has_blank = False
        self.is_open = False
        self._end = JsonEnd(is_quoted=False)

    @property
    def has_given(self) -> bool:
        """Whether arguments have begun."""
        return bool(self.pieces)

    @property
    def is_blank(self) -> bool:
        """Whether all that came for arguments is an empty object, which is held."""
        return self.has_blank and not self.pieces

    def add(self, given: bytes) -> bytes:
        """Add to the arguments; gives what is to be written of it."""
        if not given:
            return given
        if self.kind == "function" and not self.pieces:
            if given == _BLANK and not self.has_blank:
                self.has_blank = True
                return b""
            if self.has_blank and not given.startswith(b"{"):
                given = _BLANK + given
        self.pieces.append(given)
        return given

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON value that nothing can be added to."""
        return self.is_blank or self._end.is_whole(self.pieces)


class CallTracker:
    """The calls of one choice, in the order in which they began."""

    __slots__ = (
        "_by_id",
        "_by_index",
        "_closed_count",
        "_current",
        "_held",
        "_held_bytes",
        "_last",
        "_named",
        "_seed",
        "calls",
        "counted",
    )

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}
        self._last: Call | None = None
        self._held_bytes = 0
        # How many calls wait for a name or for arguments, and those of them that have a name.
        self._closed_count = 0
        self._named: dict[int, Call] = {}
        # The call that is being written, and those that could be if it were finished.
        self._current: Call | None = None
        self._held: dict[int, Call] = {}
        self.calls: list[Call] = []
        # Bytes of names and arguments that were given out, as JSON writes them.
        self.counted = 0

    def passes(self, call: UsualCall) -> bool:
        """Tell whether a delta is strict as it came, and note it if so."""
        given = bytes(call.function.arguments)
        if given[0] != QUOTE or given[1:-1] == _BLANK:
            return False
        name = call.function.name
        known = self._by_index.get(call.index)
        if known is None:
            return self._passes_first(call, name, given)
        if call.id is not None or name is not None or call.type not in {None, "function"}:
            return False
        if known is not self._current or known.number != call.index or known.kind != "function":
            return False
        if known.is_blank:
            return False
        self._last = known
        known.add(given[1:-1])
        self.counted += len(given) - 2
        return True

    def _passes_first(self, call: UsualCall, name: str | None, given: bytes) -> bool:
        if not call.id or not name or call.type != "function" or call.id in self._by_id:
            return False
        if call.index != len(self.calls) or self.has_held or not self._may_open():
            return False
        made = self._new(call.index, call.id, "function")
        made.name = name
        made.is_open = True
        self._current = made
        self._closed_count -= 1
        made.add(given[1:-1])
        self.counted += len(_encode(name)) + len(given) - 4
        return True

    def take(self, rows: list[msgspec.Raw]) -> list[msgspec.Raw]:
        """Take the calls of one delta; gives their strict deltas. Raises ChunkMalformed."""
        made: list[msgspec.Raw] = []
        named: set[int] = set()
        for raw in rows:
            if bytes(raw) in ABSENT:
                continue
            piece = read_piece(raw)
            call = self._call_of(piece, named)
            if piece.name:
                named.add(call.number)
            made += self.release(but=call)
            made += self._grow(call, piece)
            made += self._next()
        return made

    def release(self, but: Call | None = None) -> list[msgspec.Raw]:
        """Open calls that waited for arguments, as something else comes now."""
        made: list[msgspec.Raw] = []
        current = self._current
        if current is not None and current is not but and current.is_blank:
            current.pieces.append(_BLANK)
            made.append(self._more(current, _BLANK, {}))
        for call in [*self._named.values()]:
            if call is but:
                continue
            if not self._may_open():
                break
            made.append(self._open(call))
        return made

    def finish(self) -> list[msgspec.Raw]:
        """Open what is still held; a function that was given no arguments gets an empty object."""
        made: list[msgspec.Raw] = []
        for call in self.calls:
            is_empty = call.kind == "function" and not call.has_given
            if is_empty:
                call.pieces.append(_BLANK)
            if not call.is_open:
                made.append(self._open(call))
            elif is_empty:
                made.append(self._more(call, _BLANK, {}))
        return made

    @property
    def has_held(self) -> bool:
        """Whether a call waits for its name or its arguments, or an empty object is held."""
        current = self._current
        return self._closed_count > 0 or (current is not None and current.is_blank)

    @property
    def is_settled(self) -> bool:
        """Whether `finish` would have nothing to say."""
        return all(
            call.is_open and (call.has_given or call.kind != "function") for call in self.calls
        )

    # ------------------------------------------------------------------ inside

    def _call_of(self, piece: Piece, named: set[int]) -> Call:
        """Find the call that a delta belongs to, or begin another."""
        index, call_id = piece.index, piece.call_id
        here = self._last if index is None else self._by_index.get(index)
        known = self._by_id.get(call_id) if call_id else None
        if known is not None:
            if here is known and _is_repeated(known, piece, named):
                piece.given = b""
                return known
            is_new_place = index is not None and here is None
            if _is_another(known, piece, named) or (is_new_place and piece.name):
                return self._new(index, "", piece.kind)
            if index is not None:
                self._by_index[index] = known
            self._last = known
            return known
        if here is None or _is_another(here, piece, named):
            return self._new(index, call_id, piece.kind)
        if call_id and here.is_id_given and (piece.name or not piece.given or here.is_whole()):
            return self._new(index, call_id, piece.kind)
        if call_id:
            self._by_id[call_id] = here
            if not here.is_open:
                here.call_id, here.is_id_given = call_id, True
        self._last = here
        return here

    def _new(self, index: int | None, call_id: str, kind: str) -> Call:
        if len(self.calls) >= CALLS_MAX:
            raise ChunkMalformed("an answer makes more calls than can be told apart")
        call = Call(len(self.calls), kind)
        call.is_id_given = bool(call_id)
        call.call_id = call_id or self._made_id(call.number)
        self._by_id[call.call_id] = call
        if index is not None:
            self._by_index[index] = call
        self._last = call
        self._closed_count += 1
        self.calls.append(call)
        return call

    def _made_id(self, number: int) -> str:
        digest = hashlib.blake2b(b"%b/%d" % (self._seed, number), digest_size=ID_BYTES)
        return f"call_{digest.hexdigest()}"

    def _grow(self, call: Call, piece: Piece) -> list[msgspec.Raw]:
        given = call.add(piece.given)
        if call.is_open:
            return [self._more(call, given, piece.extras)] if given or piece.extras else []
        if piece.name and piece.name != call.name:
            call.name += piece.name
            if len(call.name) > NAME_CHARS_MAX:
                raise ChunkMalformed("a call's name does not end")
            self._named[call.number] = call
        call.extras |= piece.extras
        if call.name and (piece.has_given or call.pieces) and not call.is_blank:
            if self._may_open():
                return [self._open(call)]
            self._held[call.number] = call
        self._held_bytes += len(given)
        if self._held_bytes > HELD_BYTES_MAX:
            raise ChunkMalformed("a call's arguments wait for its name, or for another call's end")
        return []

    def _may_open(self) -> bool:
        """Tell whether the call that is being written, if any, has all of its arguments."""
        call = self._current
        return call is None or call.kind != "function" or call.is_whole()

    def _next(self) -> list[msgspec.Raw]:
        """Open held calls as far as those before them are finished."""
        made: list[msgspec.Raw] = []
        while self._held and self._may_open():
            call = self._held[min(self._held)]
            self._held_bytes -= sum(map(len, call.pieces))
            made.append(self._open(call))
        return made

    def _open(self, call: Call) -> msgspec.Raw:
        call.is_open = True
        if call.is_blank:
            call.pieces.append(_BLANK)
        self._current = call
        self._closed_count -= 1
        self._named.pop(call.number, None)
        self._held.pop(call.number, None)
        given = b"".join(call.pieces)
        name = _encode(call.name)
        self.counted += len(name) - 2 + len(given)
        body = b'{"name":%b,"%b":"%b"}' % (name, _member_of(call.kind), given)
        head: dict[str, object] = {"index": call.number, "id": call.call_id, "type": call.kind}
        head[call.kind] = msgspec.Raw(body)
        return msgspec.Raw(_encode(head | call.extras))

    def _more(self, call: Call, given: bytes, extras: Members) -> msgspec.Raw:
        self.counted += len(given)
        body = msgspec.Raw(b'{"%b":"%b"}' % (_member_of(call.kind), given))
        head: dict[str, object] = {"index": call.number, call.kind: body}
        if call.kind != "function":
            head["type"] = call.kind
        return msgspec.Raw(_encode(head | extras))


def _is_another(call: Call, piece: Piece, named: set[int]) -> bool:
    """Tell whether a delta that could go on a call begins another instead."""
    if not piece.name or not call.name:
        return False
    if call.number in named:
        return True
    if piece.name != call.name:
        # Fragments of a name come one by one under an index, before any arguments.
        return call.is_open or piece.index is None
    return bool(piece.given) and call.is_whole()


def _is_repeated(call: Call, piece: Piece, named: set[int]) -> bool:
    """Tell whether a delta says all of a call again, as a last one that sums it up does."""
    return (
        call.is_id_given
        and call.number not in named
        and piece.name in {"", call.name}
        and bool(piece.given)
        and call.is_whole()
        and piece.given == (b"".join(call.pieces) or _BLANK)
    )


def _member_of(kind: str) -> bytes:
    return b"input" if kind == "custom" else b"arguments"


def read_piece(raw: msgspec.Raw) -> Piece:
    """Read one call of a delta or message, nested or flat; raises ChunkMalformed."""
    row = object_of(raw)
    kind = "custom" if bytes(row.get("custom", NULL)) not in ABSENT else "function"
    inner = bytes(row.get(kind, NULL))
    extras = {name: value for name, value in row.items() if name not in _STRUCTURE}
    if inner.startswith(b"{"):
        body = object_of(inner)
    else:
        # Flat: its name and arguments stand in the call itself.
        body = {name: row[name] for name in _FLAT if name in row}
        extras = {name: value for name, value in extras.items() if name not in _FLAT}
        if inner not in ABSENT:
            body["name"] = msgspec.Raw(inner)
    given = bytes(body.get("arguments", body.get("input", NULL)))
    return Piece(
        index=whole_number(row.get("index"), CALLS_MAX * CALLS_MAX),
        call_id=plain(row.get("id")),
        name=plain(body.get("name")),
        kind=kind,
        given=_given(given),
        has_given=given not in ABSENT,
        extras={name: value for name, value in extras.items() if bytes(value) not in ABSENT},
    )


def _given(raw: bytes) -> bytes:
    if raw in ABSENT:
        return b""
    return raw[1:-1] if raw[0] == QUOTE else as_json_text(raw)


def whole_calls(rows: list[msgspec.Raw], seed: bytes) -> tuple[list[msgspec.Raw], int]:
    """Give the calls of a whole message in the strict form, and their counted bytes."""
    tracker = CallTracker(seed)
    for raw in rows:
        # Each stands for a whole call, whatever its index says.
        piece = read_piece(raw)
        call_id = "" if piece.call_id in tracker._by_id else piece.call_id  # noqa: SLF001
        tracker._grow(tracker._new(None, call_id, piece.kind), piece)  # noqa: SLF001
    tracker.finish()
    made: list[msgspec.Raw] = []
    for call in tracker.calls:
        given = b"".join(call.pieces)
        body = b'{"name":%b,"%b":"%b"}' % (_encode(call.name), _member_of(call.kind), given)
        head: dict[str, object] = {"id": call.call_id, "type": call.kind}
        head[call.kind] = msgspec.Raw(body)
        made.append(msgspec.Raw(_encode(head | call.extras)))
    return made, tracker.counted

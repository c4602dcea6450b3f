"""Every member of what providers answer with odd values, whole and streamed, for every client.

Whatever it is, its client gets an answer in its own format or an error in it, nothing is raised,
and what was refused is not charged.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from tests.effort import QUICK
from tests.golden.case import Case, body_of, sse
from tests.golden.clients import frames
from tests.golden.harness import OK, Played, Reply, as_bytes, play
from tests.golden.tables import cases

Path = tuple[Any, ...]
MARK: Final = "@odd@"
# Where a word is looked up in a set, each of these raises unless it is judged first.
ALWAYS: Final = (b"[]", b"{}")
BY_TURNS: Final[tuple[bytes, ...]] = (
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-1e400",
    b"9" * 400,
    b"123456789012345678901234567890",
    b"NaN",
    b'""',
    b'"odd"',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"caf\xe9"',
    b"[null]",
    b"[1e400]",
    b'["odd"]',
    b"[[]]",
    b"[{}]",
    b'{"type":[]}',
    b'[{"type":{}}]',
    b'{"type":"odd","odd":1}',
    b"[" * 900 + b"]" * 900,
    b"[" * 3_000 + b"]" * 3_000,
)
TURNS: Final = 1 if QUICK else 2
# No odd count of tokens may cost more than the most that was reserved for a case.
CHARGE_NANO_MAX: Final = 10**9


class Place(NamedTuple):
    """A member of an answer, and the answer in which a mark stands for its value."""

    case: Case
    is_stream: bool
    name: str
    marked: bytes


def places_in(value: Any, path: Path = (), kinds: Path = ()) -> Iterator[tuple[Path, Path]]:
    """Give the path of each member, and the same with the types of the objects around it."""
    if path:
        yield path, kinds
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places_in(item, (*path, index), (*kinds, "[]"))
    elif isinstance(value, dict):
        kind = str(value.get("type"))
        for name, member in value.items():
            yield from places_in(member, (*path, name), (*kinds, kind, name))


def marked(value: Any, path: Path) -> Any:
    if not path:
        return MARK
    copied = value.copy()
    copied[path[0]] = marked(value[path[0]], path[1:])
    return copied


@cache
def places() -> dict[str, list[Place]]:
    """Give, by client and provider, each member of each kind of object in some case's answer."""
    found: dict[tuple[Any, ...], Place] = {}
    for case in cases():
        answer = case.answer
        if answer.is_usual or isinstance(case.request, bytes):
            continue
        for is_stream, value in ((False, answer.whole), (True, list(answer.events))):
            if isinstance(value, bytes):
                continue
            for path, kinds in places_in(value):
                key = (case.client, case.provider, is_stream, answer.status, kinds)
                if key not in found:
                    raw = _raw(case, marked(value, path), is_stream=is_stream)
                    found[key] = Place(case, is_stream, ".".join(map(str, path)), raw)
    by_pair: dict[str, list[Place]] = {}
    for place in found.values():
        by_pair.setdefault(place.case.path.parent.name, []).append(place)
    return by_pair


def _raw(case: Case, said: Any, *, is_stream: bool) -> bytes:
    if not is_stream:
        return as_bytes(said)
    return sse(case.provider, msgspec.structs.replace(case.answer, events=tuple(said)))


def answered(place: Place, odd: bytes) -> Played:
    case, answer = place.case, place.case.answer
    body = place.marked.replace(as_bytes(MARK), odd).replace(MARK.encode(), b"odd")
    reply = Reply(
        answer.status, answer.headers, body, is_stream=place.is_stream, is_cut=answer.is_cut
    )
    return play(case.client, body_of(case, is_stream=place.is_stream), reply, case.headers)


def strict(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


def judge(place: Place, played: Played) -> None:
    """Read what was delivered as strictly as the strictest client."""
    client, text = place.case.client, played.delivered.decode()
    assert played.ended is not None
    assert 0 <= played.ended.charge_nano < CHARGE_NANO_MAX
    if played.status != OK:
        said = strict(text)
        assert played.ended.charge_nano == 0
        assert said["error"]["message"]
        assert client != "messages" or said["type"] == "error"
        is_ours = played.status in {500, 503}
        assert not is_ours or place.case.answer.status != OK
    elif place.is_stream:
        *rest, (_, last) = frames(played.delivered)
        for _, data in rest:
            strict(data)
        if client in {"chat", "completions"}:
            assert last == "[DONE]" or "error" in strict(last)
        elif client == "messages":
            assert strict(last)["type"] in {"message_stop", "error"}
        else:
            kinds = {"completed", "incomplete", "failed"}
            assert strict(last)["type"].removeprefix("response.") in {*kinds, "error"}
    else:
        strict(text)


@pytest.mark.parametrize("pair", sorted(places()))
def test_every_odd_value_of_an_answer_comes_to_an_end(pair: str) -> None:
    wrong: list[str] = []
    count = 0
    for number, place in enumerate(places()[pair]):
        turns = [BY_TURNS[(number * TURNS + turn) % len(BY_TURNS)] for turn in range(TURNS)]
        for odd in (*ALWAYS, *turns):
            count += 1
            try:
                judge(place, answered(place, odd))
            except Exception as error:  # noqa: BLE001 (each is a fault of ours, to be listed)
                said = f"{place.case.id}: {place.name} = {odd[:40]!r}"
                wrong.append(f"{said}: {type(error).__name__} {error}")
    assert count
    assert not wrong, f"{len(wrong)} of {count}: " + "\n".join(wrong[:40])

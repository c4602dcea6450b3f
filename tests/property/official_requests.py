"""Random valid requests of the official SDKs' parameter types, with texts that can be found again.

Each text holds a marker such as `leaf0017`, unique in its request: whatever becomes of a request,
what became of each of its texts can be looked for.
"""

import base64
import json
import random
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

LISTS: Final = frozenset({"Iterable", "Sequence", "SequenceNotStr", "list", "List"})
DICTS: Final = frozenset({"dict", "Dict", "Mapping"})
DEPTH_MAX: Final = 7
# A member that may be left out is given about so often, in percent, by its depth.
GIVEN: Final = (35, 60, 50, 50, 35, 35, 25, 25)
# What these types let be left out, and no request does without.
ALWAYS: Final = frozenset({"input", "model"})
Place = tuple[str | int, ...]


def alternatives(hint: Any) -> Iterator[Any]:
    """Name what a value may be; a type that no JSON has is left out."""
    origin = get_origin(hint)
    if origin in {typing.Required, typing.NotRequired, typing.Annotated} or (
        getattr(origin, "__name__", "") in {"Required", "NotRequired", "Annotated"}
    ):
        yield from alternatives(get_args(hint)[0])
    elif origin in {typing.Union, types.UnionType}:
        for one in get_args(hint):
            yield from alternatives(one)
    elif hint is type(None):
        return
    elif origin is not None or hint in {str, int, float, bool, object, Any} or is_object(hint):
        yield hint


def is_object(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__required_keys__")


class Maker:
    """Makes the values of one request."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._count = 0

    def marker(self) -> str:
        self._count += 1
        return f"leaf{self._count:04d}"

    def of(self, hint: Any, name: str, depth: int, kind: str = "") -> Any:
        """Make a value of a type; `kind` is the `type` of the object that it stands in."""
        options = list(_alternatives(hint))
        if depth >= DEPTH_MAX:
            options = [one for one in options if not is_object(one)] or options
        if name == "prompt" and self._random.random() < 0.8:
            # Of its forms only one text is served.
            options = [str]
        chosen = self._chosen(options)
        origin = get_origin(chosen)
        title = getattr(origin, "__name__", "")
        if origin is Literal:
            return self._random.choice(get_args(chosen))
        if title in LISTS:
            inner = get_args(chosen)[0]
            return [self.of(inner, name, depth + 1, kind) for _ in range(self._length(depth))]
        if title in DICTS:
            return self._mapping(chosen, name)
        if is_object(chosen):
            return self.object_of(chosen, depth)
        return self._plain(chosen, name, kind)

    def _chosen(self, options: list[Any]) -> Any:
        """Choose a list more often than the text that it may be instead: it holds more."""
        rows = [one for one in options if getattr(get_origin(one), "__name__", "") in LISTS]
        return self._random.choice(rows if rows and self._random.random() < 0.8 else options)

    def object_of(self, hint: Any, depth: int) -> dict[str, Any]:
        hints, required = _members(hint)
        made: dict[str, Any] = {}
        if "type" in hints:
            made["type"] = self.of(hints["type"], "type", depth)
        kind = made.get("type", "")
        for name, inner in hints.items():
            is_given = self._random.randrange(100) < GIVEN[min(depth, len(GIVEN) - 1)]
            # A type is always said: the few objects that may leave it out are tried elsewhere.
            if name != "type" and (name in required or (is_given and depth < DEPTH_MAX)):
                made[name] = self.of(inner, name, depth + 1, kind)
        return made

    def _length(self, depth: int) -> int:
        return self._random.choice((1, 1, 2, 3) if depth < 3 else (1, 1, 2))

    def _mapping(self, hint: Any, name: str) -> dict[str, Any]:
        held = get_args(hint)[1] if get_args(hint) else object
        if name == "logit_bias":
            return {"1734": 7}
        if name in SCHEMAS:
            about = {"type": "string", "description": self.marker()}
            return {"type": "object", "properties": {self.marker(): about}}
        return {self.marker(): self.of(held, "", DEPTH_MAX)}

    def _plain(self, hint: Any, name: str, kind: str) -> Any:
        if name in SCHEMAS and hint is object:
            return self._mapping(hint, name)
        if hint is bool:
            return self._random.random() < 0.5
        if hint in {int, float} and name in NUMBERS:
            return NUMBERS[name]
        if hint in {int, float}:
            self._count += 1
            return 7000 + self._count
        made = TEXTS.get(name)
        return made(self.marker, kind) if made else self.marker()


SCHEMAS: Final = frozenset({"schema", "input_schema", "parameters", "output_schema"})
NUMBERS: Final[Mapping[str, Any]] = {
    "temperature": 0.5,
    "top_p": 0.25,
    "frequency_penalty": 0.125,
    "presence_penalty": 0.375,
    "n": 2,
    "best_of": 2,
    "logprobs": 3,
    "top_logprobs": 3,
    "budget_tokens": 2_333,
    "max_tokens": 5_111,
    "max_output_tokens": 5_111,
    "max_completion_tokens": 5_222,
    "dimensions": 512,
}
Marker = Callable[[], str]


def _data_url(media_type: str, said: str) -> str:
    return f"data:{media_type};base64,{said}"


def _file_data(marker: Marker, kind: str) -> str:
    if kind != "input_file" and int(marker()[4:]) % 2:
        return _data_url("text/plain", base64.b64encode(marker().encode()).decode())
    return _data_url("application/pdf", marker())


def _item_id(marker: Marker, kind: str) -> str:
    prefix = {"function_call": "fc_", "custom_tool_call": "ctc_", "reasoning": "rs_"}
    return f"{prefix.get(kind, 'msg_')}{marker()}"


TEXTS: Final[Mapping[str, Callable[[Marker, str], str]]] = {
    "image_url": lambda marker, _: f"https://example.com/{marker()}.png",
    "url": lambda marker, _: _data_url("image/png", marker()),
    "file_url": lambda marker, _: f"https://example.com/{marker()}.pdf",
    "file_data": _file_data,
    "arguments": lambda marker, _: json.dumps({marker(): marker()}),
    "id": _item_id,
}


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Give every value that holds no other, with its place."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*place, name))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            yield from leaves(inner, (*place, at))
    else:
        yield place, value


_ALTERNATIVES: dict[int, tuple[Any, list[Any]]] = {}
_MEMBERS: dict[Any, tuple[dict[str, Any], frozenset[str]]] = {}


def _alternatives(hint: Any) -> list[Any]:
    # Kept with the hint itself: an id alone could come to stand for another one.
    found = _ALTERNATIVES.get(id(hint))
    if found is None:
        found = _ALTERNATIVES[id(hint)] = (hint, list(alternatives(hint)))
    return found[1]


def _members(hint: Any) -> tuple[dict[str, Any], frozenset[str]]:
    found = _MEMBERS.get(hint)
    if found is None:
        hints = get_type_hints(hint, include_extras=True)
        # Annotations that are kept as text leave `__required_keys__` empty.
        needed = frozenset(
            name
            for name, inner in hints.items()
            if name in hint.__required_keys__
            or get_origin(inner) is typing.Required
            or name in ALWAYS
        )
        found = _MEMBERS[hint] = (hints, needed)
    return found


def tied(request: dict[str, Any]) -> dict[str, Any]:
    """Let a choice among tools name tools that are offered, as no valid request does otherwise."""
    for rows in offers(request):
        _without_doubles(rows, request)
    choice = request.get("tool_choice")
    offered = [tool for tool in request.get("tools", ()) if name_of(tool)]
    if not isinstance(choice, dict):
        return request
    same = [tool for tool in offered if tool["type"] == choice.get("type")] or offered
    allowed = choice.get("allowed_tools", choice)
    if choice.get("type") == "allowed_tools" and offered:
        allowed["tools"] = [_named(tool) for tool in offered[:1]]
    elif choice.get("type") in {"function", "custom", "tool"} and same:
        request["tool_choice"] = {"type": choice["type"], **_named(same[0])} | (
            {"type": "tool"} if choice["type"] == "tool" else {}
        )
    else:
        del request["tool_choice"]
    return request


def offers(request: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Give the lists of tools that stand in a request and in its input."""
    items = request.get("input")
    holders = [request, *(items if isinstance(items, list) else [])]
    found = [holder.get("tools") for holder in holders if isinstance(holder, dict)]
    return [rows for rows in found if isinstance(rows, list)]


def _without_doubles(rows: list[dict[str, Any]], request: dict[str, Any]) -> None:
    """Leave the first of the tools whose type is their name too: another would take its place."""
    for tool in rows.copy():
        kinds = [_kind(other) for others in offers(request) for other in others]
        if not name_of(tool) and kinds.count(_kind(tool)) > 1:
            rows.remove(tool)


def _kind(tool: dict[str, Any]) -> str:
    return (
        str(tool.get("name") or tool.get("type")).removesuffix("_use").removesuffix("_use_preview")
    )


def _named(tool: dict[str, Any]) -> dict[str, Any]:
    kind = "custom" if tool["type"] == "custom" else "function"
    if isinstance(tool.get(kind), dict):
        return {"type": kind, kind: {"name": name_of(tool)}}
    return {"type": kind, "name": name_of(tool)}


def name_of(tool: dict[str, Any]) -> str:
    """Give the name of a tool that the client made up."""
    if tool.get("type") not in {"function", "custom"}:
        return ""
    inner = tool.get(tool["type"])
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""


def made(params: Any, seed: int) -> dict[str, Any]:
    """Make the request of a number."""
    return tied(Maker(seed).object_of(params, 0))


def requests(params: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Make requests of a parameter's type."""
    return st.integers(0, 2**40).map(lambda seed: made(params, seed))

"""What was translated for a provider is what its official types take, member by member."""

import collections.abc
import json
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import pytest
import typing_extensions as typed
from anthropic.types.beta import message_create_params
from openai.types.chat import completion_create_params
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from tests.golden.case import result_of
from tests.golden.tables import cases

OFFICIAL: Final = {
    "anthropic": message_create_params.MessageCreateParamsNonStreaming,
    "openai": completion_create_params.CompletionCreateParamsNonStreaming,
    "chat": completion_create_params.CompletionCreateParamsNonStreaming,
}
SAME_API: Final = frozenset({"chat-chat", "chat-openai", "messages-anthropic"})
# What providers of Chat Completions take besides OpenAI's own members, where they are not OpenAI.
BESIDE: Final = frozenset({"top_k"})
CASES: Final = [
    case
    for case in cases()
    if case.provider in OFFICIAL and f"{case.client}-{case.provider}" not in SAME_API
]
FOLDERS: Final = sorted({f"{case.client}-{case.provider}" for case in CASES})
_MADE: Final[dict[Any, Any]] = {}


def strictly(kind: Any) -> Any:
    """Give a type that takes no unknown members, and reads each item of a list."""
    if typed.is_typeddict(kind):
        return _strict_object(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if str(kind).startswith("typing.IO") or (
        isinstance(kind, type) and issubclass(kind, BaseModel)
    ):
        # Files as streams are no JSON; models of answers take anything.
        return Literal["not sent"]
    made = kind
    if origin is Annotated:
        made = strictly(inner[0])
    elif origin in {collections.abc.Iterable, collections.abc.Sequence, list}:
        made = list[strictly(inner[0])]  # type: ignore[misc]
    elif origin is dict:
        made = dict[strictly(inner[0]), strictly(inner[1])]  # type: ignore[misc]
    elif origin is Union:
        kinds = [strictly(one) for one in inner if "PathLike" not in str(one)]
        made = Union[tuple(kinds)]  # noqa: UP007 (made of a list)
    return made


def _strict_object(kind: Any) -> Any:
    if kind not in _MADE:
        # Stands for itself where it holds itself.
        _MADE[kind] = dict[str, Any]
        members = {}
        for name, hint in typed.get_type_hints(kind).items():
            is_required = name in kind.__required_keys__
            wanted = strictly(hint)
            members[name] = wanted if is_required else typed.NotRequired[wanted]
        made = typed.TypedDict(kind.__name__, members)  # type: ignore[operator]
        made.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
        _MADE[kind] = made
    return _MADE[kind]


def test_unknown_members_are_not_taken() -> None:
    adapter = TypeAdapter(strictly(OFFICIAL["anthropic"]))
    block: dict[str, Any] = {"type": "text", "text": "a"}
    request = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [block]}]}
    adapter.validate_python(request)
    block["unknown"] = 1
    with pytest.raises(ValidationError):
        adapter.validate_python(request)


@pytest.mark.parametrize("folder", FOLDERS)
def test_official_types_take_what_was_sent(folder: str) -> None:
    client, _, provider = folder.partition("-")
    adapter = TypeAdapter(strictly(OFFICIAL[provider]))
    faults: list[str] = []
    for case in CASES:
        if (case.client, case.provider) != (client, provider):
            continue
        result = result_of(case)
        played = result.whole or result.stream
        if played is None or not played.sent:
            continue
        body = json.loads(played.sent)
        for name in ("stream", "stream_options"):
            body.pop(name, None)
        if provider == "chat":
            for name in BESIDE:
                body.pop(name, None)
            for message in body["messages"]:
                message.pop("reasoning_content", None)
        try:
            adapter.validate_python(body)
        except ValidationError as fault:
            places = [".".join(map(str, error["loc"])) for error in fault.errors()]
            faults.append(f"{case.id}: {max(places, key=len)}")
    assert faults == []

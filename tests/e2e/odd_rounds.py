"""One round with tools, as a client gives it to its user, and the tools that it is offered."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import openai
import pydantic
from tests.e2e.odd_played import result_of

TOKENS_MAX = 500


class Called(NamedTuple):
    """A call of a tool as a client gives it to its user."""

    name: str
    given: Any
    call_id: str


class Round(NamedTuple):
    """The first answer as its client gives it, and the text of the one after the results.

    `thought` is None where a client has no place for it; `answer_id` is empty likewise.
    """

    text: str
    thought: str | None
    calls: list[Called]
    stop: str
    usage: tuple[int, int]
    answer_id: str
    last: str = ""


class get_weather(pydantic.BaseModel):  # noqa: N801 (the name is the tool's)
    """Say what the weather is."""

    city: str


class get_time(pydantic.BaseModel):  # noqa: N801 (the name is the tool's)
    """Say what the time is."""

    zone: str


class ping(pydantic.BaseModel):  # noqa: N801 (the name is the tool's)
    """Do nothing."""


KINDS: tuple[type[pydantic.BaseModel], ...] = (get_weather, get_time, ping)
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": kind.__name__, "parameters": kind.model_json_schema()},
    }
    for kind in KINDS
]
FLAT: list[Any] = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]
CLAUDES: list[Any] = [
    {"name": kind.__name__, "input_schema": kind.model_json_schema()} for kind in KINDS
]
STRICT: list[Any] = [openai.pydantic_function_tool(kind) for kind in KINDS]
STRICT_FLAT: list[Any] = [{"type": "function", **tool["function"]} for tool in STRICT]


def results_of(calls: Iterable[Called]) -> list[tuple[str, str]]:
    """Give the id of each call, and what its tool says."""
    return [(call.call_id, result_of(call.name, call.given)) for call in calls]

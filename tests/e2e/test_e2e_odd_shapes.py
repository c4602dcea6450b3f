"""Every odd shape of answer through every client library, over one running product."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import openai
import pytest
from tests.e2e.odd_clients import CLIENTS, Clients
from tests.e2e.odd_played import LAST_WORDS, Place, played, public_id, result_of
from tests.e2e.odd_rounds import Round
from tests.e2e.odd_shapes import SHAPES, Shape

pytestmark = pytest.mark.slow
# How each library says why an answer ended.
STOPS = {
    "chat": {"calls": "tool_calls", "stop": "stop", "length": "length"},
    "responses": {"calls": "completed", "stop": "completed", "length": "incomplete"},
    "messages": {"calls": "tool_use", "stop": "end_turn", "length": "max_tokens"},
    "legacy": {"calls": "stop", "stop": "stop", "length": "length"},
    "pydantic-ai": {"calls": "tool_call", "stop": "stop", "length": "length"},
    "pydantic-ai-responses": {"calls": "stop", "stop": "stop", "length": "length"},
}
# What the helpers of OpenAI's SDK say themselves of an answer that is not whole.
CUT = {
    "openai-chat-helper": openai.LengthFinishReasonError,
    "openai-responses-helper": RuntimeError,
}
# Those that send back all that came with a call; the others forget what they do not know.
CARRIES = {
    "openai-chat-create",
    "openai-chat-helper",
    "openai-responses-create",
    "openai-responses-helper",
    "anthropic",
    "pydantic-ai-messages",
    "langchain-messages",
    "langchain-responses",
}


class Case(NamedTuple):
    """One shape through one library."""

    library: str
    name: str
    is_stream: bool

    @property
    def code(self) -> str:
        return f"{self.library}-{self.name}-{'stream' if self.is_stream else 'whole'}"


CASES = [Case(*row) for row in itertools.product(CLIENTS, SHAPES, (True, False))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with played(tmp_path_factory.mktemp("odd")) as found:
        yield found


@pytest.fixture(scope="module")
def shown(place: Place) -> Iterator[dict[str, tuple[int, int]]]:
    """Keep the usage of each answer as it was shown; in the end it is what was charged."""
    usage: dict[str, tuple[int, int]] = {}
    yield usage
    assert {answer_id: place.receipt(answer_id) for answer_id in usage} == usage


@pytest.fixture(scope="module")
def clients(place: Place) -> Iterator[Clients]:
    with Clients(place.url, place.key) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=[case.code for case in CASES])
def test_a_client_gets_what_an_odd_shape_says(
    place: Place,
    clients: Clients,
    shown: dict[str, tuple[int, int]],
    case: Case,
) -> None:
    library, name, is_stream = case
    shape = SHAPES[name]
    api, play = CLIENTS[library]
    place.provider.asked.clear()
    if shape.stops_for == "length" and library in CUT and (api == "chat" or is_stream):
        with pytest.raises(CUT[library], match=r"length|completed"):
            play(clients, public_id(name), is_stream=is_stream)
        return
    got = play(clients, public_id(name), is_stream=is_stream)
    assert got.text == shape.text
    if got.thought is not None:
        assert got.thought == shape.thought
    own = "pydantic-ai" if library.startswith("pydantic-ai") else api
    stops = STOPS.get(library, STOPS[own])
    assert got.stop == stops[shape.stops_for]
    judge_usage(shape, got)
    if got.answer_id:
        shown[got.answer_id] = got.usage
    if api != "legacy":
        judge_calls(place.provider.asked, shape, got, library)


def judge_usage(shape: Shape, got: Round) -> None:
    """What a client is shown is never nothing."""
    assert min(got.usage) > 0
    if min(shape.usage) > 0:
        assert got.usage == shape.usage


def judge_calls(asked: list[dict[str, Any]], shape: Shape, got: Round, library: str) -> None:
    """Calls are told apart, and come back to the provider with their results."""
    assert [(call.name, call.given) for call in got.calls] == list(shape.calls)
    assert all(isinstance(call.call_id, str) and call.call_id for call in got.calls)
    assert len({call.call_id for call in got.calls}) == len(got.calls)
    if not shape.calls:
        assert len(asked) == 1
        return
    assert got.last == LAST_WORDS
    first, second = asked
    added = second["messages"][len(first["messages"]) :]
    turns = [row for row in added if row["role"] == "assistant"]
    # pydantic-ai puts blank lines between texts that a call stood between, and sends thoughts of
    # models that it does not know as text.
    said = re.sub(r"<think>.*?</think>|\n\n", "", "".join(map(text_of, turns)), flags=re.DOTALL)
    assert said == shape.text
    calls: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    for row in added:
        if row["role"] == "tool":
            call = waiting.pop(0)
            function = call["function"]
            assert row["tool_call_id"] == call["id"]
            assert text_of(row) == result_of(function["name"], json.loads(function["arguments"]))
        else:
            assert not waiting
            waiting = list(row.get("tool_calls") or [])
            calls += waiting
    assert not waiting
    heard = [(row["function"]["name"], json.loads(row["function"]["arguments"])) for row in calls]
    assert heard == list(shape.calls)
    ids = [row["id"] for row in calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    if shape.extra and library in CARRIES:
        assert calls[0].items() >= shape.extra.items()
    if shape.ids:
        assert ids == list(shape.ids)


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""

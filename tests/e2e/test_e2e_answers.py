"""Odd answers of a provider, as the official clients get them on each client API."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from tests.e2e.odd_provider import USAGE, OddProvider, stream
from tests.e2e.running import Running

pytestmark = pytest.mark.slow
MODELS = ("odd/numbers", "odd/calls", "odd/spent")
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "get_time")
]
FLAT: list[Any] = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]
CLAUDES: list[Any] = [
    {"name": tool["function"]["name"], "input_schema": {"type": "object"}} for tool in TOOLS
]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    row = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": 123, "created": 1_764_300_000.25, "model": "m", "choices": [row]} | more


def call(name: str, given: Any) -> dict[str, Any]:
    return {"index": 0, "id": "", "function": {"name": name, "arguments": given}}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with OddProvider() as provider:
        words = ["price $", 6, [{"type": "text", "text": " [1]"}]]
        ends = [chunk({}, "stop"), {"choices": [], "usage": USAGE}, "[DONE]"]
        provider.answers = {
            "odd/numbers": stream(*[chunk({"content": word}) for word in words], *ends),
            "odd/calls": stream(
                chunk({"tool_calls": [call("get_weather", {"city": "Paris"})]}),
                chunk({"tool_calls": [call("get_time", '{"zone":"CET"}')]}),
                *ends,
            ),
            "odd/spent": stream(
                chunk({"content": "a"}, usage={"prompt_tokens": -1, "completion_tokens": 10**12}),
                *ends[::2],
            ),
        }
        config = provider.config(*(f'{model}=capabilities = ["tools"]' for model in MODELS))
        folder = tmp_path_factory.mktemp("answers")
        with Running(folder, config=config) as running:
            running.cli("tenants", "create", "odd")
            running.cli("grant", "odd", "5", "--mode", "live", "--reason", "a test")
            made = running.cli("keys", "create", "--tenant", "odd", "--mode", "live")
            running.key = made["key"]
            yield running


@pytest.fixture
def client(product: Running) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{product.port}/v1"
    with openai.OpenAI(base_url=url, api_key=product.key, max_retries=0) as made:
        yield made


@pytest.fixture
def claude(product: Running) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{product.port}"
    with anthropic.Anthropic(base_url=url, api_key=product.key, max_retries=0) as made:
        yield made


def known(product: Running, answer_id: str) -> dict[str, Any]:
    """Give the record of an answer, by the id that its client was shown."""
    answer = httpx.get(
        f"http://127.0.0.1:{product.port}/v1/generation",
        params={"id": answer_id},
        headers={"authorization": f"Bearer {product.key}"},
    )
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["id"] == answer_id
    assert isinstance(data, dict)
    return data


def test_numbers_are_text_and_ids_are_ours(
    product: Running, client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with client.chat.completions.stream(model="odd/numbers", messages=HELLO) as chat:
        completion = chat.get_final_completion()
    assert completion.choices[0].message.content == "price $6 [1]"
    with client.responses.stream(model="odd/numbers", input="hello") as events:
        response = events.get_final_response()
    assert response.output_text == "price $6 [1]"
    with claude.messages.stream(model="odd/numbers", messages=HELLO, max_tokens=50) as blocks:
        message = blocks.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == ["price $6 [1]"]
    for answer_id in (completion.id, response.id, message.id):
        assert known(product, answer_id)["tokens_completion"] == USAGE["completion_tokens"]


def test_two_calls_under_one_index_are_two_calls(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    wanted = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "CET"})]
    with client.chat.completions.stream(model="odd/calls", messages=HELLO, tools=TOOLS) as chat:
        choice = chat.get_final_completion().choices[0]
    calls = choice.message.tool_calls or []
    found = [(one.function.name, json.loads(one.function.arguments)) for one in calls]
    assert found == wanted
    assert len({one.id for one in calls}) == 2
    assert choice.finish_reason == "tool_calls"
    with client.responses.stream(model="odd/calls", input="hello", tools=FLAT) as events:
        items = events.get_final_response().output
    found = [(one.name, json.loads(one.arguments)) for one in items if one.type == "function_call"]
    assert found == wanted
    with claude.messages.stream(
        model="odd/calls", messages=HELLO, tools=CLAUDES, max_tokens=50
    ) as blocks:
        message = blocks.get_final_message()
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in uses] == wanted
    assert message.stop_reason == "tool_use"


def test_usage_that_cannot_be_is_shown_as_it_is_charged(
    product: Running, client: openai.OpenAI
) -> None:
    events = list(
        client.chat.completions.create(
            model="odd/spent", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    usage = events[-1].usage
    assert usage is not None
    assert usage.prompt_tokens > 0
    assert 0 < usage.completion_tokens < 10
    record = known(product, events[0].id)
    assert record["tokens_prompt"] == usage.prompt_tokens
    assert record["tokens_completion"] == usage.completion_tokens

"""Responses at a provider that speaks Responses: by OpenAI's client, against real processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pydantic
import pytest
from tests.e2e.running import Running, free_port, wait_until

pytestmark = pytest.mark.slow
UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "http://127.0.0.1:{port}{path}"
is_local = true
api_key = "k"
{more}
"""
MODEL = """
[[upstream.model]]
id = "{model}"
upstream_model = "{upstream_model}"
input = "1"
output = "2"
cache_read = "0.1"
context_tokens = 100000
output_tokens_max = 4096
capabilities = ["tools", "vision", "json_schema", "reasoning"]
"""
MODELS = {
    "m": "mock-1",
    "think": "sandbox/reason?n=6",
    "flat": "sandbox/plain_json",
    "cut": "sandbox/cut?after=3",
    "fail": "sandbox/error_in_stream?after=3",
    "limited": "sandbox/error_in_stream?after=3&err=rate_limit_exceeded",
    "unmarked": "sandbox/done_no_finish",
    "refuse": "sandbox/status?code=400&message=nope",
    "once": "sandbox/status?code=503&first=1&err=native",
    "unmetered": "sandbox/missing_usage",
    "many": "sandbox/burst+comments+crlf",
    "split": "sandbox/split?bytes=7",
    "twin": "sandbox/error_in_stream?after=0",
}
COMPATIBILITY_FLAGS = (
    'compatibility = ["responses", "store_false", "no_obfuscation", "safety_identifier"]'
)
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
NOTE: Any = {"type": "custom", "name": "note", "description": "Take a note."}


class City(pydantic.BaseModel):
    name: str
    people: int


class Product:
    """The product with a provider that speaks Responses, played by the sandbox."""

    def __init__(self, running: Running, sandbox: str) -> None:
        self.running, self._sandbox = running, sandbox
        self.key = running.cli("keys", "create", "--mode", "live")["key"]
        running.cli("grant", "default", "50", "--reason", "test")
        self.client: openai.OpenAI = running.client(self.key)

    def post(self, model: str, **more: Any) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.running.port}/v1/responses",
            json={"model": model, "input": "Hello there"} | more,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=30,
        )

    def last(self) -> dict[str, Any]:
        row: dict[str, Any] = httpx.get(f"{self._sandbox}/sandbox/last", timeout=5).json()[-1]
        return row

    def charged(self, answer_id: str) -> dict[str, Any]:
        """Give the receipt of a response."""
        found: list[dict[str, Any]] = []
        address = f"http://127.0.0.1:{self.running.port}/v1/generation"

        def arrived() -> bool:
            said = httpx.get(
                address,
                params={"id": f"gen-{answer_id.removeprefix('resp_')}"},
                headers={"authorization": f"Bearer {self.key}"},
                timeout=5,
            )
            found.extend([said.json()["data"]] if said.status_code == 200 else [])
            return said.status_code == 200

        wait_until(arrived)
        return found[0]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    port = free_port()
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "jusinfer.sandbox.app", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    config = UPSTREAM.format(name="native", port=port, path="/v1", more=COMPATIBILITY_FLAGS)
    config += "".join(
        MODEL.format(model=f"native/{name}", upstream_model=upstream_model)
        for name, upstream_model in MODELS.items()
    )
    for name, path, more in (
        ("chat", "/v1", ""),
        ("claude", "/v1", 'api = "anthropic"'),
        ("router", "/openrouter/api/v1", 'compatibility = ["openrouter", "responses"]'),
    ):
        config += UPSTREAM.format(name=name, port=port, path=path, more=more)
        config += MODEL.format(model=f"{name}/m", upstream_model="mock-1")
        config += MODEL.format(model=f"{name}/think", upstream_model="sandbox/reason?n=6")
    config = config.replace('id = "native/twin"', 'id = "twin"')
    twin = MODEL.format(model="twin", upstream_model="mock-1")
    config += twin.replace('output = "2"', 'output = "3"')
    try:
        with Running(tmp_path_factory.mktemp("r"), config=config) as running:
            made = Product(running, f"http://127.0.0.1:{port}")
            yield made
            made.client.close()
    finally:
        sandbox.terminate()
        sandbox.wait(10)


def frames(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("model", ["native/m", "native/many", "native/split", "router/m"])
def test_a_response_passes_whole_and_streamed(product: Product, model: str) -> None:
    whole = product.client.responses.create(model=model, input="Hello there", user="ann")
    row = product.last()
    assert row["path"].endswith("/responses")
    assert "store" in row["keys"]
    assert whole.output_text
    assert whole.id.startswith("resp_")
    assert len(whole.id) == 37
    assert (whole.user, whole.store) == ("ann", False)
    with product.client.responses.stream(model=model, input="Hello there") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        ended = stream.get_final_response()
    assert "".join(deltas) == ended.output_text == whole.output_text
    for answer in (whole, ended):
        assert answer.usage is not None
        receipt = product.charged(answer.id)
        assert receipt["tokens_prompt"] == answer.usage.input_tokens
        assert receipt["tokens_completion"] == answer.usage.output_tokens
        assert receipt["jusinfer"]["is_estimated"] is False
        cost = answer.usage.to_dict()["cost"]
        assert isinstance(cost, float)
        assert receipt["total_cost"] == cost > 0


def test_what_a_provider_does_not_stream_is_streamed_here(product: Product) -> None:
    with product.client.responses.stream(model="native/flat", input="Hello there") as stream:
        kinds = [event.type for event in stream]
        ended = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert "response.output_text.delta" in kinds
    assert ended.output_text


def test_a_shape_is_kept(product: Product) -> None:
    parsed = product.client.responses.parse(
        model="native/m", input="Tell me of a city.", text_format=City
    )
    assert isinstance(parsed.output_parsed, City)
    with product.client.responses.stream(
        model="native/m", input="Tell me of a city.", text_format=City
    ) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, City)


@pytest.mark.parametrize("tool", [WEATHER, NOTE])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_tool_is_called_and_answered(product: Product, tool: Any, is_streamed: object) -> None:
    history: list[Any] = [{"role": "user", "content": "Use the tool, please."}]
    asked: Any = {"model": "native/m", "tools": [tool], "input": history}
    if is_streamed:
        with product.client.responses.stream(**asked) as stream:
            for _ in stream:
                pass
            answer = stream.get_final_response()
    else:
        answer = product.client.responses.create(**asked)
    (call,) = [item for item in answer.output if item.type.endswith("_call")]
    history += [item.to_dict() for item in answer.output]
    output = {"type": f"{call.type}_output", "call_id": call.to_dict()["call_id"], "output": "12"}
    last = product.client.responses.create(
        model="native/m", tools=[tool], input=[*history, output], max_output_tokens=64
    )
    assert last.output_text


@pytest.mark.parametrize("second", ["native/think", "chat/think", "claude/think"])
@pytest.mark.parametrize("first", ["native/think", "chat/think", "claude/think"])
def test_reasoning_makes_the_round_trip_between_providers(
    product: Product, first: str, second: str
) -> None:
    """The sandbox refuses seals that it did not make, as OpenAI and Anthropic do."""
    history: list[Any] = [{"role": "user", "content": "Use the tool, please."}]
    asked: Any = {"tools": [WEATHER], "reasoning": {"effort": "low"}}
    answer = product.client.responses.create(model=first, input=history, **asked)
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    assert all(item.encrypted_content for item in thoughts)
    assert thoughts
    history += [item.to_dict() for item in answer.output]
    history += [
        {"type": "function_call_output", "call_id": item.call_id, "output": "12"}
        for item in answer.output
        if item.type == "function_call"
    ]
    assert product.client.responses.create(model=second, input=history, **asked).output


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("fail", "server_error"),
        ("cut", "server_error"),
        ("unmarked", "server_error"),
        ("limited", "rate_limit_exceeded"),
    ],
)
def test_a_stream_that_breaks_ends_once_and_honestly(
    product: Product, model: str, code: str
) -> None:
    answer = product.post(f"native/{model}", stream=True)
    events = frames(answer.text)
    last = events[-1]
    assert [row["type"] for row in events].count("response.failed") == 1
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == code
    assert last["response"]["id"] == events[0]["response"]["id"]
    numbers = [row["sequence_number"] for row in events]
    assert numbers == list(range(len(numbers)))
    receipt = product.charged(last["response"]["id"])
    assert receipt["jusinfer"]["outcome"] != "completed"


def test_what_breaks_before_content_is_tried_elsewhere(product: Product) -> None:
    answer = product.client.responses.with_raw_response.create(
        model="twin", input="Hello there", stream=True
    )
    assert answer.headers["x-jusinfer-upstream"] == "router"
    *_, last = answer.parse()
    assert last.type == "response.completed"
    attempts = product.charged(last.response.id)["jusinfer"]["attempts"]
    assert attempts == ["native:twin=upstream_error", "router:twin=completed"]
    once = product.client.responses.create(model="native/once", input="Hello there")
    assert once.output_text


def test_a_refusal_is_told_with_the_providers_words(product: Product) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        product.client.responses.create(model="native/refuse", input="Hello there")
    assert "nope" in caught.value.message


def test_usage_is_counted_where_the_provider_tells_none(product: Product) -> None:
    for is_stream in (False, True):
        answer = product.post("native/unmetered", stream=is_stream)
        told = frames(answer.text)[-1]["response"] if is_stream else answer.json()
        usage = told["usage"]
        assert usage["output_tokens"] > 0
        assert usage["is_estimated"] is True
        assert product.charged(told["id"])["tokens_completion"] == usage["output_tokens"]


def test_what_is_stored_elsewhere_is_refused_by_name(product: Product) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        product.client.responses.create(
            model="native/m", input="Hello there", previous_response_id="resp_1"
        )
    assert caught.value.param == "previous_response_id"
    answer = product.post("native/m", input=[{"type": "item_reference", "id": "msg_1"}])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("input[0]")


@pytest.mark.parametrize(
    "more",
    [
        {"input": [1, None]},
        {"input": [{"type": "message"}]},
        {"tools": [{"type": "mcp", "server_label": "a", "server_url": "http://a"}]},
        {"tools": [{"type": "function"}]},
        {"include": "reasoning"},
        {"stream_options": []},
        {"service_tier": "flex"},
    ],
)
def test_odd_requests_are_refused_and_break_nothing(product: Product, more: Any) -> None:
    for is_stream in (False, True):
        answer = product.post("native/m", stream=is_stream, **more)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize(("asked", "sent"), [(16, 16), (90_000, 4_096)])
def test_a_budget_is_kept_and_cut_to_the_models_limit(
    product: Product, asked: int, sent: int
) -> None:
    answer = product.client.responses.create(
        model="native/m", input="Hello there", max_output_tokens=asked
    )
    assert answer.usage is not None
    assert answer.usage.output_tokens <= sent
    assert answer.max_output_tokens == sent

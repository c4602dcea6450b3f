"""What odd providers say, as the official clients get it."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.odd_provider import OddProvider, refusal, stream, whole
from tests.e2e.running import Running

MODELS = ("odd/chat", "odd/keyless", "odd/long", "odd/gzip", "odd/br", "odd/thinks")
WORD = {
    "id": "x",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "hi"}}],
}
TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."


@pytest.fixture(scope="module")
def provider() -> Iterator[OddProvider]:
    with OddProvider() as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, provider: OddProvider) -> Iterator[Running]:
    config = provider.config(*MODELS)
    with Running(tmp_path_factory.mktemp("provider"), config=config) as running:
        running.cli("tenants", "create", "odd")
        running.cli("grant", "odd", "10", "--mode", "live", "--reason", "a test")
        made = running.cli("keys", "create", "--tenant", "odd", "--mode", "live")
        running.key = made["key"]
        yield running


def claude(product: Running, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{product.port}", api_key=product.key, timeout=30, **options
    )


def asked(provider: OddProvider, model: str) -> int:
    return sum(one["model"] == model for one in provider.asked)


def test_what_no_retry_cures_is_asked_once_by_real_clients(
    product: Running, provider: OddProvider
) -> None:
    # A key that is refused shuts nothing, so that each request reaches the provider.
    provider.answers["odd/keyless"] = refusal(401, {"code": "invalid_api_key", "message": "m"})
    hello: Any = [{"role": "user", "content": "hello"}]
    with product.client(max_retries=3) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="odd/keyless", messages=hello)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert asked(provider, "odd/keyless") == 1
        with pytest.raises(openai.InternalServerError):
            client.responses.create(model="odd/keyless", input="hello")
        assert asked(provider, "odd/keyless") == 2
    with claude(product, max_retries=3) as other, pytest.raises(anthropic.InternalServerError):
        other.messages.create(model="odd/keyless", max_tokens=9, messages=hello)
    assert asked(provider, "odd/keyless") == 3


def test_an_input_that_is_too_long_is_said_so_that_clients_know_it(
    product: Running, provider: OddProvider
) -> None:
    error = {"code": "context_length_exceeded", "message": TOO_LONG}
    provider.answers["odd/long"] = refusal(400, error)
    hello: Any = [{"role": "user", "content": "hello"}]
    with product.client() as client:
        for call in (
            lambda: client.chat.completions.create(model="odd/long", messages=hello),
            lambda: client.responses.create(model="odd/long", input="hello"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                call()
            assert caught.value.code == "context_length_exceeded"
            assert caught.value.type == "invalid_request_error"
    with claude(product) as other, pytest.raises(anthropic.BadRequestError) as refused:
        other.messages.create(model="odd/long", max_tokens=9, messages=hello)
    body: Any = refused.value.body
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"].startswith("prompt is too long: 5000 tokens > 4096 maximum")
    long: Any = [{"role": "user", "content": "word " * 200_000}]
    with claude(product) as other, pytest.raises(anthropic.BadRequestError) as refused:
        other.messages.create(model="odd/chat", max_tokens=9, messages=long)
    body = refused.value.body
    assert body["error"]["message"].startswith("prompt is too long: ")
    assert "> 131072 maximum" in body["error"]["message"]


def test_a_stream_that_breaks_keeps_the_code(product: Running, provider: OddProvider) -> None:
    provider.answers["odd/long"] = stream(
        WORD, {"error": {"code": "context_length_exceeded", "message": TOO_LONG}}
    )
    with (
        product.client() as client,
        client.responses.create(model="odd/long", input="hello", stream=True) as streamed,
    ):
        last: Any = list(streamed)[-1]
    assert last.type == "response.failed"
    assert last.response.error.code == "context_length_exceeded"


def test_compressed_answers_are_read_and_others_are_a_failure(
    product: Running, provider: OddProvider
) -> None:
    for status, headers, data in (whole(), stream(WORD, "[DONE]")):
        packed = {**headers, "content-encoding": "gzip"}
        provider.answers["odd/gzip"] = status, packed, gzip.compress(data)
        is_stream = "event-stream" in headers["content-type"]
        answer = product.ask("odd/gzip", max_tokens=9, stream=is_stream)
        assert answer.status_code == 200, answer.text
        assert "content-encoding" not in answer.headers
        assert ("hi" if is_stream else "hello") in answer.text
    status, headers, data = refusal(400, {"code": "unsupported_value", "message": "m"})
    packed = {**headers, "content-encoding": "gzip"}
    provider.answers["odd/gzip"] = status, packed, gzip.compress(data)
    refused = product.ask("odd/gzip", max_tokens=9)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_value")
    status, headers, data = whole()
    provider.answers["odd/br"] = status, {**headers, "content-encoding": "br"}, data
    assert product.ask("odd/br", max_tokens=9).status_code == 502


def test_reasoning_beside_the_completion_is_charged_and_shown(
    product: Running, provider: OddProvider
) -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 10,
        "total_tokens": 1030,
        "completion_tokens_details": {"reasoning_tokens": 1000},
    }
    provider.answers["odd/thinks"] = whole(usage)
    answer = product.ask("odd/thinks", max_tokens=2000)
    assert answer.headers["x-jusinfer-cost"] == "0.00204"
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    provider.answers["odd/thinks"] = stream(WORD, last, {"choices": [], "usage": usage}, "[DONE]")
    streamed = product.ask(
        "odd/thinks", max_tokens=2000, stream=True, stream_options={"include_usage": True}
    )
    shown = json.loads(streamed.text.split("data: ")[-2])["usage"]
    assert (shown["completion_tokens"], shown["total_tokens"]) == (1010, 1030)
    assert shown["cost"] == pytest.approx(0.00204)

"""Every client API over every provider API, by real clients, against real processes."""

import json
import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import httpx
import openai
import pydantic
import pytest
from tests.e2e.running import Running, lone_sandbox, wait_until

pytestmark = pytest.mark.slow
UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "http://127.0.0.1:{port}{path}"
is_local = true
api_key = "upstream-key-{name}"
{more}
[[upstream.model]]
id = "{name}/m"
upstream_model = "{model}"
input = "1"
output = "2"
cache_read = "0.1"
context_tokens = 100000
output_tokens_max = 4096
capabilities = [{capabilities}]
[[upstream.model]]
id = "{name}/cut"
upstream_model = "{prefix}cut?after=3"
input = "1"
output = "2"
[[upstream.model]]
id = "{name}/fail"
upstream_model = "{prefix}error_in_stream?after=3"
input = "1"
output = "2"
[[upstream.model]]
id = "{name}/refuse"
upstream_model = "{prefix}status?code=400&message=nope"
input = "1"
output = "2"
[[upstream.model]]
id = "{name}/once"
upstream_model = "{prefix}status?code=503&first=1&err={name}"
input = "1"
output = "2"
"""
GATEWAY = 'gateway_token = "gateway-token"\n'
UPSTREAMS = {
    "plain": ("/v1", "mock-1", ""),
    "claude": ("/v1", "claude-opus-5-5", 'api = "anthropic"'),
    "workers": (
        "/client/v4/accounts/abc/ai",
        "@cf/meta/llama-3.2-1b-instruct",
        'api = "workers_ai"',
    ),
    "router": (
        "/openrouter/api/v1",
        "deepseek/deepseek-v4-pro",
        'compatibility = ["openrouter"]\nheaders = { "X-OpenRouter-Cache" = "false" }',
    ),
    "seek": ("/deepseek", "deepseek-v4-pro", 'compatibility = ["deepseek", "user_id"]'),
    "azure": (
        "/azure/openai/v1",
        "my-deployment",
        'auth = "api-key"\ncompatibility = ["max_completion_tokens"]',
    ),
    "gemini": ("/v1beta/openai", "gemini-3-pro", ""),
    "viaclaude": (
        "/aig/v1/acct/gate/anthropic/v1",
        "claude-opus-5-5",
        'api = "anthropic"\n' + GATEWAY,
    ),
    "viarouter": (
        "/aig/v1/acct/gate/openrouter",
        "deepseek/deepseek-v4-pro",
        'compatibility = ["openrouter"]\nheaders = { "X-OpenRouter-Cache" = "false" }\n' + GATEWAY,
    ),
}
HELLO: Any = [{"role": "user", "content": "Hello there"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
USE_TOOL: Any = [{"role": "user", "content": "Use the tool, please."}]
CLIENT_APIS = ("chat", "responses", "messages", "completions")


class Product:
    """The product with its live upstreams, all played by one sandbox."""

    def __init__(self, running: Running, key: str, sandbox: str) -> None:
        self.running, self.key, self._sandbox = running, key, sandbox
        self.base = f"http://127.0.0.1:{running.port}"
        self._clients: list[anthropic.Anthropic] = []

    def openai(self) -> openai.OpenAI:
        return self.running.client(self.key)

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        settings: dict[str, Any] = {"max_retries": 0, "timeout": 30} | options
        if "auth_token" not in settings:
            settings.setdefault("api_key", self.key)
        client = anthropic.Anthropic(base_url=self.base, **settings)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def post(self, client_api: str, model: str, **more: Any) -> httpx.Response:
        paths = {"chat": "chat/completions"}
        body: dict[str, Any] = {"model": model, "max_tokens": 64}
        if client_api == "responses":
            body = {"model": model, "input": "Hello there", "max_output_tokens": 64}
        elif client_api == "completions":
            body["prompt"] = "Hello there"
        else:
            body["messages"] = HELLO
        return httpx.post(
            f"{self.base}/v1/{paths.get(client_api, client_api)}",
            json=body | more,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=30,
        )

    def last(self) -> dict[str, Any]:
        row = httpx.get(f"{self._sandbox}/sandbox/last", timeout=5).json()[-1]
        assert isinstance(row, dict)
        return row

    def sandbox_count(self, model: str) -> int:
        """Give how many answers of a model are under way."""
        row = httpx.get(f"{self._sandbox}/sandbox/counts", timeout=5).json().get(model, {})
        return sum(int(row.get(n, 0)) for n in ("started",)) - sum(
            int(row.get(n, 0)) for n in ("finished", "cancelled")
        )

    def receipt(self, answer: httpx.Response) -> dict[str, Any]:
        number = answer.headers["x-jusinfer-completion-id"]
        found: list[dict[str, Any]] = []

        def arrived() -> bool:
            said = httpx.get(
                f"{self.base}/v1/generation?id=gen-{number}",
                headers={"authorization": f"Bearer {self.key}"},
                timeout=5,
            )
            if said.status_code == 200:
                found.append(said.json()["data"])
            return said.status_code == 200

        wait_until(arrived)
        return found[0]


@pytest.fixture(scope="module")
def ear_server() -> Iterator[tuple[int, list[str]]]:
    """Give the port of an upstream that says nothing but an error, and what it heard."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            heard.append(f"{self.headers}{self.rfile.read(size).decode()}")
            self.send_response(400)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield int(server.server_address[1]), heard
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def ear(ear_server: tuple[int, list[str]]) -> list[str]:
    """Give what that upstream heard, word for word."""
    return ear_server[1]


def upstreams_at(port: int, ear_port: int) -> str:
    """Write the upstreams' configuration, most of them played by the sandbox at a port."""
    config = "".join(
        UPSTREAM.format(
            name=name,
            port=port,
            path=path,
            model=model,
            more=more,
            prefix="sandbox/",
            capabilities='"tools", "vision", "json_schema", "reasoning"',
        )
        for name, (path, model, more) in UPSTREAMS.items()
    )
    for name, more in (
        ("ear", 'compatibility = ["safety_identifier"]'),
        ("earclaude", 'api = "anthropic"'),
    ):
        config += (
            f'[[upstream]]\nname = "{name}"\nbase_url = "http://127.0.0.1:{ear_port}/v1"\n'
            f'is_local = true\napi_key = "k"\n{more}\n[[upstream.model]]\nid = "{name}/m"\n'
            'input = "1"\noutput = "1"\n'
        )
    for name, model, more in (
        ("mute", "sandbox/stall?before=1", "hedge_seconds = 0.2"),
        ("lively", "mock-1", ""),
    ):
        config += (
            f'[[upstream]]\nname = "{name}"\nbase_url = "http://127.0.0.1:{port}/v1"\n{more}\n'
            'is_local = true\napi_key = "k"\n[[upstream.model]]\nid = "twin/m"\n'
            f'upstream_model = "{model}"\ninput = "1"\noutput = "{2 if more else 3}"\n'
        )
    config += (
        f'[[upstream]]\nname = "poor"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        'is_local = true\napi_key = "k"\n[[upstream.model]]\nid = "poor/m"\n'
        'upstream_model = "sandbox/status?code=429&quota=1"\ninput = "1"\noutput = "1"\n'
        f'[[upstream]]\nname = "slow"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        'is_local = true\napi_key = "k"\napi = "anthropic"\nfirst_event_seconds = 1\n'
        '[[upstream.model]]\nid = "slow/m"\nupstream_model = "sandbox/tokens?n=400&token_ms=20"\n'
        'input = "1"\noutput = "1"\n'
        '[[upstream.model]]\nid = "slow/stall"\nupstream_model = "sandbox/stall?before=1"\n'
        'input = "1"\noutput = "1"\n'
    )
    config += (
        f'[[upstream]]\nname = "vectors"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        'is_local = true\napi_key = "k"\n[[upstream.model]]\nid = "embed-1"\ninput = "0.1"\n'
        'output = "0"\ncapabilities = ["embeddings"]\n'
        '[[upstream.model]]\nid = "flat-embed"\nupstream_model = "sandbox/plain"\ninput = "0.1"\n'
        'output = "0"\ncapabilities = ["embeddings"]\n'
    )
    return config


@pytest.fixture(scope="module")
def product(
    tmp_path_factory: pytest.TempPathFactory, ear_server: tuple[int, list[str]]
) -> Iterator[Product]:
    with (
        lone_sandbox() as port,
        Running(tmp_path_factory.mktemp("s"), config=upstreams_at(port, ear_server[0])) as running,
    ):
        key = running.cli("keys", "create", "--mode", "live")["key"]
        running.cli("grant", "default", "50", "--reason", "test")
        made = Product(running, key, f"http://127.0.0.1:{port}")
        yield made
        made.close()


@pytest.mark.parametrize("name", UPSTREAMS)
@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_any_client_api_is_served_by_any_provider_api(
    product: Product, client_api: str, name: str
) -> None:
    plain = product.post(client_api, f"{name}/m")
    assert plain.status_code == 200, plain.text
    assert plain.headers["x-jusinfer-upstream"] == name
    whole = said(client_api, plain.json())
    assert len(whole.split()) == 16
    stream = product.post(client_api, f"{name}/m", stream=True)
    assert stream.status_code == 200
    assert streamed(client_api, stream.text) == whole
    for answer in (plain, stream):
        row = product.receipt(answer)
        assert row["jusinfer"]["outcome"] == "completed"
        assert row["jusinfer"]["is_estimated"] is False
        assert (row["tokens_completion"], row["provider_name"]) == (16, name)
        assert row["total_cost"] > 0
        cached = row["native_tokens_cached"]
        exact = (row["tokens_prompt"] - cached) * 1 + cached * Decimal("0.1") + 16 * 2
        assert Decimal(str(row["jusinfer"]["cost_exact"])) == exact / 1_000_000


def said(client_api: str, body: dict[str, Any]) -> str:
    if client_api == "chat":
        return str(body["choices"][0]["message"]["content"])
    if client_api == "completions":
        return str(body["choices"][0]["text"])
    if client_api == "messages":
        return "".join(block["text"] for block in body["content"] if block["type"] == "text")
    return "".join(
        part["text"]
        for item in body["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


def frames(text: str) -> list[dict[str, Any]]:
    rows = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(row) for row in rows if row != "[DONE]"]


def streamed(client_api: str, text: str) -> str:
    found = ""
    for row in frames(text):
        if client_api == "chat":
            found += "".join(c["delta"].get("content") or "" for c in row["choices"])
        elif client_api == "completions":
            found += "".join(c["text"] for c in row["choices"])
        elif client_api == "messages" and row["type"] == "content_block_delta":
            found += row["delta"].get("text", "")
        elif client_api == "responses" and row["type"] == "response.output_text.delta":
            found += row["delta"]
    return found


ENDS = {
    "chat": "data: [DONE]",
    "completions": "data: [DONE]",
    "messages": "event: message_stop",
    "responses": "event: response.completed",
}
BREAKS = {
    "chat": '"error":',
    "completions": '"error":',
    "messages": "event: error",
    "responses": "event: response.failed",
}


@pytest.mark.parametrize("name", ["plain", "claude", "workers", "router", "viaclaude"])
@pytest.mark.parametrize("client_api", CLIENT_APIS)
@pytest.mark.parametrize("fault", ["cut", "fail"])
def test_a_broken_stream_ends_honestly_and_is_charged_for_what_came(
    product: Product, client_api: str, name: str, fault: str
) -> None:
    if (name, fault) == ("workers", "fail"):
        fault = "cut"  # the run endpoint has no error events
    answer = product.post(client_api, f"{name}/{fault}", stream=True)
    assert answer.status_code == 200
    assert BREAKS[client_api] in answer.text
    assert ENDS[client_api] not in answer.text
    row = product.receipt(answer)
    is_cut = fault == "cut"
    assert row["jusinfer"]["outcome"] == ("upstream_cut" if is_cut else "upstream_failed")
    assert row["tokens_completion"] == 3
    assert (row["total_cost"] > 0) is is_cut


@pytest.mark.parametrize("name", ["plain", "claude", "workers", "router"])
@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_a_refusal_comes_in_the_clients_wire_format_and_costs_nothing(
    product: Product, client_api: str, name: str
) -> None:
    for stream in (False, True):
        answer = product.post(client_api, f"{name}/refuse", stream=stream)
        assert answer.status_code == 400
        body = answer.json()
        assert "nope" in body["error"]["message"]
        assert (body.get("type") == "error") is (client_api == "messages")
        assert product.receipt(answer)["total_cost"] == 0


@pytest.mark.parametrize("name", ["plain", "claude", "workers"])
def test_a_passing_failure_is_tried_again_unseen(product: Product, name: str) -> None:
    answer = product.post("chat", f"{name}/once")
    assert answer.status_code == 200
    attempts = product.receipt(answer)["jusinfer"]["attempts"]
    assert len(attempts) == 2
    assert attempts[0].endswith("=upstream_status_503")


@pytest.mark.parametrize("client_api", ["chat", "responses", "messages"])
def test_a_client_who_leaves_pays_for_what_was_made(product: Product, client_api: str) -> None:
    path = {"chat": "chat/completions"}.get(client_api, client_api)
    body: dict[str, Any] = {"model": "slow/m", "stream": True, "max_tokens": 500}
    body["messages"] = HELLO
    if client_api == "responses":
        body = {"model": "slow/m", "stream": True, "input": "Hello", "max_output_tokens": 500}
    headers = {"authorization": f"Bearer {product.key}"}
    url = f"{product.base}/v1/{path}"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=20) as answer:
        for number, _ in enumerate(answer.iter_lines()):
            if number > 60:
                break
    row = product.receipt(answer)
    assert row["jusinfer"]["outcome"] == "cut_by_client"
    assert 0 < row["tokens_completion"] < 200
    assert row["total_cost"] > 0


def test_an_account_without_quota_is_left_alone_and_no_request_is_repeated(
    product: Product,
) -> None:
    first = product.post("chat", "poor/m")
    assert first.status_code == 503
    assert len(product.receipt(first)["jusinfer"]["attempts"]) == 1
    before = product.last()
    second = product.post("messages", "poor/m")
    assert second.status_code == 503
    assert second.json()["error"]["type"] == "overloaded_error"
    assert int(second.headers["retry-after"]) > 0
    assert product.last() == before
    models = httpx.get(
        f"{product.base}/v1/models/poor/m", headers={"authorization": f"Bearer {product.key}"}
    ).json()
    assert models["endpoints"][0]["state"] == "down"
    status = httpx.get(f"{product.base}/v1/status", timeout=30).json()
    assert status["upstreams"]["poor"] == "down"
    page = httpx.get(f"{product.base}/v1/status", headers={"accept": "text/html"}, timeout=30)
    assert "not answering" in page.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_upstream_is_raced_and_the_loser_costs_the_client_nothing(
    product: Product, *, stream: bool
) -> None:
    for _ in range(60):
        assert product.post("chat", "plain/m").status_code == 200
    before = product.sandbox_count("sandbox/stall?before=1")
    # Words of their own: a conversation that is warm elsewhere would not be sent here first.
    asked = [{"role": "user", "content": f"Race {stream}"}]
    answer = product.post("messages", "twin/m", stream=stream, messages=asked)
    assert answer.status_code == 200
    assert answer.headers["x-jusinfer-upstream"] == "lively"
    row = product.receipt(answer)
    assert row["provider_name"] == "lively"
    assert row["tokens_completion"] == 16
    exact = Decimal(str(row["jusinfer"]["cost_exact"]))
    assert exact == Decimal(row["tokens_prompt"] + 16 * 3) / 1_000_000
    assert [a.rpartition("=")[2] for a in row["jusinfer"]["attempts"]] == ["hedged", "completed"]
    wait_until(lambda: product.sandbox_count("sandbox/stall?before=1") == before)


def test_an_upstream_that_says_nothing_is_given_up(product: Product) -> None:
    answer = product.post("messages", "slow/stall", stream=True)
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "timeout_error"
    assert product.receipt(answer)["total_cost"] == 0


def test_embeddings_come_as_they_were_asked_for(product: Product) -> None:
    client = product.openai()
    floats = client.embeddings.create(model="embed-1", input=["a", "b"], encoding_format="float")
    packed = client.embeddings.create(model="embed-1", input=["a", "b"])
    for one, other in zip(floats.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, rel=1e-5)
    assert [row.index for row in floats.data] == [0, 1]
    tokens = client.embeddings.create(model="embed-1", input=[[1, 2, 3], [4]])
    assert len(tokens.data) == 2
    raw = client.embeddings.with_raw_response.create(model="embed-1", input="a" * 400)
    assert Decimal(raw.headers["x-jusinfer-cost"]) > 0
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="plain/m", input="a")
    with pytest.raises(openai.BadRequestError, match="embeddings only"):
        client.chat.completions.create(model="embed-1", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(model="embed-1", input=[])


# ---------------------------------------------------------------- the official clients


@pytest.mark.parametrize("name", ["plain", "claude", "workers", "seek", "gemini"])
def test_openais_client_uses_tools_on_both_of_its_apis(product: Product, name: str) -> None:
    client = product.openai()
    model = f"{name}/m"
    asked: Any = {"model": model, "messages": USE_TOOL, "tools": TOOLS, "max_tokens": 200}
    whole = client.chat.completions.create(**asked)
    calls = whole.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(json.loads(calls[0].function.arguments)["city"], str)
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    again = final.choices[0].message.tool_calls
    assert again is not None
    assert again[0].function.arguments == calls[0].function.arguments
    turn: Any = whole.choices[0].message.model_dump(exclude_none=True)
    result: Any = {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"}
    third = client.chat.completions.create(
        model=model, messages=[*USE_TOOL, turn, result], tools=TOOLS, max_tokens=50
    )
    assert third.choices[0].message.content

    flat: Any = [{"type": "function"} | TOOLS[0]["function"] | {"strict": None}]
    with client.responses.stream(
        model=model, input="Use the tool, please.", tools=flat, max_output_tokens=200
    ) as events:
        kinds = [event.type for event in events]
        response = events.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.function_call_arguments.delta" in kinds
    call: Any = response.output[-1]
    assert call.type == "function_call"
    assert response.store is False if hasattr(response, "store") else True
    items: Any = [
        {"role": "user", "content": "Use the tool, please."},
        *(item.model_dump(exclude_none=True, exclude={"status"}) for item in response.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    done = client.responses.create(model=model, input=items, max_output_tokens=50)
    assert done.output_text
    assert done.usage is not None
    assert done.usage.output_tokens > 0


@pytest.mark.parametrize("name", ["plain", "claude", "viaclaude", "workers", "router", "gemini"])
def test_anthropics_client_streams_thinks_and_uses_tools(product: Product, name: str) -> None:
    client = product.anthropic()
    tools: Any = [
        {"name": "weather", "input_schema": TOOLS[0]["function"]["parameters"], "description": "d"}
    ]
    asked: Any = {"model": f"{name}/m", "max_tokens": 3000, "messages": USE_TOOL, "tools": tools}
    if "claude" in name:
        asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    kinds = [block.type for block in message.content]
    assert kinds[-1] == "tool_use"
    assert ("thinking" in kinds) is ("claude" in name)
    assert message.usage.output_tokens > 0
    assert message.usage.input_tokens > 0
    use: Any = message.content[-1]
    follow: Any = [
        *USE_TOOL,
        {
            "role": "assistant",
            "content": [b.model_dump(exclude_none=True) for b in message.content],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}],
        },
    ]
    plain = client.messages.create(**asked | {"messages": follow})
    assert any(block.type == "text" for block in plain.content)


def test_anthropics_client_counts_and_both_auth_headers_work(product: Product) -> None:
    for client in (product.anthropic(), product.anthropic(auth_token=product.key, api_key=None)):
        counted = client.messages.count_tokens(model="claude/m", messages=HELLO)
        assert 1 <= counted.input_tokens < 50
    with pytest.raises(anthropic.NotFoundError) as missing:
        product.anthropic().messages.create(model="none", max_tokens=5, messages=HELLO)
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.AuthenticationError):
        product.anthropic(api_key="ji_live_wrong").messages.create(
            model="claude/m", max_tokens=5, messages=HELLO
        )
    with pytest.raises(anthropic.BadRequestError, match="container"):
        product.anthropic().messages.create(
            model="claude/m", max_tokens=5, messages=HELLO, extra_body={"container": "x"}
        )


def test_what_a_provider_api_cannot_say_is_refused_by_name(product: Product) -> None:
    for model, member in (("claude/m", "seed"), ("workers/m", "logit_bias")):
        value: Any = 5 if member == "seed" else {"1": 1}
        answer = product.post("chat", model, **{member: value})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == member
        assert product.receipt(answer)["total_cost"] == 0


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42"
    "mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("name", ["plain", "claude", "azure"])
def test_official_clients_show_images_and_ask_for_shapes(product: Product, name: str) -> None:
    client = product.openai()
    model, url = f"{name}/m", f"data:image/png;base64,{PNG}"
    parts: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    seen = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": parts}], max_tokens=50
    )
    blind = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is it?"}], max_tokens=50
    )
    assert seen.usage is not None
    assert blind.usage is not None
    assert seen.usage.prompt_tokens > blind.usage.prompt_tokens + 50
    items: Any = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": url, "detail": "auto"},
            ],
        }
    ]
    response = client.responses.create(model=model, input=items, max_output_tokens=50)
    assert response.usage is not None
    assert response.usage.input_tokens == seen.usage.prompt_tokens
    source: Any = {"type": "base64", "media_type": "image/png", "data": PNG}
    blocks: Any = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    message = product.anthropic().messages.create(
        model=model, max_tokens=50, messages=[{"role": "user", "content": blocks}]
    )
    assert message.usage.input_tokens == seen.usage.prompt_tokens

    class City(pydantic.BaseModel):
        name: str
        people: int

    parsed = client.chat.completions.parse(
        model=model, messages=HELLO, response_format=City, max_tokens=200
    )
    assert isinstance(parsed.choices[0].message.parsed, City)
    shaped = client.responses.parse(
        model=model, input="Hello", text_format=City, max_output_tokens=200
    )
    assert isinstance(shaped.output_parsed, City)


# ---------------------------------------------------------------- what upstreams are told


def test_upstreams_are_told_nothing_of_who_asks(product: Product, ear: list[str]) -> None:
    headers = {
        "authorization": f"Bearer {product.key}",
        "http-referer": "https://canary.example",
        "x-title": "canary-title",
    }
    for path, more in (
        ("chat/completions", {"messages": HELLO, "user": "canary", "metadata": {"k": "canary"}}),
        ("responses", {"input": "Hello", "user": "canary", "metadata": {"k": "canary"}}),
        ("messages", {"messages": HELLO, "max_tokens": 5, "metadata": {"user_id": "canary"}}),
    ):
        for model in ("ear/m", "earclaude/m"):
            ear.clear()
            body = {"model": model, **more}
            url = f"{product.base}/v1/{path}"
            httpx.post(url, json=body, headers=headers, timeout=20)
            assert ear
            assert "Hello" in ear[0]
            assert "canary" not in "".join(ear)
            assert product.key not in "".join(ear)
            assert re.search(r'"(user_id|safety_identifier)":"[0-9a-f]{32}"', ear[0])


def test_a_gateway_on_the_way_is_told_to_keep_nothing(product: Product) -> None:
    answer = product.post("messages", "viaclaude/m")
    headers = product.last()["flag_headers"]
    assert headers["cf-aig-collect-log-payload"] == "false"
    assert headers["cf-aig-event-id"] == answer.headers["x-jusinfer-completion-id"]
    metadata = json.loads(headers["cf-aig-metadata"])
    assert metadata.keys() == {"tenant", "member", "key", "model", "request"}
    assert all(re.fullmatch("[0-9a-f]{32}", metadata[name]) for name in ("tenant", "member"))


def test_a_tenants_policy_closes_routes_that_do_not_state_what_it_demands(
    product: Product,
) -> None:
    running = product.running
    tenant = running.cli("tenants", "create", "strict")[0]["tenant_id"]
    running.cli("grant", "strict", "5", "--reason", "test")
    key = running.cli("keys", "create", "--tenant", "strict", "--mode", "live")["key"]
    strict = Product(running, key, "")
    assert strict.post("chat", "plain/m").status_code == 200
    running.cli("tenants", "policy", tenant, "--zdr")

    def closed() -> bool:
        answer = strict.post("chat", "plain/m")
        return answer.status_code == 403 and "zdr" in answer.text

    wait_until(closed)
    running.cli("tenants", "policy", tenant, "--upstream", "claude")
    wait_until(lambda: strict.post("chat", "claude/m").status_code == 200)
    assert strict.post("chat", "plain/m").status_code == 403


def test_preferences_choose_among_routes(product: Product) -> None:
    listed = product.post("chat", "none/such", models=["none/other", "claude/m"])
    assert listed.headers["x-jusinfer-model"] == "claude/m"
    refused = product.post("chat", "plain/m", provider={"only": ["claude"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "provider.only")
    dear = product.post("chat", "plain/m", provider={"max_price": {"prompt": 0.5}})
    assert dear.json()["error"]["param"] == "provider.max_price"
    back = product.post("chat", "plain/fail", models=["claude/m"])
    assert back.status_code == 200

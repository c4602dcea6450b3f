"""The official client against the running product."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import openai
import pydantic
import pytest
from tests.e2e.running import Running, wait_until
from tests.money import assert_books_are_right

pytestmark = pytest.mark.slow
HELLO = [{"role": "user", "content": "Hello! Please use the tool."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("client")
    with Running(folder, config='[listen]\ncors_origins = ["https://app.example"]\n') as running:
        yield running


def test_a_plain_answer_says_who_why_and_how_much(product: Running) -> None:
    raw = product.client().chat.completions.with_raw_response.create(
        model="jusinfer/auto", messages=HELLO
    )
    answer = raw.parse()
    assert answer.choices[0].message.content
    for name in (
        "x-request-id",
        "x-jusinfer-completion-id",
        "x-jusinfer-model",
        "x-jusinfer-upstream",
        "x-jusinfer-route",
        "x-jusinfer-cost",
        "x-jusinfer-overhead-us",
    ):
        assert raw.headers.get(name), name
    # Nothing limits this key by the minute.
    assert not [name for name in raw.headers if name.startswith("x-ratelimit-")]
    assert raw.headers["x-jusinfer-upstream"] == "sandbox"


def test_the_asynchronous_client_streams(product: Running) -> None:
    async def run() -> list[str]:
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{product.port}/api/v1", api_key=product.key
        )
        async with client:
            stream = await client.chat.completions.create(
                model="sandbox/tokens?n=20", messages=HELLO, stream=True
            )
            return [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

    assert len([piece for piece in asyncio.run(run()) if piece]) == 20


def test_usage_comes_once_with_its_cost_and_only_when_asked_for(product: Running) -> None:
    client = product.client()
    chunks = list(
        client.chat.completions.create(
            model="sandbox/tokens?n=5",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    last = [chunk for chunk in chunks if chunk.usage is not None]
    assert len(last) == 1
    assert last[0].choices == []
    assert last[0].usage is not None
    assert last[0].usage.completion_tokens == 5
    assert last[0].usage.model_extra is not None
    assert float(last[0].usage.model_extra["cost"]) > 0
    plain = list(
        client.chat.completions.create(model="sandbox/tokens?n=5", messages=HELLO, stream=True)
    )
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


@pytest.mark.parametrize("is_stream", [False, True])
def test_tools_are_called(product: Running, *, is_stream: bool) -> None:
    client = product.client()
    if is_stream:
        with client.chat.completions.stream(
            model="jusinfer/auto", messages=HELLO, tools=[TOOL]
        ) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(
            model="jusinfer/auto", messages=HELLO, tools=[TOOL], tool_choice="required"
        )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "weather"
    assert "city" in calls[0].function.arguments


def test_structured_output_is_parsed(product: Running) -> None:
    answer = product.client().chat.completions.parse(
        model="jusinfer/auto", messages=HELLO, response_format=City
    )
    assert isinstance(answer.choices[0].message.parsed, City)


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("no-such-model", openai.NotFoundError, 404),
        ("sandbox/status?code=429&retry_after=1", openai.RateLimitError, 429),
        ("sandbox/status?code=400", openai.BadRequestError, 400),
        ("sandbox/status?code=500", openai.InternalServerError, 502),
        ("sandbox/garbage", openai.InternalServerError, 502),
        ("sandbox/html", openai.InternalServerError, 502),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_errors_are_the_clients_own(
    product: Running,
    model: str,
    kind: type[openai.APIStatusError],
    status: int,
    *,
    is_stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        product.client().chat.completions.create(model=model, messages=HELLO, stream=is_stream)
    assert caught.value.status_code == status
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"]


def test_a_bad_field_is_named(product: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        product.client().chat.completions.create(
            model="jusinfer/auto",
            messages=[{"role": "nobody", "content": "x"}],  # type: ignore[list-item]
        )
    assert caught.value.param == "messages[0].role"


def test_a_wrong_key_is_refused(product: Running) -> None:
    for key in ("ji_test_" + "x" * 43, "sk-something", "x"):
        with pytest.raises(openai.AuthenticationError):
            product.client(key).models.list()


def test_the_clients_own_retries_succeed(product: Running) -> None:
    client = product.client(max_retries=2)
    answer = client.chat.completions.create(
        model="sandbox/status?code=503&first=1&retry_after=0", messages=HELLO
    )
    assert answer.choices[0].message.content


@pytest.mark.parametrize("fault", ["cut?after=3", "reset?after=3", "error_in_stream?after=3"])
def test_a_stream_that_breaks_says_so_and_never_ends_well(product: Running, fault: str) -> None:
    answer = product.ask(f"sandbox/{fault}", stream=True)
    events = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert answer.status_code == 200
    assert '"finish_reason":"error"' in events[-1]
    assert sum('"error"' in event for event in events) == 1
    assert "[DONE]" not in answer.text


def test_leaving_a_stream_stops_the_upstream_and_charges_what_was_sent(product: Running) -> None:
    model = "sandbox/slow?ms=50&n=400"
    with product.client().chat.completions.create(
        model=model, messages=HELLO, stream=True
    ) as stream:
        for number, _ in enumerate(stream):
            if number == 4:
                break
    counts = {}

    def cancelled() -> bool:
        counts.update(product.sandbox("counts").get(model, {}))
        return counts.get("cancelled", 0) == 1

    wait_until(cancelled, 15)
    assert counts["tokens"] < 100

    def posted() -> bool:
        rows = product.cli("usage")
        return (
            any(row["completions"] for row in rows)
            and _outcomes(product).get("cut_by_client", 0) >= 1
        )

    wait_until(posted, 15)


def _outcomes(product: Running) -> dict[str, int]:
    text = httpx.get(f"http://127.0.0.1:{product.operator_port}/metrics", timeout=10).text
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("jusinfer_completions_total{"):
            outcome = line.split('outcome="')[1].split('"')[0]
            counts[outcome] = counts.get(outcome, 0) + int(float(line.rsplit(" ", 1)[1]))
    return counts


def test_anthropics_client_reads_the_models(product: Running) -> None:
    base = f"http://127.0.0.1:{product.port}"
    with anthropic.Anthropic(base_url=base, api_key=product.key, max_retries=0) as claude:
        listed = [model.id for model in product.client().models.list()]
        page = claude.models.list(limit=1000)
        assert [model.id for model in page.data] == listed
        assert (page.has_more, page.first_id, page.last_id) == (False, listed[0], listed[-1])
        assert [model.id for model in claude.models.list(limit=7)] == listed
        for model_id in ("jusinfer/auto", listed[-1]):
            model = claude.models.retrieve(model_id)
            type(model).model_validate(model.model_dump())
            assert (model.id, model.type, model.display_name) == (model_id, "model", model_id)
            assert isinstance(model.created_at, dt.datetime)
            assert product.client().models.retrieve(model_id).object == "model"
        with pytest.raises(anthropic.NotFoundError) as missing:
            claude.models.retrieve("no/such")
        assert missing.value.type == "not_found_error"
        with pytest.raises(anthropic.BadRequestError, match="after_id"):
            claude.models.list(after_id="no/such")
    with (
        anthropic.Anthropic(base_url=base, api_key="none", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as unknown,
    ):
        stranger.models.list()
    assert unknown.value.type == "authentication_error"
    plain = httpx.get(
        f"{base}/v1/models?limit=1",
        headers={"authorization": f"Bearer {product.key}"},
        timeout=30,
    )
    assert "has_more" not in plain.json()
    assert len(plain.json()["data"]) == len(listed)
    assert "anthropic-version" in plain.headers["vary"]


def test_small_paths_and_methods(product: Running) -> None:
    base = f"http://127.0.0.1:{product.port}"
    key = {"x-api-key": product.key}
    assert len(product.client().models.list().data) > 10
    assert (
        httpx.get(f"{base}/v1/models/jusinfer/auto", headers=key, timeout=30).json()["id"]
        == "jusinfer/auto"
    )
    head = httpx.head(f"{base}/v1/models", headers=key, timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    missing = httpx.get(f"{base}/v1/nothing", headers=key, timeout=30)
    assert missing.status_code == 404
    assert set(missing.json()["error"]) >= {"message", "type", "param", "code", "hint"}
    assert httpx.get(f"{base}/v1/chat/completions", headers=key, timeout=30).status_code == 405
    flight = httpx.options(
        f"{base}/v1/chat/completions", headers={"origin": "https://app.example"}, timeout=30
    )
    assert flight.status_code == 204
    assert flight.headers["access-control-allow-origin"] == "https://app.example"
    asked = "authorization,content-type,x-stainless-os,x-new-in-some-sdk"
    wish = {"origin": "https://app.example", "access-control-request-headers": asked}
    flight = httpx.options(f"{base}/v1/messages", headers=wish, timeout=30)
    assert flight.headers["access-control-allow-headers"] == asked
    assert flight.headers["vary"] == "origin, access-control-request-headers"
    for odd in ("a b", "a,,b", 'x"y', ",".join(["a"] * 101), "a" * 101):
        wish["access-control-request-headers"] = odd
        flight = httpx.options(f"{base}/v1/messages", headers=wish, timeout=30)
        assert (
            "anthropic-dangerous-direct-browser-access"
            in (flight.headers["access-control-allow-headers"])
        )
        assert odd not in flight.headers["access-control-allow-headers"].split(", ")
    wish = {"origin": "https://evil.example", "access-control-request-headers": "x-evil"}
    flight = httpx.options(f"{base}/v1/messages", headers=wish, timeout=30)
    assert "x-evil" not in flight.headers["access-control-allow-headers"]
    other = httpx.options(
        f"{base}/v1/chat/completions", headers={"origin": "https://evil.example"}, timeout=30
    )
    assert "access-control-allow-origin" not in other.headers
    page = httpx.get(f"{base}/", headers={"accept": "text/html"}, timeout=30)
    assert page.status_code == 200
    assert "jusInfer" in page.text
    assert httpx.get(f"{base}/docs", timeout=30).status_code == 200
    with pytest.raises(openai.NotFoundError):
        product.client().embeddings.create(model="x", input="y")


def test_the_books_are_right_whatever_was_asked(product: Running) -> None:
    for model in ("jusinfer/auto", "sandbox/cut?after=3", "sandbox/missing_usage", "gpt-4o-mini"):
        for is_stream in (False, True):
            product.ask(model, stream=is_stream)
    wait_until(lambda: "jusinfer_settler_lag_bytes 0\n" in _metrics(product), 15)
    assert assert_books_are_right(product.dsn) >= 8


def _metrics(product: Running) -> str:
    return httpx.get(f"http://127.0.0.1:{product.operator_port}/metrics", timeout=10).text

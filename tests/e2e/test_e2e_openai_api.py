"""What clients of OpenAI's API rely on: bases, headers, chunks, tools, limits, refusals."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import psycopg
import pytest
from tests.e2e.running import Running, fresh_minute, wait_until

pytestmark = pytest.mark.slow
HELLO: Any = [{"role": "user", "content": "Hello there"}]
PARALLEL: Any = [{"role": "user", "content": "Use the tool in parallel, please."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
OWN_HEADERS = {
    "x-request-id",
    "x-jusinfer-completion-id",
    "x-jusinfer-model",
    "x-jusinfer-upstream",
    "x-jusinfer-route",
    "x-jusinfer-overhead-us",
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("d"), workers=2) as running:
        yield running


def base(product: Running, path: str = "/v1") -> str:
    return f"http://127.0.0.1:{product.port}{path}"


def chunks_of(text: str) -> list[dict[str, Any]]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("path", ["/v1", "/api/v1"])
def test_a_stream_says_what_a_whole_answer_says_under_both_bases(
    product: Running, path: str
) -> None:
    whole = product.ask("sandbox/tokens?n=12").json()["choices"][0]["message"]["content"]
    url = f"{base(product, path)}/chat/completions"
    body = {
        "model": "sandbox/tokens?n=12",
        "messages": [{"role": "user", "content": "Hello!"}],
        "stream": True,
    }
    answer = httpx.post(url, json=body, headers={"x-api-key": product.key}, timeout=30)
    words = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks_of(answer.text)]
    assert "".join(words) == whole
    assert len(whole.split()) == 12
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_carries_our_headers(product: Running, *, stream: bool) -> None:
    good = product.ask("sandbox/plain", stream=stream)
    assert good.headers.keys() >= OWN_HEADERS
    assert ("x-jusinfer-cost" in good.headers) is not stream
    failed = product.ask("sandbox/status?code=500", stream=stream)
    assert failed.status_code == 502
    assert failed.headers.keys() >= OWN_HEADERS - {"x-jusinfer-overhead-us"}
    assert failed.json()["error"]["request_id"] == failed.headers["x-request-id"]
    other = product.ask("sandbox/plain", stream=stream)
    for name in ("x-request-id", "x-jusinfer-completion-id"):
        assert other.headers[name] != good.headers[name]


def test_what_is_not_there_is_said_in_the_client_apis_shape(product: Running) -> None:
    for path in ("/v1/nothing", "/api/v1/nothing"):
        answer = httpx.post(
            base(product, path), json={}, headers={"x-api-key": product.key}, timeout=30
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (404, "invalid_request_error")
        assert error["hint"]
        assert error["request_id"] == answer.headers["x-request-id"]


def test_a_bearer_counts_more_than_the_other_header(product: Running) -> None:
    headers = {"x-api-key": product.key, "authorization": "Bearer ji_test_" + "B" * 43}
    answer = httpx.get(f"{base(product)}/models", headers=headers, timeout=30)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "B" * 20 not in answer.text


def test_usage_in_a_stream_is_one_last_chunk_with_the_cost_of_its_tokens(
    product: Running,
) -> None:
    options = {"include_usage": True}
    chunks = chunks_of(product.ask("sandbox/tokens?n=5", stream=True, stream_options=options).text)
    assert [number for number, chunk in enumerate(chunks) if chunk.get("usage")] == [
        len(chunks) - 1
    ]
    usage = chunks[-1]["usage"]
    assert chunks[-1]["choices"] == []
    # 0.15 and 0.60 USD per million tokens.
    pico = usage["prompt_tokens"] * 150_000 + usage["completion_tokens"] * 600_000
    assert usage["completion_tokens"] == 5
    assert usage["cost"] == pytest.approx(pico / 10**12, abs=1e-12)
    silent = product.ask("sandbox/tokens?n=5", stream=True).text
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in chunks_of(silent))


def test_parallel_tool_calls_survive_being_mixed(product: Running) -> None:
    with product.client().chat.completions.stream(
        model="gpt-4o-mini",
        messages=PARALLEL,
        tools=[WEATHER],
        extra_body={"sandbox": {"fault": "interleaved"}},
    ) as stream:
        answer = stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls or []
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == len(calls) >= 2
    for call in calls:
        assert json.loads(call.function.arguments).keys() == {"city", "days"}


def test_a_tools_result_can_be_sent_back(product: Running) -> None:
    client = product.client()
    first = client.chat.completions.create(model="gpt-4o-mini", messages=PARALLEL, tools=[WEATHER])
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "blue"}
        for call in message.tool_calls or []
    ]
    history: Any = [*PARALLEL, message.to_dict(), *results]
    second = client.chat.completions.create(model="gpt-4o-mini", messages=history, tools=[WEATHER])
    assert len(results) >= 2
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


def test_reasoning_is_passed_on_and_counted(product: Running) -> None:
    whole = product.ask("sandbox/reason").json()
    assert whole["choices"][0]["message"]["reasoning_content"]
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 8
    deltas = [
        chunk["choices"][0]["delta"]
        for chunk in chunks_of(product.ask("sandbox/reason", stream=True).text)
    ]
    said = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    assert said == whole["choices"][0]["message"]["reasoning_content"]


def test_several_choices_arrive_each_with_its_end(product: Running) -> None:
    chunks = chunks_of(product.ask("sandbox/tokens?n=4", stream=True, n=3).text)
    ends = [
        choice["index"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["finish_reason"] is not None
    ]
    assert sorted(ends) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"temperature": 99}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
    ],
)
def test_a_bad_request_names_its_field_whoever_refuses_it(
    product: Running, fields: dict[str, Any], param: str
) -> None:
    answer = product.ask("sandbox/plain", **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_rate_limit_of_the_upstream_says_when_to_come_back(product: Running) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        product.client().chat.completions.create(
            model="sandbox/status?code=429&retry_after=7", messages=HELLO
        )
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_key_is_held_to_its_own_limit(product: Running) -> None:
    key = product.cli("keys", "create", "--requests-per-minute", "2")["key"]
    fresh_minute(20)
    answers = [product.ask("sandbox/plain", key=key) for _ in range(8)]
    served, refused = answers[:2], answers[2:]
    assert [answer.status_code for answer in answers] == [200] * 2 + [429] * 6
    shown = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in served]
    assert shown == [1, 0]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in served} == {"2"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert product.ask("sandbox/plain").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("code", [429, 503])
def test_the_clients_second_try_gets_through(product: Running, code: int, *, stream: bool) -> None:
    model = f"sandbox/status?code={code}&first=1&retry_after=1&seed={int(stream)}"
    answer = product.client(max_retries=2).chat.completions.create(
        model=model, messages=HELLO, stream=stream
    )
    if stream:
        assert [chunk.choices for chunk in answer][-1][0].finish_reason == "stop"
    counts = product.sandbox("counts")[model]
    assert (counts["started"], counts["faults"]) == (2, 1)


def test_who_leaves_a_stream_pays_for_what_was_made_and_no_more(product: Running) -> None:
    model = "sandbox/slow?ms=20&n=2000"
    with product.client().chat.completions.create(
        model=model, messages=HELLO, stream=True
    ) as stream:
        name = stream.response.headers["x-jusinfer-completion-id"]
        for number, _ in enumerate(stream):
            if number == 6:
                break
    wait_until(lambda: product.sandbox("counts")[model]["cancelled"] == 1, 10)
    wait_until(lambda: receipts(product, name), 10)
    outcome, tokens, charge_nano = receipts(product, name)[0]
    assert outcome == "cut_by_client"
    assert 4 <= tokens <= product.sandbox("counts")[model]["tokens"] + 1
    assert 0 < charge_nano < 1_000_000


def receipts(product: Running, completion_id: str) -> list[tuple[Any, ...]]:
    query = "SELECT outcome, completion_tokens, charge_nano FROM usage_record"
    with psycopg.connect(product.dsn) as connection:
        return connection.execute(query + " WHERE completion_id = %s", (completion_id,)).fetchall()


def test_a_dry_run_tells_the_route_that_a_request_then_takes(product: Running) -> None:
    headers = {"authorization": f"Bearer {product.key}"}
    for model in ("jusinfer/auto", "jusinfer/auto:cheap", "jusinfer/auto:best"):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "canary: think step by step"}],
            "max_tokens": 20,
        }
        told = httpx.post(f"{base(product)}/route", json=body, headers=headers, timeout=10)
        assert told.status_code == 200
        plan = told.json()
        assert "canary" not in told.text
        assert plan["model"] in plan["sentence"]
        assert plan["routes"][0]["model"] == plan["model"]
        taken = httpx.post(
            f"{base(product)}/chat/completions", json=body, headers=headers, timeout=20
        )
        assert taken.headers["x-jusinfer-model"] == plan["model"]
        ids = [reason["code"] for reason in plan["reasons"]]
        assert taken.headers["x-jusinfer-route"].startswith(",".join(ids))
    wrong = httpx.post(
        f"{base(product)}/route",
        json={"model": "jusinfer/auto:none", "messages": HELLO},
        headers=headers,
        timeout=10,
    )
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (404, "model")

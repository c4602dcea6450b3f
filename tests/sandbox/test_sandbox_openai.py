import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]


class Place(BaseModel):
    name: str
    is_large: bool
    heights: list[int]


class Journey(BaseModel):
    places: list[Place]
    note: str | None


@pytest.fixture
def client(port: int) -> Iterator[OpenAI]:
    base_url = f"http://127.0.0.1:{port}/v1"
    with OpenAI(base_url=base_url, api_key="sk-any", timeout=20, max_retries=0) as opened:
        yield opened


def test_a_plain_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16
    assert answer._request_id is not None


def test_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sandbox/comments+crlf+split?bytes=7",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(text.split()) == 16
    assert chunks[-1].usage is not None


def test_an_asynchronous_stream(port: int) -> None:
    async def run() -> str:
        base_url = f"http://127.0.0.1:{port}/v1"
        async with AsyncOpenAI(base_url=base_url, api_key="sk-any", timeout=20) as client:
            stream = await client.chat.completions.create(
                model="sandbox/unicode?n=30", messages=MESSAGES, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert len(asyncio.run(run()).split()) == 30


def test_tools(client: OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Journey)]
    with client.chat.completions.stream(
        model="m", messages=MESSAGES, tools=tools, tool_choice="required"
    ) as stream:
        answer = stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Journey)


def test_structured_output(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Journey)
    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].message.parsed.places[0].is_large


def test_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model="e", input=["a", "b"], dimensions=16)
    assert [len(row.embedding) for row in answer.data] == [16, 16]
    floats = client.embeddings.create(
        model="e", input=["a", "b"], dimensions=16, encoding_format="float"
    )
    assert answer.data[1].embedding == pytest.approx(floats.data[1].embedding, abs=1e-6)


def test_models(client: OpenAI) -> None:
    assert "sandbox/echo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("sandbox/status?code=401", openai.AuthenticationError),
        ("sandbox/status?code=404", openai.NotFoundError),
        ("sandbox/status?code=429&quota", openai.RateLimitError),
        ("sandbox/status?code=503", openai.InternalServerError),
        ("sandbox/close_before_answer", openai.APIConnectionError),
        ("sandbox/cut", openai.APIConnectionError),
        ("sandbox/nothing-of-the-kind", openai.BadRequestError),
    ],
)
def test_errors(client: OpenAI, model: str, kind: type[openai.APIError]) -> None:
    with pytest.raises(kind):
        client.chat.completions.create(model=model, messages=MESSAGES)


def test_an_error_in_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sandbox/error_in_stream?after=2", messages=MESSAGES, stream=True
    )
    with pytest.raises(openai.APIError, match="disconnected"):
        list(stream)


def test_retries_until_it_answers(client: OpenAI) -> None:
    patient = client.with_options(max_retries=2)
    answer = patient.chat.completions.create(
        model="sandbox/status?code=503&retry_after_ms=1&first=2", messages=MESSAGES
    )
    assert answer.choices[0].finish_reason == "stop"


def test_a_time_out(client: OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(
            model="sandbox/stall?before", messages=MESSAGES
        )

"""Clients that others wrote, used as their users would: LangChain, pydantic-ai and `llm`."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import langchain_openai
import openai
import pydantic
import pytest
from langchain_core.tools import tool
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from tests.e2e.running import Running

pytestmark = pytest.mark.slow


class City(pydantic.BaseModel):
    """A place."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"sunny in {city}"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("c")) as running:
        yield running


@pytest.fixture
def http() -> Iterator[openai.DefaultHttpxClient]:
    """Give the connections of a client that has no way to close its own."""
    with openai.DefaultHttpxClient() as opened:
        yield opened


def langchain(
    product: Running, http: openai.DefaultHttpxClient, **options: Any
) -> langchain_openai.ChatOpenAI:
    return langchain_openai.ChatOpenAI(
        base_url=f"http://127.0.0.1:{product.port}/v1",
        api_key=pydantic.SecretStr(product.key),
        model="sandbox/echo",
        max_retries=0,
        timeout=20,
        http_client=http,
        **options,
    )


@pytest.mark.parametrize("responses", [False, True])
def test_langchain_speaks_streams_and_uses_tools(
    product: Running, http: openai.DefaultHttpxClient, *, responses: bool
) -> None:
    model = langchain(product, http, use_responses_api=responses, stream_usage=True)
    whole = model.invoke("Hello there")
    assert "Hello there" in whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    pieces = list(model.stream("Hello there"))
    assert "".join(piece.text for piece in pieces) == whole.text
    called = model.bind_tools([weather]).invoke("Use the tool, please.")
    assert [call["name"] for call in called.tool_calls] == ["weather"]
    assert isinstance(called.tool_calls[0]["args"]["city"], str)
    shaped = model.with_structured_output(City, method="json_schema").invoke("Where?")
    assert isinstance(shaped, City)


def test_langchain_embeds(product: Running, http: openai.DefaultHttpxClient) -> None:
    embeddings = langchain_openai.OpenAIEmbeddings(
        base_url=f"http://127.0.0.1:{product.port}/v1",
        api_key=pydantic.SecretStr(product.key),
        model="@cf/baai/bge-m3",
        check_embedding_ctx_length=False,
        max_retries=0,
        http_client=http,
    )
    one, other = embeddings.embed_documents(["a", "b"])
    assert len(one) == len(other) > 1
    assert one != other


def test_pydantic_ai_runs_an_agent(product: Running) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{product.port}/v1", api_key=product.key)
    model = OpenAIChatModel("sandbox/echo", provider=OpenAIProvider(openai_client=client))
    # It runs on the thread's loop, or makes one that it never closes.
    with asyncio.Runner() as runner, contextlib.ExitStack() as ends:
        runner.get_loop()
        ends.callback(lambda: runner.run(client.close()))
        said = Agent(model).run_sync("Hello there")
        assert "Hello there" in said.output
        assert said.usage.output_tokens > 0
        shaped = Agent(model, output_type=City).run_sync("Where? Use the tool.")
        assert isinstance(shaped.output, City)


def test_the_llm_command_prompts_and_streams(product: Running, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        json.dumps(
            [
                {
                    "model_id": "ours",
                    "model_name": "sandbox/echo",
                    "api_base": f"http://127.0.0.1:{product.port}/v1",
                    "api_key_name": "ours",
                }
            ]
        )
    )
    (tmp_path / "keys.json").write_text(json.dumps({"ours": product.key}))
    for more in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "ours", *more, "--no-log", "Hello there"],
            env={"LLM_USER_PATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Hello there" in done.stdout

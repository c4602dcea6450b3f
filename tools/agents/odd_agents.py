"""Plays every odd shape through openai-agents: python odd_agents.py <url> <key> <file of shapes>.

The file is a list of {model, text, calls, stop, usage, last}; what differs is printed, a line each.
It runs where openai-agents is installed and knows nothing of this repository.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from openai import AsyncOpenAI, OpenAIError

from agents import (  # type: ignore[import-not-found]
    Agent,
    AgentsException,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

MODELS: Final[Mapping[str, Any]] = {
    "chat": OpenAIChatCompletionsModel,
    "responses": OpenAIResponsesModel,
}
INCOMPLETE = "`response.incomplete`"
REASON_CHARACTERS = 300
SECONDS = 20.0
TURNS = 3


@function_tool  # type: ignore[untyped-decorator]
def get_weather(city: str) -> str:
    """Say what the weather is."""
    return f"get_weather of {city}"


@function_tool  # type: ignore[untyped-decorator]
def get_time(zone: str) -> str:
    """Say what the time is."""
    return f"get_time of {zone}"


@function_tool  # type: ignore[untyped-decorator]
def ping() -> str:
    """Do nothing."""
    return "ping"


async def play(model: Any, *, is_stream: bool) -> list[Any]:
    """Let an agent do its task; gives the answers of the model in order."""
    settings = ModelSettings(include_usage=True)
    tools = [get_weather, get_time, ping]
    agent = Agent(name="odd", tools=tools, model=model, model_settings=settings)
    if not is_stream:
        run = await Runner.run(agent, "Say hello.", max_turns=TURNS)
    else:
        run = Runner.run_streamed(agent, "Say hello.", max_turns=TURNS)
        async for _ in run.stream_events():
            pass
    answers: list[Any] = run.raw_responses
    return answers


def text_of(answer: Any) -> str:
    """Give the text of an answer."""
    items = [item for item in answer.output if item.type == "message"]
    return "".join(part.text for item in items for part in item.content)


def judge(shape: dict[str, Any], answers: list[Any]) -> list[str]:
    """Give what is not as it must be."""
    first, *rest = answers
    rows = [item for item in first.output if item.type == "function_call"]
    ids = [row.call_id for row in rows]
    wanted = {
        "text": shape["text"],
        "calls": shape["calls"],
        "areIdsGood": True,
        "isUsed": True,
        "last": [shape["last"]] if shape["calls"] else [],
    }
    found: dict[str, Any] = {
        "text": text_of(first),
        "calls": [[row.name, json.loads(row.arguments)] for row in rows],
        "areIdsGood": all(ids) and len(set(ids)) == len(ids),
        "isUsed": first.usage.input_tokens > 0 and first.usage.output_tokens > 0,
        "last": [text_of(answer) for answer in rest],
    }
    if shape["usage"][1] > 0:
        wanted["usage"] = shape["usage"]
        found["usage"] = [first.usage.input_tokens, first.usage.output_tokens]
    return [
        f"{name} is {found[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if found[name] != value
    ]


async def main(url: str, key: str, shapes: list[dict[str, Any]]) -> None:
    """Play all shapes by both APIs, streamed and whole."""
    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=SECONDS)
    played = 0
    for api, kind in MODELS.items():
        for shape in shapes:
            for is_stream in (True, False):
                played += 1
                place = f"{api} {shape['model']} {'stream' if is_stream else 'whole'}"
                try:
                    answers = await play(kind(shape["model"], client), is_stream=is_stream)
                    wrong = judge(shape, answers)
                except (AgentsException, OpenAIError, ValueError) as error:
                    wrong = [f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]]
                if api == "responses" and shape["stop"] == "length":
                    # It takes a response that is not whole for a fault of the model.
                    wrong = [] if INCOMPLETE in "".join(wrong) else ["not said to be incomplete"]
                if wrong:
                    print(f"{place}: {'; '.join(wrong)}")
    print(f"played {played}")


if __name__ == "__main__":
    shapes = json.loads(Path(sys.argv[3]).read_text(encoding="utf-8"))
    asyncio.run(main(sys.argv[1], sys.argv[2], shapes))

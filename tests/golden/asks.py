"""What clients ask where the answer is of interest."""

from typing import Any, Final

from tests.golden import cases_messages, cases_responses
from tests.golden.cases_chat import TIME, WEATHER

Json = dict[str, Any]
WORDS: Final = "What is the weather in Paris?"
CLIENTS: Final = ("chat", "responses", "messages")
WITH_LEGACY: Final = (*CLIENTS, "completions")


def ask(client: str, *, has_tools: bool = False, **more: Any) -> Json:
    """Give the same question in each client's words."""
    if client == "completions":
        return {"prompt": WORDS, **more}
    if client == "responses":
        tools = [cases_responses.WEATHER, {**cases_responses.WEATHER, "name": "get_time"}]
        request: Json = {"input": WORDS}
    else:
        request = {"messages": [{"role": "user", "content": WORDS}]}
        tools = [WEATHER, TIME]
        if client == "messages":
            request = {"max_tokens": 1000, **request}
            tools = [
                cases_messages.WEATHER,
                {"name": "get_time", "input_schema": {"type": "object"}},
            ]
    if has_tools:
        request["tools"] = tools
    return {**request, **more}

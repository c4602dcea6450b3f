"""Clients that others wrote, each doing one round with tools as its users would write it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Any, Self

import anthropic
import langchain_anthropic
import langchain_openai
import openai
import pydantic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic_ai import Agent, RunContext, Tool
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from tests.e2e.odd_played import ASKED, result_of
from tests.e2e.odd_rounds import (
    CLAUDES,
    FLAT,
    KINDS,
    STRICT,
    STRICT_FLAT,
    TOKENS_MAX,
    TOOLS,
    Called,
    Round,
    results_of,
)

LANGCHAIN = ("chat", "messages", "responses")
LANGCHAIN_REASONS = {"chat": "finish_reason", "messages": "stop_reason", "responses": "status"}


class Clients:
    """The clients of all libraries for one product; closed together."""

    def __init__(self, url: str, key: str) -> None:
        self._ends = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self._ends.close)
            options: dict[str, Any] = {"api_key": key, "max_retries": 0, "timeout": 20}
            self.openai = openai.OpenAI(base_url=f"{url}/v1", **options)
            self._ends.callback(self.openai.close)
            self.claude = anthropic.Anthropic(base_url=url, **options)
            self._ends.callback(self.claude.close)
            http = openai.DefaultHttpxClient()
            self._ends.callback(http.close)
            self.langchain = {api: _langchain_model(url, key, http, api) for api in LANGCHAIN}
            self.runner = self._ends.enter_context(asyncio.Runner())
            self.runner.get_loop()
            self._openai = openai.AsyncOpenAI(base_url=f"{url}/v1", **options)
            self._ends.callback(lambda: self.runner.run(self._openai.close()))
            self._claude = anthropic.AsyncAnthropic(base_url=url, **options)
            self._ends.callback(lambda: self.runner.run(self._claude.close()))
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def pydantic_model(self, api: str, model: str) -> Model:
        """Give a model of pydantic-ai."""
        if api == "messages":
            return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=self._claude))
        provider = OpenAIProvider(openai_client=self._openai)
        kind = OpenAIResponsesModel if api == "responses" else OpenAIChatModel
        return kind(model, provider=provider)


# ---------------------------------------------------------------------- openai, Chat Completions


def _chat_round(ask: Callable[[list[Any]], Any]) -> Round:
    """Do a round where `ask` gives a completion."""
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    completion = ask(messages)
    choice = completion.choices[0]
    message, usage = choice.message, completion.usage
    calls = [
        Called(row.function.name, json.loads(row.function.arguments), row.id)
        for row in message.tool_calls or []
    ]
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    assert completion.object == "chat.completion"
    assert isinstance(completion.created, int)
    found = Round(
        message.content or "",
        thought or "",
        calls,
        choice.finish_reason,
        (usage.prompt_tokens, usage.completion_tokens),
        completion.id,
    )
    if not calls:
        return found
    rows = [
        {"role": "tool", "tool_call_id": one, "content": said} for one, said in results_of(calls)
    ]
    again = ask([*messages, message, *rows])
    return found._replace(last=again.choices[0].message.content)


def chat_create(clients: Clients, model: str, *, is_stream: bool) -> Round:
    api = clients.openai.chat.completions

    def ask(messages: list[Any]) -> Any:
        if not is_stream:
            return api.create(model=model, messages=messages, tools=TOOLS)
        state = _Joined()
        chunks = api.create(
            model=model,
            messages=messages,
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
        with chunks:
            for chunk in chunks:
                state.add(chunk)
        return state.completion()

    return _chat_round(ask)


class _Joined:
    """Joins chunks as the guide of the API has it, by index."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._calls: dict[int, dict[str, Any]] = {}
        self._head: dict[str, Any] = {}
        self._reason: str | None = None

    def add(self, chunk: Any) -> None:
        assert chunk.object == "chat.completion.chunk"
        heads = {"id": chunk.id, "created": chunk.created, "model": chunk.model}
        assert not self._head or self._head["id"] == chunk.id
        self._head |= heads
        if chunk.usage is not None:
            self._head["usage"] = chunk.usage.to_dict()
        for choice in chunk.choices:
            assert choice.index == 0
            delta = choice.delta.to_dict()
            for name in ("content", "reasoning_content", "reasoning"):
                if delta.get(name):
                    self._message[name] = (self._message.get(name) or "") + delta[name]
            for row in delta.get("tool_calls") or []:
                self._add_call(row)
            self._reason = choice.finish_reason or self._reason

    def _add_call(self, row: dict[str, Any]) -> None:
        known = self._calls.get(row["index"])
        if known is None:
            self._calls[row["index"]] = row
        else:
            known["function"]["arguments"] += row["function"]["arguments"]

    def completion(self) -> Any:
        message = self._message
        if self._calls:
            message = message | {"tool_calls": list(self._calls.values())}
        choice = {"index": 0, "message": message, "finish_reason": self._reason}
        return openai.types.chat.ChatCompletion.model_validate(
            self._head | {"object": "chat.completion", "choices": [choice]}
        )


def chat_helper(clients: Clients, model: str, *, is_stream: bool) -> Round:
    """Use the helper for streams, and `parse` with strict tools for whole answers."""
    api = clients.openai.chat.completions

    def ask(messages: list[Any]) -> Any:
        if not is_stream:
            return api.parse(model=model, messages=messages, tools=STRICT)
        with api.stream(
            model=model,
            messages=messages,
            tools=STRICT,
            stream_options={"include_usage": True},
        ) as events:
            said = "".join(one.delta for one in events if one.type == "content.delta")
            completion = events.get_final_completion()
        assert said == (completion.choices[0].message.content or "")
        return completion

    return _chat_round(ask)


def legacy(clients: Clients, model: str, *, is_stream: bool) -> Round:
    api = clients.openai.completions
    if not is_stream:
        made = api.create(model=model, prompt=ASKED)
        rows, usage = [made], made.usage
    else:
        options: Any = {"stream": True, "stream_options": {"include_usage": True}}
        with api.create(model=model, prompt=ASKED, **options) as chunks:
            rows = list(chunks)
        usage = rows[-1].usage
    assert usage is not None
    assert all(row.object == "text_completion" and row.id == rows[0].id for row in rows)
    choices = [choice for row in rows for choice in row.choices]
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    return Round(
        "".join(choice.text for choice in choices),
        None,
        [],
        reasons[-1],
        (usage.prompt_tokens, usage.completion_tokens),
        rows[0].id,
    )


# ---------------------------------------------------------------------- openai, Responses


def _responses_round(ask: Callable[[list[Any]], Any]) -> Round:
    items: list[Any] = [{"role": "user", "content": ASKED}]
    response = ask(items)
    rows = [item for item in response.output if item.type == "function_call"]
    calls = [Called(row.name, json.loads(row.arguments), row.call_id) for row in rows]
    thoughts = [item for item in response.output if item.type == "reasoning"]
    found = Round(
        response.output_text,
        "".join(part.text for item in thoughts for part in item.summary),
        calls,
        response.status,
        (response.usage.input_tokens, response.usage.output_tokens),
        response.id,
    )
    if not calls:
        return found
    said = [
        {"type": "function_call_output", "call_id": one, "output": text}
        for one, text in results_of(calls)
    ]
    again = ask([*items, *response.output, *said])
    return found._replace(last=again.output_text)


def responses_create(clients: Clients, model: str, *, is_stream: bool) -> Round:
    api = clients.openai.responses

    def ask(items: list[Any]) -> Any:
        if not is_stream:
            return api.create(model=model, input=items, tools=FLAT, store=False)
        with api.create(model=model, input=items, tools=FLAT, store=False, stream=True) as events:
            return _joined_response(list(events))

    return _responses_round(ask)


def _joined_response(events: list[Any]) -> Any:
    """Give the response at the end of a stream; its items must be those that were streamed."""
    assert [one.sequence_number for one in events] == list(range(len(events)))
    last = events[-1]
    assert last.type in {"response.completed", "response.incomplete"}
    done = [one.item for one in events if one.type == "response.output_item.done"]
    assert [item.to_dict() for item in done] == [item.to_dict() for item in last.response.output]
    said = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert said == last.response.output_text
    given = [one for one in events if one.type == "response.function_call_arguments.delta"]
    for place, item in enumerate(done):
        if item.type == "function_call":
            pieces = [one.delta for one in given if one.output_index == place]
            assert "".join(pieces) == item.arguments
    return last.response


def responses_helper(clients: Clients, model: str, *, is_stream: bool) -> Round:
    """Use the helper for streams, and `parse` with strict tools for whole answers."""
    api = clients.openai.responses

    def ask(items: list[Any]) -> Any:
        if not is_stream:
            return api.parse(model=model, input=items, tools=STRICT_FLAT, store=False)
        with api.stream(model=model, input=items, tools=STRICT_FLAT, store=False) as events:
            return events.get_final_response()

    return _responses_round(ask)


# ---------------------------------------------------------------------- anthropic


def messages(clients: Clients, model: str, *, is_stream: bool) -> Round:
    api = clients.claude.messages

    def ask(rows: list[Any]) -> Any:
        options: dict[str, Any] = {"model": model, "messages": rows, "tools": CLAUDES}
        if not is_stream:
            return api.create(max_tokens=TOKENS_MAX, **options)
        with api.stream(max_tokens=TOKENS_MAX, **options) as events:
            said = "".join(events.text_stream)
            message = events.get_final_message()
        texts = [block.text for block in message.content if block.type == "text"]
        assert said == "".join(texts)
        return message

    rows: list[Any] = [{"role": "user", "content": ASKED}]
    message = ask(rows)
    blocks = message.content
    uses = [block for block in blocks if block.type == "tool_use"]
    calls = [Called(block.name, block.input, block.id) for block in uses]
    found = Round(
        "".join(block.text for block in blocks if block.type == "text"),
        "".join(block.thinking for block in blocks if block.type == "thinking"),
        calls,
        message.stop_reason,
        (
            message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0),
            message.usage.output_tokens,
        ),
        message.id,
    )
    if not calls:
        return found
    said = [
        {"type": "tool_result", "tool_use_id": one, "content": text}
        for one, text in results_of(calls)
    ]
    again = ask(
        [*rows, {"role": "assistant", "content": blocks}, {"role": "user", "content": said}]
    )
    return found._replace(last="".join(block.text for block in again.content))


# ---------------------------------------------------------------------- LangChain


def _langchain_model(url: str, key: str, http: Any, api: str) -> Any:
    if api == "messages":
        return langchain_anthropic.ChatAnthropic(  # type: ignore[call-arg]
            base_url=url,
            api_key=pydantic.SecretStr(key),
            model="named when asked",
            max_tokens=TOKENS_MAX,
            max_retries=0,
            timeout=20,
        ).bind_tools(CLAUDES)
    more: dict[str, Any] = {"use_responses_api": True, "store": False}
    return langchain_openai.ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=pydantic.SecretStr(key),
        model="named when asked",
        max_retries=0,
        timeout=20,
        http_client=http,
        stream_usage=True,
        **(more if api == "responses" else {"use_responses_api": False}),
    ).bind_tools(TOOLS)


def _langchain(clients: Clients, model: str, api: str, *, is_stream: bool) -> Round:
    made = clients.langchain[api].bind(model=model)

    def ask(messages: list[Any]) -> AIMessage:
        if not is_stream:
            answer: AIMessage = made.invoke(messages)
            return answer
        total: Any = None
        for chunk in made.stream(messages):
            total = chunk if total is None else total + chunk
        assert isinstance(total, AIMessage)
        return total

    messages: list[Any] = [HumanMessage(ASKED)]
    message = ask(messages)
    assert not message.invalid_tool_calls
    calls = [Called(row["name"], row["args"], row["id"] or "") for row in message.tool_calls]
    usage, more = message.usage_metadata, message.response_metadata
    assert usage is not None
    # In place of the answer's id a stream of chunks has one of LangChain's own.
    answer_id = more.get("id") or message.id or ""
    found = Round(
        message.text,
        None,
        calls,
        more[LANGCHAIN_REASONS[api]],
        (usage["input_tokens"], usage["output_tokens"]),
        answer_id if answer_id.startswith(("gen-", "msg_", "resp_")) else "",
    )
    if not calls:
        return found
    said = [ToolMessage(text, tool_call_id=one) for one, text in results_of(calls)]
    return found._replace(last=ask([*messages, message, *said]).text)


def langchain_chat(clients: Clients, model: str, *, is_stream: bool) -> Round:
    return _langchain(clients, model, "chat", is_stream=is_stream)


def langchain_messages(clients: Clients, model: str, *, is_stream: bool) -> Round:
    return _langchain(clients, model, "messages", is_stream=is_stream)


def langchain_responses(clients: Clients, model: str, *, is_stream: bool) -> Round:
    return _langchain(clients, model, "responses", is_stream=is_stream)


# ---------------------------------------------------------------------- pydantic-ai


def _tool(kind: type[pydantic.BaseModel]) -> Tool[None]:
    name = kind.__name__

    async def run(**given: Any) -> str:
        return result_of(name, given)

    return Tool.from_schema(run, name, kind.__doc__, kind.model_json_schema())


async def _watched(context: RunContext[None], events: AsyncIterable[Any]) -> None:
    del context
    async for _ in events:
        pass


def _pydantic_ai(api: str) -> "Client":
    def play(clients: Clients, model: str, *, is_stream: bool) -> Round:
        agent = Agent(clients.pydantic_model(api, model), tools=[_tool(kind) for kind in KINDS])
        handler = _watched if is_stream else None
        run = clients.runner.run(agent.run(ASKED, event_stream_handler=handler))
        answers = [row for row in run.all_messages() if isinstance(row, ModelResponse)]
        first = answers[0]
        calls = [
            Called(part.tool_name, part.args_as_dict(), part.tool_call_id)
            for part in first.parts
            if isinstance(part, ToolCallPart)
        ]
        assert len(answers) == (2 if calls else 1)
        return Round(
            "".join(part.content for part in first.parts if isinstance(part, TextPart)),
            "".join(part.content for part in first.parts if isinstance(part, ThinkingPart)),
            calls,
            first.finish_reason or "",
            (first.usage.input_tokens, first.usage.output_tokens),
            first.provider_response_id or "",
            run.output if calls else "",
        )

    return play


Client = Callable[..., Round]
CLIENTS: Mapping[str, tuple[str, Client]] = {
    "openai-chat-create": ("chat", chat_create),
    "openai-chat-helper": ("chat", chat_helper),
    "openai-responses-create": ("responses", responses_create),
    "openai-responses-helper": ("responses", responses_helper),
    "anthropic": ("messages", messages),
    "langchain-chat": ("chat", langchain_chat),
    "langchain-messages": ("messages", langchain_messages),
    "langchain-responses": ("responses", langchain_responses),
    "pydantic-ai-chat": ("chat", _pydantic_ai("chat")),
    "pydantic-ai-responses": ("responses", _pydantic_ai("responses")),
    "pydantic-ai-messages": ("messages", _pydantic_ai("messages")),
    "openai-completions": ("legacy", legacy),
}

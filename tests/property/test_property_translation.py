"""Whatever clients and upstreams send, a translation gives an answer or names what is wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.effort import examples
from tests.playbook.script import IDENT

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.stream_state import ChunkMalformed
from jusinfer.domain.sender import Stamp
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.embeddings import as_asked, decode_embeddings, read_embeddings
from jusinfer.wire.inbound.openai_chat import decode_request, encode_request, with_sender
from jusinfer.wire.inbound.responses.client_api import ResponsesClientApi
from jusinfer.wire.inbound.text_completions import TextCompletionsClientApi
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi
from jusinfer.wire.upstream.chat_answer import read_answer
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.openai_chat import decode_answer
from jusinfer.wire.upstream.plain_chat import functions_only, translated_chat
from jusinfer.wire.upstream.workers_ai import WorkersAiProviderApi

CLIENT_APIS = (AnthropicClientApi(), ResponsesClientApi(), TextCompletionsClientApi())
PROVIDER_APIS = (AnthropicProviderApi(), WorkersAiProviderApi())
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2000), st.floats(0, 2), st.text(max_size=5)
)
NAMES = st.sampled_from(
    [
        "type",
        "text",
        "content",
        "role",
        "id",
        "name",
        "input",
        "index",
        "function",
        "arguments",
        "custom",
        "source",
        "url",
        "data",
        "image_url",
        "file",
        "file_data",
        "media_type",
        "tool_use_id",
        "thinking",
        "signature",
        "summary",
        "encrypted_content",
        "call_id",
        "output",
        "reasoning_details",
        "reasoning",
        "tool_calls",
        "cache_control",
        "parameters",
        "schema",
        "format",
        "json_schema",
        "effort",
        "enabled",
        "max_tokens",
        "budget_tokens",
        "delta",
        "message",
        "finish_reason",
    ]
)
WORDS = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "user",
        "assistant",
        "system",
        "function",
        "custom",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
        "base64",
        "url",
        "input_text",
        "output_text",
        "input_image",
        "file",
        "json_schema",
        "json_object",
        "enabled",
        "disabled",
        "adaptive",
        "any",
        "auto",
        "tool",
        "required",
        "none",
        "high",
        "reasoning.text",
        "reasoning.encrypted",
        "ji1.W10=",
        "image_url",
        "input_audio",
    ]
)
JSON = st.recursive(
    st.one_of(SCALARS, WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(NAMES, st.one_of(inner, WORDS), max_size=5)
    ),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    [
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "stop",
        "stop_sequences",
        "text",
        "reasoning",
        "response_format",
        "instructions",
        "include",
        "reasoning_effort",
        "top_k",
        "temperature",
        "n",
        "stream",
        "prompt",
        "input",
        "messages",
        "max_tokens",
        "parallel_tool_calls",
        "logprobs",
        "seed",
        "user",
        "provider",
        "models",
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    turn = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": JSON},
        optional={
            "tool_calls": st.lists(JSON, max_size=2),
            "reasoning_details": JSON,
            "tool_call_id": st.just("t"),
        },
    )
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 500,
        "messages": draw(st.lists(turn, min_size=1, max_size=3)),
    }
    if draw(st.booleans()):
        del body["messages"]
        body["input"] = draw(st.one_of(st.text(max_size=5), st.lists(JSON, max_size=3)))
    if draw(st.booleans()):
        body["prompt"] = draw(st.one_of(st.text(max_size=5), JSON))
        body.pop("messages", None)
        body.pop("input", None)
    body |= draw(st.dictionaries(MEMBERS, JSON, max_size=3))
    return json.dumps(body).encode()


def asked_of(read: Callable[[], bytes]) -> None:
    """Read a request and write it for every provider API; only InvalidRequest may come of it."""
    try:
        asked = decode_request(read())
    except InvalidRequest:
        return
    for flags in ((), ("deepseek", "user_id"), ("openrouter",), ("no_custom_tools",)):
        try:
            encode_request(
                translated_chat(asked, flags),
                upstream_model="u",
                output_tokens_max=None,
                flags=flags,
                stamp=Stamp(sender="s"),
            )
        except InvalidRequest:
            continue
    for provider_api in PROVIDER_APIS:
        try:
            provider_api.encode(
                with_sender(functions_only(asked), Stamp(sender="s"), ()),
                upstream_model="u",
                output_tokens_max=None,
                flags=(),
            )
        except InvalidRequest:
            continue


@settings(max_examples=examples(300))
@given(bodies())
@example(b'{"model": "m", "messages": [{"role": "user", "content": "custom"}], "tools": null}')
def test_any_request_is_translated_or_refused(body: bytes) -> None:
    asked_of(lambda: body)
    for client_api in CLIENT_APIS:
        asked_of(lambda client_api=client_api: client_api.to_chat(body).body)  # type: ignore[misc]


@settings(max_examples=examples(200))
@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_refused_with_a_reason(body: bytes) -> None:
    for read in (*(client_api.to_chat for client_api in CLIENT_APIS), decode_embeddings):
        try:
            read(body)
        except InvalidRequest as error:
            told = error.hint
        else:
            continue
        assert told


@settings(max_examples=examples(300))
@given(
    st.fixed_dictionaries(
        {
            "content": JSON,
        },
        optional={
            "tool_calls": JSON,
            "reasoning": JSON,
            "reasoning_content": JSON,
            "reasoning_details": JSON,
            "refusal": JSON,
            "annotations": JSON,
        },
    ),
    JSON,
    JSON,
)
def test_any_answer_that_is_believed_can_be_written(message: Any, finish: Any, rest: Any) -> None:
    row = {"index": 0, "message": message, "finish_reason": finish, "logprobs": rest}
    body = json.dumps({"id": rest, "model": rest, "created": rest, "choices": [row]}).encode()
    answer, strict = read_answer(body, is_chat=False)
    if answer.failure is not None:
        return
    for client_api in CLIENT_APIS:
        assert json.loads(client_api.answer(strict, b"{}", TokenUsage(), "0", IDENT))


@settings(max_examples=examples(300))
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=5), max_size=4), JSON)
def test_any_stream_can_be_written(deltas: list[Any], finish: Any) -> None:
    for client_api in CLIENT_APIS:
        writer = client_api.stream(b"{}", IDENT)
        decoder = ChatStreamDecoder(IDENT, is_chat=False)
        for delta in deltas:
            row = {"index": 0, "delta": delta, "finish_reason": finish}
            try:
                chunk = decoder.decode(json.dumps({"id": "c", "choices": [row]}).encode())
            except ChunkMalformed:
                continue
            if chunk.payload is not None:
                writer.events([chunk.payload])
        assert writer.finish(TokenUsage(), "0")
        assert client_api.stream(b"not json", IDENT).fail("code", "message")


@settings(max_examples=examples(200))
@given(JSON)
def test_any_answer_of_an_upstream_is_read_or_refused(value: Any) -> None:
    for body in (value, {"result": value}, {"content": [value], "usage": value}):
        for provider_api in PROVIDER_APIS:
            try:
                decode_answer(provider_api.answer(json.dumps(body).encode()))
            except ChunkMalformed:
                continue
    data = json.dumps({"data": [value]}).encode()
    for form in (b"float", b"base64"):
        asked = decode_embeddings(b'{"model":"m","input":"x","encoding_format":"%b"}' % form)
        if read_embeddings(data).failure is None:
            as_asked(data, asked, TokenUsage(prompt_tokens=1, is_estimated=True))


@pytest.mark.parametrize("client_api", CLIENT_APIS, ids=lambda client_api: client_api.name)
def test_depth_is_no_weapon(client_api: Any) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for body in (deep, b'{"model":"m","max_tokens":1,"messages":' + deep + b"}"):
        with pytest.raises(InvalidRequest):
            client_api.to_chat(body)


def test_bytes_that_are_no_text_are_carried_as_well_as_can_be() -> None:
    for client_api in CLIENT_APIS:
        writer = client_api.stream(b"{}", IDENT)
        decoder = ChatStreamDecoder(IDENT, is_chat=False)
        payload = b'{"choices":[{"index":0,"delta":{"content":"a\xc1"}}]}'
        written = decoder.decode(payload).payload
        assert written is not None
        writer.events([written])
        assert writer.finish(TokenUsage(), "0")

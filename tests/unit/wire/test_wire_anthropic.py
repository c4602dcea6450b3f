"""Anthropic Messages both ways; tests of the corpus carry its codes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.playbook.script import DEADLINES, IDENT

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.stream_state import (
    AttemptState,
    ChunkMalformed,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.anthropic.blocks import redacted, signature_of, usage_members
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.member_table import judge
from jusinfer.wire.passthrough.anthropic import NativeDecoder, NativeReader, NativeWriter
from jusinfer.wire.sse import SseDecoder
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.openai_chat import decode_answer

PROVIDER_API = AnthropicProviderApi()
CLIENT_API = AnthropicClientApi()
USER = {"role": "user", "content": "x"}
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5},
    },
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}


def ended(reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 7} | usage,
    }


def block(index: int, kind: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": kind},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *words: str) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in words]
    return block(index, {"type": "text", "text": ""}, *deltas)


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in events
    )


class Render:
    def __init__(self, writer: NativeWriter | None = None) -> None:
        self._writer = writer

    def usage_event(self, machine: StreamAttempt) -> bytes:
        assert machine.failure is None
        return b"" if self._writer is None else self._writer.finish(machine.final_usage(99), "0.5")

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        assert machine.failure is failure
        return b"data: <error>\n\n"


class Came:
    """What came of a stream: the chunks a client gets, and where the machine stands."""

    def __init__(self, data: bytes, *, native: bool = False, step: int = 0) -> None:
        writer = NativeWriter(IDENT) if native else None
        self.machine = StreamAttempt(
            NativeDecoder().decode if native else ChatStreamDecoder(IDENT).decode,
            Render(writer),
            wants_usage=native,
            choice_count=1,
            deadlines=DEADLINES,
            now=0.0,
            frame=None if writer is None else writer.events,
            done_event=b"" if native else b"data: [DONE]\n\n",
        )
        reader = NativeReader() if native else PROVIDER_API.stream(IDENT)
        decoder = SseDecoder()
        self.sent = b""
        reads = [data] if not step else [data[at : at + step] for at in range(0, len(data), step)]
        for read in reads:
            for payload in decoder.feed(read):
                self.sent += self.machine.feed(reader.chunks(payload), 1.0)
        rest = [chunk for payload in decoder.end() for chunk in reader.chunks(payload)]
        if not self.machine.is_over:
            rest += reader.end()
        self.sent += self.machine.feed(rest, 1.0)
        if not self.machine.is_over:
            self.sent += self.machine.end(1.0)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        rows = [row.removeprefix(b"data: ") for row in self.sent.split(b"\n\n") if row]
        return [json.loads(row) for row in rows if row.startswith(b"{")]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]

    def said(self, name: str) -> str:
        return "".join(delta.get(name) or "" for delta in self.deltas)

    @property
    def usage(self) -> TokenUsage:
        return self.machine.final_usage(99)


def shown(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(row.partition(b"\ndata: ")[2]) for row in data.split(b"\n\n") if row]


def expected(data: bytes, usage: TokenUsage) -> list[dict[str, Any]]:
    """Give the events of a stream as they pass: under our id, ended with what is charged."""
    events = shown(data)
    ends = [event for event in events if event["type"] == "message_delta"]
    # Counts are cumulative: of several such events the last says it all.
    events = [event for event in events if event not in ends[:-1]]
    for event in events:
        if event["type"] == "message_start":
            event["message"]["id"] = f"msg_{IDENT.completion_id}"
        if event["type"] == "message_delta":
            event["usage"] = event.get("usage", {}) | usage_members(usage) | {"cost": 0.5}
    return events


def good(*events: dict[str, Any]) -> Came:
    data = sse([START, *events])
    whole = Came(data)
    assert whole.machine.state is AttemptState.COMPLETED
    assert whole.sent.endswith(b"data: [DONE]\n\n")
    for step in (1, 7):
        again = Came(data, step=step)
        assert (again.sent, again.usage) == (whole.sent, whole.usage)
    native = Came(data, native=True)
    assert native.machine.state is AttemptState.COMPLETED
    assert native.usage == whole.usage
    assert shown(native.sent) == expected(data, native.usage)
    return whole


def test_a01_a02_a03_plain_with_pings_and_unknown_events() -> None:
    came = good(PING, *text(0, "a", "b"), {"type": "from_the_future", "x": 1}, ended(), STOP)
    assert came.said("content") == "ab"
    assert came.machine.finish_reason == "stop"
    assert came.usage == TokenUsage(15, 5, 0, 7)


def test_a03_an_unknown_delta_is_left_out() -> None:
    deltas = [{"type": "new_delta", "x": 1}, {"type": "text_delta", "text": "a"}]
    assert good(*block(0, {"type": "text", "text": ""}, *deltas), ended(), STOP).said(
        "content"
    ) == ("a")


def test_a04_a05_a06_a07_usage_is_cumulative_and_never_added() -> None:
    assert good(*text(0, "a"), ended(output_tokens=3), ended(output_tokens=9), STOP).usage == (
        TokenUsage(15, 5, 0, 9)
    )
    cached = ended(cache_read_input_tokens=8, input_tokens=2)
    assert good(*text(0, "a"), cached, STOP).usage == TokenUsage(10, 8, 0, 7)
    both = ended(cache_creation_input_tokens=4)
    start = json.loads(json.dumps(START))
    start["message"]["usage"]["cache_creation_input_tokens"] = 4
    came = Came(sse([start, *text(0, "a"), both, STOP]))
    assert came.usage == TokenUsage(19, 5, 4, 7)


def test_u10_cache_writes_are_told_apart_by_how_long_they_last() -> None:
    creation = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    said = ended(cache_creation_input_tokens=7, cache_creation=creation)
    assert good(*text(0, "a"), said, STOP).usage == TokenUsage(22, 5, 7, 7, cache_write_1h_tokens=4)


def test_a08_a09_thinking_keeps_its_signature() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "sig"},
    )
    redacted = block(1, {"type": "redacted_thinking", "data": "secret"})
    came = good(*thinking, *redacted, *text(2, "a"), ended(), STOP)
    assert came.said("reasoning") == "hm"
    details = [detail for delta in came.deltas for detail in delta.get("reasoning_details", [])]
    assert [detail["type"] for detail in details] == [
        "reasoning.text",
        "reasoning.text",
        "reasoning.encrypted",
    ]
    assert (details[1]["signature"], details[2]["data"]) == ("sig", "secret")


def test_a10_a11_a12_tools_have_an_index_of_their_own() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    parts = [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"a"', ":1}")]
    empty = {"type": "tool_use", "id": "t2", "name": "g", "input": {}}
    came = good(*text(0, "a"), *block(1, use, *parts), *block(2, empty), ended("tool_use"), STOP)
    calls = [call for delta in came.deltas for call in delta.get("tool_calls", [])]
    assert [(call["index"], call.get("id")) for call in calls] == [
        (0, "t1"),
        (0, None),
        (0, None),
        (1, "t2"),
        # It was given no arguments, which is an empty object.
        (1, None),
    ]
    assert "".join(c["function"].get("arguments", "") for c in calls if c["index"] == 0) == (
        '{"a":1}'
    )
    assert came.machine.finish_reason == "tool_calls"


def test_a13_a14_citations_and_tools_of_the_server_do_not_disturb() -> None:
    cited = {"type": "citations_delta", "citation": {"cited_text": "x"}}
    server = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    came = good(
        *block(0, server),
        *block(1, {"type": "text", "text": ""}, cited, {"type": "text_delta", "text": "a"}),
        ended(server_tool_use={"web_search_requests": 1}),
        STOP,
    )
    assert came.said("content") == "a"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        pytest.param("end_turn", "stop", id="A15a"),
        pytest.param("max_tokens", "length", id="A15b"),
        pytest.param("stop_sequence", "stop", id="A15c"),
        pytest.param("tool_use", "tool_calls", id="A15d"),
        pytest.param("pause_turn", "length", id="A15e"),
        pytest.param("refusal", "content_filter", id="A15f"),
        pytest.param("model_context_window_exceeded", "length", id="A15g"),
    ],
)
def test_reasons_to_stop(reason: str, finish: str) -> None:
    came = good(*text(0, "a"), ended(reason), STOP)
    assert came.machine.finish_reason == finish
    assert came.chunks[-1]["choices"][0]["native_finish_reason"] == reason


@pytest.mark.parametrize("native", [False, True])
def test_a16_a17_an_error_event_is_a_failure(native: bool) -> None:  # noqa: FBT001
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    before = Came(sse([error]), native=native)
    assert before.machine.state is AttemptState.FAILED
    assert before.machine.failure is not None
    assert (before.machine.failure.status, before.sent) == (503, b"")
    amid = Came(sse([START, *text(0, "a"), error]), native=native)
    assert amid.machine.state is AttemptState.FAILED
    assert amid.sent.endswith(b"data: <error>\n\n")
    assert amid.usage.completion_tokens == 1
    assert amid.usage.prompt_tokens == 15


def test_a18_without_the_last_usage_the_answer_is_counted_here() -> None:
    came = Came(sse([START, *text(0, "a", "b"), STOP]))
    assert came.machine.state is AttemptState.COMPLETED
    assert came.usage == TokenUsage(15, 5, 0, 2, is_estimated=True)


def test_a19_a_reason_without_a_last_event_is_an_end_and_neither_is_none() -> None:
    for native in (False, True):
        came = Came(sse([START, *text(0, "a"), ended()]), native=native)
        assert came.machine.state is AttemptState.COMPLETED
        assert came.usage == TokenUsage(15, 5, 0, 7)
        torn = Came(sse([START, *text(0, "a")]), native=native)
        assert torn.machine.state is AttemptState.FAILED


def test_u20_a_whole_message_counts_as_openai_does() -> None:
    message = START["message"] | {  # type: ignore[operator]
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3},
    }
    neutral = PROVIDER_API.answer(json.dumps(message).encode())
    answer = decode_answer(neutral)
    assert answer.usage == TokenUsage(3, 2, 0, 3)
    assert answer.finish_reason == "tool_calls"
    again = json.loads(CLIENT_API.answer(neutral, b"", answer.usage, "0.5", IDENT))
    assert again["content"] == message["content"]
    assert again["stop_reason"] == "tool_use"
    assert again["usage"]["input_tokens"] == 1
    assert again["usage"]["cost"] == 0.5


# ---------------------------------------------------------------- requests


def to_messages(**members: Any) -> dict[str, Any]:
    asked = decode_request(json.dumps({"model": "m", "messages": [USER]} | members).encode())
    body = PROVIDER_API.encode(asked, upstream_model="claude", output_tokens_max=None, flags=())
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "zzz"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [{"type": "text", "text": "1"}],
            },
            {
                "type": "tool_result",
                "tool_use_id": "t2",
                "content": [{"type": "text", "text": "2"}],
                "is_error": True,
            },
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            },
            {"type": "text", "text": "and?"},
        ],
    },
]


def test_a_conversation_comes_back_from_the_neutral_form_as_it_was() -> None:
    asked = {
        "model": "m",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": CONVERSATION,
        "stop_sequences": ["x"],
        "top_k": 4,
        "temperature": 0.5,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    chat = decode_request(CLIENT_API.to_chat(json.dumps(asked).encode()).body)
    back = json.loads(
        PROVIDER_API.encode(chat, upstream_model="m", output_tokens_max=None, flags=())
    )
    assert back == asked


def test_tool_messages_become_one_turn_and_empty_ones_vanish() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    found = to_messages(
        messages=[
            {"role": "system", "content": "s"},
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
            {"role": "tool", "tool_call_id": "d", "content": "2"},
            {"role": "user", "content": ""},
            {"role": "user", "content": "y"},
        ]
    )
    assert found["system"] == [{"type": "text", "text": "s"}]
    roles = [turn["role"] for turn in found["messages"]]
    assert roles == ["user", "assistant", "user"]
    kinds = [part["type"] for part in found["messages"][2]["content"]]
    # The second result answers no call: it is told in words.
    assert kinds == ["tool_result", "text", "text"]
    assert "2" in found["messages"][2]["content"][1]["text"]
    assert found["messages"][1]["content"][0]["input"] == {}
    assert found["max_tokens"] > 0


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 1}, "seed"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"strange": 1}, "strange"),
        ({"reasoning_effort": "odd"}, "reasoning_effort"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}
                ]
            },
            "messages[0].content[0].type",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_messages(**members)
    assert caught.value.param == param
    assert caught.value.hint


def test_neutral_values_ask_for_nothing() -> None:
    assert to_messages(n=1, logprobs=False, presence_penalty=0, seed=None, verbosity=None)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"tools": [{"name": "w", "type": "web_search_20260101"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "odd"}}, "tool_choice.type"),
        ({"thinking": {"type": "odd"}}, "thinking.type"),
        ({"messages": [{"role": "odd", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "odd"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": "x"}, "messages"),
        ({"temperature": 2}, "temperature"),
    ],
)
def test_clients_are_told_which_member_is_at_fault(members: dict[str, Any], param: str) -> None:
    asked = {"model": "m", "max_tokens": 5, "messages": [USER]} | members
    with pytest.raises(InvalidRequest) as caught:
        judge(CLIENT_API.to_chat(json.dumps(asked).encode()).notes, "chat")
    assert caught.value.param == param


# ---------------------------------------------------------------- writing streams


def written(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    writer = CLIENT_API.stream(b"{}", IDENT)
    decoder = ChatStreamDecoder(IDENT, is_chat=False)
    read = [decoder.decode(json.dumps(chunk).encode()).payload for chunk in chunks]
    data = b"".join(writer.events([payload]) for payload in read if payload is not None)
    data += writer.finish(TokenUsage(15, 5, 0, 7), "0.001")
    events = []
    for frame in data.split(b"\n\n")[:-1]:
        name, _, payload = frame.partition(b"\ndata: ")
        event = json.loads(payload)
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "created": 5, "model": "m", "choices": [choice]}


def test_a_stream_is_written_block_after_block() -> None:
    def call(index: int, arguments: str, **more: str) -> dict[str, Any]:
        function = {"arguments": arguments} | ({"name": more["name"]} if more else {})
        row: dict[str, Any] = {"index": index, "function": function}
        return {"tool_calls": [row | ({"id": more["id"]} if more else {})]}

    events = written(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "hm"}),
            chunk({"content": "a"}),
            chunk({"content": "b"}),
            chunk(call(0, "", id="t1", name="f")),
            chunk(call(1, '{"z', id="t2", name="g")),
            chunk(call(0, "{}")),
            chunk(call(1, '":1}')),
            chunk({}, "tool_calls"),
        ]
    )
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 4
    open_block = None
    for event in events:
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
    parts: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_delta" and "partial_json" in event["delta"]:
            at = event["index"]
            parts[at] = parts.get(at, "") + event["delta"]["partial_json"]
    assert parts == {2: "{}", 3: '{"z":1}'}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"]["input_tokens"] == 10


def test_a_translated_stream_comes_back_as_it_was() -> None:
    events = [
        START,
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "signature_delta", "signature": "sig"},
        ),
        *text(1, "a", "b"),
        *block(
            2,
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"a":1}'},
        ),
    ]
    came = Came(sse([*events, ended("tool_use"), STOP]))
    again = written(came.chunks)
    assert again[1:-2] == events[1:]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.sampled_from(
                [
                    json.dumps(event).encode()
                    for event in (START, PING, STOP, ended(), *text(0, "a"))
                ]
            ),
        ),
        max_size=12,
    )
)
def test_any_bytes_are_read_or_refused(payloads: list[bytes]) -> None:
    reader, native = PROVIDER_API.stream(IDENT), NativeDecoder()
    writer = CLIENT_API.stream(b"", IDENT)
    decoder = ChatStreamDecoder(IDENT, is_chat=False)
    for payload in payloads:
        try:
            chunks = [decoder.decode(row).payload for row in reader.chunks(payload)]
        except ChunkMalformed:
            chunks = []
        writer.events([row for row in chunks if row is not None])
        try:
            native.decode(payload)
        except ChunkMalformed:
            continue
    assert writer.finish(TokenUsage(), "0")
    for payload in payloads:
        try:
            PROVIDER_API.answer(payload)
        except ChunkMalformed:
            continue


def test_bytes_that_are_no_text_do_not_fell_a_tool_call() -> None:
    block = b'{"type":"tool_use","id":"t","name":"f","input":{"a":"\xc1"}}'
    event = b'{"type":"content_block_start","index":0,"content_block":%b}' % block
    assert PROVIDER_API.stream(IDENT).chunks(event)
    message = b'{"content":[%b],"stop_reason":"tool_use","usage":{"output_tokens":1}}' % block
    assert decode_answer(PROVIDER_API.answer(message)).finish_reason == "tool_calls"


@pytest.mark.parametrize("odd", [[], {}, 7, True])
def test_a_thought_whose_format_is_no_word_is_sealed(odd: object) -> None:
    detail = {"signature": "signed", "data": "opaque", "format": odd}
    assert signature_of(detail) not in {"", "signed"}
    assert redacted(detail)["data"] not in {"", "opaque"}

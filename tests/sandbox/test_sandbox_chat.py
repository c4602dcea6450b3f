import base64
import json
import math
import struct
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from jusinfer.sandbox.script_steps import Close, Token, data_of
from jusinfer.sandbox.upstream import SandboxRequest, Upstream

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"where": {"type": "string"}, "how_many": {"type": "integer"}},
            "required": ["where", "how_many"],
        },
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "keep"}}


def sent(
    upstream: Upstream, body: object, path: str = "/v1/chat/completions", **headers: str
) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = SandboxRequest("POST", path, {"authorization": "Bearer x", **headers}, data)
    steps = list(upstream.answer(asked).script)
    assert not any(isinstance(step, Close) for step in steps)
    head, _, rest = b"".join(data_of(step) or b"" for step in steps).partition(b"\r\n\r\n")
    return int(head.split()[1]), unchunked(rest) if b"chunked" in head else rest


def unchunked(data: bytes) -> bytes:
    out = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            assert data == b"\r\n"
            return out
        out += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


def said(model: str = "m", text: str = "Hello there", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def whole(**fields: Any) -> ChatCompletion:
    status, body = sent(Upstream(), said(**fields))
    assert status == 200, body
    return ChatCompletion.model_validate_json(body)


def chunks(**fields: Any) -> list[ChatCompletionChunk]:
    status, body = sent(Upstream(), said(**fields, stream=True))
    assert status == 200, body
    lines = body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: ") for line in lines[:-1])
    return [ChatCompletionChunk.model_validate_json(line[6:]) for line in lines[:-2]]


def refused(body: object, **headers: str) -> dict[str, Any]:
    status, data = sent(Upstream(), body, **headers)
    assert status == 400
    error: dict[str, Any] = json.loads(data)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_an_answer_is_the_same_each_time() -> None:
    assert whole() == whole()
    assert whole(seed=1) != whole(seed=2)
    assert whole(text="a").choices[0].message != whole(text="b").choices[0].message


def test_a_stream_says_what_the_object_says() -> None:
    events = chunks(n=2, reasoning_effort="low")
    answer = whole(n=2, reasoning_effort="low")
    for index, choice in enumerate(answer.choices):
        rows = [event.choices[0] for event in events if event.choices[0].index == index]
        assert "".join(row.delta.content or "" for row in rows) == choice.message.content
        assert rows[0].delta.role == "assistant"
        assert [row.finish_reason for row in rows[:-1]] == [None] * (len(rows) - 1)
        assert rows[-1].finish_reason == "stop"
    assert answer.choices[0].message.content != answer.choices[1].message.content


def test_a_token_is_an_event() -> None:
    events = chunks(model="sandbox/tokens?n=23", stream_options={"include_usage": True})
    texts = [event.choices[0].delta.content for event in events if event.choices]
    assert len([text for text in texts if text]) == 23
    last = events[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 23
    assert last.usage.total_tokens == last.usage.prompt_tokens + 23
    assert all(event.usage is None for event in events[:-1])


def test_usage_is_null_on_other_events_and_absent_if_not_asked_for() -> None:
    _, asked = sent(Upstream(), said(stream=True, stream_options={"include_usage": True}))
    _, not_asked = sent(Upstream(), said(stream=True))
    assert asked.count(b'"usage":null') == 18
    assert b"usage" not in not_asked


def test_an_event_may_carry_several_tokens() -> None:
    upstream = Upstream()
    body = json.dumps(said(model="sandbox/tokens?n=10&per=4", stream=True)).encode()
    asked = SandboxRequest("POST", "/chat/completions", {"authorization": "x"}, body)
    told = upstream.answer(asked)
    steps = [step for step in told.script if isinstance(step, Token)]
    assert [step.tokens for step in steps] == [4, 4, 2]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_ends_the_answer(name: str) -> None:
    answer = whole(**{name: 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert len((answer.choices[0].message.content or "").split()) == 5
    assert whole(**{name: 16}).choices[0].finish_reason == "stop"


def test_reasoning_counts_against_the_limit() -> None:
    answer = whole(model="a-reasoner", max_tokens=10)
    message = answer.choices[0].message.model_dump()
    assert len(message["reasoning_content"].split()) == 8
    assert len(message["content"].split()) == 2
    assert answer.usage is not None
    details = answer.usage.completion_tokens_details
    assert details is not None
    assert details.reasoning_tokens == 8


def test_a_stop_text_is_not_said() -> None:
    words = (whole().choices[0].message.content or "").split()
    answer = whole(stop=["never said", words[6]])
    assert (answer.choices[0].message.content or "").split() == words[: words.index(words[6])]
    assert answer.choices[0].finish_reason == "stop"


def test_a_prompt_costs_a_token_for_four_characters_and_four_for_a_message() -> None:
    usage = whole(text="x" * 41).usage
    assert usage is not None
    assert usage.prompt_tokens == 11 + 4
    reported = whole(model="sandbox/prompt?n=12345").usage
    assert reported is not None
    assert reported.prompt_tokens == 12345


def test_an_echo_says_it_again_and_again() -> None:
    assert whole(model="sandbox/echo", text="  one two").choices[0].message.content == "  one two"
    longer = whole(model="sandbox/echo?n=5", text="one two").choices[0].message.content
    assert longer == "one twoone twoone"


def test_tools_are_used_only_when_asked_for() -> None:
    assert whole(tools=[TOOL]).choices[0].finish_reason == "stop"
    asked = "Please use the tool."
    assert whole(tools=[TOOL], text=asked).choices[0].finish_reason == "tool_calls"
    refused_tool = whole(tools=[TOOL], text=asked, tool_choice="none")
    assert refused_tool.choices[0].message.tool_calls is None
    named = {"type": "function", "function": {"name": "keep"}}
    calls = whole(tools=[TOOL, OTHER_TOOL], tool_choice=named).choices[0].message.tool_calls
    assert calls is not None
    assert [call.to_dict()["function"] for call in calls] == [{"name": "keep", "arguments": "{}"}]


def test_arguments_fit_their_schema_and_come_in_fragments() -> None:
    events = chunks(tools=[TOOL, OTHER_TOOL], tool_choice="required", parallel_tool_calls=True)
    names: dict[int, str] = {}
    arguments: dict[int, list[str]] = {}
    for event in events:
        for call in event.choices[0].delta.tool_calls or []:
            assert call.function is not None
            if call.id is not None:
                assert call.index not in names
                names[call.index] = call.function.name or ""
            else:
                assert call.function.name is None
            arguments.setdefault(call.index, []).append(call.function.arguments or "")
    assert names == {0: "find", 1: "keep"}
    assert json.loads("".join(arguments[0])) == {"where": "amber", "how_many": 1}
    assert len(arguments[0]) > 3
    assert events[-1].choices[0].finish_reason == "tool_calls"


def test_after_a_tools_result_the_answer_is_text() -> None:
    body = said(text="use the tool", tools=[TOOL])
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    _, data = sent(Upstream(), body)
    assert json.loads(data)["choices"][0]["finish_reason"] == "stop"


def test_one_tool_asked_for_in_parallel_is_called_twice() -> None:
    calls = whole(tools=[TOOL], text="use the tool in parallel").choices[0].message.tool_calls
    assert calls is not None
    assert len({call.id for call in calls}) == 2


def test_structured_output_fits() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    text = whole(response_format=shape).choices[0].message.content
    assert json.loads(text or "") == {"a": True}
    text = whole(response_format={"type": "json_object"}).choices[0].message.content
    assert isinstance(json.loads(text or ""), dict)


def test_logprobs_are_given_for_each_token() -> None:
    answer = whole(logprobs=True, top_logprobs=2, max_tokens=3)
    rows = answer.choices[0].logprobs
    assert rows is not None
    assert rows.content is not None
    assert "".join(row.token for row in rows.content) == answer.choices[0].message.content
    assert [len(row.top_logprobs) for row in rows.content] == [2, 2, 2]
    events = chunks(logprobs=True, max_tokens=3)
    assert sum(event.choices[0].logprobs is not None for event in events) == 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[" * 200_000, None),
        ([], None),
        ({"messages": []}, "model"),
        (said(model=""), "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"model": "m", "messages": [{"role": "user"}]}, "messages[0].content"),
        (said(text=3), "messages[0].content"),
        (said(text=[{"text": "x"}]), "messages[0].content[0].type"),
        (
            {"model": "m", "messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id",
        ),
        (said(n=0), "n"),
        (said(n=True), "n"),
        (said(n=129), "n"),
        (said(temperature=3), "temperature"),
        (said(max_tokens=0), "max_tokens"),
        (said(max_tokens=1.5), "max_tokens"),
        (said(stream="yes"), "stream"),
        (said(stream_options={"include_usage": True}), "stream_options"),
        (said(stream=True, stream_options=1), "stream_options"),
        (said(stop=["a", "b", "c", "d", "e"]), "stop"),
        (said(tools={}), "tools"),
        (said(tools=[{"type": "function"}]), "tools[0]"),
        (said(tool_choice="auto"), "tool_choice"),
        (said(tools=[TOOL], tool_choice="always"), "tool_choice"),
        (said(tools=[TOOL], tool_choice=OTHER_TOOL), "tool_choice"),
        (said(response_format={"type": "xml"}), "response_format.type"),
    ],
)
def test_what_openai_refuses_is_refused_by_name(body: object, param: str | None) -> None:
    assert refused(body)["param"] == param


def test_a_schema_that_makes_no_sense_is_refused() -> None:
    schema = {"type": "integer", "minimum": "many"}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    assert "no sense" in refused(said(response_format=shape))["message"]


def test_a_schema_that_is_its_own_end_gives_an_answer() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"$ref": "#"}}}
    status, _ = sent(Upstream(), said(response_format=shape))
    assert status == 200


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_have_length_one_and_the_asked_dimensions(encoding: str) -> None:
    body = {"model": "e", "input": ["a", "b"], "dimensions": 12, "encoding_format": encoding}
    _, data = sent(Upstream(), body, "/v1/embeddings")
    answer = json.loads(data)
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    rows = [row["embedding"] for row in answer["data"]]
    if encoding == "base64":
        rows = [struct.unpack("<12f", base64.b64decode(row)) for row in rows]
    assert [len(row) for row in rows] == [12, 12]
    assert math.isclose(sum(x * x for x in rows[0]), 1, rel_tol=1e-5)
    assert rows[0] != rows[1]


@pytest.mark.parametrize(
    ("asked", "count"), [("a", 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (["a", "b"], 2)]
)
def test_embeddings_take_texts_and_tokens(asked: object, count: int) -> None:
    _, data = sent(Upstream(), {"model": "e", "input": asked}, "/v1/embeddings")
    assert len(json.loads(data)["data"]) == count


@pytest.mark.parametrize("asked", ["", [], [""], [1, "a"], None, [[]]])
def test_embeddings_refuse_what_is_no_input(asked: object) -> None:
    status, _ = sent(Upstream(), {"model": "e", "input": asked}, "/v1/embeddings")
    assert status == 400


def test_embeddings_have_faults_too() -> None:
    body = {"model": "sandbox/status?code=503", "input": "a"}
    assert sent(Upstream(), body, "/v1/embeddings")[0] == 503
    body = {"model": "sandbox/missing_usage", "input": "a"}
    assert "usage" not in json.loads(sent(Upstream(), body, "/v1/embeddings")[1])


def test_without_a_key_nothing_is_answered() -> None:
    upstream = Upstream()
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/models", "/elsewhere"):
        steps = list(upstream.answer(SandboxRequest("POST", path, {}, b"{}")).script)
        assert b"".join(data_of(step) or b"" for step in steps).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/anything", 200),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/sandbox/reset", 405),
        ("GET", "/healthz", 200),
    ],
)
def test_paths(method: str, path: str, status: int) -> None:
    told = Upstream().answer(SandboxRequest(method, path, {"authorization": "x"}, b""))
    data = b"".join(data_of(step) or b"" for step in told.script)
    assert int(data.split()[1]) == status

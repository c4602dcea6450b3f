"""Odd shapes of answers, over each client API, streamed and whole: what they must become."""

import json
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.playbook.script import IDENT

from jusinfer.domain.inference.stream_state import ChunkMalformed
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.responses.client_api import ResponsesClientApi
from jusinfer.wire.inbound.text_completions import TextCompletionsClientApi
from jusinfer.wire.sealed import decode_reasoning_state
from jusinfer.wire.upstream.chat_answer import named_answer, read_answer
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder
from jusinfer.wire.upstream.openai_chat import Answer, answer_as_events

Delta = dict[str, Any]
APIS = ("chat", "responses", "messages", "legacy")
CLIENT_APIS = {
    "chat": None,
    "responses": ResponsesClientApi(),
    "messages": AnthropicClientApi(),
    "legacy": TextCompletionsClientApi(),
}
USED = TokenUsage(20, 0, 0, 10)


class Got(NamedTuple):
    """What a client makes of an answer, whichever API it came by."""

    text: str
    thought: str
    calls: list[tuple[str, str]]
    ids: list[str]
    stop: str
    opaque: str
    raw: Any


def call(name: str | None = None, given: Any = None, **more: Any) -> Delta:
    function = {"name": name, "arguments": given}
    return {"function": {key: value for key, value in function.items() if value is not None}} | more


def event(delta: Any, finish: Any = None, **more: Any) -> bytes:
    row = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    return json.dumps(head | {"choices": [row]} | more).encode()


def streamed(api: str, payloads: list[bytes]) -> Got:
    client_api = CLIENT_APIS[api]
    decoder = ChatStreamDecoder(IDENT, is_chat=client_api is None)
    writer = None if client_api is None else client_api.stream(b"{}", IDENT)
    out = b""
    chunks = [decoder.decode(payload) for payload in payloads]
    rest = decoder.flush()
    for chunk in [*chunks, *([] if rest is None else [rest])]:
        if chunk.failure is None and not chunk.is_usage_only:
            assert chunk.payload is not None
            framed = b"data: %b\n\n" % chunk.payload
            out += framed if writer is None else writer.events([chunk.payload])
        elif chunk.failure is not None:
            raise ChunkMalformed(chunk.failure.code)
    if writer is not None:
        out += writer.finish(USED, "0.5")
    lines = [line[6:] for line in out.split(b"\n") if line.startswith(b"data: {")]
    return gathered(api, [json.loads(line) for line in lines])


def gathered(api: str, events: list[Any]) -> Got:
    """Join the events of a stream as SDKs do."""
    if api == "responses":
        return of_response(events[-1]["response"])
    if api == "messages":
        return of_message(joined_message(events))
    message: Delta = {"content": "", "reasoning_content": "", "tool_calls": {}}
    stop = ""
    for one in events:
        assert one["created"] == 1_790_000_000
        assert one["model"] == "m"
        for choice in one["choices"]:
            stop = choice["finish_reason"] or stop
            if api == "legacy":
                message["content"] += choice["text"]
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            message["reasoning_content"] += thought
            for row in delta.get("tool_calls", []):
                known = message["tool_calls"].setdefault(row["index"], {"function": {}})
                known |= {key: row[key] for key in row if key not in {"index", "function"}}
                for key, value in row["function"].items():
                    known["function"][key] = known["function"].get(key, "") + value
    message["tool_calls"] = list(message["tool_calls"].values())
    return of_chat({"message": message, "finish_reason": stop}, events)


def joined_message(events: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = events[0]["message"]
    for one in events:
        if one["type"] == "content_block_start":
            assert one["index"] == len(message["content"])
            message["content"].append(one["content_block"] | {"json": ""})
        elif one["type"] == "content_block_delta":
            block, delta = message["content"][one["index"]], dict(one["delta"])
            delta.pop("type")
            for key, value in delta.items():
                name = "json" if key == "partial_json" else key
                block[name] = block.get(name, "") + value
        elif one["type"] == "message_delta":
            message |= one["delta"] | {"usage": one["usage"]}
    for block in message["content"]:
        given = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(given) if given else {}
    return message


def of_chat(choice: Any, raw: Any) -> Got:
    message = choice["message"]
    calls = message.get("tool_calls") or []
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    return Got(
        message.get("content") or "",
        thought,
        [(row["function"]["name"], row["function"]["arguments"]) for row in calls],
        [row["id"] for row in calls],
        choice["finish_reason"],
        json.dumps([row.get("extra_content") for row in calls]),
        raw,
    )


def of_response(response: Any) -> Got:
    items = response["output"]
    thoughts = [item for item in items if item["type"] == "reasoning"]
    calls = [item for item in items if item["type"] == "function_call"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    return Got(
        "".join(part.get("text", "") for part in parts),
        "".join(row["text"] for item in thoughts for row in item["summary"]),
        [(item["name"], item["arguments"]) for item in calls],
        [item["call_id"] for item in calls],
        response["status"],
        json.dumps([decode_reasoning_state(item["encrypted_content"], "x") for item in thoughts]),
        response,
    )


def of_message(message: Any) -> Got:
    blocks = message["content"]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    sealed = [block["data"] for block in blocks if block["type"] == "redacted_thinking"]
    return Got(
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        [(block["name"], json.dumps(block["input"], separators=(",", ":"))) for block in calls],
        [block["id"] for block in calls],
        message["stop_reason"],
        json.dumps([decode_reasoning_state(data, "x") for data in sealed]),
        message,
    )


def whole(api: str, body: bytes) -> Got:
    answer, strict = read_answer(body, is_chat=api == "chat")
    if answer.failure is not None:
        raise ChunkMalformed(answer.failure.code)
    client_api = CLIENT_APIS[api]
    if client_api is None:
        made = json.loads(named_answer(strict, IDENT, USED, "0.5"))
        return of_chat(made["choices"][0], made)
    made = json.loads(client_api.answer(strict, b"{}", USED, "0.5", IDENT))
    if api == "responses":
        return of_response(made)
    if api == "messages":
        return of_message(made)
    choice = made["choices"][0]
    message = {"content": choice["text"]}
    return of_chat({"message": message, "finish_reason": choice["finish_reason"]}, made)


class Shape(NamedTuple):
    """The deltas of a stream, the message that says the same, and what it must become."""

    deltas: list[Any]
    message: Any = None
    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: Any = "stop"


PARIS, CET = '{"city":"Paris"}', '{"zone":"CET"}'
TWO = (("get_weather", PARIS), ("get_time", CET))
TEXT_PART = {"type": "text", "text": "b"}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
SHAPES: dict[str, Shape] = {
    "plain": Shape([{"content": "a"}, {"content": "b"}], {"content": "ab"}, "ab"),
    "number": Shape([{"content": "$"}, {"content": 6}], {"content": 6}, "$6"),
    "fraction": Shape([{"content": 2.5}, {"content": " [1]"}], {"content": 2.5}, "2.5 [1]"),
    "boolean": Shape([{"content": True}], {"content": True}, "true"),
    "parts": Shape([{"content": [TEXT_PART, "c", 4]}], None, "bc4"),
    "one-part": Shape([{"content": TEXT_PART}], None, "b"),
    "object": Shape([{"content": {"a": 1}}], None, '{"a": 1}'),
    "nested-text": Shape([{"content": [{"type": "text", "text": {"value": "x"}}]}], None, "x"),
    "mistral": Shape([{"content": [THINKING, TEXT_PART]}], None, "b", "hm"),
    "references": Shape(
        [{"content": [TEXT_PART, {"type": "reference", "reference_ids": [1]}]}], None, "b"
    ),
    "reasoning": Shape([{"reasoning": "hm"}, {"content": "a"}], None, "a", "hm"),
    "reasoning-text": Shape([{"reasoning_text": "hm"}, {"content": "a"}], None, "a", "hm"),
    "thinking": Shape([{"thinking": "hm", "content": "a"}], None, "a", "hm"),
    "reasoning-object": Shape([{"reasoning": {"text": "hm"}, "content": "a"}], None, "a", "hm"),
    "reasoning-summary": Shape(
        [{"reasoning": {"summary": [{"type": "summary_text", "text": "hm"}]}, "content": "a"}],
        None,
        "a",
        "hm",
    ),
    "reasoning-list": Shape([{"reasoning": ["h", {"text": "m"}], "content": "a"}], None, "a", "hm"),
    "both-names": Shape(
        [{"reasoning": "hm", "reasoning_content": "hm"}, {"content": "a"}], None, "a", "hm"
    ),
    "details-alone": Shape(
        [{"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, {"content": "a"}],
        None,
        "a",
        "hm",
    ),
    "summary-details": Shape(
        [
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
            {"content": "a"},
        ],
        None,
        "a",
        "hm",
    ),
    "text-as-delta": Shape(["a"], "a", "a"),
    "shouted-reason": Shape([{"content": "a"}], None, "a", finish="STOP"),
    "numeric-reason": Shape([{"content": "a"}], None, "a", finish=7),
    "together": Shape([{"content": "a"}], None, "a", finish="eos"),
    "same-index": Shape(
        [
            {"tool_calls": [call("get_weather", PARIS, index=0, id="call_a")]},
            {"tool_calls": [call("get_time", CET, index=0, id="call_b")]},
        ],
        calls=TWO,
    ),
    "no-index": Shape(
        [
            {"tool_calls": [call("get_weather", PARIS, id="call_a")]},
            {"tool_calls": [call("get_time", CET, id="call_b")]},
        ],
        calls=TWO,
    ),
    "one-list-no-index": Shape(
        [{"tool_calls": [call("get_weather", PARIS), call("get_time", CET)]}], calls=TWO
    ),
    "one-list-same-index": Shape(
        [
            {
                "tool_calls": [
                    call("get_weather", PARIS, index=0),
                    call("get_weather", CET, index=0),
                ]
            }
        ],
        calls=(("get_weather", PARIS), ("get_weather", CET)),
    ),
    "no-ids": Shape(
        [
            {"tool_calls": [call("get_weather", PARIS, index=0, id="")]},
            {"tool_calls": [call("get_time", CET, index=1)]},
        ],
        calls=TWO,
    ),
    "same-ids": Shape(
        [
            {"tool_calls": [call("get_weather", PARIS, index=0, id="x")]},
            {"tool_calls": [call("get_time", CET, index=1, id="x")]},
        ],
        calls=TWO,
    ),
    "integer-ids": Shape(
        [{"tool_calls": [call("get_weather", PARIS, index="0", id=7)]}], calls=TWO[:1]
    ),
    "late-name": Shape(
        [
            {"tool_calls": [call(None, '{"city":', index=0, id="call_a")]},
            {"tool_calls": [call("get_weather", '"Paris"}', index=0)]},
        ],
        {"tool_calls": [call("get_weather", PARIS, id="call_a")]},
        calls=TWO[:1],
    ),
    "repeated-name": Shape(
        [
            {"tool_calls": [call("get_weather", "", index=0, id="call_a")]},
            {"tool_calls": [call("get_weather", '{"city":', index=0, id="call_a")]},
            {"tool_calls": [call("get_weather", '"Paris"}', index=0, id="call_a")]},
        ],
        {"tool_calls": [call("get_weather", PARIS, id="call_a")]},
        calls=TWO[:1],
    ),
    "name-in-fragments": Shape(
        [
            {"tool_calls": [call("get_", index=0, id="call_a")]},
            {"tool_calls": [call("weather", index=0)]},
            {"tool_calls": [call(None, PARIS, index=0)]},
        ],
        {"tool_calls": [call("get_weather", PARIS, id="call_a")]},
        calls=TWO[:1],
    ),
    "id-changes": Shape(
        [
            {"tool_calls": [call("get_weather", "", index=0, id="call_a")]},
            {"tool_calls": [call(None, '{"city":', index=0, id="call_b")]},
            {"tool_calls": [call(None, '"Paris"}', index=0, id="call_c")]},
        ],
        {"tool_calls": [call("get_weather", PARIS, id="call_a")]},
        calls=TWO[:1],
    ),
    "interleaved": Shape(
        [
            {"tool_calls": [call("get_weather", '{"city":', index=0, id="call_a")]},
            {"tool_calls": [call("get_time", '{"zone":', index=1, id="call_b")]},
            {"tool_calls": [call(None, '"Paris"}', index=0)]},
            {"tool_calls": [call(None, '"CET"}', index=1)]},
        ],
        {"tool_calls": [call("get_weather", PARIS, id="a"), call("get_time", CET, id="b")]},
        calls=TWO,
    ),
    "object-arguments": Shape(
        [{"tool_calls": [call("f", {"a": 1}, index=0, id="x")]}], calls=(("f", '{"a": 1}'),)
    ),
    "no-arguments": Shape([{"tool_calls": [call("f", index=0, id="x")]}], calls=(("f", "{}"),)),
    "null-arguments": Shape(
        [{"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": None}}]}],
        calls=(("f", "{}"),),
    ),
    "flat": Shape([{"tool_calls": [{"name": "f", "arguments": {}}]}], calls=(("f", "{}"),)),
    "starts-at-one": Shape(
        [
            {"tool_calls": [call("get_weather", PARIS, index=1, id="a")]},
            {"tool_calls": [call("get_time", CET, index=2, id="b")]},
        ],
        calls=TWO,
    ),
    "text-then-call": Shape(
        [{"content": "a"}, {"tool_calls": [call("f", "{}", index=0, id="x")]}],
        {"content": "a", "tool_calls": [call("f", "{}", id="x")]},
        "a",
        calls=(("f", "{}"),),
    ),
    "call-in-content": Shape(
        [{"content": [{"type": "tool_use", "id": "x", "name": "f", "input": {"a": 1}}]}],
        calls=(("f", '{"a": 1}'),),
    ),
}


def spaced(calls: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> list[tuple[str, Any]]:
    return [(name, json.loads(given)) for name, given in calls]


def holds(shape: Shape, got: Got, api: str) -> None:
    assert got.text == shape.text
    if api == "legacy":
        assert got.stop in {"stop", "length"}
        return
    assert got.thought == shape.thought
    assert spaced(got.calls) == spaced(shape.calls)
    assert all(got.ids)
    assert len(set(got.ids)) == len(got.ids)
    stops = {
        "chat": ("stop", "tool_calls"),
        "responses": ("completed", "completed"),
        "messages": ("end_turn", "tool_use"),
    }
    assert got.stop == stops[api][bool(shape.calls)]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("code", SHAPES)
def test_a_stream_of_an_odd_shape(code: str, api: str) -> None:
    shape = SHAPES[code]
    holds(shape, streamed(api, [*map(event, shape.deltas), event({}, shape.finish)]), api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("code", SHAPES)
def test_a_whole_answer_of_an_odd_shape(code: str, api: str) -> None:
    shape = SHAPES[code]
    message = shape.message
    if message is None:
        message = {}
        for delta in shape.deltas:
            calls = message.get("tool_calls", []) + delta.get("tool_calls", [])
            message |= delta | ({"tool_calls": calls} if calls else {})
    row = {"index": 0, "message": message, "finish_reason": shape.finish}
    body = {"id": 123, "created": 1_790_000_000.25, "model": "m", "choices": [row]}
    text = shape.text
    if code in {"number", "fraction"}:
        text = str(message["content"])
    holds(shape._replace(text=text), whole(api, json.dumps(body).encode()), api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "more",
    [
        {"id": 123},
        {"id": None},
        {"created": 1_790_000_000.25},
        {"created": "1790000000"},
        {"object": None},
        {"system_fingerprint": 4},
    ],
    ids=json.dumps,
)
def test_odd_heads_cost_no_text(api: str, more: dict[str, Any]) -> None:
    payloads = [event({"content": word}, **more) for word in ("a", "b")]
    row = {"index": "0", "delta": {"content": "c"}, "logprobs": [], "finish_reason": "stop"}
    payloads.append(event({}, **(more | {"choices": [row]})))
    assert streamed(api, payloads).text == "abc"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("delta", [{"tool_calls": [7]}, {"tool_calls": "f"}], ids=json.dumps)
def test_what_cannot_be_read_is_an_error_and_not_left_out(api: str, delta: Delta) -> None:
    with pytest.raises(ChunkMalformed):
        streamed(api, [event({"content": "a"}), event(delta)])
    body = {"choices": [{"message": {"content": "a"} | delta, "finish_reason": "stop"}]}
    with pytest.raises(ChunkMalformed, match="malformed_answer"):
        whole(api, json.dumps(body).encode())


@pytest.mark.parametrize("api", APIS)
def test_pictures_go_to_chat_and_are_said_to_be_missing_elsewhere(api: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    stream = [event({"images": [image]}), event({}, "stop")]
    body = {"choices": [{"message": {"content": None, "images": [image]}, "finish_reason": "stop"}]}
    if api == "chat":
        assert streamed(api, stream).raw[0]["choices"][0]["delta"]["images"] == [image]
        assert whole(api, json.dumps(body).encode()).raw["choices"][0]["message"]["images"]
        return
    with pytest.raises(ChunkMalformed, match="content_not_carried"):
        streamed(api, stream)
    with pytest.raises(ChunkMalformed, match="content_not_carried"):
        whole(api, json.dumps(body).encode())


SIGNED = {"google": {"thought_signature": "c2lnbmF0dXJl"}}


@pytest.mark.parametrize("api", APIS[:3])
def test_a_signature_of_a_call_goes_down_with_it(api: str) -> None:
    one = call("f", "{}", index=0, id="functions.f:0", extra_content=SIGNED)
    body = {"choices": [{"message": {"tool_calls": [one]}, "finish_reason": "stop"}]}
    for got in (
        streamed(api, [event({"tool_calls": [one]}), event({}, "tool_calls")]),
        whole(api, json.dumps(body).encode()),
    ):
        assert json.dumps(SIGNED) in got.opaque
        if api != "chat":
            assert '"id": "functions.f:0"' in got.opaque
            assert '"type": "call.extra"' in got.opaque


def test_thoughts_that_nobody_signed_are_known_again() -> None:
    stream = [event({"reasoning": "hm"}), event({"content": "a"}), event({}, "stop")]
    body = {"choices": [{"message": {"reasoning": "hm", "content": "a"}, "finish_reason": "stop"}]}
    for got in (streamed("messages", stream), whole("messages", json.dumps(body).encode())):
        block = got.raw["content"][0]
        assert block["type"] == "thinking"
        assert decode_reasoning_state(block["signature"], "x")[0]["type"] == "reasoning.text"


def test_reasoning_of_another_provider_is_sealed_whole() -> None:
    row = {
        "type": "reasoning.encrypted",
        "data": "gAAAA",
        "id": "rs_1",
        "format": "openai-responses-v1",
        "index": 0,
    }
    stream = [
        event({"reasoning_details": [row]}),
        event({"content": "a"}),
        event({}, "stop"),
    ]
    got = streamed("messages", stream)
    assert got.raw["content"][0]["type"] == "redacted_thinking"
    assert json.loads(got.opaque) == [[row]]


def test_usage_in_chunks_is_left_to_the_last_event() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    got = streamed("chat", [event({"content": "a"}, usage=usage), event({}, "stop", usage=usage)])
    assert all("usage" not in one for one in got.raw)


@pytest.mark.parametrize("api", APIS)
def test_answers_bear_the_id_of_their_completion(api: str) -> None:
    prefix = {"chat": "gen-", "responses": "resp_", "messages": "msg_", "legacy": "cmpl-"}[api]
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})
    got = whole(api, body.encode())
    assert got.raw["id"] == prefix + IDENT.completion_id
    assert got.raw["model"] == "public/model"
    assert got.raw["usage"]["cost"] == 0.5
    stream = streamed(api, [event({"content": "a"}), event({}, "stop")])
    first = stream.raw[0] if isinstance(stream.raw, list) else stream.raw
    assert first["id"] == prefix + IDENT.completion_id


def test_a_whole_answer_becomes_a_stream_that_says_the_same() -> None:
    message = {"content": [TEXT_PART, 4], "tool_calls": [call("f", {"a": 1}), call("f", {})]}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    answer, strict = read_answer(json.dumps(body).encode())
    assert answer.failure is None
    decoder = ChatStreamDecoder(IDENT)
    chunks = [decoder.decode(payload) for payload in answer_as_events(strict)[:-1]]
    assert answer == Answer(None, "tool_calls", None, has_content=True, estimated_tokens=4)
    assert sum(chunk.content_bytes for chunk in chunks) == len('b4f{"a": 1}f{}'.replace('"', '\\"'))


def role_of(payload: bytes | None) -> Any:
    return json.loads(payload or b"{}")["choices"][0]["delta"].get("role")


def test_the_first_delta_of_a_choice_has_a_role() -> None:
    decoder = ChatStreamDecoder(IDENT)
    first, second = (decoder.decode(event({"content": text})) for text in "ab")
    assert role_of(first.payload) == "assistant"
    assert role_of(second.payload) is None


@pytest.mark.parametrize("takes", [True, False])
def test_the_old_form_of_a_call_is_for_those_who_asked_for_it(*, takes: bool) -> None:
    ident = msgspec.structs.replace(IDENT, takes_function_call=takes)
    old = {"name": "get_weather", "arguments": PARIS}
    decoder = ChatStreamDecoder(ident)
    payload = decoder.decode(event({"function_call": old}, "function_call")).payload
    (choice,) = json.loads(payload or b"{}")["choices"]
    row = {"index": 0, "message": {"function_call": old}, "finish_reason": "function_call"}
    _, strict = read_answer(json.dumps({"choices": [row]}).encode())
    (whole_choice,) = json.loads(named_answer(strict, ident, USED, "0.5"))["choices"]
    for said, reason in (
        (choice["delta"], choice["finish_reason"]),
        (whole_choice["message"], whole_choice["finish_reason"]),
    ):
        if takes:
            assert (said["function_call"], reason) == (old, "function_call")
        else:
            assert (said["tool_calls"][0]["function"], reason) == (old, "tool_calls")
            assert said["tool_calls"][0]["id"]
            assert "function_call" not in said

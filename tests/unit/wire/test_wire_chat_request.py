import json
import re
from typing import Any

import pytest

from jusinfer.domain.catalog import Price
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.sender import NO_STAMP, Stamp, opaque
from jusinfer.wire.inbound.openai_chat import decode_request, encode_request

CANARY = "canary-7f3a"
USER = {"role": "user", "content": "x"}


def body(**members: Any) -> bytes:
    asked = {"model": "m", "messages": [USER]} | members
    return json.dumps(asked, ensure_ascii=False).encode()


def sent(
    data: bytes | CompletionRequest,
    *flags: str,
    tokens: int | None = None,
    stamp: Stamp = NO_STAMP,
) -> dict[str, Any]:
    asked = data if isinstance(data, CompletionRequest) else decode_request(data)
    written = encode_request(
        asked, upstream_model="there/m", output_tokens_max=tokens, flags=flags, stamp=stamp
    )
    found = json.loads(written)
    assert isinstance(found, dict)
    return found


def refused(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(data)
    error = caught.value
    assert error.__cause__ is None
    assert error.hint
    assert CANARY not in f"{error.message} {error.hint} {error.param}"
    return error


def test_a_request_is_read() -> None:
    asked = decode_request(
        body(
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=9,
            n=2,
            tools=[{"type": "function", "function": {"name": "f"}}, {"type": "custom"}],
            response_format={"type": "json_schema", "json_schema": {"name": "s"}},
            reasoning_effort="high",
        )
    )
    assert (asked.model, asked.is_stream, asked.wants_usage) == ("m", True, True)
    assert (asked.output_tokens_max, asked.choice_count) == (9, 2)
    traits = asked.traits
    assert (traits.message_count, traits.tool_count) == (1, 2)
    assert traits.needs_json_schema
    assert (traits.reasoning_effort, traits.output_tokens_max) == ("high", 9)
    assert traits.is_stream
    assert not traits.has_images
    assert not traits.has_audio


def test_what_is_not_said_has_its_default() -> None:
    asked = decode_request(body(stream=None, n=None, max_tokens=None, tools=None, stop=None))
    assert (asked.is_stream, asked.wants_usage, asked.choice_count) == (False, False, 1)
    assert asked.output_tokens_max is None
    assert not asked.traits.needs_json_schema
    assert asked.traits.reasoning_effort == ""
    assert asked.body_bytes == len(
        body(stream=None, n=None, max_tokens=None, tools=None, stop=None)
    )


@pytest.mark.parametrize(
    ("options", "is_stream", "wants"),
    [
        ({"include_usage": True}, True, True),
        ({"include_usage": True}, False, False),
        ({"include_usage": False}, True, False),
        ({}, True, False),
        (None, True, False),
    ],
)
def test_usage_is_wanted_only_where_it_is_asked_for(
    options: object, *, is_stream: bool, wants: bool
) -> None:
    asked = decode_request(body(stream=is_stream, stream_options=options))
    assert asked.wants_usage is wants


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not JSON"),
        (b"[]", "must be an object, not an array"),
        (b"null", "must be an object"),
        (b'"x"', "must be an object, not a string"),
        (b"\xff", "not UTF-8"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "not UTF-8"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":"\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf" + body(), "not JSON"),
        (body() + b"x", "not JSON"),
        (body()[:-1] + b',"x":NaN}', "not JSON"),
        (body()[:-1] + b',"temperature":Infinity}', "not JSON"),
        (body()[:-1] + b',"x":01}', "not JSON"),
        (body()[:-1] + b',"x":"\x01"}', "not JSON"),
        (body()[:-1] + b',"x":' + b"[" * 100_000, "nested too deeply"),
        (body()[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deeply"),
        (b'{"model":"m","messages":' + b"[" * 5_000, "nested too deeply|not JSON|must be"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(data: bytes, message: str) -> None:
    error = refused(data)
    assert error.param is None or error.param.startswith("messages")
    assert any(part in error.message for part in message.split("|"))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b'{"y":["a","\\udc00\\ud800"]}', "x"),
        (b'"\\ud800"', "x"),
    ],
)
def test_what_serializers_write_and_no_decoder_reads_is_named(value: bytes, name: str) -> None:
    error = refused(body()[:-1] + b',"%b":%b}' % (name.encode(), value))
    assert error.param == name


@pytest.mark.parametrize(
    ("members", "param", "message"),
    [
        ({"model": 1}, "model", "a string, not a whole number"),
        ({"model": ""}, "model", "a string of at least 1 character"),
        ({"model": "m" * 257}, "model", "at most 256 characters"),
        ({"messages": []}, "messages", "an array of at least 1 item"),
        ({"messages": [USER] * 10_001}, "messages", "at most 10000 items"),
        ({"messages": {}}, "messages", "an array, not an object"),
        ({"messages": [CANARY]}, "messages[0]", "an object, not a string"),
        ({"messages": [USER, {"content": CANARY}]}, "messages[1].role", "missing"),
        ({"messages": [{"role": CANARY}]}, "messages[0].role", "not one of the values"),
        ({"messages": [{"role": 1}]}, "messages[0].role", "must be"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "string or an arr"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content", "string or an"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "string or an"),
        ({"messages": [{"role": "tool"}]}, "messages[0].content", "string or an array"),
        ({"messages": [USER | {"name": 5}]}, "messages[0].name", "a string, not a whole number"),
        ({"n": 0}, "n", "a whole number, at least 1"),
        ({"n": 129}, "n", "a whole number, at most 128"),
        ({"n": 1.0}, "n", "not a number with a decimal point"),
        ({"n": True}, "n", "a whole number, not true or false"),
        ({"n": CANARY}, "n", "a whole number, not a string"),
        ({"stream": CANARY}, "stream", "true or false, not a string"),
        ({"stream": 1}, "stream", "true or false, not a whole number"),
        ({"stream_options": []}, "stream_options", "an object, not an array"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "true or"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_tokens": 2**31}, "max_tokens", "at most 2147483647"),
        ({"max_completion_tokens": 10**30}, "max_completion_tokens", "at most 2147483647"),
        ({"max_completion_tokens": 2.5}, "max_completion_tokens", "a whole number"),
        ({"temperature": 2.01}, "temperature", "a number, at most 2"),
        ({"temperature": -0.5}, "temperature", "a number, at least 0"),
        ({"temperature": CANARY}, "temperature", "a number, not a string"),
        ({"top_p": 1.5}, "top_p", "at most 1"),
        ({"presence_penalty": -3}, "presence_penalty", "at least -2"),
        ({"frequency_penalty": 2.5}, "frequency_penalty", "at most 2"),
        ({"stop": 5}, "stop", "a string or an array"),
        ({"stop": ["a", 1]}, "stop[1]", "a string, not a whole number"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 items"),
        ({"seed": 1.5}, "seed", "a whole number"),
        ({"user": 5}, "user", "a string"),
        ({"logprobs": 1}, "logprobs", "true or false"),
        ({"top_logprobs": 21}, "top_logprobs", "at most 20"),
        ({"logit_bias": {CANARY: CANARY}}, "logit_bias[…]", "a number, not a string"),
        ({"logit_bias": []}, "logit_bias", "an object"),
        ({"tools": {}}, "tools", "an array"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type", "missing"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing"),
        (
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            "tools[0].function.name",
            "at least 1 character",
        ),
        ({"tools": [{"type": "x"}] * 1_025}, "tools", "at most 1024 items"),
        ({"tool_choice": CANARY}, "tool_choice", "not one of the values"),
        ({"tool_choice": 5}, "tool_choice", "must be"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "true or false"),
        ({"response_format": CANARY}, "response_format", "an object, not a string"),
        ({"response_format": {}}, "response_format.type", "missing"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing",
        ),
        ({"reasoning_effort": ""}, "reasoning_effort", "at least 1 character"),
        ({"metadata": []}, "metadata", "an object"),
        ({"store": "no"}, "store", "true or false"),
    ],
)
def test_a_malformed_member_is_named_and_never_quoted(
    members: dict[str, Any], param: str, message: str
) -> None:
    error = refused(body(**members))
    assert error.param == param
    assert message in error.message
    assert f"`{param}" in error.message


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_member_is_named(name: str) -> None:
    asked = json.loads(body())
    del asked[name]
    error = refused(json.dumps(asked).encode())
    assert error.param == name
    assert "missing" in error.message


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant"},
        {"role": "function", "name": "f", "content": None},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "t"}]},
        {"role": "system", "content": []},
        {"role": "user", "content": [{"type": "of_tomorrow", "odd": 1}], "also_odd": 2},
    ],
)
def test_messages_of_every_kind_pass_unchanged(message: dict[str, Any]) -> None:
    assert sent(body(messages=[message]))["messages"] == [message]


@pytest.mark.parametrize(
    "members",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_object"}},
        {"stop": "x"},
        {"stop": ["x"] * 16},
        {"temperature": 0},
        {"temperature": 1.5},
        {"seed": -(2**63)},
        {"logit_bias": {"50256": -100}},
        {"unknown": {"deep": [1, 2.50, "é", None]}},
    ],
)
def test_good_and_unknown_members_pass_unchanged(members: dict[str, Any]) -> None:
    assert sent(body(**members)) == {"model": "there/m", "messages": [USER]} | members


def test_what_names_a_person_is_sent_as_an_opaque_name_or_not_at_all() -> None:
    given = body(user=CANARY, metadata={CANARY: CANARY}, safety_identifier=CANARY)
    assert sent(given) == {"model": "there/m", "messages": [USER]}
    stamp = Stamp(sender=opaque("up", "tenant", "member"))
    for flag in ("user", "user_id", "safety_identifier"):
        written = sent(given, flag, stamp=stamp)
        assert re.fullmatch("[0-9a-f]{32}", written[flag])
        assert written[flag] != stamp.sender
        assert CANARY not in json.dumps(written)
        assert sent(body(), flag, stamp=stamp)[flag] == stamp.sender
    assert sent(body(user="a"), "user", stamp=stamp) != sent(body(user="b"), "user", stamp=stamp)
    keyed = sent(body(prompt_cache_key=CANARY), stamp=stamp)["prompt_cache_key"]
    assert re.fullmatch("[0-9a-f]{32}", keyed)


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        ({"effort": "low"}, "low"),
        ({"enabled": False}, "none"),
        ({"max_tokens": 1024}, "low"),
        ({"max_tokens": 8000}, "medium"),
        ({"max_tokens": 64000}, "high"),
    ],
)
def test_reasoning_is_written_as_an_effort_where_that_is_what_is_known(
    reasoning: dict[str, Any], effort: str
) -> None:
    assert sent(body(reasoning=reasoning))["reasoning_effort"] == effort
    assert sent(body(reasoning=reasoning), "openrouter")["reasoning"] == reasoning


@pytest.mark.parametrize(
    "name", ["audio", "debug", "plugins", "service_tier", "web_search_options"]
)
def test_what_has_no_price_is_refused_by_name(name: str) -> None:
    assert refused(body(**{name: {"id": "web"}})).param == name
    assert decode_request(body(**{name: None}))


def test_compatibility_flags_may_refuse_and_rename_a_member() -> None:
    assert sent(body(seed=5), "rename:seed=random_seed")["random_seed"] == 5
    with pytest.raises(InvalidRequest) as caught:
        sent(body(logprobs=True), "refuse:logprobs")
    assert caught.value.param == "logprobs"
    assert "logprobs" in sent(body(logprobs=False), "refuse:logprobs")


def test_deepseek_is_asked_in_its_own_words() -> None:
    assert sent(body(reasoning_effort="medium"), "deepseek")["reasoning_effort"] == "high"
    off = sent(body(reasoning_effort="none"), "deepseek")
    assert off["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in off
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
    with pytest.raises(InvalidRequest, match="response_format"):
        sent(body(response_format=schema), "deepseek")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"role": "tool", "tool_call_id": "c", "content": "1"}
    lost = sent(body(messages=[USER, turn, answer]), "deepseek")["messages"][1]
    assert lost["reasoning_content"] == " "
    kept = [USER, turn | {"reasoning": "because"}, answer]
    told = sent(body(messages=kept), "deepseek")["messages"][1]
    assert told["reasoning_content"] == "because"
    assert "reasoning" not in told
    plain = body(messages=kept, thinking={"type": "disabled"})
    assert sent(plain, "deepseek")["messages"][1]["reasoning_content"] == "because"


def test_preferences_are_read_and_judged() -> None:
    asked = decode_request(
        body(
            models=["a", "b"],
            provider={
                "order": ["x"],
                "only": ["x", "y"],
                "ignore": ["z"],
                "allow_fallbacks": False,
                "zdr": True,
                "sort": "price",
                "max_price": {"prompt": 0.5, "completion": "1.25"},
            },
        )
    )
    chosen = asked.preferences
    assert (chosen.models, chosen.order, chosen.only) == (("a", "b"), ("x",), ("x", "y"))
    assert (chosen.ignore, chosen.has_fallbacks, chosen.is_zdr) == (("z",), False, True)
    assert (chosen.input_micro_max, chosen.output_micro_max) == (500_000, 1_250_000)
    assert chosen.sort == "price"
    for given, place in (
        ({"provider": "odd"}, "provider"),
        ({"provider": {"order": "x"}}, "provider.order"),
        ({"provider": {"sort": "best"}}, "provider.sort"),
        ({"provider": {"max_price": {"prompt": "cheap"}}}, "provider.max_price.prompt"),
        ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
        ({"models": [5]}, "models"),
    ):
        assert (refused(body(**given)).param or "").startswith(place)


def test_an_upstream_of_the_upstream_may_not_be_dearer_than_what_is_reserved() -> None:
    stamp = Stamp(sender="s", is_zdr=True, price=Price(1_500_000, 2_000_001))
    data = body(provider={"only": ["a"], "data_collection": "allow"})
    provider = sent(data, "openrouter", stamp=stamp)["provider"]
    assert provider == {
        "only": ["a"],
        "data_collection": "deny",
        "zdr": True,
        "max_price": {"prompt": 1.5, "completion": 2.000001},
    }


def test_numbers_pass_as_they_were_written() -> None:
    data = body()[:-1] + b',"x":1.0000000000000000000001,"y":12345678901234567890123}'
    written = encode_request(
        decode_request(data), upstream_model="u", output_tokens_max=None, flags=()
    )
    assert b"1.0000000000000000000001" in written
    assert b"12345678901234567890123" in written


def test_of_a_member_that_stands_twice_the_last_is_judged_and_sent() -> None:
    data = b'{"n":1,"model":"a","m\\u006fdel":"b","n":3,"messages":[{"role":"user","content":""}]}'
    asked = decode_request(data)
    assert (asked.model, asked.choice_count) == ("b", 3)
    written = encode_request(asked, upstream_model="u", output_tokens_max=None, flags=())
    assert written.count(b'"n"') == written.count(b'"model"') == 1
    assert json.loads(written)["n"] == 3
    error = refused(b'{"n":3,"n":0,"model":"a","messages":[{"role":"user","content":""}]}')
    assert error.param == "n"


# ---------------------------------------------------------------- for an upstream


def test_usage_is_always_asked_for_in_streams() -> None:
    assert sent(body(stream=True))["stream_options"] == {"include_usage": True}
    asked = body(stream=True, stream_options={"include_usage": False, "other": 1})
    assert sent(asked)["stream_options"] == {"include_usage": True, "other": 1}
    assert sent(body(stream=True, stream_options=None))["stream_options"] == {"include_usage": True}
    assert "stream_options" not in sent(body())
    assert "stream_options" not in sent(body(stream=True), "no_stream_options")


def test_padding_of_events_is_declined() -> None:
    options = sent(body(stream=True), "no_obfuscation")["stream_options"]
    assert options == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in sent(body(), "no_obfuscation")


def test_nothing_is_stored_upstream() -> None:
    assert sent(body(store=True), "store_false")["store"] is False
    assert sent(body(), "store_false")["store"] is False
    assert "store" not in sent(body())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {}),
        ({"provider": {"order": ["a"], "data_collection": "allow"}}, {"order": ["a"]}),
        ({"provider": None}, {}),
    ],
)
def test_no_upstream_of_the_upstream_may_collect_data(
    given: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert sent(body(**given), "openrouter")["provider"] == kept | {"data_collection": "deny"}


def test_members_of_our_own_are_not_sent() -> None:
    asked = body(jusinfer={"a": 1}, route="x", sandbox={"delay_ms": 1})
    assert set(sent(asked)) == {"model", "messages"}
    assert set(sent(asked, "sandbox")) == {"model", "messages", "sandbox"}


@pytest.mark.parametrize(
    ("given", "tokens", "flags", "budget"),
    [
        ({}, None, (), {}),
        ({}, 7, (), {"max_tokens": 7}),
        ({}, 7, ("max_completion_tokens",), {"max_completion_tokens": 7}),
        ({"max_tokens": 9}, None, (), {"max_tokens": 9}),
        ({"max_tokens": 9}, 7, (), {"max_tokens": 7}),
        ({"max_tokens": 9}, None, ("max_completion_tokens",), {"max_completion_tokens": 9}),
        ({"max_completion_tokens": 9}, None, (), {"max_tokens": 9}),
        ({"max_completion_tokens": 9}, 7, ("max_completion_tokens",), {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 9, "max_tokens": 5}, None, (), {"max_tokens": 9}),
        ({"max_completion_tokens": None, "max_tokens": 5}, None, (), {"max_tokens": 5}),
    ],
)
def test_the_budget_is_sent_once_under_the_name_the_upstream_obeys(
    given: dict[str, Any], tokens: int | None, flags: tuple[str, ...], budget: dict[str, int]
) -> None:
    written = sent(body(**given), *flags, tokens=tokens)
    found = {name: value for name, value in written.items() if name.startswith("max_")}
    assert found == budget


def test_the_budget_that_counts_is_the_newer_one() -> None:
    assert decode_request(body(max_completion_tokens=9, max_tokens=5)).output_tokens_max == 9


def test_one_request_can_be_written_for_several_upstreams() -> None:
    asked = decode_request(body(stream=True, max_tokens=5, sandbox=1))
    first = sent(asked, "openrouter", "store_false", "max_completion_tokens", tokens=3)
    assert first["provider"]
    assert sent(asked) == {
        "model": "there/m",
        "messages": [USER],
        "stream": True,
        "max_tokens": 5,
        "stream_options": {"include_usage": True},
    }

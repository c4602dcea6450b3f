"""Schemas, settings and pictures that one provider takes and the other refuses."""

import json
from typing import Any

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.inbound.anthropic.request import read_messages_request
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.json_schemas import DEPTH_MAX, enforceable, object_schema, strict_form
from jusinfer.wire.upstream.anthropic.request import encode_messages

USER = [{"role": "user", "content": "Hello"}]
CLOSED = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
OPTIONAL = {**CLOSED, "properties": {"city": {"type": "string"}, "zone": {"type": "string"}}}
BOUNDED = {
    "type": "object",
    "properties": {
        "stars": {"type": "integer", "minimum": 1, "maximum": 5, "description": "How good."},
        "words": {"type": "array", "maxItems": 3, "items": {"type": "string", "minLength": 2}},
        "where": {"oneOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        "day": {"type": "string", "format": "date"},
        "knee": {"type": "string", "format": "phone"},
    },
    "required": ["stars"],
    "$defs": {"Place": {"type": "object", "properties": {"name": {"type": "string"}}}},
}
ENFORCED = {
    "type": "object",
    "properties": {
        "stars": {"type": "integer", "description": "How good.\n\n(minimum: 1, maximum: 5)"},
        "words": {
            "type": "array",
            "items": {"type": "string", "description": "(minLength: 2)"},
            "description": "(maxItems: 3)",
        },
        "where": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        "day": {"type": "string", "format": "date"},
        "knee": {"type": "string", "description": '(format: "phone")'},
    },
    "required": ["stars"],
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}


def to_anthropic(flags: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    body = json.dumps({"model": "m", "max_tokens": 4000, "messages": USER, **more}).encode()
    asked = decode_request(body)
    sent: dict[str, Any] = json.loads(encode_messages(asked, "claude", 4000, flags))
    return sent


def to_chat(**more: Any) -> dict[str, Any]:
    body = json.dumps({"model": "m", "max_tokens": 99, "messages": USER, **more}).encode()
    chat: dict[str, Any] = json.loads(read_messages_request(body).body)
    return chat


def function(schema: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": schema, **more}}]


def test_a_shape_of_the_answer_is_enforced_where_anthropic_can_and_told_where_it_cannot() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": BOUNDED}}
    assert to_anthropic(response_format=form)["output_config"]["format"]["schema"] == ENFORCED
    strict = to_anthropic(tools=function(BOUNDED, strict=True))["tools"][0]
    assert (strict["input_schema"], strict["strict"]) == (ENFORCED, True)
    assert to_anthropic(tools=function(BOUNDED))["tools"][0]["input_schema"] == BOUNDED
    assert enforceable(CLOSED) == CLOSED


@pytest.mark.parametrize("word", ["anyOf", "oneOf", "allOf"])
def test_a_tool_with_alternatives_at_its_top_offers_the_members_of_all(word: str) -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"type": "string"}},
        "required": ["id"],
        word: [
            {"$ref": "#/$defs/Name"},
            {"properties": {"age": {"type": "integer"}}, "required": ["age", "name"]},
        ],
        "$defs": {"Name": {"properties": {"name": {"type": "string"}}, "required": ["name"]}},
    }
    tool = to_anthropic(tools=function(schema, description="Finds."))["tools"][0]
    assert {"anyOf", "oneOf", "allOf"}.isdisjoint(tool["input_schema"])
    assert list(tool["input_schema"]["properties"]) == ["id", "name", "age"]
    all_of = ["id", "name", "age"] if word == "allOf" else ["id", "name"]
    assert tool["input_schema"]["required"] == all_of
    assert tool["description"].startswith(f"Finds.\n\nArguments: ({word}: [")
    assert object_schema(CLOSED) == (CLOSED, "")


@pytest.mark.parametrize(
    "schema",
    [
        OPTIONAL,
        {**CLOSED, "additionalProperties": True},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {**CLOSED, "properties": {"city": OPTIONAL}},
        {**CLOSED, "properties": {"city": {"type": "array", "items": OPTIONAL}}},
        {**CLOSED, "properties": {"city": {"anyOf": [OPTIONAL, {"type": "null"}]}}},
        {**CLOSED, "$defs": {"x": OPTIONAL}},
        {**CLOSED, "properties": {"city": {"oneOf": [{"type": "null"}]}}},
        {"anyOf": [CLOSED]},
        {"type": "string"},
    ],
)
def test_what_openai_refuses_in_strict_mode_is_asked_for_without_it(schema: Any) -> None:
    assert strict_form(schema) == (schema, False)
    form = {"format": {"type": "json_schema", "schema": schema}}
    assert to_chat(output_config=form)["response_format"]["json_schema"]["strict"] is False
    if schema.get("type") == "object":
        tools = [{"name": "f", "input_schema": schema, "strict": True}]
        made = to_chat(tools=tools)["tools"][0]["function"]
        assert (made["parameters"], made["strict"]) == (schema, False)


def test_strict_mode_is_kept_where_a_schema_fits_and_its_objects_are_closed() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    lists = {"type": "array", "items": inner}
    opened = {"type": "object", "properties": {"city": lists}, "required": ["city"]}
    closed = {**inner, "additionalProperties": False}
    told, is_strict = strict_form(opened)
    assert is_strict
    assert told["additionalProperties"] is False
    assert told["properties"]["city"]["items"] == closed
    form = {"format": {"type": "json_schema", "schema": CLOSED}}
    assert to_chat(output_config=form)["response_format"]["json_schema"]["strict"] is True
    tools = [{"name": "f", "input_schema": CLOSED, "strict": True}]
    assert to_chat(tools=tools)["tools"][0]["function"]["strict"] is True


def test_a_schema_of_any_depth_is_read() -> None:
    deep: dict[str, Any] = {"type": "string", "minLength": 1}
    for _ in range(900):
        deep = {"type": "array", "items": deep}
    made = enforceable(deep)
    for _ in range(DEPTH_MAX + 1):
        made = made["items"]
    assert made["type"] == "array"
    assert not strict_form({**CLOSED, "properties": {"city": deep}})[1]


@pytest.mark.parametrize("schema", [None, 1, [], "x", {"properties": 1, "required": 2, "anyOf": 3}])
def test_a_schema_that_is_none_is_left_to_the_provider(schema: Any) -> None:
    assert enforceable(None) is None
    assert strict_form(schema) == (schema, False)
    object_schema(schema)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}),
        ({"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}),
        ({"temperature": 1, "top_p": 1}, {"temperature": 1.0}),
        ({"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}),
        ({"top_p": 1}, {"top_p": 1.0}),
    ],
)
def test_settings_of_chance_that_a_model_refuses_together_are_sent_apart(
    asked: dict[str, Any], kept: dict[str, Any]
) -> None:
    sent = to_anthropic(**asked)
    assert {name: sent[name] for name in ("temperature", "top_p", "top_k") if name in sent} == kept


@pytest.mark.parametrize(("asked", "sent"), [(500, 1024), (2000, 2000), (9000, 3999)])
def test_a_budget_of_thinking_is_one_that_anthropic_takes(asked: int, sent: int) -> None:
    body = to_anthropic(reasoning={"max_tokens": asked})
    assert body["thinking"] == {"type": "enabled", "budget_tokens": sent}


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("image/jpg", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("image/x-png", "image/png"),
        ("image/webp", "image/webp"),
    ],
)
def test_a_picture_has_the_name_of_its_type_that_anthropic_knows(said: str, sent: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:{said};base64,QUJD"}}
    body = to_anthropic(messages=[{"role": "user", "content": [part]}])
    assert body["messages"][0]["content"][0]["source"]["media_type"] == sent


def test_empty_words_to_stop_at_ask_for_nothing_and_blank_ones_are_refused() -> None:
    assert to_anthropic(stop=["", "END"])["stop_sequences"] == ["END"]
    assert "stop_sequences" not in to_anthropic(stop="")
    with pytest.raises(InvalidRequest) as raised:
        to_anthropic(stop=["END", "\n"])
    assert raised.value.param == "stop"


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_how_to_choose_among_no_tools_is_not_said(choice: str) -> None:
    chosen = {"type": choice, "disable_parallel_tool_use": True}
    chat = to_chat(tools=[], tool_choice=chosen)
    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(chat)
    kept = to_chat(tools=[{"name": "f", "input_schema": CLOSED}], tool_choice=chosen)
    assert kept["tool_choice"] == choice

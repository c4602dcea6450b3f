"""Members of requests that were lost, misnamed or fatal on their way to a provider."""

import json
from typing import Any

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sender import Stamp
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.upstream.registry import PROVIDER_APIS

MESSAGE = {"type": "message", "role": "user", "content": "hi"}
USER = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def sent(
    path: str, request: dict[str, Any], provider_api: str = "chat", flags: tuple[str, ...] = ()
) -> dict[str, Any]:
    body = json.dumps({"model": "m", **request}).encode()
    endpoint = ENDPOINTS[path]
    asked = endpoint.decode(body)
    translator = endpoint.translator(
        PROVIDER_APIS.get(provider_api), flags=flags, completion_id="c"
    )
    return json.loads(translator.encode(asked, body, "up", None, flags, Stamp(sender="s")))


def responses(request: dict[str, Any], *where: Any) -> dict[str, Any]:
    return sent("/v1/responses", {"input": [MESSAGE], **request}, *where)


def messages(request: dict[str, Any], *where: Any) -> dict[str, Any]:
    return sent("/v1/messages", {"max_tokens": 2_000, "messages": [USER], **request}, *where)


def refused(made: Any, request: dict[str, Any], *where: Any) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        made(request, *where)
    assert caught.value.hint
    assert f"`{caught.value.param}`" in caught.value.message
    return caught.value.param


SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
DEEPSEEK = ("chat", ("deepseek",))


@pytest.mark.parametrize(
    ("request_", "where", "param"),
    [
        ({"text": {"format": SCHEMA}}, DEEPSEEK, "text.format"),
        ({"reasoning": {"effort": "odd"}}, DEEPSEEK, "reasoning.effort"),
        ({"include": ["message.output_text.logprobs"]}, ("anthropic",), "include"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, ("chat",), "input[0].type"),
        ({"input": [{"type": "web_search_call", "id": "w"}]}, ("chat",), "input"),
        (
            {"input": [MESSAGE | {"content": [{"type": "input_image", "image_url": "data:x"}]}]},
            ("anthropic",),
            "input",
        ),
        ({"tool_choice": "required"}, ("anthropic",), "tool_choice"),
    ],
)
def test_a_refusal_names_what_stands_in_a_response_request(
    request_: dict[str, Any], where: tuple[Any, ...], param: str
) -> None:
    assert refused(responses, request_, *where) == param


@pytest.mark.parametrize(
    ("request_", "where", "param"),
    [
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            DEEPSEEK,
            "output_config.format",
        ),
        ({"output_config": {"effort": "odd"}}, DEEPSEEK, "output_config.effort"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "t"}]}]},
            ("chat",),
            "messages[0].content[0].type",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": [{"type": "tool_result"}]}]},
            ("workers_ai",),
            "messages[1].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "fallback"}]}]},
            ("chat",),
            "messages",
        ),
        (
            {
                "tools": [{"name": "f"}, {"name": 7}],
                "messages": [USER | {"content": [{"type": "tool_removal", "tool": {"name": "f"}}]}],
            },
            ("chat",),
            "tools[1].name",
        ),
        (
            {
                "messages": [
                    USER
                    | {
                        "content": [
                            {
                                "type": "tool_addition",
                                "tool": {
                                    "type": "tool_definition",
                                    "definition": {"input_schema": 1},
                                },
                            }
                        ]
                    }
                ],
            },
            ("chat",),
            "messages[0].content[0].tool.definition.input_schema",
        ),
    ],
)
def test_a_refusal_names_what_stands_in_a_messages_request(
    request_: dict[str, Any], where: tuple[Any, ...], param: str
) -> None:
    assert refused(messages, request_, *where) == param


@pytest.mark.parametrize("kind", [{}, [], 7, {"type": "message"}])
def test_an_item_of_no_type_is_refused_by_name(kind: Any) -> None:
    assert refused(responses, {"input": [MESSAGE, {"type": kind}]}) == "input[1].type"


def test_a_provider_of_the_same_api_judges_an_input_without_words() -> None:
    item = {"type": "compaction", "encrypted_content": "x"}
    body = responses({"input": [item]}, "chat", ("responses",))
    assert body["input"] == [item]
    turn = {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "t"}]}
    assert messages({"messages": [USER, turn]}, "anthropic")["messages"] == [USER, turn]


def test_calls_with_a_fixed_shape_keep_all_they_were_called_with() -> None:
    calls = [
        {
            "type": "computer_call",
            "call_id": "a",
            "action": {"type": "wait"},
            "actions": [{"type": "type", "text": "words"}],
        },
        {"type": "tool_search_call", "call_id": "b", "arguments": '{"query":"q"}'},
        {"type": "tool_search_call", "call_id": "c", "arguments": "plain"},
    ]
    [turn, *_] = responses({"input": calls})["messages"]
    given = [json.loads(call["function"]["arguments"]) for call in turn["tool_calls"]]
    assert given == [
        {"action": {"type": "wait"}, "actions": [{"type": "type", "text": "words"}]},
        {"query": "q"},
        {"arguments": "plain"},
    ]


def test_settings_of_fixed_tools_are_put_into_words() -> None:
    skill = {"name": "sums", "description": "adds", "path": "/skills/sums"}
    shell = {"type": "shell", "environment": {"type": "local", "skills": [skill]}}
    [tool] = responses({"tools": [shell]})["tools"]
    assert all(word in tool["function"]["description"] for word in skill.values())
    editor = {"type": "text_editor_20250728", "name": "edit", "max_characters": 4_321}
    screen = {
        "type": "computer_20251124",
        "name": "computer",
        "display_width_px": 1,
        "display_height_px": 2,
        "enable_zoom": True,
    }
    first, second = messages({"tools": [editor, screen]})["tools"]
    assert "4321" in first["function"]["description"]
    assert "1 x 2" in second["function"]["description"]
    assert "zoom" in second["function"]["description"]


def test_a_file_given_twice_is_sent_twice() -> None:
    part = {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}
    part["file_url"] = "https://example.com/a.pdf"
    body = responses({"input": [MESSAGE | {"content": [part]}]}, "anthropic")
    kinds = [block["source"]["type"] for block in body["messages"][0]["content"]]
    assert kinds == ["base64", "url"]


def chat(request: dict[str, Any], *where: Any) -> dict[str, Any]:
    return sent("/v1/chat/completions", {"messages": [USER], **request}, *where)


def test_a_refusal_of_an_earlier_turn_is_words_for_anthropic() -> None:
    turns = [USER, {"role": "assistant", "content": None, "refusal": "no"}, USER]
    body = chat({"messages": turns}, "anthropic")
    assert body["messages"][1]["content"] == [{"type": "text", "text": "no"}]


def test_a_refusal_is_not_lost_beside_words() -> None:
    for content in ("a", [{"type": "text", "text": "a"}]):
        turns = [USER, {"role": "assistant", "content": content, "refusal": "b"}, USER]
        assert chat({"messages": turns}, "workers_ai")["messages"][1]["content"] == "a\nb"


def test_an_error_that_answers_no_call_is_told_as_one() -> None:
    block = {"type": "tool_result", "tool_use_id": "t", "content": "late", "is_error": True}
    [turn] = messages({"messages": [{"role": "user", "content": [block]}]})["messages"]
    assert turn == {"role": "user", "content": "Error of the tool call t:\nlate"}


def test_a_choice_among_no_tools_is_refused() -> None:
    named = {"type": "function", "function": {"name": "g"}}
    assert refused(chat, {"tool_choice": named}, "anthropic") == "tool_choice"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    request = {"tools": [FUNCTION], "tool_choice": allowed}
    for provider_api in ("anthropic", "workers_ai"):
        assert refused(chat, request, provider_api) == "tool_choice"
    assert refused(chat, {"messages": [{"role": "system", "content": "s"}]}, "anthropic")


def test_unknown_members_of_parts_reach_a_provider_of_the_same_api() -> None:
    parts = [
        {"type": "text", "text": "a", "prompt_cache_breakpoint": {}},
        {"type": "refusal", "refusal": "b", "of_tomorrow": 1},
    ]
    body = chat({"messages": [{"role": "assistant", "content": parts}, USER]}, *DEEPSEEK)
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "b", "of_tomorrow": 1}
    assert refused(chat, {"messages": [{"role": "assistant", "content": parts}, USER]}, "anthropic")


@pytest.mark.parametrize("where", [DEEPSEEK, ("anthropic",)])
def test_an_effort_is_named_as_it_was_asked_for(where: tuple[Any, ...]) -> None:
    assert refused(chat, {"reasoning_effort": "odd"}, *where) == "reasoning_effort"
    assert refused(chat, {"reasoning": {"effort": "odd"}}, *where) == "reasoning.effort"


@pytest.mark.parametrize("name", ["prompt_cache_key", "user", "safety_identifier"])
@pytest.mark.parametrize("flags", [(), ("user",), ("safety_identifier",)])
def test_null_names_nobody(name: str, flags: tuple[str, ...]) -> None:
    assert chat({name: None}, "chat", flags) == chat({}, "chat", flags)


@pytest.mark.parametrize("value", [b'["\xff"]', b'"\xff"', b'["a"],"of_tomorrow":"\xff"'])
def test_an_embedding_of_bytes_that_are_no_text_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"`(input|of_tomorrow)` holds .* not UTF-8"):
        ENDPOINTS["/v1/embeddings"].decode(b'{"model":"m","input":%b}' % value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("of_tomorrow", b"1e999"),
        ("thinking", b'{"budget_tokens":1e999}'),
        ("messages", b'[{"role":"user","content":"a","prompt_cache_breakpoint":1e999}]'),
        ("tools", b'[{"type":"function","function":{"name":"f","parameters":{"a":1e999}}}]'),
    ],
)
@pytest.mark.parametrize(
    "where", [("anthropic", ()), ("workers_ai", ()), DEEPSEEK, ("chat", ("no_custom_tools",))]
)
def test_a_number_beyond_all_bounds_passes_or_is_named(
    name: str, value: bytes, where: tuple[Any, ...]
) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"%b":%b}' % (
        name.encode(),
        value,
    )
    provider_api, flags = where
    endpoint = ENDPOINTS["/v1/chat/completions"]
    try:
        asked = endpoint.decode(body)
        translator = endpoint.translator(PROVIDER_APIS.get(provider_api), flags=flags)
        assert b"1e999" in translator.encode(asked, body, "up", None, flags, Stamp())
    except InvalidRequest as error:
        refusal = error
    else:
        return
    assert (refusal.param or "").startswith(name)
    assert refusal.hint


def test_a_prompt_and_messages_are_not_mixed() -> None:
    def legacy(request: dict[str, Any]) -> dict[str, Any]:
        return sent("/v1/completions", {"prompt": "p", **request})

    assert refused(legacy, {"messages": [USER]}) == "messages"
    assert legacy({"messages": None})["messages"] == [{"role": "user", "content": "p"}]

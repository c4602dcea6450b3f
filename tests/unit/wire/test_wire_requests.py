"""Requests of Messages and Responses, as providers of each API are sent them."""

import json
from typing import Any, Final

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sender import Stamp
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.call_ids import portable
from jusinfer.wire.inbound.responses.tools import call_item, names_of
from jusinfer.wire.sealed import encode_reasoning_state
from jusinfer.wire.tool_names import ClientNames, portable_name
from jusinfer.wire.upstream.call_order import LOST
from jusinfer.wire.upstream.registry import PROVIDER_APIS

USER: Any = {"role": "user", "content": "x"}
QUESTION: Any = {"role": "user", "content": "q"}


def sent(
    path: str, request: dict[str, Any], provider: str = "", flags: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what a provider of an API gets for a request."""
    endpoint = ENDPOINTS[path]
    body = json.dumps({"model": "m"} | request).encode()
    asked = endpoint.decode(body)
    translator = endpoint.translator(PROVIDER_APIS.get(provider), flags=flags)
    stamp = Stamp(sender="someone")
    found: dict[str, Any] = json.loads(translator.encode(asked, body, "u", None, flags, stamp))
    return found


def messages(provider: str = "", flags: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return sent("/v1/messages", {"max_tokens": 50, "messages": [USER]} | more, provider, flags)


def responses(provider: str = "", flags: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return sent("/v1/responses", {"input": "x"} | more, provider, flags)


def chat(provider: str = "", flags: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return sent("/v1/chat/completions", {"messages": [USER]} | more, provider, flags)


# ------------------------------------------------------------------ members that agents send


def test_edits_that_thin_out_thinking_are_hints() -> None:
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    assert "context_management" not in messages(context_management=edits)
    assert messages("anthropic", context_management=edits)["context_management"] == edits


def test_members_of_tomorrow_pass_where_the_api_is_the_same() -> None:
    assert messages("anthropic", of_tomorrow={"a": 1})["of_tomorrow"] == {"a": 1}
    with pytest.raises(InvalidRequest, match="of_tomorrow"):
        messages(of_tomorrow={"a": 1})


def test_our_own_members_stay_here() -> None:
    ours: Any = {"models": ["a"], "provider": {"sort": "price"}, "jusinfer": {}, "betas": []}
    asked = {"max_tokens": 50, "messages": [USER]} | ours
    found = sent("/v1/messages", asked, "anthropic")
    assert found.keys() == {"model", "max_tokens", "messages", "metadata"}
    found = responses(client_metadata={"a": "b"}, prompt_cache_retention="24h", truncation="auto")
    assert found.keys() == {"model", "messages"}


def test_effort_and_thinking_are_one_wish() -> None:
    adaptive: Any = {"thinking": {"type": "adaptive"}}
    assert messages(**adaptive, output_config={"effort": "low"})["reasoning_effort"] == "low"
    assert "reasoning_effort" not in messages(**adaptive)
    budget: Any = {"thinking": {"type": "enabled", "budget_tokens": 2_000}}
    assert messages(**budget)["reasoning_effort"] == "low"
    assert messages(**budget, output_config={"effort": "high"})["reasoning_effort"] == "high"
    off: Any = {"thinking": {"type": "disabled"}}
    assert messages(**off, output_config={"effort": "high"})["reasoning_effort"] == "none"


def test_codex_tools_are_offered_and_come_back() -> None:
    tools: Any = [
        {"type": "function", "name": "exec", "parameters": {"type": "object"}, "strict": False},
        {
            "type": "namespace",
            "name": "agents",
            "description": "Other agents.",
            "tools": [
                {"type": "function", "name": "spawn", "parameters": {"type": "object"}},
                {"type": "function", "name": "exec", "parameters": {"type": "object"}},
            ],
        },
        {"type": "web_search", "external_web_access": False},
    ]
    found = responses(tools=tools, tool_choice="auto")
    names = [tool["function"]["name"] for tool in found["tools"]]
    assert names == ["exec", "spawn", "agents__exec"]
    assert "Other agents." in found["tools"][1]["function"]["description"]
    shapes = names_of(json.dumps({"tools": tools}).encode())
    item = call_item(shapes.shape_of("agents__exec"), "fc_1", "call_1", "{}")
    assert (item["name"], item["namespace"]) == ("exec", "agents")
    assert "namespace" not in call_item(shapes.shape_of("exec"), "fc_1", "call_1", "{}")
    history: Any = [
        QUESTION,
        {
            "type": "function_call",
            "call_id": "c",
            "name": "exec",
            "namespace": "agents",
            "arguments": "{}",
        },
        {"type": "function_call_output", "call_id": "c", "output": "done"},
    ]
    call = responses(tools=tools, input=history)["messages"][1]["tool_calls"][0]
    assert call["function"]["name"] == "agents__exec"


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "image_generation"])
@pytest.mark.parametrize("choice", ["auto", None, "none"])
def test_optional_tools_are_left_out_unless_they_are_forced(kind: str, choice: Any) -> None:
    for flags in ((), ("responses",)):
        assert "tools" not in responses("", flags, tools=[{"type": kind}], tool_choice=choice)


@pytest.mark.parametrize("choice", ["required", {"type": "web_search"}])
def test_a_forced_web_search_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        responses(tools=[{"type": "web_search"}], tool_choice=choice)


def test_additional_tools_in_the_input_are_tools() -> None:
    added = {"type": "additional_tools", "tools": [{"type": "function", "name": "late"}]}
    found = responses(input=[QUESTION, added])
    assert [tool["function"]["name"] for tool in found["tools"]] == ["late"]


def test_allowed_tools_are_all_that_is_offered() -> None:
    tools: Any = [{"type": "function", "name": name} for name in "abc"]
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "b"}],
    }
    found = responses(tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["b"]
    assert found["tool_choice"] == "required"


GRAMMAR: Any = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Patch files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
}


def test_grammars_nest_as_chat_completions_wants_them() -> None:
    custom = responses(tools=[GRAMMAR])["tools"][0]["custom"]
    assert custom["format"] == {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": "start: /a/"},
    }


@pytest.mark.parametrize(
    ("provider", "flags"), [("", ("no_custom_tools",)), ("anthropic", ()), ("workers_ai", ())]
)
def test_custom_tools_are_functions_where_nobody_knows_them(
    provider: str, flags: tuple[str, ...]
) -> None:
    history: Any = [
        QUESTION,
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "a"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
    ]
    found = responses(provider, flags, tools=[GRAMMAR], input=history)
    told = json.dumps(found)
    assert "start: /a/" in told
    assert '"custom"' not in told
    shape = names_of(json.dumps({"tools": [GRAMMAR]}).encode()).shape_of("apply_patch")
    item = call_item(shape, "fc_1", "c", '{"input":"a"}')
    assert (item["type"], item["input"]) == ("custom_tool_call", "a")


@pytest.mark.parametrize(
    ("tool", "arguments", "item"),
    [
        (
            {"type": "local_shell"},
            {"command": ["ls"]},
            {"type": "local_shell_call", "action": {"type": "exec", "env": {}, "command": ["ls"]}},
        ),
        (
            {"type": "apply_patch"},
            {"type": "delete_file", "path": "a"},
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
        ),
        (
            {"type": "shell", "environment": {"type": "local"}},
            {"commands": ["ls"]},
            {
                "type": "shell_call",
                "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None},
            },
        ),
    ],
)
def test_tools_that_the_client_runs_are_functions(
    tool: dict[str, Any], arguments: dict[str, Any], item: dict[str, Any]
) -> None:
    name = responses(tools=[tool])["tools"][0]["function"]["name"]
    shape = names_of(json.dumps({"tools": [tool]}).encode()).shape_of(name)
    made = call_item(shape, "fc_1", "call_1", json.dumps(arguments))
    assert item.items() <= made.items()
    output = {"type": f"{made['type']}_output", "call_id": "call_1", "output": "done"}
    turns = responses(tools=[tool], input=[QUESTION, made, output])["messages"]
    turn = turns[1]
    assert "done" in turns[2]["content"]
    assert json.loads(turn["tool_calls"][0]["function"]["arguments"]).items() >= arguments.items()


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "memory_20250818", "name": "memory"},
        {
            "type": "computer_20251124",
            "name": "computer",
            "display_width_px": 800,
            "display_height_px": 600,
        },
    ],
)
def test_anthropics_client_tools_are_functions_elsewhere(tool: dict[str, Any]) -> None:
    assert messages("anthropic", tools=[tool])["tools"] == [tool]
    function = messages(tools=[tool])["tools"][0]["function"]
    assert function["name"] == tool["name"]
    assert function["parameters"]["properties"]


@pytest.mark.parametrize("provider", ["", "anthropic"])
@pytest.mark.parametrize("kind", ["code_execution_20260120", "web_fetch_20250910", "advisor_9"])
def test_tools_that_anthropic_runs_have_no_price_here(provider: str, kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages(provider, tools=[{"type": kind, "name": "t"}])
    assert caught.value.param == "tools[0].type"


def test_tools_that_system_turns_add_are_offered() -> None:
    definition = {"name": "late", "input_schema": {"type": "object"}}
    added = {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": definition},
    }
    removed = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "early"}}
    found = messages(
        tools=[{"name": "early", "input_schema": {"type": "object"}}],
        messages=[USER, {"role": "system", "content": [added, removed]}],
    )
    assert [tool["function"]["name"] for tool in found["tools"]] == ["late"]


def test_members_of_tools_are_not_lost() -> None:
    tool = {
        "name": "f",
        "description": "d",
        "input_schema": {"type": "object"},
        "strict": True,
        "input_examples": [{"a": 1}],
        "defer_loading": True,
    }
    function = messages(tools=[tool])["tools"][0]["function"]
    assert function["strict"] is True
    assert '[{"a":1}]' in function["description"]
    with pytest.raises(InvalidRequest, match="allowed_callers"):
        messages(tools=[tool | {"allowed_callers": ["code_execution_20250825"]}])


# ------------------------------------------------------------------ roles and texts


def test_developers_are_the_system_for_all_but_openai() -> None:
    turns: Any = [{"role": "developer", "content": "d"}, USER]
    assert chat(messages=turns)["messages"][0]["role"] == "system"
    assert chat(flags=("developer_role",), messages=turns)["messages"][0]["role"] == "developer"
    assert chat("workers_ai", messages=turns)["messages"][0]["role"] == "system"
    assert responses(input=turns)["messages"][0]["role"] == "system"


def test_texts_in_lists_are_one_text_for_plain_providers() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    found = messages(
        system=[{"type": "text", "text": "s"} | mark],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "u"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f"}]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "content": [{"type": "text", "text": "r"} | mark],
                    }
                ],
            },
        ],
    )
    assert [turn["content"] for turn in found["messages"]] == ["s", "u", None, "r"]


def test_deepseek_gets_texts_and_never_a_developer() -> None:
    turns: Any = [
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
    ]
    found = chat(flags=("deepseek", "user_id"), messages=turns)
    assert found["messages"][0] == {"role": "system", "content": "d"}
    assert found["messages"][1]["content"] == "u"


def test_an_error_of_a_tool_is_put_into_words() -> None:
    def told(content: str) -> str:
        result = {"type": "tool_result", "tool_use_id": "c", "is_error": True, "content": content}
        found = messages(
            messages=[
                USER,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f"}]},
                {"role": "user", "content": [result]},
            ]
        )
        return str(found["messages"][2]["content"])

    assert told("no such file") == "Error: no such file"
    assert told("Error: none") == "Error: none"


def test_pictures_in_results_are_shown_after_them() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,aa"}
    history: Any = [
        QUESTION,
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [picture]},
        {"type": "function_call_output", "call_id": "b", "output": "t"},
    ]
    turns = responses(input=history)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool", "user"]
    assert turns[4]["content"][0]["type"] == "image_url"
    block = responses("anthropic", input=history)["messages"][2]["content"][0]
    assert block["content"][0]["type"] == "image"


def test_documents_keep_their_title_and_context() -> None:
    block = {
        "type": "document",
        "title": "T",
        "context": "C",
        "source": {"type": "text", "media_type": "text/plain", "data": "D"},
    }
    found = messages(messages=[{"role": "user", "content": [block]}])
    assert found["messages"][0]["content"] == "T\nC\nD"
    with pytest.raises(InvalidRequest, match="citations"):
        messages(messages=[{"role": "user", "content": [block | {"citations": {"enabled": True}}]}])


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use", "container_upload"])
def test_blocks_of_anthropics_own_tools_are_refused_elsewhere(kind: str) -> None:
    turn = {"role": "assistant", "content": [{"type": kind, "id": "x"}]}
    with pytest.raises(InvalidRequest) as caught:
        messages(messages=[USER, turn, USER])
    assert caught.value.param == "messages[1].content[0].type"


def test_search_results_are_told_as_text() -> None:
    block = {
        "type": "search_result",
        "title": "T",
        "source": "S",
        "content": [{"type": "text", "text": "x"}],
    }
    found = messages(messages=[{"role": "user", "content": [block]}])
    assert found["messages"][0]["content"] == "T\nS\nx"


# ------------------------------------------------------------------ order, ids, baggage


CALL_A: Any = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
OUTPUT_A: Any = {"type": "function_call_output", "call_id": "a", "output": "r"}


@pytest.mark.parametrize("role", ["assistant", "user"])
def test_results_stand_right_after_their_calls(role: str) -> None:
    between = {"role": role, "content": "between"}
    turns = responses(input=[QUESTION, CALL_A, between, OUTPUT_A])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", role]
    found = responses("anthropic", input=[QUESTION, CALL_A, between, OUTPUT_A])["messages"]
    assert found[2]["content"][0]["type"] == "tool_result"


def test_a_lost_result_is_said_to_be_lost() -> None:
    turns = responses(input=[QUESTION, CALL_A, QUESTION])["messages"]
    assert turns[2] == {"role": "tool", "tool_call_id": "a", "content": LOST}


def test_a_fault_is_told_by_the_place_where_it_stands() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "no json"}}
    turns: Any = [USER, {"role": "assistant", "tool_calls": [call]}, USER]
    with pytest.raises(InvalidRequest) as caught:
        chat("anthropic", messages=[*turns, {"role": "user", "content": [audio]}])
    assert caught.value.param == "messages[3].content[0].type"
    turns += [{"role": "user", "content": [{"type": "image_url", "image_url": "data:x"}]}]
    turns[1]["tool_calls"][0]["function"]["arguments"] = "{}"
    with pytest.raises(InvalidRequest) as caught:
        chat("anthropic", messages=turns)
    assert caught.value.param == "messages[3].content[0].image_url"


def test_a_result_without_a_call_is_told_by_the_user() -> None:
    turns = responses(input=[QUESTION, OUTPUT_A])["messages"]
    assert turns[1]["role"] == "user"
    assert "r" in turns[1]["content"]


def test_ids_of_other_alphabets_are_the_same_in_call_and_result() -> None:
    odd = "functions.get:0"
    history: Any = [
        USER,
        {
            "role": "assistant",
            "tool_calls": [
                {"id": odd, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": odd, "content": "r"},
    ]
    turns = chat("anthropic", messages=history)["messages"]
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"] == portable(odd)
    back = messages(
        messages=[
            USER,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": portable(odd), "name": "f", "input": {}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": portable(odd)}]},
        ]
    )
    assert back["messages"][1]["tool_calls"][0]["id"] == odd
    assert back["messages"][2]["tool_call_id"] == odd


def test_anthropic_never_sees_thinking_of_others_nor_blank_texts() -> None:
    turns: Any = [
        USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "unsigned", "signature": ""},
                {"type": "thinking", "thinking": "sealed", "signature": encode_reasoning_state([])},
                {"type": "redacted_thinking", "data": encode_reasoning_state([{"type": "x"}])},
                {"type": "thinking", "thinking": "own", "signature": "s"},
                {"type": "text", "text": " "},
                {"type": "tool_use", "id": "a.b", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a.b"}]},
    ]
    found = messages("anthropic", messages=turns)["messages"]
    assert [block["type"] for block in found[1]["content"]] == ["thinking", "tool_use"]
    assert found[1]["content"][1]["id"] == found[2]["content"][0]["tool_use_id"] == portable("a.b")


def test_thought_signatures_make_the_round_trip() -> None:
    extra = {"google": {"thought_signature": "sig"}}
    sealed = encode_reasoning_state([{"type": "call.extra", "id": "a", "extra_content": extra}])
    history = [QUESTION, {"type": "reasoning", "encrypted_content": sealed}, CALL_A, OUTPUT_A]
    call = responses(input=history)["messages"][1]["tool_calls"][0]
    assert call["extra_content"] == extra
    found = messages(
        messages=[
            USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "redacted_thinking", "data": sealed},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        ]
    )
    assert found["messages"][1]["tool_calls"][0]["extra_content"] == extra


def test_thinking_is_off_where_anthropic_would_refuse_it() -> None:
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    effort: Any = {"reasoning_effort": "high"}
    forced = chat("anthropic", tools=tools, tool_choice="required", **effort)
    assert forced["thinking"] == {"type": "disabled"}
    assert chat("anthropic", tools=tools, **effort)["thinking"] == {"type": "adaptive"}


def test_gemini_gets_a_substitute_for_lost_signatures() -> None:
    def call(**more: Any) -> Any:
        made = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        history = [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [made | more]},
            {"role": "tool", "tool_call_id": "a", "content": "r"},
        ]
        found = chat(flags=("thought_signature",), messages=history)
        return found["messages"][1]["tool_calls"][0]["extra_content"]

    assert call() == {"google": {"thought_signature": "skip_thought_signature_validator"}}
    own = {"google": {"thought_signature": "sig"}}
    assert call(extra_content=own) == own


def test_pieces_of_a_thought_are_one_thought() -> None:
    form = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    pieces: list[Any] = [form | {"text": "a"}, form | {"text": "b"}, form | {"signature": "s"}]
    whole = {"type": "thinking", "thinking": "ab", "signature": "s"}
    history: Any = [
        QUESTION,
        {"type": "reasoning", "encrypted_content": encode_reasoning_state(pieces)},
        CALL_A,
    ]
    found = responses("anthropic", input=[*history, OUTPUT_A])["messages"]
    assert found[1]["content"][0] == whole
    turn = {"role": "assistant", "content": "x", "reasoning_details": pieces}
    assert chat("anthropic", messages=[USER, turn, USER])["messages"][1]["content"][0] == whole


def test_models_without_sampling_are_not_asked_for_it() -> None:
    assert "temperature" not in chat("anthropic", ("no_sampling",), temperature=0)
    assert chat("anthropic", temperature=0)["temperature"] == 0


def test_a_data_url_may_have_settings() -> None:
    url = "data:image/png;charset=utf-8;base64,aa"
    part = {"type": "image_url", "image_url": {"url": url}}
    found = chat("anthropic", messages=[{"role": "user", "content": [part]}])
    source = found["messages"][0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": "image/png", "data": "aa"}


def test_a_reference_is_refused_with_the_cure() -> None:
    for item in ({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}):
        with pytest.raises(InvalidRequest) as caught:
            responses(input=[QUESTION, item])
        assert "store" in f"{caught.value.message} {caught.value.hint}"


# ------------------------------------------------------------------ what providers insist on


def test_nothing_is_stored_at_any_provider() -> None:
    assert chat(store=True)["store"] is False
    assert chat(flags=("store_false",))["store"] is False
    assert "store" not in chat()


def test_openai_gets_no_reasoning_of_others() -> None:
    turns: Any = [USER, {"role": "assistant", "content": "a", "reasoning_content": "r"}, USER]
    assert "reasoning_content" in chat(messages=turns)["messages"][1]
    assert "reasoning_content" not in chat(flags=("store_false",), messages=turns)["messages"][1]


def test_what_is_cached_longer_has_no_price_here() -> None:
    part = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert chat(messages=[{"role": "user", "content": [part]}])
    part["prompt_cache_breakpoint"] = {"mode": "explicit", "ttl": "12h"}
    with pytest.raises(InvalidRequest, match="ttl"):
        chat(messages=[{"role": "user", "content": [part]}])
    with pytest.raises(InvalidRequest, match="ttl"):
        chat(prompt_cache_options={"ttl": "12h"})


def test_audio_has_no_price_here() -> None:
    assert chat(modalities=["text"])
    with pytest.raises(InvalidRequest, match="modalities"):
        chat(modalities=["text", "audio"])


def test_no_cache_key_is_made_up() -> None:
    assert "prompt_cache_key" not in chat(prompt_cache_key=None)
    assert chat(prompt_cache_key="k")["prompt_cache_key"] not in {None, "k"}


def test_hints_are_left_out_for_workers_ai() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object"}},
        "cache_control": {"type": "ephemeral"},
    }
    turns: Any = [{"role": "user", "name": "n", "content": "x"}]
    found = chat("workers_ai", messages=turns, tools=[tool])
    assert found["messages"] == [{"role": "user", "content": "x"}]
    assert "cache_control" not in found["tools"][0]


def test_thinking_and_refusals_that_are_sent_back_are_told() -> None:
    turns: Any = [
        USER,
        {"role": "assistant", "content": None, "refusal": "no"},
        USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
                {"type": "text", "text": "a"},
            ],
        },
        USER,
    ]
    found = chat("workers_ai", messages=turns)["messages"]
    assert found[1] == {"role": "assistant", "content": "no"}
    assert found[3] == {"role": "assistant", "content": "a", "reasoning": "t"}


def test_legacy_completions_refuse_what_they_do_not_know() -> None:
    with pytest.raises(InvalidRequest, match="new_member"):
        sent("/v1/completions", {"prompt": "x", "new_member": 1})
    assert sent("/v1/completions", {"prompt": "x", "top_p": 0.5, "models": ["a"]})["top_p"] == 0.5


# ------------------------------------------------------------------ names of tools

LONG: Final = "mcp__a-server-with-a-very-long-name.of.its.own__" + "do_something_" * 4
SHORT: Final = portable_name(LONG)


def test_names_that_providers_refuse_are_written_shorter_and_come_back() -> None:
    assert len(SHORT) <= 64
    tools: Any = [{"name": LONG, "input_schema": {"properties": {}}}]
    turn = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": LONG}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}
    asked: Any = {"tools": tools, "messages": [USER, turn, result]}
    found = messages(**asked, tool_choice={"type": "tool", "name": LONG})
    function = found["tools"][0]["function"]
    assert function == {"name": SHORT, "parameters": {"type": "object", "properties": {}}}
    assert found["tool_choice"]["function"]["name"] == SHORT
    assert found["messages"][1]["tool_calls"][0]["function"]["name"] == SHORT
    names = ClientNames(json.dumps(asked).encode())
    assert names.original(SHORT) == LONG
    assert names.original("other") == "other"
    assert messages("anthropic", **asked)["tools"] == tools


def test_long_names_of_responses_come_back_too() -> None:
    tools: Any = [{"type": "function", "name": LONG, "parameters": {"properties": {}}}]
    call = {"type": "function_call", "call_id": "a", "name": LONG, "arguments": "{}"}
    found = responses(tools=tools, input=[QUESTION, call, OUTPUT_A])
    assert found["tools"][0]["function"]["name"] == SHORT
    assert found["tools"][0]["function"]["parameters"]["type"] == "object"
    assert found["messages"][1]["tool_calls"][0]["function"]["name"] == SHORT
    item = call_item(
        names_of(json.dumps({"tools": tools}).encode()).shape_of(SHORT), "f", "c", "{}"
    )
    assert item["name"] == LONG


def test_how_to_call_asks_for_nothing_without_tools() -> None:
    found = responses(tools=[{"type": "web_search"}], tool_choice="auto", parallel_tool_calls=True)
    assert found.keys() == {"model", "messages"}


def test_openai_gets_ids_that_are_not_too_long() -> None:
    long = "call_" + "x" * 60
    call = {"id": long, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history: Any = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": long, "content": "r"},
    ]
    found = chat(flags=("store_false",), messages=history)["messages"]
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"]
    assert len(found[2]["tool_call_id"]) <= 40
    assert chat(messages=history)["messages"][2]["tool_call_id"] == long

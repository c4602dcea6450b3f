"""Responses on both sides: what of a request reaches a provider that speaks Responses."""

import contextlib
import json
from typing import Any

import pytest

from jusinfer.domain.catalog import Price
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sender import Stamp
from jusinfer.gateway.inference.endpoints import ENDPOINTS, RESPONSES_PATH
from jusinfer.gateway.inference.translator import CrossFormatTranslator, ResponsesPassthrough
from jusinfer.wire.passthrough.responses_request import Target, native_request
from jusinfer.wire.sealed import encode_reasoning_state
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi

DOOR = ENDPOINTS["/v1/responses"]
OPENAI = ("responses", "store_false", "no_obfuscation", "max_completion_tokens")
OPENROUTER = ("openrouter", "responses")
PRICE = Price(input_micro_per_mtok=1_000_000, output_micro_per_mtok=2_000_000)
OWN = "0123456789abcdef0123456789abcdef"
CHAT_TRANSLATOR = DOOR.decode(b'{"model":"m","input":"hi"}')
STREAMED = DOOR.decode(b'{"model":"m","input":"hi","stream":true}')
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SEARCH = {"type": "web_search"}


def sent(fields: dict[str, Any], **target: Any) -> Any:
    """Give what reaches the provider of a request with these members."""
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
    asked = STREAMED if fields.get("stream") else CHAT_TRANSLATOR
    target = {"flags": OPENAI, "stamp": Stamp(sender="opaque-name")} | target
    return json.loads(native_request(asked, body, Target("gpt-x", **target)))


def refused(fields: dict[str, Any], **target: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        sent(fields, **target)
    return caught.value


def items(*rows: Any, **target: Any) -> Any:
    return sent({"input": list(rows)}, **target)["input"]


def test_a_provider_says_by_a_compatibility_flag_that_it_speaks_responses() -> None:
    assert isinstance(DOOR.translator(None, flags=OPENAI), ResponsesPassthrough)
    assert DOOR.path(None, "m", is_stream=True, flags=OPENAI) == RESPONSES_PATH
    assert type(DOOR.translator(None, flags=("store_false",))) is CrossFormatTranslator
    assert DOOR.path(None, "m", is_stream=True) == "/chat/completions"
    anthropic = AnthropicProviderApi()
    assert type(DOOR.translator(anthropic, flags=OPENAI)) is CrossFormatTranslator
    assert DOOR.path(anthropic, "m", is_stream=True, flags=OPENAI) == "/messages"
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/completions"):
        assert not isinstance(ENDPOINTS[path].translator(None, flags=OPENAI), ResponsesPassthrough)
        assert ENDPOINTS[path].path(None, "m", is_stream=True, flags=OPENAI) == "/chat/completions"
    assert (
        ENDPOINTS["/v1/embeddings"].path(None, "m", is_stream=False, flags=OPENAI) == "/embeddings"
    )


def test_members_pass_as_they_came_under_the_providers_name_of_the_model() -> None:
    given = {
        "instructions": "Be brief.",
        "temperature": 0.10,
        "truncation": "auto",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"x": [1, 2.50]}}},
        "reasoning": {"effort": "xhigh", "summary": "auto", "context": "all_turns"},
        "max_tool_calls": 3,
        "context_management": [],
        "a_member_of_tomorrow": {"a": None},
    }
    assert sent(given) == {"input": "hi", "model": "gpt-x", "store": False, **given}


def test_values_of_members_pass() -> None:
    body = b'{"model":"m","input":"\\u00e4 \\/","temperature":1.50e0,"text":{ "verbosity" : "low"}}'
    made = native_request(CHAT_TRANSLATOR, body, Target("gpt-x"))
    assert json.loads(made) == json.loads(body) | {"model": "gpt-x", "store": False}


def test_nothing_is_stored_whatever_was_asked() -> None:
    assert sent({"store": True})["store"] is False


def test_the_budget_is_the_one_that_was_reserved() -> None:
    assert sent({"max_output_tokens": 99}, output_tokens_max=7)["max_output_tokens"] == 7
    assert sent({"max_output_tokens": 99})["max_output_tokens"] == 99
    assert "max_output_tokens" not in sent({})


def test_who_asks_is_named_opaquely_or_not_at_all() -> None:
    named = {
        "user": "ann@example.com",
        "safety_identifier": "ann",
        "metadata": {"secret": "1"},
        "prompt_cache_key": "ann-key",
        "client_metadata": {"installation": "x"},
    }
    made = sent(named, flags=(*OPENAI, "safety_identifier"))
    assert "ann" not in json.dumps(made)
    assert made.keys() == {
        *("model", "input", "store"),
        *("prompt_cache_key", "safety_identifier"),
    }
    assert made["prompt_cache_key"] != sent(named, stamp=Stamp(sender="b"))["prompt_cache_key"]
    assert "safety_identifier" not in sent(named)


def test_null_names_nobody() -> None:
    nobody = {"user": None, "safety_identifier": None, "prompt_cache_key": None}
    assert sent(nobody).keys() == {"model", "input", "store"}
    named = sent(nobody, flags=(*OPENAI, "safety_identifier"))
    assert named["safety_identifier"] == "opaque-name"


def test_members_of_ours_stay_here() -> None:
    own = {"jusinfer": {}, "models": ["b"], "provider": {"zdr": True}, "sandbox": {}, "route": {}}
    assert sent({**own, "usage": {"include": True}}).keys() == {"model", "input", "store"}


def test_openrouter_gets_our_conditions_and_keeps_ids() -> None:
    body = {"model": "m", "input": "hi", "provider": {"order": ["a"], "data_collection": "allow"}}
    asked = DOOR.decode(json.dumps(body).encode())
    stamp = Stamp(sender="s", is_zdr=True, price=PRICE)
    target = Target("a/b", flags=OPENROUTER, stamp=stamp)
    made = json.loads(native_request(asked, json.dumps(body).encode(), target))
    assert made["provider"] == {
        "order": ["a"],
        "data_collection": "deny",
        "zdr": True,
        "max_price": {"prompt": 1, "completion": 2},
    }
    said = {"type": "message", "role": "assistant", "id": f"msg_{OWN}_0", "content": []}
    assert items(said, flags=OPENROUTER) == [said]


def test_padding_of_events_is_declined_where_the_provider_pads() -> None:
    assert sent({"stream": True})["stream_options"] == {"include_obfuscation": False}
    more = {"stream": True, "stream_options": {"include_obfuscation": True, "x": 1}}
    assert sent(more)["stream_options"] == {"include_obfuscation": False, "x": 1}
    assert "stream_options" not in sent({"stream": True}, flags=("responses",))
    assert "stream_options" not in sent({})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ["reasoning.encrypted_content"]),
        ({"include": None}, ["reasoning.encrypted_content"]),
        ({"include": ["a"]}, ["a", "reasoning.encrypted_content"]),
        ({"include": ["reasoning.encrypted_content"]}, ["reasoning.encrypted_content"]),
    ],
)
def test_reasoning_is_asked_for_in_the_form_that_can_be_sent_back(
    given: dict[str, Any], wanted: list[str]
) -> None:
    assert sent(given, is_reasoning=True)["include"] == wanted
    assert "include" not in sent({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("conversation", {"id": "conv_1"}),
        ("prompt", {"id": "pmpt_1"}),
        ("background", True),
    ],
)
def test_what_points_to_something_stored_is_refused_with_its_cure(name: str, value: object) -> None:
    error = refused({name: value})
    assert error.param == name
    assert "store: false" in error.hint
    assert name not in sent({})
    assert sent({name: None})[name] is None
    assert sent({"background": False})["background"] is False


@pytest.mark.parametrize(
    "item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}, {"type": None, "id": "x"}]
)
def test_references_are_refused_by_their_place(item: dict[str, Any]) -> None:
    error = refused({"input": [{"role": "user", "content": "a"}, item]})
    assert error.param == "input[1]"
    assert "store: false" in error.hint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"moderation": {"model": "omni"}}, "moderation"),
        ({"access_programs": {"cyber": "standard"}}, "access_programs"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
    ],
)
def test_what_has_no_price_is_refused(fields: dict[str, Any], param: str) -> None:
    assert refused(fields).param == param


def test_what_costs_nothing_more_passes() -> None:
    kept: dict[str, Any] = {"reasoning": {"mode": "standard"}, "moderation": None}
    kept |= {"service_tier": "auto", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}
    assert sent(kept).items() >= kept.items()


def test_a_member_that_the_provider_does_not_take_is_refused() -> None:
    assert refused({"top_p": 0.5}, flags=(*OPENAI, "refuse:top_p")).param == "top_p"


# ------------------------------------------------------------------ tools


@pytest.mark.parametrize(
    "tool",
    [
        FUNCTION,
        {"type": "custom", "name": "c", "format": {"type": "grammar"}},
        {"type": "namespace", "name": "n", "description": "d", "tools": [FUNCTION]},
        {"type": "local_shell"},
        {"type": "shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "apply_patch"},
        {"type": "computer_use_preview", "display_width": 1},
        {"type": "tool_search", "execution": "client"},
    ],
)
def test_tools_that_the_client_runs_pass(tool: dict[str, Any]) -> None:
    assert sent({"tools": [tool]})["tools"] == [tool]


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "file_search", "vector_store_ids": ["a"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "a"},
        {"type": "programmatic_tool_calling"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}},
        {"type": "openrouter:web_search"},
        {"type": 7},
        {},
    ],
)
def test_tools_that_the_provider_runs_are_refused(tool: dict[str, Any]) -> None:
    assert refused({"tools": [FUNCTION, tool]}).param == "tools[1]"
    space = {"type": "namespace", "name": "n", "tools": [FUNCTION, tool]}
    assert refused({"tools": [space]}).param == "tools[0].tools[1]"
    late = {"type": "additional_tools", "role": "developer", "tools": [tool]}
    assert refused({"input": [late]}).param == "input[0].tools[0]"


def test_what_a_remote_server_listed_is_no_offer() -> None:
    listed = {"type": "mcp_list_tools", "id": "mcpl_1", "tools": [{"name": "a"}]}
    assert items(listed) == [listed]


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "web_search_2025_08_26"])
def test_a_web_search_is_left_out(kind: str) -> None:
    tools = [{"type": kind}, FUNCTION]
    made = sent({"tools": tools, "tool_choice": "required", "parallel_tool_calls": False})
    assert made["tools"] == [FUNCTION]
    assert made["tool_choice"] == "required"
    alone = sent({"tools": tools[:1], "tool_choice": "auto"})
    assert not {"tools", "tool_choice"} & alone.keys()
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [SEARCH, {"type": "function"}]}
    made = sent({"tools": tools, "tool_choice": allowed})
    assert made["tool_choice"] == {**allowed, "tools": [{"type": "function"}]}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([SEARCH], "required"),
        ([SEARCH, FUNCTION], {"type": "web_search"}),
        ([SEARCH, FUNCTION], {"type": "allowed_tools", "mode": "required", "tools": [SEARCH]}),
        ([FUNCTION], {"type": "file_search"}),
        ([FUNCTION], {"type": "mcp", "server_label": "a"}),
    ],
)
def test_a_hosted_tool_that_is_demanded_is_refused(tools: list[Any], choice: object) -> None:
    assert refused({"tools": tools, "tool_choice": choice}).param == "tool_choice"


# ------------------------------------------------------------------ input


def test_items_of_the_provider_itself_pass_as_they_came() -> None:
    rows = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_68ab", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "message", "role": "assistant", "id": "msg_68ab", "content": [], "phase": "x"},
        {"type": "function_call", "id": "fc_68ab", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "g"},
        {"type": "an_item_of_tomorrow", "id": "x"},
    ]
    assert items(*rows) == rows


@pytest.mark.parametrize(
    ("kind", "item_id"),
    [
        ("message", "msg_0"),
        ("message", f"msg_{OWN}_0"),
        ("message", "__fake_id__"),
        ("function_call", f"fc_{OWN}_12"),
        ("custom_tool_call", "fc_1"),
        ("custom_tool_call", f"fc_{OWN}_1"),
        ("shell_call", f"sh_{OWN}_1"),
    ],
)
def test_ids_that_the_provider_did_not_give_are_left_out(kind: str, item_id: str) -> None:
    row = {"type": kind, "id": item_id, "call_id": "c", "name": "n"}
    assert items(row) == [{"type": kind, "call_id": "c", "name": "n"}]


def test_a_message_need_not_say_its_type() -> None:
    assert items({"role": "user", "content": "a", "id": "u1"}) == [{"role": "user", "content": "a"}]


def test_reasoning_of_another_provider_is_left_out_and_its_own_is_unsealed() -> None:
    text = {"type": "reasoning.text", "text": "hm", "format": "anthropic-claude-v1"}
    row = {"type": "reasoning", "id": "rs_0", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert items({**row, "encrypted_content": encode_reasoning_state([text])}) == []
    own = {"type": "reasoning.encrypted", "data": "gAAA", "format": "openai-responses-v1"}
    foreign = {**own, "format": "google-gemini-v1"}
    sealed = encode_reasoning_state(
        [text, foreign, {**own, "id": "rs_68ab"}, {**own, "data": "gBBB", "id": "rs_1"}]
    )
    assert items({**row, "encrypted_content": sealed}) == [
        {
            "type": "reasoning",
            "summary": row["summary"],
            "encrypted_content": "gAAA",
            "id": "rs_68ab",
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gBBB"},
    ]


def test_reasoning_that_could_only_be_looked_up_is_left_out() -> None:
    row = {"type": "reasoning", "id": "rs_68ab", "summary": [{"type": "summary_text", "text": "a"}]}
    assert items(row) == []
    assert items({**row, "encrypted_content": None}) == []
    shown = {"content": [{"type": "reasoning_text", "text": "a"}]}
    assert items({**row, **shown}) == [{"type": "reasoning", "summary": row["summary"], **shown}]


@pytest.mark.parametrize("sealed", ["ji1.@@", "ji1.e30=", "ji1." + "A" * (4 * 1024 * 1024 + 1)])
def test_a_seal_that_was_not_ours_is_refused(sealed: str) -> None:
    error = refused({"input": [{"type": "reasoning", "encrypted_content": sealed}]})
    assert error.param == "input[].encrypted_content"


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file-1"}]},
        {"type": "computer_call_output", "output": {"type": "screenshot", "file_id": "file-1"}},
    ],
)
def test_files_of_our_account_are_out_of_reach(item: dict[str, Any]) -> None:
    assert "file_id" in (refused({"input": [item]}).param or "")
    body = json.dumps({"model": "m", "input": [item]}).replace('"file_id"', '"file\\u005fid"')
    with pytest.raises(InvalidRequest):
        native_request(CHAT_TRANSLATOR, body.encode(), Target("gpt-x"))


def test_a_citation_may_name_a_file() -> None:
    notes = [{"type": "file_citation", "file_id": "file-1", "index": 0, "filename": "a"}]
    part = {"type": "output_text", "text": "a", "annotations": notes}
    row = {"type": "message", "role": "assistant", "content": [part]}
    assert items(row) == [row]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","input":[{"type":"\xff"}]}',
        b'{"model":"m","input":"hi","tools":[{"type":"\xff"}]}',
        b'{"model":"m","input":"hi","tool_choice":"\xff"}',
        b'{"model":"m","input":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}",
        b'{"model":"m","input":[{"content":' + b"[" * 5_000 + b"]" * 5_000 + b"}]}",
        b'{"model":"m","input":[{"tools":' + b"[" * 5_000 + b"]" * 5_000 + b"}]}",
        b'{"model":"m","input":[1,null,"a",[]],"tools":[1,null]}',
        b'{"model":"m","input":null,"tools":{},"include":7,"stream_options":[]}',
    ],
)
def test_hostile_bodies_are_refused_or_passed_but_break_nothing(body: bytes) -> None:
    for flags in (OPENAI, OPENROUTER):
        target = Target("gpt-x", flags=flags, is_reasoning=True)
        with contextlib.suppress(InvalidRequest):
            assert json.loads(native_request(STREAMED, body, target))["model"] == "gpt-x"

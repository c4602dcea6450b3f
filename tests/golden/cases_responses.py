"""Requests of Responses: every member, item, part and tool, and loops of tools."""

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import usual
from tests.golden.case import Case
from tests.golden.cases_chat import PDF, PNG

Json = dict[str, Any]
ASK: Final = "What is the weather in Paris?"
MAIN: Final = ("chat", "responses", "anthropic", "workers_ai")
TWO: Final = ("chat", "responses")
PROVIDERS: Final = ("openai", "deepseek", "openrouter", "gemini")
ALL: Final = (*MAIN, *PROVIDERS)
PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Final[Json] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": PARAMETERS,
    "strict": True,
}
PATCH: Final[Json] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Apply a patch.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin"'},
}
SEARCH: Final[Json] = {
    "type": "namespace",
    "name": "agents",
    "description": "Other agents.",
    "tools": [
        {
            "type": "function",
            "name": "spawn",
            "description": "Begin one.",
            "parameters": {"type": "object", "properties": {"task": {"type": "string"}}},
            "strict": False,
        }
    ],
}
TOOLS: Final[dict[str, Any]] = {
    "function": WEATHER,
    "function_full": {
        **WEATHER,
        "output_schema": {"type": "object"},
        "defer_loading": True,
        "allowed_callers": ["direct"],
        "async": False,
        "cache_control": {"type": "ephemeral"},
    },
    "function_async": {**WEATHER, "async": True},
    "function_programs": {**WEATHER, "allowed_callers": ["programmatic"]},
    "custom": PATCH,
    "custom_text": {
        "type": "custom",
        "name": "say",
        "format": {"type": "text"},
        "defer_loading": True,
        "allowed_callers": ["direct"],
        "async": False,
    },
    "namespace": SEARCH,
    "namespace_custom": {
        "type": "namespace",
        "name": "files",
        "description": "Files.",
        "tools": [PATCH],
    },
    "local_shell": {"type": "local_shell"},
    "shell": {"type": "shell", "environment": {"type": "local"}, "allowed_callers": ["direct"]},
    "shell_skills": {
        "type": "shell",
        "environment": {
            "type": "local",
            "skills": [{"name": "pdf", "description": "Reads PDFs.", "path": "/skills/pdf"}],
        },
    },
    "shell_hosted": {"type": "shell", "environment": {"type": "container_auto"}},
    "apply_patch": {"type": "apply_patch", "allowed_callers": ["direct"]},
    "computer": {
        "type": "computer_use_preview",
        "display_width": 800,
        "display_height": 600,
        "environment": "linux",
    },
    "computer_new": {"type": "computer"},
    "tool_search": {
        "type": "tool_search",
        "execution": "client",
        "description": "Find tools.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
    "web_search": {"type": "web_search", "external_web_access": True},
    "file_search": {"type": "file_search", "vector_store_ids": ["vs_1"]},
    "code_interpreter": {"type": "code_interpreter", "container": {"type": "auto"}},
    "image_generation": {"type": "image_generation"},
    "mcp": {"type": "mcp", "server_label": "a", "server_url": "https://mcp.example/"},
    "programmatic": {"type": "programmatic_tool_calling"},
    "unknown": {"type": "telepathy"},
}
CHOICES: Final[dict[str, Any]] = {
    "required": "required",
    "function": {"type": "function", "name": "get_weather"},
    "custom": {"type": "custom", "name": "apply_patch"},
    "allowed": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "get_weather"}],
    },
    "function_namespace": {"type": "function", "name": "spawn", "namespace": "agents"},
    "custom_namespace": {"type": "custom", "name": "apply_patch", "namespace": "files"},
    "apply_patch": {"type": "apply_patch"},
    "shell": {"type": "shell"},
    "local_shell": {"type": "local_shell"},
    "computer": {"type": "computer_use_preview"},
    "web_search": {"type": "web_search_preview"},
    "file_search": {"type": "file_search"},
    "image_generation": {"type": "image_generation"},
    "code_interpreter": {"type": "code_interpreter"},
    "mcp": {"type": "mcp", "server_label": "a"},
    "programmatic": {"type": "programmatic_tool_calling"},
}
CHOICE_TOOLS: Final[dict[str, list[str]]] = {
    "custom": ["custom"],
    "function_namespace": ["namespace"],
    "custom_namespace": ["namespace_custom"],
    "apply_patch": ["apply_patch"],
    "shell": ["shell"],
    "local_shell": ["local_shell"],
    "computer": ["computer"],
    "web_search": ["function", "web_search"],
}
HINTS: Final[Json] = {
    "metadata": {"project": "secret"},
    "client_metadata": {"session": "s1"},
    "store": True,
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {
        "mode": "explicit",
        "ttl": "30m",
        "comparison_response_id": "resp_0",
        "prewarm": False,
    },
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "max_tool_calls": 5,
    "image": {},
    "background": False,
    "context_management": [],
    "service_tier": "auto",
    "stream_options": {"include_obfuscation": True},
    "jusinfer": {},
    "route": "fallback",
    "usage": {"include": True},
    "sandbox": {"script": "echo"},
}
REFUSED: Final[Json] = {
    "service_tier": "flex",
    "background": True,
    "background_options": {"a": 1},
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "prompt": {"id": "pmpt_1"},
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    "moderation": {"model": "omni-moderation-latest"},
    "access_programs": ["a"],
}


def message(role: str, *parts: Any, **more: Any) -> Json:
    """A message of parts, or of one text."""
    content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)
    return {"type": "message", "role": role, "content": content, **more}


def text(words: str, **more: Any) -> Json:
    """A part of text from the client."""
    return {"type": "input_text", "text": words, **more}


def function_call(name: str, arguments: Json, call_id: str = "call_a1", **more: Any) -> Json:
    """A call of an earlier turn."""
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": json.dumps(arguments),
        **more,
    }


def output(call_id: str, value: Any, **more: Any) -> Json:
    """Its result."""
    return {"type": "function_call_output", "call_id": call_id, "output": value, **more}


# What may stand beside each call, and beside each of their outputs.
BESIDE: Final[Json] = {"caller": {"type": "direct"}, "created_by": "model"}


IMAGE: Final[Json] = {
    "type": "input_image",
    "image_url": f"data:image/png;base64,{PNG}",
    "detail": "low",
    "prompt_cache_breakpoint": {"mode": "explicit"},
}
TWELVE_HOURS: Final[Json] = {"mode": "explicit", "ttl": "12h"}
PARIS: Final = function_call("get_weather", {"city": "Paris"}, id="fc_1", status="completed")
ROME: Final = function_call("get_weather", {"city": "Rome"}, "call_b2")
SHELL: Final[Json] = {
    "type": "shell_call",
    "id": "sh_1",
    "environment": {"type": "local"},
    **BESIDE,
    "call_id": "call_s",
    "action": {"commands": ["ls"], "timeout_ms": 1000, "max_output_length": 100},
    "status": "completed",
}
INPUTS: Final[dict[str, tuple[str, Any]]] = {
    "roles": (
        "Each role, once without `type`.",
        [
            message("system", "Be kind."),
            message("developer", "Be brief."),
            {"role": "user", "content": ASK},
            message(
                "assistant",
                {
                    "type": "output_text",
                    "text": "Sunny.",
                    "annotations": [],
                    "logprobs": [],
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                    "cache_control": {"type": "ephemeral"},
                },
                id="msg_1",
                status="completed",
                phase="final_answer",
            ),
            message("user", text("Thanks.")),
        ],
    ),
    "parts": (
        "Parts of text with marks.",
        [
            message(
                "user",
                text(
                    "One",
                    prompt_cache_breakpoint={"mode": "explicit"},
                    cache_control={"type": "ephemeral"},
                    annotations=[],
                    logprobs=[],
                ),
                {
                    "type": "text",
                    "text": "Two",
                    "annotations": [],
                    "logprobs": [],
                    "cache_control": {"type": "ephemeral"},
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
            )
        ],
    ),
    "cached_12h": (
        "Twelve hours in the cache have another price.",
        [message("user", text("One", prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}))],
    ),
    **{
        f"cached_12h_{part['type']}": (
            "Twelve hours in the cache have another price, whatever is cached.",
            [message(role, part | {"prompt_cache_breakpoint": TWELVE_HOURS}), message("user", ASK)],
        )
        for role, part in (
            ("assistant", {"type": "output_text", "text": "Sunny."}),
            ("user", {"type": "text", "text": "One"}),
            ("user", {"type": "input_image", "image_url": "https://example.com/a.png"}),
            ("user", {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}"}),
        )
    },
    "image": ("A picture as data.", [message("user", text("What is it?"), IMAGE)]),
    "image_url": (
        "A picture by its address.",
        [
            message(
                "user",
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
            )
        ],
    ),
    "image_id": (
        "A picture of an account.",
        [message("user", {"type": "input_image", "file_id": "file-1", "detail": "auto"})],
    ),
    "file": (
        "A file as data.",
        [
            message(
                "user",
                {
                    "type": "input_file",
                    "filename": "a.pdf",
                    "file_data": f"data:application/pdf;base64,{PDF}",
                    "detail": "high",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
            )
        ],
    ),
    "file_url": (
        "A file by its address.",
        [message("user", {"type": "input_file", "file_url": "https://example.com/a.pdf"})],
    ),
    "file_id": (
        "A file of an account.",
        [message("user", {"type": "input_file", "file_id": "file-1"})],
    ),
    "audio": (
        "Sound.",
        [
            message(
                "user",
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            )
        ],
    ),
    "refusal": (
        "A refusal of an earlier turn, and reasoning as a part.",
        [
            message("user", ASK),
            message(
                "assistant",
                {"type": "reasoning_text", "text": "I think."},
                {"type": "refusal", "refusal": "I will not say."},
            ),
            message("user", "Please."),
        ],
    ),
    "loop": ("A call and its output.", [message("user", ASK), PARIS, output("call_a1", "21")]),
    "loop_parallel": (
        "Two calls and their outputs, in another order.",
        [message("user", ASK), PARIS, ROME, output("call_b2", "28"), output("call_a1", "21")],
    ),
    "loop_between": (
        "Words between a call and its output.",
        [
            message("user", ASK),
            PARIS,
            message("assistant", {"type": "output_text", "text": "I look.", "annotations": []}),
            message("user", "Hurry."),
            output("call_a1", "21"),
        ],
    ),
    "loop_unanswered": (
        "A call that has no output.",
        [message("user", ASK), PARIS, message("user", "Never mind.")],
    ),
    "loop_orphan": (
        "An output of a call that was cut away.",
        [output("call_a1", "21"), message("user", ASK)],
    ),
    "loop_parts": (
        "An output of parts, with all that may stand beside.",
        [
            message("user", ASK),
            {**PARIS, "caller": {"type": "direct"}, "async": False, "created_by": "model"},
            output(
                "call_a1",
                [text("Here."), IMAGE],
                id="fco_1",
                status="completed",
                caller={"type": "direct"},
                created_by="client",
                name="get_weather",
                namespace="weather",
                **{"async": False},
            ),
        ],
    ),
    "loop_namespace": (
        "A call of a tool within a namespace.",
        [
            message("user", ASK),
            function_call("spawn", {"task": "look"}, namespace="agents"),
            output("call_a1", "done"),
        ],
    ),
    "loop_custom": (
        "A call of a custom tool.",
        [
            message("user", ASK),
            {
                "type": "custom_tool_call",
                "call_id": "call_c",
                "name": "apply_patch",
                "input": "*** Begin",
                "id": "ctc_1",
                "status": "completed",
                "caller": {"type": "direct"},
                "namespace": "files",
                "async": False,
                "created_by": "model",
            },
            {
                "type": "custom_tool_call_output",
                "call_id": "call_c",
                "output": "done",
                "id": "ctco_1",
                "status": "completed",
                "caller": {"type": "direct"},
                "created_by": "client",
                "name": "apply_patch",
                "namespace": "files",
                "async": False,
            },
        ],
    ),
    "loop_odd_id": (
        "An id of a call as Kimi writes it.",
        [
            message("user", ASK),
            function_call("get_weather", {"city": "Paris"}, "functions.get_weather:0"),
            output("functions.get_weather:0", "21"),
        ],
    ),
    "loop_local_shell": (
        "A command in the client's shell.",
        [
            message("user", ASK),
            {
                "type": "local_shell_call",
                **BESIDE,
                "id": "lsh_1",
                "call_id": "call_l",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
                "status": "completed",
            },
            {
                "type": "local_shell_call_output",
                "id": "call_l",
                "call_id": "call_l",
                "output": '{"stdout": "a"}',
                "status": "completed",
                **BESIDE,
            },
        ],
    ),
    "loop_shell": (
        "A command in a shell.",
        [
            message("user", ASK),
            SHELL,
            {
                "type": "shell_call_output",
                "id": "sho_1",
                "status": "completed",
                "max_output_length": 100,
                **BESIDE,
                "call_id": "call_s",
                "output": [
                    {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
                ],
            },
        ],
    ),
    "loop_patch": (
        "A patch.",
        [
            message("user", ASK),
            {
                "type": "apply_patch_call",
                "id": "x_1",
                **BESIDE,
                "call_id": "call_p",
                "status": "completed",
                "operation": {"type": "create_file", "path": "a.txt", "diff": "+a"},
            },
            {
                "type": "apply_patch_call_output",
                "id": "apo_1",
                **BESIDE,
                "call_id": "call_p",
                "status": "completed",
                "output": "ok",
            },
        ],
    ),
    "loop_computer": (
        "A click and the picture after it.",
        [
            message("user", ASK),
            {
                "type": "computer_call",
                **BESIDE,
                "id": "cu_1",
                "call_id": "call_u",
                "action": {"type": "click", "button": "left", "x": 1, "y": 2},
                "pending_safety_checks": [],
                "status": "completed",
            },
            {
                "type": "computer_call_output",
                "call_id": "call_u",
                "id": "cuo_1",
                "status": "completed",
                "acknowledged_safety_checks": [],
                "output": {
                    "type": "computer_screenshot",
                    "image_url": f"data:image/png;base64,{PNG}",
                },
            },
        ],
    ),
    "loop_computer_many": (
        "Several actions at once.",
        [
            message("user", ASK),
            {
                "type": "computer_call",
                "id": "cu_1",
                "call_id": "call_u",
                "actions": [{"type": "click", "button": "left", "x": 1, "y": 2}, {"type": "wait"}],
                "pending_safety_checks": [],
                "status": "completed",
            },
            {
                "type": "computer_call_output",
                "call_id": "call_u",
                "output": {
                    "type": "computer_screenshot",
                    "image_url": f"data:image/png;base64,{PNG}",
                },
            },
        ],
    ),
    "computer_file": (
        "A picture of a screen by its id.",
        [
            message("user", ASK),
            {
                "type": "computer_call_output",
                "call_id": "call_u",
                "output": {"type": "computer_screenshot", "file_id": "file-1"},
            },
        ],
    ),
    "tool_search": (
        "Tools that the client found.",
        [
            message("user", ASK),
            {
                "type": "tool_search_call",
                "id": "x_1",
                **BESIDE,
                "call_id": "call_t",
                "execution": "client",
                "arguments": {"query": "weather"},
                "status": "completed",
            },
            {
                "type": "tool_search_output",
                "call_id": "call_t",
                "id": "tso_1",
                "execution": "client",
                "status": "completed",
                "tools": [WEATHER],
                "created_by": "client",
                "caller": {"type": "direct"},
                "async": False,
            },
        ],
    ),
    "additional_tools": (
        "Tools given with the input.",
        [
            {"type": "additional_tools", "id": "at_1", "role": "developer", "tools": [WEATHER]},
            message("user", ASK),
        ],
    ),
    "reasoning": (
        "Reasoning that OpenAI encrypted, with its summary.",
        [
            message("user", ASK),
            {
                "type": "reasoning",
                "id": "rs_1",
                "status": "completed",
                "summary": [{"type": "summary_text", "text": "I look."}],
                "encrypted_content": "gAAAAAB",
            },
            PARIS,
            output("call_a1", "21"),
        ],
    ),
    "reasoning_text": (
        "Reasoning in the open.",
        [
            message("user", ASK),
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "I look."}],
            },
            message("assistant", "Sunny."),
            message("user", "Thanks."),
        ],
    ),
    "item_reference": (
        "An item that would have been kept.",
        [{"type": "item_reference", "id": "msg_1"}, message("user", ASK)],
    ),
    "web_search_call": (
        "A search of an earlier turn.",
        [
            message("user", ASK),
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "Paris"},
            },
            message("user", "Go on."),
        ],
    ),
}
HOSTED_ITEMS: Final[dict[str, Json]] = {
    "compaction": {"type": "compaction", "encrypted_content": "gAAA"},
    "compaction_trigger": {"type": "compaction_trigger"},
    "configuration_update": {"type": "configuration_update", "reasoning": {"effort": "low"}},
    "file_search_call": {
        "type": "file_search_call",
        "id": "fs_1",
        "queries": ["a"],
        "status": "completed",
    },
    "code_interpreter_call": {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "c",
        "outputs": [],
        "status": "completed",
    },
    "image_generation_call": {
        "type": "image_generation_call",
        "id": "ig_1",
        "result": "AAAA",
        "status": "completed",
    },
    "mcp_call": {
        "type": "mcp_call",
        "id": "m_1",
        "arguments": "{}",
        "name": "f",
        "server_label": "a",
    },
    "mcp_list_tools": {"type": "mcp_list_tools", "id": "m_2", "server_label": "a", "tools": []},
    "mcp_approval_request": {
        "type": "mcp_approval_request",
        "id": "m_3",
        "arguments": "{}",
        "name": "f",
        "server_label": "a",
    },
    "mcp_approval_response": {
        "type": "mcp_approval_response",
        "approval_request_id": "m_3",
        "approve": True,
    },
    "program": {"type": "program", "id": "p_1", "call_id": "call_p", "code": "1"},
    "program_output": {
        "type": "program_output",
        "id": "p_2",
        "call_id": "call_p",
        "result": "1",
        "status": "completed",
    },
}


def _rows() -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    ask = {"input": ASK}
    yield "least", "The least that can be asked.", ask, ALL
    for name, (note, items) in INPUTS.items():
        tools = [WEATHER, PATCH, SEARCH] if name.startswith("loop") else []
        asked = {"input": items, **({"tools": tools} if tools else {})}
        yield f"input_{name}", note, asked, MAIN
    for name in ("loop_custom", "loop_namespace", "loop_parts", "reasoning", "loop_shell"):
        note, items = INPUTS[name]
        asked = {"input": items, "tools": [WEATHER, PATCH, SEARCH]}
        yield f"input_{name}", note, asked, PROVIDERS
    for name, item in HOSTED_ITEMS.items():
        items = [message("user", ASK), item, message("user", "Go on.")]
        yield f"item_{name}", "An item of a tool that OpenAI runs.", {"input": items}, TWO
    for name, tool in TOOLS.items():
        yield f"tool_{name}", f"A tool: {name}.", {**ask, "tools": [tool]}, MAIN
    for name in ("custom", "namespace", "shell", "apply_patch"):
        asked = {**ask, "tools": [TOOLS[name]]}
        yield f"tool_{name}", f"A tool: {name}.", asked, PROVIDERS
    searching = {**ask, "tools": [WEATHER, TOOLS["web_search"]]}
    yield "tool_web_search_too", "A search beside a function.", searching, MAIN
    for name, choice in CHOICES.items():
        tools = [TOOLS[tool] for tool in CHOICE_TOOLS.get(name, ["function"])]
        asked = {**ask, "tools": tools, "tool_choice": choice}
        where = MAIN if name in {"required", "function", "custom", "allowed"} else TWO
        yield f"choice_{name}", f"tool_choice: {name}.", asked, where
    for name, value in REFUSED.items():
        yield f"refused_{name}", f"`{name}` cannot be served.", {**ask, name: value}, ("responses",)
    yield from _settings(ask)


def _settings(ask: Json) -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    yield "hints", "Members that ask for nothing.", {**ask, **HINTS}, ALL
    yield (
        "prewarm",
        "To fill a cache is no answer.",
        {**ask, "prompt_cache_options": {"prewarm": True}},
        TWO,
    )
    yield "instructions", "Instructions.", {**ask, "instructions": "Be brief."}, ALL
    common = {"temperature": 0.5, "top_p": 0.9, "max_output_tokens": 100}
    yield "common", "Settings that most providers know.", {**ask, **common}, ALL
    yield "budget_high", "More than the model writes.", {**ask, "max_output_tokens": 32_000}, MAIN
    yield "logprobs", "top_logprobs.", {**ask, "top_logprobs": 2}, MAIN
    single = {**ask, "tools": [WEATHER], "parallel_tool_calls": False}
    yield "tools_single", "One call at a time.", single, MAIN
    yield "single_none", "One call at a time, of no tool.", single | {"tool_choice": "none"}, MAIN
    alone = {**ask, "parallel_tool_calls": False}
    yield "single_toolless", "One call at a time, and no tools.", alone, MAIN
    people = {"user": "ann", "safety_identifier": "ann-1", "prompt_cache_key": "ann-chat"}
    yield "people", "Names of people become opaque.", {**ask, **people}, ALL
    for effort in ("none", "high"):
        asked = {**ask, "reasoning": {"effort": effort, "summary": "auto", "context": "auto"}}
        yield f"effort_{effort}", f"reasoning.effort: {effort}.", asked, ALL
    old = {**ask, "reasoning": {"generate_summary": "concise", "mode": "standard"}}
    yield "reasoning_old", "The old name of the summary.", old, MAIN
    yield "reasoning_pro", "Another mode.", {**ask, "reasoning": {"mode": "pro"}}, TWO
    yield "verbosity", "text.verbosity.", {**ask, "text": {"verbosity": "low"}}, MAIN
    schema = {
        "type": "json_schema",
        "name": "answer",
        "description": "An answer.",
        "strict": True,
        "schema": PARAMETERS,
    }
    for name, form in {
        "text": {"type": "text"},
        "object": {"type": "json_object"},
        "schema": schema,
    }.items():
        yield f"format_{name}", f"text.format: {name}.", {**ask, "text": {"format": form}}, ALL
    provider = {"provider": {"order": ["z-ai"], "allow_fallbacks": False}}
    where = ("chat", "responses", "anthropic", "openrouter")
    yield "provider", "Preferences of providers.", {**ask, **provider}, where
    models = {"models": ["chat/model"]}
    yield "models", "Models to fall back to.", {**ask, **models}, ("chat",)
    yield "unknown", "A member that no table names.", {**ask, "new_member": {"a": 1}}, MAIN


def cases() -> Iterator[Case]:
    """All of them."""
    for name, note, request, providers in _rows():
        for provider in providers:
            yield Case(
                client="responses",
                provider=provider,
                name=f"ask_{name}",
                note=note,
                request=request,
                answer=usual(provider),
            )

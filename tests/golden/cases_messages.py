"""Requests of Messages: every member, block and tool, and loops of tools."""

from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import usual
from tests.golden.case import Case
from tests.golden.cases_chat import PDF, PNG

Json = dict[str, Any]
USER: Final[list[Json]] = [{"role": "user", "content": "What is the weather in Paris?"}]
MAIN: Final = ("chat", "anthropic", "workers_ai")
PROVIDERS: Final = ("openai", "deepseek", "openrouter", "gemini")
ALL: Final = (*MAIN, *PROVIDERS)
TWO: Final = ("chat", "anthropic")
MARK: Final[Json] = {"type": "ephemeral"}
PARAMETERS: Final[Json] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
WEATHER: Final[Json] = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": PARAMETERS,
}
TOOLS: Final[dict[str, Json]] = {
    "plain": WEATHER,
    "full": {
        **WEATHER,
        "type": "custom",
        "strict": True,
        "input_examples": [{"city": "Paris"}],
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "defer_loading": True,
        "eager_input_streaming": True,
        "allowed_callers": ["direct"],
    },
    "programs": {**WEATHER, "allowed_callers": ["code_execution_20260120"]},
    "bash": {"type": "bash_20250124", "name": "bash"},
    "text_editor": {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    "memory": {"type": "memory_20250818", "name": "memory"},
    "computer": {
        "type": "computer_20251124",
        "name": "computer",
        "display_width_px": 800,
        "display_height_px": 600,
    },
    "computer_toolset": {"type": "computer_toolset_20260801", "name": "computer"},
    "browser_toolset": {"type": "browser_toolset_20260801", "name": "browser"},
    "tool_search": {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    "web_search": {"type": "web_search_20250305", "name": "web_search"},
    "web_fetch": {"type": "web_fetch_20250910", "name": "web_fetch"},
    "code_execution": {"type": "code_execution_20250825", "name": "code_execution"},
    "advisor": {"type": "advisor_20260301", "name": "advisor"},
    "mcp_toolset": {"type": "mcp_toolset", "mcp_server_name": "a"},
    "unknown": {"type": "telepathy_20300101", "name": "telepathy"},
}
# What may stand beside each tool that Anthropic defines and the client runs.
BESIDE: Final[Json] = {
    "strict": True,
    "cache_control": MARK,
    "defer_loading": True,
    "allowed_callers": ["direct"],
}
FULL: Final[dict[str, Json]] = {
    "bash": {"input_examples": [{"command": "ls"}]},
    "text_editor": {
        "input_examples": [{"command": "view", "path": "/a"}],
        "max_characters": 10_000,
    },
    "memory": {"input_examples": [{"command": "view", "path": "/memories"}]},
    "computer": {
        "input_examples": [{"action": "screenshot"}],
        "display_number": 1,
        "enable_zoom": True,
    },
}
CHOICES: Final[dict[str, Json]] = {
    "auto": {"type": "auto"},
    "any": {"type": "any"},
    "none": {"type": "none"},
    "tool": {"type": "tool", "name": "get_weather"},
    "single": {"type": "auto", "disable_parallel_tool_use": True},
    "many": {"type": "any", "disable_parallel_tool_use": False},
}
HINTS: Final[Json] = {
    "metadata": {"user_id": "ann", "session_id": "s1"},
    "service_tier": "auto",
    "speed": "standard",
    "inference_geo": "global",
    "fallbacks": [],
    "mcp_servers": [],
    "container": None,
    "diagnostics": {},
    "betas": ["a-2025-01-01"],
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "cache_control": MARK,
    "jusinfer": {},
    "route": "fallback",
    "usage": {"include": True},
    "sandbox": {"script": "echo"},
}
REFUSED: Final[Json] = {
    "service_tier": "priority",
    "speed": "fast",
    "inference_geo": "us",
    "billing_policy": {"a": 1},
    "fallback_credit_token": "t",
    "fallbacks": [{"model": "claude-haiku-5"}],
    "container": "container_1",
    "mcp_servers": [{"type": "url", "url": "https://mcp.example/", "name": "a"}],
    "thread": {"id": "t"},
    "user_profile_id": "u",
    "workspace_id": "w",
    "compaction": {"type": "auto"},
}
SINGLE: Final[dict[str, tuple[str, Json]]] = {
    "clear_tools": (
        "An edit that takes results away.",
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    ),
    "compact": (
        "An edit that costs.",
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
    ),
    "task_budget": (
        "A budget for a task.",
        {"output_config": {"task_budget": {"type": "tokens", "total": 20000}}},
    ),
    "temperature": ("temperature and top_p.", {"temperature": 0.5, "top_p": 0.9}),
}


def _image(**more: Any) -> Json:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    return {"type": "image", "source": source, **more}


def _document(source: Json, **more: Any) -> Json:
    return {"type": "document", "source": source, **more}


def _asking(*blocks: Json) -> list[Json]:
    return [{"role": "user", "content": list(blocks)}]


def _use(call_id: str = "toolu_1", **more: Any) -> Json:
    use = {"type": "tool_use", "id": call_id, "name": "get_weather", "input": {"city": "Paris"}}
    return {**use, **more}


def _result(content: Any, call_id: str = "toolu_1", **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def _loop(uses: list[Json], results: list[Json]) -> list[Json]:
    return [
        *USER,
        {"role": "assistant", "content": uses},
        {"role": "user", "content": results},
    ]


TEXT: Final[Json] = {"type": "text", "text": "Sum it up."}
PDF_SOURCE: Final[Json] = {"type": "base64", "media_type": "application/pdf", "data": PDF}
THOUGHT: Final[Json] = {"type": "thinking", "thinking": "I look.", "signature": "c2lnbmVk"}
TURNS: Final[dict[str, tuple[str, list[Json]]]] = {
    "texts": (
        "Texts as blocks, with marks.",
        _asking({"type": "text", "text": "One", "cache_control": MARK}, TEXT),
    ),
    "image": ("A picture as data.", _asking(_image(cache_control=MARK), TEXT)),
    "image_url": (
        "A picture by its address.",
        _asking(
            {
                "type": "image",
                "source": {"type": "url", "url": "https://example.com/a.png"},
                "transformations": {"oversized_image": "downsize"},
            },
            TEXT,
        ),
    ),
    "image_strict": (
        "A picture that is to be refused for its size.",
        _asking(_image(transformations={"oversized_image": "error"})),
    ),
    "image_file": (
        "A picture of an account.",
        _asking({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    ),
    "pdf": (
        "A document as data.",
        _asking(
            _document(
                PDF_SOURCE,
                title="a.pdf",
                context="A report.",
                cache_control=MARK,
                citations={"enabled": False},
            ),
            TEXT,
        ),
    ),
    "document_text": (
        "A document of plain text.",
        _asking(_document({"type": "text", "media_type": "text/plain", "data": "Hello"}), TEXT),
    ),
    "document_content": (
        "A document of blocks.",
        _asking(
            _document(
                {"type": "content", "content": [{"type": "text", "text": "Hello"}, _image()]},
                title="notes",
            ),
            TEXT,
        ),
    ),
    "document_url": (
        "A document by its address.",
        _asking(_document({"type": "url", "url": "https://example.com/a.pdf"}), TEXT),
    ),
    "document_file": (
        "A document of an account.",
        _asking(_document({"type": "file", "file_id": "file_1"})),
    ),
    "document_cited": (
        "A document that is to be cited.",
        _asking(_document(PDF_SOURCE, citations={"enabled": True}), TEXT),
    ),
    "search_result": (
        "A result of the client's own search.",
        _asking(
            {
                "type": "search_result",
                "source": "https://example.com/",
                "title": "Weather",
                "content": [{"type": "text", "text": "21 degrees"}],
                "cache_control": MARK,
                "citations": {"enabled": False},
            },
            TEXT,
        ),
    ),
    "search_cited": (
        "A result that is to be cited.",
        _asking(
            {
                "type": "search_result",
                "source": "https://example.com/",
                "title": "Weather",
                "content": [{"type": "text", "text": "21 degrees"}],
                "citations": {"enabled": True},
            }
        ),
    ),
    "thinking": (
        "Signed thinking of an earlier turn.",
        [
            *USER,
            {
                "role": "assistant",
                "content": [
                    THOUGHT,
                    {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="},
                    {"type": "text", "text": "Sunny."},
                ],
            },
            *USER,
        ],
    ),
    "thinking_unsigned": (
        "Thinking that nobody signed.",
        [
            *USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I look.", "signature": ""},
                    {"type": "text", "text": "Sunny."},
                ],
            },
            *USER,
        ],
    ),
    "prefill": (
        "A last turn that the model is to go on with.",
        [*USER, {"role": "assistant", "content": "It is"}],
    ),
    "same_roles": ("Two turns of the same role.", [*USER, *USER]),
    "system_role": (
        "A message of the system.",
        [*USER, {"role": "system", "content": "Be brief."}],
    ),
    "blank": (
        "A blank block.",
        _asking({"type": "text", "text": " "}, TEXT),
    ),
    "message_members": (
        "What may stand beside a turn.",
        [{**USER[0], "id": "m1", "clear_at": "2030-01-01T00:00:00Z"}],
    ),
    "effort_within": (
        "An effort for one turn.",
        [{**USER[0], "output_config": {"effort": "low"}}],
    ),
    "container_upload": (
        "A file of a container.",
        _asking({"type": "container_upload", "file_id": "f"}),
    ),
    "compaction": (
        "A conversation that Anthropic compacted.",
        [
            *USER,
            {"role": "assistant", "content": [{"type": "compaction", "content": "In short."}]},
            *USER,
        ],
    ),
    "fallback": (
        "A mark that another model answered.",
        [
            *USER,
            {
                "role": "assistant",
                "content": [{"type": "fallback", "model": "a"}, {"type": "text", "text": "Sunny."}],
            },
            *USER,
        ],
    ),
    "server_tool": (
        "A search that Anthropic ran.",
        [
            *USER,
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "server_tool_use",
                        "id": "srvtoolu_1",
                        "name": "web_search",
                        "input": {"query": "Paris"},
                    },
                    {
                        "type": "web_search_tool_result",
                        "tool_use_id": "srvtoolu_1",
                        "content": [],
                    },
                    {"type": "text", "text": "Sunny."},
                ],
            },
            *USER,
        ],
    ),
}
HOSTED: Final = (
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "mcp_tool_listing",
)
LOOPS: Final[dict[str, tuple[str, list[Json]]]] = {
    "loop": ("One call and its result.", _loop([_use()], [_result("21 degrees")])),
    "loop_parallel": (
        "Two calls at once, words before them, and their results.",
        _loop(
            [{"type": "text", "text": "I look."}, _use(), _use("toolu_2")],
            [_result("21"), _result("28", "toolu_2"), {"type": "text", "text": "In Celsius."}],
        ),
    ),
    "loop_thinking": (
        "A call with the thinking that led to it.",
        _loop([THOUGHT, _use()], [_result("21")]),
    ),
    "loop_text_first": (
        "A user's words before the result.",
        _loop([_use()], [{"type": "text", "text": "Here."}, _result("21")]),
    ),
    "loop_error": (
        "A failed call, with marks.",
        _loop(
            [_use(cache_control=MARK, caller={"type": "direct"})],
            [_result("no such city", is_error=True, cache_control=MARK)],
        ),
    ),
    "loop_blocks": (
        "A result of blocks: text, a picture, a document, a tool that was found.",
        _loop(
            [_use()],
            [
                _result(
                    [
                        {"type": "text", "text": "Here."},
                        _image(),
                        {
                            "type": "tool_reference",
                            "tool_name": "get_weather",
                            "cache_control": MARK,
                        },
                    ]
                )
            ],
        ),
    ),
    "loop_document": (
        "A document in a result.",
        _loop([_use()], [_result([_document(PDF_SOURCE)])]),
    ),
    "loop_empty": ("A result of nothing.", _loop([_use()], [_result("")])),
    "loop_missing": (
        "A result without content.",
        _loop([_use()], [{"type": "tool_result", "tool_use_id": "toolu_1"}]),
    ),
    "loop_unanswered": (
        "A call that has no result.",
        [*USER, {"role": "assistant", "content": [_use()]}, *USER],
    ),
    "loop_odd_id": (
        "An id as Kimi writes it.",
        _loop([_use("functions.get_weather:0")], [_result("21", "functions.get_weather:0")]),
    ),
    "loop_program": (
        "A call that a program of Anthropic made.",
        _loop(
            [_use(caller={"type": "code_execution_20260120", "tool_id": "srvtoolu_1"})],
            [_result("21")],
        ),
    ),
    "loop_toolset": (
        "A call of a set of tools.",
        _loop([_use(toolset_name="computer")], [_result("21", toolset_name="computer")]),
    ),
    "loop_browser": (
        "The state of a browser.",
        _loop([_use()], [_result([{"type": "browser_state", "url": "https://example.com/"}])]),
    ),
    "tool_changes": (
        "Tools that come and go within a conversation.",
        [
            *USER,
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_addition",
                        "cache_control": MARK,
                        "tool": {"type": "tool_reference", "name": "get_weather"},
                    },
                    {
                        "type": "tool_addition",
                        "tool": {
                            "type": "tool_definition",
                            "definition": {"name": "get_time", "input_schema": {"type": "object"}},
                        },
                    },
                    {
                        "type": "tool_removal",
                        "tool": {"type": "tool_reference", "name": "get_weather"},
                    },
                    TEXT,
                ],
            },
        ],
    ),
    "tool_changes_mcp": (
        "A server that Anthropic would call.",
        _asking({"type": "tool_addition", "tool": {"type": "mcp_toolset", "mcp_server_name": "a"}}),
    ),
}


def _rows() -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    ask: Json = {"max_tokens": 100, "messages": USER}
    yield "least", "The least that can be asked.", ask, ALL
    for name, (note, turns) in TURNS.items():
        where = ALL if name in {"texts", "thinking", "image"} else MAIN
        yield f"turns_{name}", note, {**ask, "messages": turns}, where
    for kind in HOSTED:
        block = {"type": kind, "id": "x_1", "tool_use_id": "x_1", "name": "f", "content": []}
        turns = [*USER, {"role": "assistant", "content": [block]}, *USER]
        yield f"turns_{kind}", "What Anthropic ran.", {**ask, "messages": turns}, TWO
    for name, (note, turns) in LOOPS.items():
        where = ALL if name in {"loop_parallel", "loop_thinking", "loop_blocks"} else MAIN
        yield name, note, {**ask, "messages": turns, "tools": [WEATHER]}, where
    for name, tool in TOOLS.items():
        yield f"tool_{name}", f"A tool: {name}.", {**ask, "tools": [tool]}, MAIN
    for name, more in FULL.items():
        tool = {**TOOLS[name], **BESIDE, **more}
        yield (
            f"tool_{name}_full",
            "A tool with all that may stand beside.",
            {**ask, "tools": [tool]},
            MAIN,
        )
    searching = {**ask, "tools": [WEATHER, TOOLS["web_search"]]}
    yield "tool_web_search_too", "A search beside a tool.", searching, MAIN
    forced = {**searching, "tool_choice": {"type": "tool", "name": "web_search"}}
    yield "tool_web_search_forced", "A search that is forced.", forced, TWO
    for name, choice in CHOICES.items():
        asked = {**ask, "tools": [WEATHER], "tool_choice": choice}
        yield f"choice_{name}", f"tool_choice: {name}.", asked, MAIN
    alone = {**ask, "tool_choice": CHOICES["single"]}
    yield "single_toolless", "One call at a time, and no tools.", alone, MAIN
    yield "top_k", "top_k.", {**ask, "top_k": 40}, ALL
    yield "hints", "Members that ask for nothing.", {**ask, **HINTS}, ALL
    for name, value in REFUSED.items():
        yield f"refused_{name}", f"`{name}` cannot be served.", {**ask, name: value}, TWO
    for name, (note, more) in SINGLE.items():
        yield name, note, {**ask, **more}, MAIN
    yield from _settings(ask)


def _settings(ask: Json) -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    yield "system", "A system prompt.", {**ask, "system": "Be brief."}, ALL
    blocks = [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Be kind.", "cache_control": MARK, "citations": None},
    ]
    yield "system_blocks", "A system prompt of blocks.", {**ask, "system": blocks}, ALL
    yield "stop", "stop_sequences.", {**ask, "stop_sequences": ["END"]}, ALL
    yield "people", "Names of people become opaque.", {**ask, "metadata": {"user_id": "ann"}}, ALL
    yield "budget_high", "More than the model writes.", {**ask, "max_tokens": 32_000}, MAIN
    for name, value in {
        "enabled": {"type": "enabled", "budget_tokens": 2000},
        "adaptive": {"type": "adaptive", "display": "summarized", "block_binding": "strict"},
        "disabled": {"type": "disabled"},
    }.items():
        asked = {**ask, "max_tokens": 4000, "thinking": value}
        yield f"thinking_{name}", f"thinking: {name}.", asked, ALL
    both = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    yield "effort", "Thinking with an effort.", {**ask, **both}, ALL
    alone = {"output_config": {"effort": "max"}}
    yield "effort_alone", "An effort alone.", {**ask, **alone}, ALL
    form = {"type": "json_schema", "schema": {**PARAMETERS, "additionalProperties": False}}
    yield "format", "A schema for the answer.", {**ask, "output_config": {"format": form}}, ALL
    provider = {"provider": {"order": ["z-ai"], "allow_fallbacks": False}}
    where = (*MAIN, "openrouter")
    yield "provider", "Preferences of providers.", {**ask, **provider}, where
    models = {"models": ["chat/model"]}
    yield "models", "Models to fall back to.", {**ask, **models}, ("chat",)
    yield "unknown", "A member that no table names.", {**ask, "new_member": {"a": 1}}, MAIN


def cases() -> Iterator[Case]:
    """All of them."""
    for name, note, request, providers in _rows():
        for provider in providers:
            yield Case(
                client="messages",
                provider=provider,
                name=f"ask_{name}",
                note=note,
                request=request,
                answer=usual(provider),
            )
    betas = "context-1m-2025-08-07,interleaved-thinking-2025-05-14"
    for provider in MAIN:
        yield Case(
            client="messages",
            provider=provider,
            name="ask_betas",
            note="The header of betas: sent to Anthropic only.",
            request={"max_tokens": 100, "messages": USER},
            answer=usual(provider),
            headers={"anthropic-beta": betas, "anthropic-version": "2023-06-01"},
        )

"""Requests of Chat Completions: every member, part and tool, and loops of tools."""

from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import call, usual
from tests.golden.case import Case

Json = dict[str, Any]
USER: Final[list[Json]] = [{"role": "user", "content": "What is the weather in Paris?"}]
PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBg"
    "AAAABQABpfZFQAAAAABJRU5ErkJggg=="
)
PDF: Final = "JVBERi0xLjQKJSVFT0YK"
WEATHER: Final[Json] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
TIME: Final[Json] = {"type": "function", "function": {"name": "get_time"}}
CUSTOM: Final[Json] = {
    "type": "custom",
    "custom": {
        "name": "apply_patch",
        "description": "Apply a patch.",
        "format": {
            "type": "grammar",
            "grammar": {"syntax": "lark", "definition": 'start: "*** Begin"'},
        },
    },
}
SCHEMA: Final[Json] = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "description": "An answer.",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"celsius": {"type": "number"}},
            "required": ["celsius"],
            "additionalProperties": False,
        },
    },
}
REFUSAL: Final[Json] = {
    "type": "refusal",
    "refusal": "I will not say.",
    "cache_control": {"type": "ephemeral"},
}
LONG_CACHED: Final[Json] = {
    "type": "text",
    "text": "Hi",
    "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
}
MAIN: Final = ("chat", "anthropic", "workers_ai")
PROVIDERS: Final = ("openai", "deepseek", "openrouter", "gemini")
ALL: Final = (*MAIN, *PROVIDERS)
NOT_CHAT: Final = ("anthropic", "workers_ai")
# Members that say how to sample; the values ask for something.
SAMPLING: Final[Json] = {
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "repetition_penalty": 1.1,
    "min_p": 0.05,
    "top_a": 0.1,
    "seed": 7,
    "logit_bias": {"1734": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "n": 2,
    "modalities": ["text", "audio"],
    "verbosity": "low",
    "thinking": {"type": "enabled"},
    "chat_template_kwargs": {"enable_thinking": False},
}
NEUTRAL: Final[Json] = {
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1,
    "min_p": 0,
    "top_a": 0.0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "n": 1,
    "modalities": ["text"],
    "verbosity": "medium",
    "chat_template_kwargs": {},
    "functions": [],
    "function_call": "auto",
    "plugins": [],
    "service_tier": "auto",
    "seed": None,
    "stop": None,
}
HINTS: Final[Json] = {
    "metadata": {"project": "secret"},
    "store": True,
    "prediction": {"type": "content", "content": "The weather in Paris is"},
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "include_reasoning": True,
    "route": "fallback",
    "transforms": ["middle-out"],
    "usage": {"include": True},
    "jusinfer": {},
    "sandbox": {"script": "echo"},
}
PRICED: Final[Json] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "web_search_options": {"search_context_size": "low"},
    "moderation": {"model": "omni-moderation-latest"},
    "debug": {"echo_upstream_body": True},
    "plugins": [{"id": "web"}],
    "service_tier": "flex",
}
TURNS: Final[dict[str, tuple[str, list[Json]]]] = {
    "system_first": (
        "A system message before the first turn.",
        [{"role": "system", "content": "Be brief."}, *USER],
    ),
    "system_late": (
        "A system message between turns.",
        [*USER, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}],
    ),
    "developer": (
        "A developer message: system wherever a provider does not know developers.",
        [{"role": "developer", "content": "Be brief."}, *USER],
    ),
    "names": (
        "Names beside the words of a turn.",
        [{"role": "user", "name": "ann", "content": "Hi"}],
    ),
    "text_parts": (
        "Texts as parts, with marks of what to cache.",
        [
            {
                "role": "system",
                "content": [
                    {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "text",
                        "text": "One",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                    },
                    {"type": "text", "text": "Two", "annotations": []},
                ],
            },
        ],
    ),
    "image_data": (
        "An image as a data URL, and one by its address.",
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Compare."},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
                        "cache_control": {"type": "ephemeral"},
                    },
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://example.com/cat.png"},
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                    },
                ],
            }
        ],
    ),
    "audio": (
        "Sound in a request.",
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
                ],
            }
        ],
    ),
    "file_data": (
        "A PDF as data.",
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": f"data:application/pdf;base64,{PDF}",
                        },
                        "cache_control": {"type": "ephemeral"},
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
                    },
                    {"type": "text", "text": "Sum it up."},
                ],
            }
        ],
    ),
    "file_text": (
        "A text file as data.",
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.txt",
                            "file_data": "data:text/plain;base64,SGVsbG8=",
                        },
                    },
                    {"type": "text", "text": "Sum it up."},
                ],
            }
        ],
    ),
    "file_id": (
        "A file by the id of an account.",
        [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}],
    ),
    "video": (
        "A video by its address.",
        [
            {
                "role": "user",
                "content": [
                    {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}
                ],
            }
        ],
    ),
    "prefill": (
        "A last turn that the model is to go on with.",
        [*USER, {"role": "assistant", "content": "It is "}],
    ),
    "prefix": (
        "DeepSeek's mark of such a turn.",
        [*USER, {"role": "assistant", "content": "It is ", "prefix": True}],
    ),
    "same_roles": (
        "Two turns of the same role after another.",
        [*USER, {"role": "user", "content": "In Celsius."}],
    ),
    "empty_content": (
        "Turns of nothing: null, an empty text, blanks.",
        [
            *USER,
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "  "},
            {"role": "assistant", "content": None},
            {"role": "user", "content": "Still there?"},
        ],
    ),
    "refusal_sent_back": (
        "A refusal of an earlier turn, as a member and as a part.",
        [
            *USER,
            {"role": "assistant", "content": None, "refusal": "I cannot say."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": [REFUSAL]},
            {"role": "user", "content": "Please."},
        ],
    ),
    "answer_sent_back": (
        "An answer as some clients send it back: with all that came with it.",
        [
            *USER,
            {
                "role": "assistant",
                "content": "Sunny.",
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": None,
                "id": "m1",
                "images": [],
                "parsed": None,
                "provider_specific_fields": {"a": 1},
            },
            {"role": "user", "content": "Thanks."},
        ],
    ),
    "audio_sent_back": (
        "An answer in sound by its id.",
        [*USER, {"role": "assistant", "audio": {"id": "audio_1"}}, *USER],
    ),
    "reasoning_content": (
        "Reasoning of an earlier turn, as DeepSeek names it.",
        [
            *USER,
            {"role": "assistant", "content": "Sunny.", "reasoning_content": "I look outside."},
            *USER,
        ],
    ),
    "reasoning_signed": (
        "Reasoning that Anthropic signed, as OpenRouter writes it.",
        [
            *USER,
            {
                "role": "assistant",
                "content": "Sunny.",
                "reasoning": "I look outside.",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "I look outside.",
                        "signature": "c2lnbmVk",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {
                        "type": "reasoning.encrypted",
                        "data": "cmVkYWN0ZWQ=",
                        "format": "anthropic-claude-v1",
                        "index": 1,
                    },
                ],
            },
            *USER,
        ],
    ),
    "reasoning_foreign": (
        "Reasoning that another provider made.",
        [
            *USER,
            {
                "role": "assistant",
                "content": "Sunny.",
                "reasoning_details": [
                    {
                        "type": "reasoning.encrypted",
                        "data": "gAAAA",
                        "format": "openai-responses-v1",
                        "id": "rs_1",
                    }
                ],
            },
            *USER,
        ],
    ),
    "thinking_parts": (
        "Mistral's thinking sent back as parts.",
        [
            *USER,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "I look."}]},
                    {"type": "text", "text": "Sunny."},
                ],
            },
            *USER,
        ],
    ),
}


def _loop(calls: list[Json], results: list[Json], **more: Any) -> list[Json]:
    return [*USER, {"role": "assistant", "content": None, "tool_calls": calls, **more}, *results]


def _result(call_id: str, content: Any, **more: Any) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


PARIS: Final = call("get_weather", {"city": "Paris"}, "call_a1")
ROME: Final = call("get_weather", {"city": "Rome"}, "call_b2")
# As OpenAI's SDK sends it back, with what it read out of the arguments.
PARSED: Final[Json] = {
    **ROME,
    "function": {**ROME["function"], "parsed_arguments": {"city": "Rome"}},
}
LOOPS: Final[dict[str, tuple[str, list[Json]]]] = {
    "loop": (
        "One call and its result.",
        _loop([PARIS], [_result("call_a1", "21 degrees")]),
    ),
    "loop_parallel": (
        "Two calls at once and their results.",
        _loop([PARIS, ROME], [_result("call_a1", "21"), _result("call_b2", "28")]),
    ),
    "loop_out_of_order": (
        "A user's words between calls and results, and results in another order.",
        _loop(
            [PARIS, ROME],
            [
                {"role": "user", "content": "Hurry."},
                _result("call_b2", "28"),
                _result("call_a1", "21"),
            ],
        ),
    ),
    "loop_unanswered": (
        "A call that has no result.",
        _loop([PARIS, ROME], [_result("call_a1", "21"), *USER]),
    ),
    "loop_parts": (
        "A result as parts with a mark; a failed one; members that come with calls.",
        _loop(
            [{**PARIS, "index": 0, "cache_control": {"type": "ephemeral"}}, PARSED],
            [
                _result(
                    "call_a1",
                    [{"type": "text", "text": "21"}],
                    cache_control={"type": "ephemeral"},
                    name="get_weather",
                    tool_name="get_weather",
                ),
                _result("call_b2", "no such city", is_error=True),
            ],
        ),
    ),
    "loop_image": (
        "A picture in a result.",
        _loop(
            [PARIS],
            [
                _result(
                    "call_a1",
                    [
                        {"type": "text", "text": "Here."},
                        {
                            "type": "image_url",
                            "image_url": {"url": f"data:image/png;base64,{PNG}"},
                        },
                    ],
                )
            ],
        ),
    ),
    "loop_odd_id": (
        "An id of a call as Kimi writes it.",
        _loop(
            [call("get_weather", {"city": "Paris"}, "functions.get_weather:0")],
            [_result("functions.get_weather:0", "21")],
        ),
    ),
    "loop_no_arguments": (
        "A call without arguments.",
        _loop(
            [
                {
                    "id": "call_t",
                    "type": "function",
                    "function": {"name": "get_time", "arguments": ""},
                }
            ],
            [_result("call_t", "noon")],
        ),
    ),
    "loop_bad_arguments": (
        "Arguments that are no JSON.",
        _loop(
            [
                {
                    "id": "call_t",
                    "type": "function",
                    "function": {"name": "get_time", "arguments": "{"},
                }
            ],
            [_result("call_t", "noon")],
        ),
    ),
    "loop_signed": (
        "A call with Gemini's signature.",
        _loop(
            [{**PARIS, "extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}, ROME],
            [_result("call_a1", "21"), _result("call_b2", "28")],
        ),
    ),
    "loop_reasoning": (
        "A call with the reasoning that led to it.",
        _loop([PARIS], [_result("call_a1", "21")], reasoning_content="I must look."),
    ),
    "loop_words": (
        "Words beside a call.",
        [
            *USER,
            {"role": "assistant", "content": "I will look.", "tool_calls": [PARIS]},
            _result("call_a1", "21"),
        ],
    ),
    "loop_custom": (
        "A call of a custom tool.",
        _loop(
            [
                {
                    "id": "call_c",
                    "type": "custom",
                    "custom": {"name": "apply_patch", "input": "*** Begin"},
                }
            ],
            [_result("call_c", "done")],
        ),
    ),
}
CHOICES: Final[Json] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "function": {"type": "function", "function": {"name": "get_weather"}},
    "custom": {"type": "custom", "custom": {"name": "apply_patch"}},
    "allowed": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "get_weather"}}],
        },
    },
    "allowed_custom": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "custom", "custom": {"name": "apply_patch"}}],
        },
    },
}


def _rows() -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    ask = {"messages": USER}
    yield "least", "The least that can be asked.", ask, ALL
    for name, (note, turns) in TURNS.items():
        yield f"turns_{name}", note, {"messages": turns}, MAIN
    for name, (note, turns) in LOOPS.items():
        tools = [CUSTOM] if name == "loop_custom" else [WEATHER, TIME]
        yield name, note, {"messages": turns, "tools": tools}, MAIN
    for name in ("loop", "loop_reasoning", "loop_signed", "loop_parts"):
        asked = {"messages": LOOPS[name][1], "tools": [WEATHER, TIME]}
        yield name, LOOPS[name][0], asked, PROVIDERS
    for name in ("developer", "text_parts", "reasoning_signed", "image_data"):
        note, turns = TURNS[name]
        yield f"turns_{name}", note, {"messages": turns}, PROVIDERS
    for name, value in CHOICES.items():
        note = f"tool_choice: {name}."
        tools = [WEATHER, TIME, *([CUSTOM] if "custom" in name else [])]
        yield f"choice_{name}", note, {**ask, "tools": tools, "tool_choice": value}, MAIN
    sampling = {**ask, **SAMPLING, "modalities": ["text"]}
    yield "sampling", "All that says how to sample.", sampling, ("chat",)
    for name, value in SAMPLING.items():
        yield f"sampling_{name}", f"Asks for `{name}`.", {**ask, name: value}, NOT_CHAT
    yield "neutral", "Members with values that ask for nothing.", {**ask, **NEUTRAL}, MAIN
    yield "hints", "Members that ask for nothing.", {**ask, **HINTS}, ALL
    for name, value in PRICED.items():
        yield f"priced_{name}", f"`{name}` has no price here.", {**ask, name: value}, ("chat",)
    yield from _settings(ask)


def _settings(ask: Json) -> Iterator[tuple[str, str, Json, tuple[str, ...]]]:
    common = {"temperature": 0.5, "top_p": 0.9, "stop": ["END", "STOP"], "max_tokens": 100}
    yield "common", "Settings that all providers know.", {**ask, **common}, ALL
    yield "top_k", "top_k.", {**ask, "top_k": 40}, ALL
    yield "stop_text", "One text to stop at.", {**ask, "stop": "END"}, MAIN
    yield "budget_new", "The newer name of the budget.", {**ask, "max_completion_tokens": 64}, ALL
    both = {"max_tokens": 10, "max_completion_tokens": 20}
    yield "budget_both", "Both names of the budget.", {**ask, **both}, MAIN
    yield "budget_high", "More than the model writes.", {**ask, "max_tokens": 32_000}, MAIN
    people = {"user": "ann", "safety_identifier": "ann-1", "prompt_cache_key": "ann-chat"}
    yield "people", "Names of people become opaque.", {**ask, **people}, ALL
    yield "mark", "A mark at the top.", {**ask, "cache_control": {"type": "ephemeral"}}, MAIN
    for effort in ("none", "minimal", "high"):
        asked = {**ask, "reasoning_effort": effort}
        yield f"effort_{effort}", f"reasoning_effort: {effort}.", asked, ALL
    for name, value in {
        "effort": {"effort": "medium"},
        "budget": {"max_tokens": 4000},
        "off": {"enabled": False},
        "hidden": {"effort": "low", "exclude": True},
    }.items():
        asked = {**ask, "reasoning": value}
        yield f"reasoning_{name}", "OpenRouter's `reasoning`.", asked, ALL
    for name, form in {
        "text": {"type": "text"},
        "object": {"type": "json_object"},
        "schema": SCHEMA,
    }.items():
        yield f"format_{name}", f"response_format: {name}.", {**ask, "response_format": form}, ALL
    custom = {**ask, "tools": [CUSTOM]}
    yield "tools_custom", "A custom tool with a grammar.", custom, ALL
    marked = {**ask, "tools": [{**WEATHER, "cache_control": {"type": "ephemeral"}}]}
    yield "tools_marked", "A mark at a tool.", marked, MAIN
    single = {**ask, "tools": [WEATHER], "parallel_tool_calls": False}
    yield "tools_single", "One call at a time.", single, ALL
    yield "single_none", "One call at a time, of no tool.", single | {"tool_choice": "none"}, MAIN
    alone = {**ask, "parallel_tool_calls": False}
    yield "single_toolless", "One call at a time, and no tools.", alone, ("workers_ai",)
    many = {**ask, "tools": [WEATHER], "parallel_tool_calls": True}
    yield "tools_parallel", "Many calls at a time.", many, MAIN
    old = {**ask, "functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}}
    yield "functions", "The old way to offer functions.", old, MAIN
    oldies = [
        *USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    ]
    yield "function_turns", "The old way to call functions.", {"messages": oldies}, MAIN
    provider = {"provider": {"order": ["z-ai"], "allow_fallbacks": False}}
    yield "provider", "Preferences of providers.", {**ask, **provider}, (*MAIN, "openrouter")
    models = {"models": ["chat/model"]}
    yield "models", "Models to fall back to.", {**ask, **models}, ("chat",)
    for place, value in {
        "options": {**ask, "prompt_cache_options": {"mode": "explicit", "ttl": "12h"}},
        "part": {"messages": [{"role": "user", "content": [LONG_CACHED]}]},
    }.items():
        note = f"Twelve hours in the cache have another price: {place}."
        yield f"cache_12h_{place}", note, value, ("chat", "openai")
    yield "unknown", "A member that no table names.", {**ask, "new_member": {"a": 1}}, MAIN


def cases() -> Iterator[Case]:
    """All of them."""
    for name, note, request, providers in _rows():
        for provider in providers:
            yield Case(
                client="chat",
                provider=provider,
                name=f"ask_{name}",
                note=note,
                request=request,
                answer=usual(provider),
            )

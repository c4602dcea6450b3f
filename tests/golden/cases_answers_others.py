"""Answers of Anthropic, of Workers AI and of providers that speak Responses."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from tests.golden import cases_messages, cases_responses
from tests.golden.answers import (
    USAGE,
    anthropic,
    block_events,
    call,
    chat,
    chunk,
    responses,
    said,
    workers_ai,
)
from tests.golden.asks import CLIENTS, WITH_LEGACY, ask
from tests.golden.case import Answer, Case

Json = dict[str, Any]
TEXT: Final[Json] = {"type": "text", "text": "Sunny."}
THOUGHT: Final[Json] = {
    "type": "thinking",
    "thinking": "I look outside.",
    "signature": "c2lnbmVk",
}
SEALED: Final[Json] = {"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="}
USE: Final[Json] = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "get_weather",
    "input": {"city": "Paris"},
}
USE_TOO: Final[Json] = {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}}
CITED: Final[Json] = {
    "type": "text",
    "text": "Sunny.",
    "citations": [
        {
            "type": "char_location",
            "cited_text": "sun",
            "document_index": 0,
            "document_title": "a.pdf",
            "start_char_index": 0,
            "end_char_index": 3,
            "file_id": None,
        }
    ],
}
CACHED: Final[Json] = {
    "input_tokens": 40,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
    "output_tokens": 10,
    "service_tier": "standard",
    "server_tool_use": None,
    "inference_geo": "global",
}


def _odd(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, is_odd=True)


ANTHROPIC: Final[dict[str, tuple[str, Answer]]] = {
    "text": ("Words.", anthropic()),
    "texts": ("Two blocks of words.", anthropic([TEXT, TEXT])),
    "thinking": ("Thinking, then words.", anthropic([THOUGHT, TEXT])),
    "thinking_sealed": ("Thinking that is not shown.", anthropic([SEALED, TEXT])),
    "cited": ("Words with a citation.", anthropic([CITED])),
    "max_tokens": ("Cut by the budget.", anthropic([TEXT], "max_tokens")),
    "stop_sequence": (
        "A text to stop at.",
        anthropic([TEXT], "stop_sequence", stop_sequence="END"),
    ),
    "refusal": ("A refusal.", anthropic([TEXT], "refusal")),
    "pause_turn": ("A pause of a tool that Anthropic runs.", anthropic([TEXT], "pause_turn")),
    "context_exceeded": (
        "The model holds no more.",
        anthropic([TEXT], "model_context_window_exceeded"),
    ),
    "reason_unknown": ("A reason that nobody knows.", _odd(anthropic([TEXT], "telepathy"))),
    "cached": ("Tokens from the cache and written to it.", anthropic([TEXT], usage=CACHED)),
    "thinking_counted": (
        "Tokens of thinking.",
        anthropic(
            [THOUGHT, TEXT],
            usage={
                "input_tokens": 20,
                "output_tokens": 50,
                "output_tokens_details": {"thinking_tokens": 40},
            },
        ),
    ),
    "server_tool": (
        "A search that Anthropic ran.",
        anthropic(
            [
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "Paris"},
                    "caller": {"type": "direct"},
                },
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": [],
                    "caller": {"type": "direct"},
                },
                TEXT,
            ]
        ),
    ),
    "empty": ("No content at all.", anthropic([])),
    "blank": ("An empty block.", anthropic([{"type": "text", "text": ""}])),
}
ANTHROPIC_CALLS: Final[dict[str, tuple[str, Answer]]] = {
    "call": ("A call.", anthropic([USE], "tool_use")),
    "call_words": ("Words and a call.", anthropic([TEXT, USE], "tool_use")),
    "calls": ("Two calls at once.", anthropic([USE, USE_TOO], "tool_use")),
    "call_thinking": (
        "A call with the thinking that led to it.",
        anthropic([THOUGHT, SEALED, USE], "tool_use"),
    ),
    "call_words_after": (
        "Words after a call.",
        msgspec.structs.replace(anthropic([USE, TEXT], "tool_use"), is_reordered=True),
    ),
}


def _anthropic_breaks() -> Iterator[tuple[str, str, Answer]]:
    events = anthropic([TEXT]).events
    overloaded = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }
    yield "broken", "An error after the first words.", Answer(events=(*events[:4], overloaded))
    yield "broken_at_once", "An error before all words.", Answer(events=(overloaded,))
    yield "cut", "A connection that broke.", Answer(events=events[:4], is_cut=True)
    yield "no_end", "An end without `message_stop`.", Answer(events=events[:-1])
    yield "no_reason", "An end without a reason.", Answer(events=events[:-2])
    started = msgspec.json.decode(msgspec.json.encode(events[0]))
    started["message"]["usage"] = {"input_tokens": 20, "output_tokens": 0}
    last = {**events[-2], "usage": {"output_tokens": 10}}
    yield (
        "usage_in_two",
        "What was asked is counted at the start, the answer at the end.",
        Answer(events=(started, *events[1:-2], last, events[-1])),
    )
    strange = {"type": "telepathy", "thought": "?"}
    yield (
        "event_unknown",
        "An event that nobody knows.",
        Answer(events=(*events[:3], strange, *events[3:])),
    )
    block = block_events(0, {"type": "telepathy", "thought": "?"})
    yield (
        "block_unknown",
        "A block that nobody knows.",
        _odd(Answer(events=(events[0], *block, *block_events(1, TEXT), *events[-2:]))),
    )


# A tool that the client runs, the call as a provider makes it, and who offers it.
TOOLS_BACK: Final[dict[str, tuple[str, Json, str, Json]]] = {
    "custom": (
        "responses",
        cases_responses.TOOLS["custom"],
        "apply_patch",
        {"input": "*** Begin Patch"},
    ),
    "namespace": ("responses", cases_responses.TOOLS["namespace"], "spawn", {"task": "look"}),
    "local_shell": (
        "responses",
        cases_responses.TOOLS["local_shell"],
        "local_shell",
        {"command": ["ls", "-l"], "timeout_ms": 1000},
    ),
    "shell": ("responses", cases_responses.TOOLS["shell"], "shell", {"commands": ["ls"]}),
    "apply_patch": (
        "responses",
        cases_responses.TOOLS["apply_patch"],
        "apply_patch",
        {"type": "create_file", "path": "a.txt", "diff": "+a"},
    ),
    "computer": (
        "responses",
        cases_responses.TOOLS["computer_new"],
        "computer",
        {"action": {"type": "click", "button": "left", "x": 1, "y": 2}},
    ),
    "tool_search": (
        "responses",
        cases_responses.TOOLS["tool_search"],
        "tool_search",
        {"query": "weather"},
    ),
    "bash": ("messages", cases_messages.TOOLS["bash"], "bash", {"command": "ls"}),
    "text_editor": (
        "messages",
        cases_messages.TOOLS["text_editor"],
        "str_replace_based_edit_tool",
        {"command": "view", "path": "/a"},
    ),
    "memory": (
        "messages",
        cases_messages.TOOLS["memory"],
        "memory",
        {"command": "view", "path": "/memories"},
    ),
}
WORKERS: Final[dict[str, tuple[str, Answer]]] = {
    "text": ("Words.", workers_ai()),
    "number": (
        "A number where words should be.",
        Answer(
            whole={"result": {"response": 6, "usage": USAGE}, "success": True},
            events=({"response": 6}, {"response": "", "usage": USAGE}),
        ),
    ),
    "object": (
        "An object where words should be.",
        Answer(
            whole={"result": {"response": {"celsius": 21}, "usage": USAGE}, "success": True},
            events=({"response": {"celsius": 21}}, {"response": "", "usage": USAGE}),
        ),
    ),
    "no_usage": (
        "No usage.",
        Answer(
            whole={"result": {"response": "Hello there."}, "success": True},
            events=({"response": "Hello"}, {"response": " there."}),
        ),
    ),
    "openai_inside": (
        "An answer of OpenAI's shape inside.",
        Answer(
            whole={"result": chat().whole, "success": True, "errors": [], "messages": []},
            events=chat().events,
        ),
    ),
    "mixed": (
        "Both shapes in one stream.",
        Answer(
            events=(
                {"response": "Hello"},
                chunk({"content": " there."}),
                {"response": "", "finish_reason": "stop", "usage": USAGE},
            )
        ),
    ),
    "no_end": (
        "A stream that ends without an end.",
        Answer(events=({"response": "Hello"},), is_done=False),
    ),
    "failed_inside": (
        "A failure inside status 200.",
        Answer(
            whole={
                "result": None,
                "success": False,
                "errors": [{"code": 5006, "message": "Error: oneOf at '/' not met"}],
                "messages": [],
            }
        ),
    ),
}
FLAT: Final[list[Json]] = [{"name": "get_weather", "arguments": {"city": "Paris"}}]
WORKERS_CALLS: Final[dict[str, tuple[str, Answer]]] = {
    "call_flat": ("A flat call with an object.", workers_ai("", FLAT)),
    "call_nested": (
        "A call as OpenAI nests it.",
        workers_ai("", [call("get_weather", {"city": "Paris"})]),
    ),
    "call_null": ("A call that is null at the end.", workers_ai("", [*FLAT, None])),
    "calls_flat": (
        "Two flat calls.",
        workers_ai("", [*FLAT, {"name": "get_time", "arguments": {}}]),
    ),
}
REASONED: Final[Json] = {
    "type": "reasoning",
    "id": "rs_68b1",
    "summary": [{"type": "summary_text", "text": "I look outside."}],
    "encrypted_content": "gAAAAAB",
}
CALLED: Final[Json] = {
    "type": "function_call",
    "id": "fc_68b2",
    "call_id": "call_a1",
    "name": "get_weather",
    "arguments": '{"city":"Paris"}',
    "status": "completed",
}
NATIVE: Final[dict[str, tuple[str, Answer]]] = {
    "text": ("Words.", responses()),
    "reasoning": ("Reasoning, then words.", responses([REASONED, said("Sunny.")])),
    "call": ("A call.", responses([CALLED])),
    "calls": (
        "Reasoning, words and two calls.",
        responses(
            [
                REASONED,
                said("I look.", phase="commentary"),
                CALLED,
                {**CALLED, "id": "fc_68b3", "call_id": "call_b2", "name": "get_time"},
            ]
        ),
    ),
    "call_custom": (
        "A call of a custom tool.",
        responses(
            [
                {
                    "type": "custom_tool_call",
                    "id": "ctc_68b4",
                    "call_id": "call_c",
                    "name": "patch",
                    "input": "*** Begin",
                    "status": "completed",
                }
            ]
        ),
    ),
    "refusal": (
        "A refusal.",
        responses([{**said(""), "content": [{"type": "refusal", "refusal": "I cannot say."}]}]),
    ),
    "length": (
        "Cut by the budget.",
        responses(
            [said("Sunny and", status="incomplete")],
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
    "content_filter": (
        "Cut by a filter.",
        responses(
            [said("Sunny and", status="incomplete")],
            status="incomplete",
            incomplete_details={"reason": "content_filter"},
        ),
    ),
    "cached": (
        "Tokens from the cache and written to it; reasoning.",
        responses(
            usage={
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
                "output_tokens": 10,
                "output_tokens_details": {"reasoning_tokens": 6},
                "total_tokens": 110,
            }
        ),
    ),
}


def _native_breaks() -> Iterator[tuple[str, str, Answer]]:
    events = responses().events
    failed = {
        **events[0],
        "type": "response.failed",
        "sequence_number": 6,
        "response": {
            **events[0]["response"],
            "status": "failed",
            "error": {"code": "rate_limit_exceeded", "message": "Too fast."},
        },
    }
    error = {
        "type": "error",
        "code": "server_error",
        "message": "Oops.",
        "param": None,
        "sequence_number": 6,
    }
    yield "failed", "A failure after the first words.", Answer(events=(*events[:6], failed))
    yield "failed_at_once", "A failure before all words.", Answer(events=(events[0], failed))
    yield "error", "An error after the first words.", Answer(events=(*events[:6], error))
    yield "cut", "A connection that broke.", Answer(events=events[:6], is_cut=True)
    yield "no_end", "An end without an event that says so.", Answer(events=events[:-1])
    yield (
        "no_end_no_mark",
        "The same without an end mark.",
        Answer(events=events[:-1], is_done=False),
    )
    yield (
        "whole_failed",
        "A whole answer that failed.",
        Answer(
            whole={
                **responses().whole,
                "status": "failed",
                "output": [],
                "error": {"code": "server_error", "message": "Oops."},
            }
        ),
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (note, answer) in ANTHROPIC.items():
        yield from _each(name, note, "anthropic", answer, WITH_LEGACY)
    for name, (note, answer) in ANTHROPIC_CALLS.items():
        yield from _each(name, note, "anthropic", answer, CLIENTS, has_tools=True)
    for name, note, answer in _anthropic_breaks():
        yield from _each(name, note, "anthropic", answer, CLIENTS)
    for name, (note, answer) in WORKERS.items():
        yield from _each(name, note, "workers_ai", answer, WITH_LEGACY)
    for name, (note, answer) in WORKERS_CALLS.items():
        yield from _each(name, note, "workers_ai", answer, CLIENTS, has_tools=True)
    for name, (note, answer) in NATIVE.items():
        has_tools = "call" in name
        yield from _each(name, note, "responses", answer, ("responses",), has_tools=has_tools)
    for name, note, answer in _native_breaks():
        yield from _each(name, note, "responses", answer, ("responses",))
    yield from _tools_back()


def _tools_back() -> Iterator[Case]:
    """Calls of tools that the client runs, made as functions and given back as what they are."""
    for name, (client, tool, function, arguments) in TOOLS_BACK.items():
        block = {**USE, "name": function, "input": arguments}
        both = {
            "chat": chat(
                {"content": None, "tool_calls": [call(function, arguments)]}, "tool_calls"
            ),
            "anthropic": anthropic([block], "tool_use"),
        }
        if client == "messages":
            del both["anthropic"]
        for provider, answer in both.items():
            # A chat provider knows custom tools; this one does not.
            where = "gemini" if provider == "chat" else provider
            yield Case(
                client=client,
                provider=where,
                name=f"back_{name}",
                note="A call of a tool that the client runs, made as a function.",
                request=ask(client, tools=[tool]),
                answer=answer,
            )


def _each(
    name: str,
    note: str,
    provider: str,
    answer: Answer,
    clients: tuple[str, ...],
    *,
    has_tools: bool = False,
) -> Iterator[Case]:
    for client in clients:
        yield Case(
            client=client,
            provider=provider,
            name=name,
            note=note,
            request=ask(client, has_tools=has_tools),
            answer=answer,
        )

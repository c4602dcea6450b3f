"""Answers of providers that speak Chat Completions: content, calls, reasons and usage."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from tests.golden.answers import USAGE, call, chat, chunk
from tests.golden.asks import CLIENTS, WITH_LEGACY, ask
from tests.golden.case import Answer, Case

Json = dict[str, Any]
PARIS: Final = call("get_weather", {"city": "Paris"})
ROME: Final = call("get_time", {"zone": "CET"}, "call_b2")
SIGNED: Final[list[Json]] = [
    {
        "type": "reasoning.text",
        "text": "I look outside.",
        "signature": "c2lnbmVk",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
]
SEALED: Final[list[Json]] = [
    {
        "type": "reasoning.summary",
        "summary": "I look outside.",
        "format": "openai-responses-v1",
        "index": 0,
    },
    {
        "type": "reasoning.encrypted",
        "data": "gAAAAAB",
        "format": "openai-responses-v1",
        "id": "rs_1",
        "index": 0,
    },
]
CITED: Final[list[Json]] = [
    {
        "type": "url_citation",
        "url_citation": {
            "start_index": 0,
            "end_index": 5,
            "title": "Weather",
            "url": "https://example.com/",
        },
    }
]
LOGPROBS: Final[Json] = {
    "content": [{"token": "Sunny", "logprob": -0.5, "bytes": [83], "top_logprobs": []}],
    "refusal": None,
}
USAGES: Final[dict[str, tuple[str, Json | None]]] = {
    "cached": (
        "Tokens from the cache, and written to it.",
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
        },
    ),
    "reasoning_inside": (
        "Reasoning within the answer's tokens.",
        {
            "prompt_tokens": 20,
            "completion_tokens": 50,
            "total_tokens": 70,
            "completion_tokens_details": {"reasoning_tokens": 40},
        },
    ),
    "reasoning_beside": (
        "Reasoning beside the answer's tokens: the total says so.",
        {
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "total_tokens": 1030,
            "completion_tokens_details": {"reasoning_tokens": 1000},
        },
    ),
    "total_larger": (
        "A total larger than its parts, and no details.",
        {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 130},
    ),
    "total_smaller": (
        "A total smaller than its parts.",
        {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 5},
    ),
    "none": ("No usage at all.", None),
    "zero": (
        "Nothing used, though something was said.",
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    ),
    "negative": (
        "Less than nothing.",
        {"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6},
    ),
    "cached_more": (
        "More from the cache than there was.",
        {
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 500},
        },
    ),
    "text": (
        "Counts as text and as fractions.",
        {"prompt_tokens": "20", "completion_tokens": 10.0, "total_tokens": "30"},
    ),
    "deepseek": (
        "Hits and misses, as DeepSeek counts them.",
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_cache_hit_tokens": 60,
            "prompt_cache_miss_tokens": 40,
        },
    ),
    "moonshot": (
        "Cached tokens at the top.",
        {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "cached_tokens": 60},
    ),
    "responses": (
        "The names of Responses.",
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 110,
        },
    ),
    "gemini": (
        "Gemini's own names.",
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 10,
            "thoughtsTokenCount": 30,
            "cachedContentTokenCount": 60,
            "totalTokenCount": 140,
        },
    ),
    "anthropic": (
        "Anthropic's names: input excludes the cache.",
        {
            "input_tokens": 40,
            "cache_read_input_tokens": 40,
            "cache_creation_input_tokens": 20,
            "output_tokens": 10,
        },
    ),
    "openrouter": (
        "What it cost, as OpenRouter says.",
        {
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "total_tokens": 30,
            "cost": 0.00014,
            "cost_details": {"upstream_inference_cost": 0.00014},
            "is_byok": False,
        },
    ),
}


CONTENT: Final[dict[str, tuple[str, str, Answer]]] = {
    "text": ("Words.", "chat", chat()),
    "unicode": ("Words of all kinds.", "chat", chat({"content": "Ça va, 世界? 🌤\u2028\n\"'\\"})),
    "reasoning_content": (
        "Reasoning, as DeepSeek names it.",
        "deepseek",
        chat({"reasoning_content": "I look outside.", "content": "Sunny."}),
    ),
    "reasoning": (
        "Reasoning, as others name it.",
        "chat",
        chat({"reasoning": "I look outside.", "content": "Sunny."}),
    ),
    "reasoning_signed": (
        "Reasoning that Anthropic signed.",
        "openrouter",
        chat(
            {"reasoning": "I look outside.", "reasoning_details": SIGNED, "content": "Sunny."},
            provider="Anthropic",
        ),
    ),
    "reasoning_sealed": (
        "Reasoning that OpenAI encrypted.",
        "openrouter",
        chat({"reasoning": "I look outside.", "reasoning_details": SEALED, "content": "Sunny."}),
    ),
    "reasoning_only": (
        "Reasoning until the budget was used up.",
        "deepseek",
        chat({"reasoning_content": "I look outside.", "content": ""}, "length"),
    ),
    "refusal": (
        "A refusal.",
        "openai",
        chat({"content": None, "refusal": "I cannot say."}),
    ),
    "annotations": (
        "Words with a citation.",
        "openai",
        chat({"content": "Sunny.", "annotations": CITED}),
    ),
    "images": (
        "A picture beside the words.",
        "openrouter",
        chat(
            {
                "content": "Here.",
                "images": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
                ],
            }
        ),
    ),
    "images_only": (
        "A picture alone.",
        "openrouter",
        chat(
            {
                "content": "",
                "images": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
                ],
            }
        ),
    ),
    "length": ("Cut by the budget.", "chat", chat({"content": "Sunny and"}, "length")),
    "content_filter": (
        "Cut by a filter.",
        "openai",
        chat({"content": "Sunny and"}, "content_filter"),
    ),
    "eos": ("A reason of Together's.", "chat", chat(finish="eos")),
    "model_length": ("A reason of Mistral's.", "chat", chat(finish="model_length")),
    "reason_unknown": ("A reason that nobody knows.", "chat", chat(finish="telepathy")),
    "reason_upper": ("A reason in capitals.", "gemini", chat(finish="STOP")),
    "reason_error": ("An answer that ended in an error.", "openrouter", chat(finish="error")),
    "native_reason": (
        "A reason told twice, with more that only OpenRouter says.",
        "openrouter",
        chat(provider="Z.AI", system_fingerprint="fp_1", service_tier="default"),
    ),
}
CALLS: Final[dict[str, tuple[str, str, Answer]]] = {
    "call": (
        "A call.",
        "chat",
        chat({"content": None, "tool_calls": [PARIS]}, "tool_calls"),
    ),
    "call_words": (
        "Words and a call.",
        "chat",
        chat({"content": "I look.", "tool_calls": [PARIS]}, "tool_calls"),
    ),
    "calls": (
        "Two calls at once.",
        "chat",
        chat({"content": None, "tool_calls": [PARIS, ROME]}, "tool_calls"),
    ),
    "call_reasoning": (
        "A call with the reasoning that led to it.",
        "deepseek",
        chat(
            {"reasoning_content": "I must look.", "content": "", "tool_calls": [PARIS]},
            "tool_calls",
        ),
    ),
    "call_no_arguments": (
        "A call without arguments.",
        "chat",
        chat(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_t",
                        "type": "function",
                        "function": {"name": "get_time", "arguments": ""},
                    }
                ],
            },
            "tool_calls",
        ),
    ),
    "call_cut": (
        "A call that the budget cut.",
        "chat",
        chat(
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_t",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city": "Par'},
                    }
                ],
            },
            "length",
        ),
    ),
    "call_stop": (
        "A call beside the reason `stop`.",
        "gemini",
        chat({"content": None, "tool_calls": [PARIS]}, "stop"),
    ),
    "call_signed": (
        "A call with Gemini's signature.",
        "gemini",
        chat(
            {
                "content": None,
                "tool_calls": [
                    {**PARIS, "extra_content": {"google": {"thought_signature": "c2lnbmVk"}}},
                    ROME,
                ],
            },
            "tool_calls",
        ),
    ),
    "call_odd_id": (
        "An id as Kimi writes it.",
        "chat",
        chat(
            {
                "content": None,
                "tool_calls": [call("get_weather", {"city": "Paris"}, "functions.get_weather:0")],
            },
            "tool_calls",
        ),
    ),
}


def _with_usage(usage: Json | None) -> Answer:
    """Give an answer with this usage, or with none at all."""
    answer = chat(usage={} if usage is None else usage)
    if usage is not None:
        return answer
    whole = {name: value for name, value in answer.whole.items() if name != "usage"}
    return msgspec.structs.replace(answer, whole=whole, events=answer.events[:-1])


def _placed() -> Iterator[tuple[str, str, Answer]]:
    """Give usage in places of its own."""
    base = chat()
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = USAGE
    yield (
        "usage_in_choice",
        "Usage inside the choice, as Moonshot streams it.",
        Answer(events=(*base.events[:-2], last)),
    )
    groq = {**chunk({}, "stop"), "x_groq": {"id": "req_1", "usage": USAGE}}
    yield (
        "usage_in_x_groq",
        "Usage in a member of Groq's.",
        Answer(events=(*base.events[:-2], groq)),
    )
    running = tuple(
        {**event, "usage": {**USAGE, "completion_tokens": place, "total_tokens": 20 + place}}
        for place, event in enumerate(base.events[:-1], 7)
    )
    yield "usage_running", "Usage in each event: the last counts.", Answer(events=running)
    first = {**base.events[0], "usage": {"prompt_tokens": 20, "completion_tokens": 0}}
    yield (
        "usage_first",
        "Usage in the first event only.",
        Answer(events=(first, *base.events[1:-1])),
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (note, provider, answer) in CONTENT.items():
        yield from _case(name, note, provider, answer, WITH_LEGACY)
    for name, (note, provider, answer) in CALLS.items():
        yield from _case(name, note, provider, answer, CLIENTS, has_tools=True)
    yield from _case("call", *CALLS["call"], ("completions",))
    for name, (note, usage) in USAGES.items():
        for client in WITH_LEGACY if name in {"cached", "none"} else CLIENTS:
            yield from _case(f"usage_{name}", note, "chat", _with_usage(usage), (client,))
    for name, note, answer in _placed():
        yield from _case(name, note, "chat", answer, CLIENTS)
    yield from _more()


def _more() -> Iterator[Case]:
    told = chat({"content": "Sunny."})
    whole = {**told.whole, "choices": [{**told.whole["choices"][0], "logprobs": LOGPROBS}]}
    probed = chunk({"content": "Sunny."})
    probed["choices"][0]["logprobs"] = LOGPROBS
    answer = Answer(whole=whole, events=(probed, *told.events[-2:]))
    yield from _case("logprobs", "Log probabilities.", "openai", answer, ("chat", "responses"))
    choices = [{**told.whole["choices"][0], "index": at} for at in (0, 1)]
    events = []
    for delta, finish in (({"content": "Sunny."}, None), ({}, "stop")):
        for at in (0, 1):
            event = chunk(delta, finish)
            event["choices"][0]["index"] = at
            events.append(event)
    answer = Answer(whole={**told.whole, "choices": choices}, events=(*events, told.events[-1]))
    for client in ("chat", "completions"):
        yield Case(
            client=client,
            provider="chat",
            name="two_choices",
            note="Two choices.",
            request=ask(client, n=2),
            answer=answer,
        )
    asked = ask("chat", usage={"include": True})
    yield Case(
        client="chat",
        provider="chat",
        name="cost_asked",
        note="The cost, asked for as OpenRouter's clients do.",
        request=asked,
        answer=chat(),
    )
    quiet = ask("chat", stream_options={"include_usage": False})
    yield Case(
        client="chat",
        provider="chat",
        name="usage_not_asked",
        note="A stream whose usage nobody wants to see.",
        request=quiet,
        answer=Answer(events=chat().events),
    )
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    choice = {"index": 0, "message": old, "finish_reason": "function_call"}
    events = [
        chunk({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk({}, "function_call"),
        told.events[-1],
    ]
    answer = Answer(whole={**told.whole, "choices": [choice]}, events=tuple(events))
    yield from _case("call_old", "The old way to call.", "chat", answer, CLIENTS)
    custom = {"id": "call_c", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    answer = chat({"content": None, "tool_calls": [custom]}, "tool_calls")
    tool = {"type": "custom", "custom": {"name": "patch"}}
    asked = ask("chat", tools=[tool])
    for client, request in (
        ("chat", asked),
        ("responses", ask("responses", tools=[{"type": "custom", "name": "patch"}])),
    ):
        yield Case(
            client=client,
            provider="openai",
            name="call_custom",
            note="A call of a custom tool.",
            request=request,
            answer=answer,
        )


def _case(
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

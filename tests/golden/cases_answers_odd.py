"""Odd answers of providers that speak Chat Completions, and answers that fail."""

from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import CREATED, USAGE, chunk
from tests.golden.asks import CLIENTS, WITH_LEGACY, ask
from tests.golden.case import Answer, Case

Json = dict[str, Any]
HEAD: Final[Json] = {"id": "chatcmpl-7Qz", "created": CREATED, "model": "local-model"}
LAST: Final[Json] = {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}


def _odd(message: Json, deltas: list[Json], finish: str = "stop", **head: Any) -> Answer:
    """An answer of a message, and a stream of these deltas."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    named = {**HEAD, **head}
    whole = {**named, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    events = [chunk(delta, **head) for delta in deltas]
    return Answer(whole=whole, events=(*events, chunk({}, finish, **head), {**LAST, **head}))


def _calls(*calls: Json) -> Json:
    return {"tool_calls": list(calls)}


def _call(arguments: Any, **more: Any) -> Json:
    return {"type": "function", "function": {"name": "get_weather", "arguments": arguments}, **more}


PARIS: Final = '{"city":"Paris"}'
ROME: Final = '{"city":"Rome"}'
ODD: Final[dict[str, tuple[str, Answer]]] = {
    "number": (
        "A number as content.",
        _odd({"content": 6}, [{"content": 6}]),
    ),
    "bool": ("A truth as content.", _odd({"content": True}, [{"content": True}])),
    "list": (
        "Content as a list, with Mistral's thinking.",
        _odd(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "I look."}]},
                    {"type": "text", "text": "Sunny."},
                ]
            },
            [
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "I look."}]}
                    ]
                },
                {"content": [{"type": "text", "text": "Sunny."}]},
            ],
        ),
    ),
    "object": (
        "Content as an object.",
        _odd({"content": {"celsius": 21}}, [{"content": {"celsius": 21}}]),
    ),
    "reasoning_object": (
        "Reasoning as an object.",
        _odd(
            {"reasoning": {"content": "I look."}, "content": "Sunny."},
            [{"reasoning": {"content": "I look."}}, {"content": "Sunny."}],
        ),
    ),
    "reasoning_twice": (
        "The same reasoning under two names.",
        _odd(
            {"reasoning": "I look.", "reasoning_content": "I look.", "content": "Sunny."},
            [{"reasoning": "I look.", "reasoning_content": "I look."}, {"content": "Sunny."}],
        ),
    ),
    "id_number": (
        "A number as id and a fraction as time.",
        _odd({"content": "Sunny."}, [{"content": "Sunny."}], id=123, created=CREATED + 0.25),
    ),
    "id_missing": (
        "No id, no time, no model.",
        _odd({"content": "Sunny."}, [{"content": "Sunny."}], id=None, created=None, model=None),
    ),
    "call_no_id": (
        "Two calls without ids.",
        _odd(
            {"content": None, **_calls(_call(PARIS), _call(ROME))},
            [_calls({"index": 0, **_call(PARIS)}), _calls({"index": 1, **_call(ROME)})],
            "tool_calls",
        ),
    ),
    "call_empty_id": (
        "Two calls with empty ids.",
        _odd(
            {"content": None, **_calls(_call(PARIS, id=""), _call(ROME, id=""))},
            [
                _calls({"index": 0, **_call(PARIS, id="")}),
                _calls({"index": 1, **_call(ROME, id="")}),
            ],
            "tool_calls",
        ),
    ),
    "call_no_index": (
        "Two calls without places.",
        _odd(
            {"content": None, **_calls(_call(PARIS, id="call_a"), _call(ROME, id="call_b"))},
            [_calls(_call(PARIS, id="call_a")), _calls(_call(ROME, id="call_b"))],
            "tool_calls",
        ),
    ),
    "call_one_index": (
        "Two calls at one place, as Gemini streams them.",
        _odd(
            {"content": None, **_calls(_call(PARIS, id="call_a"), _call(ROME, id="call_b"))},
            [
                _calls({"index": 0, **_call(PARIS, id="call_a")}),
                _calls({"index": 0, **_call(ROME, id="call_b")}),
            ],
            "tool_calls",
        ),
    ),
    "call_index_text": (
        "A place as text.",
        _odd(
            {"content": None, **_calls(_call(PARIS, id="call_a"))},
            [_calls({"index": "0", **_call(PARIS, id="call_a")})],
            "tool_calls",
        ),
    ),
    "call_object": (
        "Arguments as an object.",
        _odd(
            {"content": None, **_calls(_call({"city": "Paris"}, id="call_a"))},
            [_calls({"index": 0, **_call({"city": "Paris"}, id="call_a")})],
            "tool_calls",
        ),
    ),
    "call_null": (
        "Arguments as null.",
        _odd(
            {"content": None, **_calls(_call(None, id="call_a"))},
            [_calls({"index": 0, **_call(None, id="call_a")})],
            "tool_calls",
        ),
    ),
    "call_blank_first": (
        "An empty object before the arguments.",
        Answer(
            events=(
                chunk(_calls({"index": 0, **_call("{}", id="call_a")})),
                chunk(_calls({"index": 0, "function": {"arguments": PARIS[:5]}})),
                chunk(_calls({"index": 0, "function": {"arguments": PARIS[5:]}})),
                chunk(_calls({"index": 1, **_call("{}", id="call_b")})),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "call_said_again": (
        "A call that is said once more when it is whole.",
        Answer(
            events=(
                chunk(_calls({"index": 0, **_call("", id="call_a")})),
                chunk(_calls({"index": 0, "function": {"arguments": PARIS}})),
                chunk(_calls({"index": 0, **_call(PARIS, id="call_a")})),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "call_promised": (
        "A reason that speaks of calls, and none.",
        _odd({"content": "Sunny."}, [{"content": "Sunny."}], "tool_calls"),
    ),
    "call_late_name": (
        "A name that comes after the first arguments.",
        Answer(
            events=(
                chunk(_calls({"index": 0, "id": "call_a", "function": {"arguments": '{"city":'}})),
                chunk(
                    _calls({"index": 0, "function": {"name": "get_weather", "arguments": '"P"}'}})
                ),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "call_name_repeated": (
        "A name in each fragment.",
        Answer(
            events=(
                chunk(_calls({"index": 0, **_call('{"city":', id="call_a")})),
                chunk(_calls({"index": 0, **_call('"Paris"}', id="call_a")})),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "calls_interleaved": (
        "Fragments of two calls by turns.",
        Answer(
            events=(
                chunk(_calls({"index": 0, **_call("", id="call_a")})),
                chunk(_calls({"index": 1, **_call("", id="call_b")})),
                chunk(_calls({"index": 0, "function": {"arguments": PARIS}})),
                chunk(_calls({"index": 1, "function": {"arguments": ROME}})),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "words_after_call": (
        "Words after a call.",
        Answer(
            events=(
                chunk(_calls({"index": 0, **_call(PARIS, id="call_a")})),
                chunk({"content": "There."}),
                chunk({}, "tool_calls"),
                LAST,
            )
        ),
    ),
    "padding": (
        "Members and chunks that carry nothing.",
        Answer(
            events=(
                {**HEAD, "object": "chat.completion.chunk", "choices": []},
                {**HEAD, "object": "chat.completion.chunk", "choices": None},
                {**chunk({"content": "Sunny."}), "obfuscation": "xyz", "service_tier": "default"},
                {**chunk({"content": None}), "usage": None},
                chunk({}, "stop"),
                LAST,
            )
        ),
    ),
    "message_in_stream": (
        "A message where a fragment should be.",
        Answer(
            events=(
                {
                    **HEAD,
                    "object": "chat.completion.chunk",
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "Sunny."},
                            "finish_reason": "stop",
                        }
                    ],
                },
                LAST,
            )
        ),
    ),
    "no_choice_index": (
        "A choice without a place.",
        Answer(
            events=(
                {**HEAD, "choices": [{"delta": {"content": "Sunny."}}]},
                {**HEAD, "choices": [{"delta": {}, "finish_reason": "stop"}]},
                LAST,
            )
        ),
    ),
    "logprobs_list": (
        "Log probabilities as an empty list.",
        Answer(
            events=(
                {
                    **HEAD,
                    "choices": [
                        {"index": 0, "delta": {"content": "Sunny."}, "logprobs": []},
                    ],
                },
                chunk({}, "stop"),
                LAST,
            )
        ),
    ),
    "framing": (
        "Comments, CRLF, events of two lines, no space after the colon.",
        Answer(
            raw_stream=(
                b": OPENROUTER PROCESSING\r\n\r\n"
                b'data:{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",\r\n'
                b'data:"choices":[{"index":0,"delta":{"content":"Sunny."},"finish_reason":null}]}'
                b"\r\n\r\n\r\n"
                b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
                b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
                b"data: [DONE]\r\n\r\n"
            )
        ),
    ),
}
BREAKS: Final[dict[str, tuple[str, Answer]]] = {
    "error": (
        "An error after the first words.",
        Answer(
            events=(
                chunk({"content": "Sun"}),
                {"error": {"message": "Provider returned error", "code": 502}},
            ),
            is_done=False,
        ),
    ),
    "error_choice": (
        "An error inside a choice, as OpenRouter ends.",
        Answer(
            events=(
                chunk({"content": "Sun"}),
                {
                    **chunk({"content": ""}, "error"),
                    "error": {"code": "server_error", "message": "Provider disconnected"},
                },
            ),
            is_done=False,
        ),
    ),
    "error_rate": (
        "A limit reached after the first words.",
        Answer(
            events=(
                chunk({"content": "Sun"}),
                {"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}},
            ),
            is_done=False,
        ),
    ),
    "error_at_once": (
        "An error before all words.",
        Answer(events=({"error": {"message": "Overloaded", "code": 529}},), is_done=False),
    ),
    "error_in_200": (
        "An error with status 200.",
        Answer(whole={"error": {"message": "Provider returned error", "code": 502}}),
    ),
    "cut": (
        "A connection that broke.",
        Answer(events=(chunk({"content": "Sun"}),), is_done=False, is_cut=True),
    ),
    "cut_in_call": (
        "A connection that broke within a call.",
        Answer(
            events=(chunk(_calls({"index": 0, **_call('{"city":', id="call_a")})),),
            is_done=False,
            is_cut=True,
        ),
    ),
    "no_end": (
        "An end without a reason and without a mark.",
        Answer(events=(chunk({"content": "Sun"}),), is_done=False),
    ),
    "no_mark": (
        "An end with a reason and without a mark.",
        Answer(events=(chunk({"content": "Sunny."}), chunk({}, "stop")), is_done=False),
    ),
    "malformed": (
        "An event that is no JSON.",
        Answer(events=(chunk({"content": "Sun"}), '{"choices": [')),
    ),
    "nothing": ("A stream of nothing.", Answer(events=(chunk({"role": "assistant"}),))),
    "empty": (
        "An answer of nothing.",
        Answer(whole={**HEAD, "choices": [], "usage": USAGE}),
    ),
    "no_json": ("No JSON at all.", Answer(whole=b"<html>Bad gateway</html>")),
}
REFUSALS: Final[dict[str, tuple[str, str, Answer]]] = {
    "context": (
        "An input that is too long, as OpenAI says it.",
        "openai",
        Answer(
            status=400,
            whole={
                "error": {
                    "message": "This model's maximum context length is 8192 tokens. "
                    "However, your messages resulted in 9001 tokens.",
                    "type": "invalid_request_error",
                    "param": "messages",
                    "code": "context_length_exceeded",
                }
            },
        ),
    ),
    "context_words": (
        "The same in words alone.",
        "chat",
        Answer(
            status=400,
            whole={
                "error": {
                    "message": "the request exceeds the available context size",
                    "type": "exceed_context_size_error",
                    "code": 400,
                }
            },
        ),
    ),
    "parameter": (
        "A member that the model does not take.",
        "openai",
        Answer(
            status=400,
            whole={
                "error": {
                    "message": "Unsupported parameter: 'temperature' is not supported.",
                    "type": "invalid_request_error",
                    "param": "temperature",
                    "code": "unsupported_parameter",
                }
            },
        ),
    ),
    "filter": (
        "A prompt that a filter refused.",
        "openai",
        Answer(
            status=400,
            whole={
                "error": {
                    "message": "The prompt was filtered.",
                    "type": "invalid_request_error",
                    "param": "prompt",
                    "code": "content_filter",
                }
            },
        ),
    ),
    "detail": (
        "A complaint as FastAPI writes it.",
        "chat",
        Answer(
            status=422,
            whole={"detail": [{"loc": ["body", "messages"], "msg": "field required"}]},
        ),
    ),
    "our_key": (
        "Our key is refused.",
        "openai",
        Answer(
            status=401,
            whole={"error": {"message": "Incorrect API key", "code": "invalid_api_key"}},
        ),
    ),
    "our_credit": (
        "Our credit is used up.",
        "openrouter",
        Answer(status=402, whole={"error": {"message": "Insufficient credits", "code": 402}}),
    ),
    "our_quota": (
        "Our quota is used up.",
        "openai",
        Answer(
            status=429,
            whole={
                "error": {
                    "message": "You exceeded your current quota",
                    "type": "insufficient_quota",
                    "code": "insufficient_quota",
                }
            },
        ),
    ),
    "rate": (
        "Too many requests.",
        "openai",
        Answer(
            status=429,
            headers=(("retry-after", "7"),),
            whole={
                "error": {
                    "message": "Rate limit reached",
                    "type": "requests",
                    "code": "rate_limit_exceeded",
                }
            },
        ),
    ),
    "model": (
        "A model that the provider does not know.",
        "chat",
        Answer(
            status=404,
            whole={"error": {"message": "The model does not exist", "code": "model_not_found"}},
        ),
    ),
    "large": ("Too large a body.", "chat", Answer(status=413, whole=b"too large")),
    "server": (
        "A fault of the provider.",
        "chat",
        Answer(status=500, whole={"error": {"message": "Oops"}}),
    ),
    "overloaded": ("An overloaded provider.", "chat", Answer(status=503, whole=b"overloaded")),
    "slow": ("A provider that was too slow.", "chat", Answer(status=504, whole=b"")),
}
ANTHROPIC_REFUSALS: Final[dict[str, tuple[str, int, str, str]]] = {
    "context": (
        "An input that is too long.",
        400,
        "invalid_request_error",
        "prompt is too long: 215000 tokens > 200000 maximum",
    ),
    "invalid": (
        "A member that is wrong.",
        400,
        "invalid_request_error",
        "messages.0.content: Input should be a valid list",
    ),
    "our_key": ("Our key is refused.", 401, "authentication_error", "invalid x-api-key"),
    "our_credit": (
        "Our credit is used up.",
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API.",
    ),
    "permission": ("Not allowed to us.", 403, "permission_error", "not allowed"),
    "model": ("A model that is not known.", 404, "not_found_error", "model: claude-1"),
    "large": ("Too large a body.", 413, "request_too_large", "Request exceeds the maximum size"),
    "rate": ("Too many requests.", 429, "rate_limit_error", "slow down"),
    "server": ("A fault of the provider.", 500, "api_error", "Internal server error"),
    "overloaded": ("An overloaded provider.", 529, "overloaded_error", "Overloaded"),
}
WORKERS_REFUSALS: Final[dict[str, tuple[str, int, int, str]]] = {
    "quota": (
        "The free allocation is used up.",
        429,
        3036,
        "you have used up your daily free allocation",
    ),
    "capacity": ("No capacity.", 429, 3040, "Capacity temporarily exceeded"),
    "context": ("An input that is too long.", 400, 5021, "The estimated number of input"),
    "model": ("A model that is not known.", 400, 5007, "No such model"),
    "our_key": ("Our key is refused.", 401, 10000, "Authentication error"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (note, answer) in ODD.items():
        has_tools = "call" in name
        yield from _each(f"odd_{name}", note, "chat", answer, CLIENTS, has_tools=has_tools)
    for name, (note, answer) in BREAKS.items():
        has_tools = "call" in name
        yield from _each(f"breaks_{name}", note, "chat", answer, CLIENTS, has_tools=has_tools)
    for name in ("error", "cut", "nothing"):
        note, answer = BREAKS[name]
        yield from _each(f"breaks_{name}", note, "chat", answer, ("completions",))
    for name, (note, provider, answer) in REFUSALS.items():
        yield from _each(f"refused_{name}", note, provider, answer, WITH_LEGACY)
        if provider == "openai":
            yield from _each(f"refused_{name}", note, "responses", answer, ("responses",))
    for name, (note, status, kind, words) in ANTHROPIC_REFUSALS.items():
        body = {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}
        refusal = Answer(status=status, whole=body)
        yield from _each(f"refused_{name}", note, "anthropic", refusal, CLIENTS)
    for name, (note, status, code, words) in WORKERS_REFUSALS.items():
        failed = {
            "result": None,
            "success": False,
            "errors": [{"code": code, "message": f"AiError: {words}"}],
            "messages": [],
        }
        refusal = Answer(status=status, whole=failed)
        yield from _each(f"refused_{name}", note, "workers_ai", refusal, CLIENTS)


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

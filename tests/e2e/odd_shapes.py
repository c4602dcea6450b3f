"""Odd shapes in which providers answer, as bytes over HTTP, and what each must become.

Each shape is a model of one provider. A request that brings results of tools is answered with
plain text, so that a client's own loop comes to its end.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.e2e.odd_provider import USAGE, Answer, stream

Delta = dict[str, Any]
NOTHING: Mapping[str, Any] = MappingProxyType({})
DONE = "[DONE]"
PARIS, CET = {"city": "Paris"}, {"zone": "CET"}
TWO = (("get_weather", PARIS), ("get_time", CET))
ONE = TWO[:1]
CHAT, WORKERS_AI = "odd", "oddcf"


class Shape(NamedTuple):
    """What a provider says, streamed and whole, and what a client must make of it.

    `deltas` and `message` are said in the usual frame, changed by `frame`; `events` and `body`
    stand where that does not do. `ids` are those of the calls that must come back to the provider,
    where it gave good ones; `extra` must come back with the first call. `usage` is prompt and
    completion as they are charged.
    """

    deltas: tuple[Any, ...] = ()
    message: Any = None
    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    ids: tuple[str, ...] = ()
    finish: Any = "stop"
    stop: str = ""
    usage: tuple[int, int] = (20, 10)
    said_usage: Any = USAGE
    frame: Mapping[str, Any] = NOTHING
    events: tuple[Any, ...] = ()
    body: Any = None
    extra: Mapping[str, Any] = NOTHING
    upstream: str = CHAT

    @property
    def stops_for(self) -> str:
        """Why the answer ends: `calls`, `stop` or `length`."""
        return self.stop or ("calls" if self.calls else "stop")

    def answer(self, *, is_stream: bool) -> Answer:
        """Give what the provider sends."""
        if is_stream:
            return stream(*(self.events or self._events()))
        return 200, {"content-type": "application/json"}, json.dumps(self.whole()).encode()

    def whole(self) -> Any:
        """Give the whole answer."""
        if self.body is not None:
            return self.body
        message = self.message
        if message is None:
            message = {"role": "assistant"}
            for delta in self.deltas:
                calls = message.get("tool_calls", []) + (delta.get("tool_calls") or [])
                message |= delta | ({"tool_calls": calls} if calls else {})
        made = event(message, self.finish, **self.frame)
        row = made["choices"][0]
        row["message"] = row.pop("delta")
        return made | {"object": "chat.completion", "usage": self.said_usage}

    def _events(self) -> list[Any]:
        rows = [event(delta, **self.frame) for delta in self.deltas]
        if self.finish is not None:
            rows.append(event({}, self.finish, **self.frame))
        return [*rows, LAST | {"usage": self.said_usage}, DONE]


def event(delta: Any, finish: Any = None, index: Any = 0, **more: Any) -> Delta:
    row = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    return head | {"choices": [row]} | more


LAST = event({}) | {"choices": [], "usage": USAGE}


def call(name: str | None = None, given: Any = None, **more: Any) -> Delta:
    if isinstance(given, dict):
        given = json.dumps(given)
    function = {"name": name, "arguments": given}
    return {"function": {key: value for key, value in function.items() if value is not None}} | more


def calling(*rows: Delta) -> Delta:
    return {"tool_calls": list(rows)}


def said(text: Any, *events: Any, **members: Any) -> Shape:
    """Give an answer of this text: its events, and the message with these members of a choice."""
    made = event({"content": text}, "stop")
    row = made["choices"][0]
    row["message"] = row.pop("delta")
    body = made | {"object": "chat.completion", "usage": USAGE} | {"choices": [row | members]}
    return Shape(events=(*events, DONE), body=body, text=text)


def given(arguments: Any, name: str = "get_weather", **made: Any) -> Shape:
    """Give one call with its arguments in this form, and whole in the same."""
    function = {"name": name, "arguments": arguments}
    row = {"index": 0, "id": "call_a", "type": "function", "function": function}
    calls = made.get("calls", ONE)
    return Shape((calling(row),), calls=calls, ids=("call_a",), finish="tool_calls")


def used(usage: Any, prompt: int, completion: int) -> Shape:
    """Give a plain answer whose usage is said like this at the end."""
    return Shape(({"content": "a"},), text="a", said_usage=usage, usage=(prompt, completion))


def native(*events: Any, body: Any, **more: Any) -> Shape:
    """Give an answer of Workers AI, whose streams mix two shapes."""
    envelope = {"result": body, "success": True, "errors": [], "messages": []}
    return Shape(events=(*events, DONE), body=envelope, upstream=WORKERS_AI, **more)


TEXT_PART = {"type": "text", "text": "a"}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
HIGH, LOW, PAIR = "\ud83d", "\ude00", "\U0001f600"
A = {"content": "a"}

CONTENT: dict[str, Shape] = {
    "plain": Shape((A, {"content": "b"}), {"content": "ab"}, "ab"),
    "number": Shape(({"content": "$"}, {"content": 6}), {"content": "$6"}, "$6"),
    "number-alone": Shape(({"content": 42},), text="42"),
    "fraction": Shape(({"content": 2.5},), text="2.5"),
    "list": Shape(({"content": [TEXT_PART, "b", 4]},), text="ab4"),
    "object": Shape(({"content": {"a": 1}},), text='{"a": 1}'),
    "json-in-pieces": Shape(
        ({"content": '{"a": '}, {"content": 1}, {"content": "}"}),
        {"content": '{"a": 1}'},
        '{"a": 1}',
    ),
    "emoji-halves": Shape(
        ({"content": "a" + HIGH}, {"content": LOW}), {"content": "a" + PAIR}, "a" + PAIR
    ),
    "integer-id": Shape((A,), text="a", frame={"id": 123}),
    "no-id": Shape((A,), text="a", frame={"id": None, "model": None}),
    "fractional-created": Shape((A,), text="a", frame={"created": 1_790_000_000.25}),
    "text-created": Shape((A,), text="a", frame={"created": "1790000000"}),
    "second-place": said("a", event(A, index=1), event({}, "stop", 1), LAST, index=1),
    "text-place": said("a", event(A, index="0"), event({}, "stop", "0"), LAST, index="0"),
    "no-place": said("a", event(A, index=None), event({}, "stop", None), LAST, index=None),
    "logprobs-list": said(
        "a",
        {"choices": [{"index": 0, "delta": A, "logprobs": []}]},
        event({}, "stop"),
        LAST,
        logprobs=[],
    ),
    "message-in-stream": said(
        "a", {"choices": [{"index": 0, "message": A, "finish_reason": "stop"}]}, LAST
    ),
    "text-as-delta": said("a", event("a"), event({}, "stop"), LAST, message="a"),
    "no-reason": Shape((A,), text="a", finish=None),
    "unknown-reason": Shape((A,), text="a", finish="eos"),
    "shouted-reason": Shape((A,), text="a", finish="STOP"),
    "length": Shape((A,), text="a", finish="MAX_TOKENS", stop="length"),
    "nulls": Shape(
        ({"role": None, "content": "a", "tool_calls": None, "refusal": None},), text="a"
    ),
    "empty-choices": said("a", event({}) | {"choices": []}, event(A), event({}, "stop"), LAST),
    "reason-with-last-words": said("a", event(A, "stop"), LAST),
}
REASONING: dict[str, Shape] = {
    "reasoning": Shape(({"reasoning": "hm"}, A), text="a", thought="hm"),
    "deepseek": Shape(
        ({"content": None, "reasoning_content": "hm"}, {"content": "a", "reasoning_content": None}),
        {"content": "a", "reasoning_content": "hm"},
        "a",
        "hm",
    ),
    "reasoning-text": Shape(({"reasoning_text": "hm"}, A), text="a", thought="hm"),
    "thinking": Shape(({"thinking": "hm", "content": "a"},), text="a", thought="hm"),
    "reasoning-object": Shape(({"reasoning": {"text": "hm"}}, A), text="a", thought="hm"),
    "reasoning-list": Shape(({"reasoning": ["h", {"text": "m"}]}, A), text="a", thought="hm"),
    "both-names": Shape(
        ({"reasoning": "hm", "reasoning_content": "hm"}, A), text="a", thought="hm"
    ),
    "details": Shape(
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, A),
        text="a",
        thought="hm",
    ),
    "summary-details": Shape(
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]}, A),
        text="a",
        thought="hm",
    ),
    "mistral": Shape(
        ({"content": [THINKING]}, {"content": [TEXT_PART]}),
        {"content": [THINKING, TEXT_PART]},
        "a",
        "hm",
    ),
}
WEATHER = call("get_weather", PARIS, index=0, id="call_a", type="function")
TIME = call("get_time", CET, index=1, id="call_b", type="function")
WHOLE = calling(WEATHER, TIME)
GIVEN = ("call_a", "call_b")
KIMI = ("functions.get_weather:0", "functions.get_time:1")
SIGNED = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}
OLD_CALL = {"name": "get_weather", "arguments": json.dumps(PARIS)}
CALLS: dict[str, Shape] = {
    "usual-calls": Shape(
        (calling(WEATHER), calling(TIME)), calls=TWO, ids=GIVEN, finish="tool_calls"
    ),
    "one-index": Shape(
        (calling(WEATHER), calling(TIME | {"index": 0})), WHOLE, calls=TWO, ids=GIVEN
    ),
    "no-index": Shape(
        (
            calling(call("get_weather", PARIS, id="call_a")),
            calling(call("get_time", CET, id="call_b")),
        ),
        calls=TWO,
        ids=GIVEN,
    ),
    "no-index-no-ids": Shape(
        (calling(call("get_weather", PARIS), call("get_time", CET)),), calls=TWO
    ),
    "same-name-twice": Shape(
        (calling(call("get_weather", PARIS), call("get_weather", {"city": "Rome"})),),
        calls=(*ONE, ("get_weather", {"city": "Rome"})),
    ),
    "no-ids": Shape(
        (
            calling(call("get_weather", PARIS, index=0)),
            calling(call("get_time", CET, index=1, id=None)),
        ),
        calls=TWO,
    ),
    "empty-ids": Shape((calling(WEATHER | {"id": ""}), calling(TIME | {"id": ""})), calls=TWO),
    "same-ids": Shape((calling(WEATHER | {"id": "x"}), calling(TIME | {"id": "x"})), calls=TWO),
    "integer-ids": Shape((calling(WEATHER | {"id": 1}), calling(TIME | {"id": 2})), calls=TWO),
    "kimi-ids": Shape(
        (calling(WEATHER | {"id": KIMI[0]}), calling(TIME | {"id": KIMI[1]})), calls=TWO, ids=KIMI
    ),
    "text-index": Shape(
        (calling(WEATHER | {"index": "0"}), calling(TIME | {"index": "1"})), calls=TWO, ids=GIVEN
    ),
    "index-from-one": Shape(
        (calling(WEATHER | {"index": 1}), calling(TIME | {"index": 2})), calls=TWO, ids=GIVEN
    ),
    "no-type": Shape(
        (calling(call("get_weather", PARIS, index=0, id="call_a")),), calls=ONE, ids=("call_a",)
    ),
    "flat": Shape((calling({"name": "get_weather", "arguments": PARIS}),), calls=ONE),
    "late-name": Shape(
        (
            calling(call(None, '{"city":', index=0, id="call_a")),
            calling(call("get_weather", '"Paris"}', index=0)),
        ),
        calling(WEATHER),
        calls=ONE,
        ids=("call_a",),
    ),
    "late-id": Shape(
        (
            calling(call("get_weather", "", index=0)),
            calling(call(None, json.dumps(PARIS), index=0, id="call_a")),
        ),
        calling(WEATHER),
        calls=ONE,
    ),
    "repeated-name": Shape(
        (
            calling(call("get_weather", "", index=0, id="call_a", type="function")),
            calling(call("get_weather", '{"city":', index=0, id="call_a", type="function")),
            calling(call("get_weather", '"Paris"}', index=0, id="call_a", type="function")),
        ),
        calling(WEATHER),
        calls=ONE,
        ids=("call_a",),
    ),
    "empty-name-later": Shape(
        (
            calling(call("get_weather", '{"city":', index=0, id="call_a", type="function")),
            calling(call("", '"Paris"}', index=0, id="", type="function")),
        ),
        calling(WEATHER),
        calls=ONE,
        ids=("call_a",),
    ),
    "name-in-pieces": Shape(
        (
            calling(call("get_", index=0, id="call_a")),
            calling(call("weather", index=0)),
            calling(call(None, PARIS, index=0)),
        ),
        calling(WEATHER),
        calls=ONE,
        ids=("call_a",),
    ),
    "interleaved": Shape(
        (
            calling(call("get_weather", '{"city":', index=0, id="call_a", type="function")),
            calling(call("get_time", '{"zone":', index=1, id="call_b", type="function")),
            calling(call(None, '"Paris"}', index=0)),
            calling(call(None, '"CET"}', index=1)),
        ),
        WHOLE,
        calls=TWO,
        ids=GIVEN,
        finish="tool_calls",
    ),
    "object-arguments": given(PARIS),
    "null-arguments": given(None, "ping", calls=(("ping", {}),)),
    "empty-arguments": given("", "ping", calls=(("ping", {}),)),
    "no-arguments": Shape(
        (calling(call("ping", index=0, id="call_a")),), calls=(("ping", {}),), ids=("call_a",)
    ),
    "text-then-call": Shape(
        (A, calling(WEATHER)),
        {"content": "a", **calling(WEATHER)},
        "a",
        calls=ONE,
        ids=("call_a",),
    ),
    "text-call-text": Shape(
        (A, calling(WEATHER), {"content": "b"}),
        {"content": "ab", **calling(WEATHER)},
        "ab",
        calls=ONE,
        ids=("call_a",),
    ),
    "call-in-content": Shape(
        (
            {
                "content": [
                    {"type": "tool_use", "id": "call_a", "name": "get_weather", "input": PARIS}
                ]
            },
        ),
        calls=ONE,
        ids=("call_a",),
    ),
    "with-last-call": said(
        "", event(calling(WEATHER), "stop"), LAST, message=calling(WEATHER)
    )._replace(calls=ONE, ids=("call_a",)),
    "no-reason-calls": Shape((calling(WEATHER),), calls=ONE, ids=("call_a",), finish=None),
    "claude-reason": Shape((calling(WEATHER),), calls=ONE, ids=("call_a",), finish="tool_use"),
    "thoughtful-call": Shape(
        ({"reasoning_content": "hm"}, calling(WEATHER)),
        {"reasoning_content": "hm", "content": None, **calling(WEATHER)},
        thought="hm",
        calls=ONE,
        ids=("call_a",),
        finish="tool_calls",
    ),
    "gemini": Shape(
        (calling(call("get_weather", PARIS, id="call_a", type="function", **SIGNED)),),
        calls=ONE,
        ids=("call_a",),
        extra=SIGNED,
        said_usage={"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 30},
    ),
    "legacy-call": Shape(
        ({"function_call": OLD_CALL | {"arguments": ""}}, {"function_call": {"arguments": PARIS}}),
        {"content": None, "function_call": OLD_CALL},
        calls=ONE,
        finish="function_call",
    ),
}
DETAILS = {"completion_tokens_details": {"reasoning_tokens": 6}}
PLAIN = event(A), event({}, "stop")
USAGES: dict[str, Shape] = {
    "usage-in-choice": said(
        "a",
        event(A),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"} | {"usage": USAGE}]},
    ),
    "usage-with-reason": said("a", event(A), event({}, "stop", usage=USAGE)),
    "usage-everywhere": said(
        "a",
        event(A, usage=USAGE | {"completion_tokens": 1}),
        event({}, "stop", usage=USAGE),
        LAST,
    ),
    "usage-of-groq": said("a", event(A), event({}, "stop", x_groq={"id": "r", "usage": USAGE})),
    "usage-names": used({"input_tokens": 20, "output_tokens": 10}, 20, 10),
    "usage-texts": used({"prompt_tokens": "20", "completion_tokens": "10"}, 20, 10),
    "usage-fractions": used({"prompt_tokens": 20.0, "completion_tokens": 10.0}, 20, 10),
    "usage-beside": used(
        {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 30} | DETAILS, 20, 10
    ),
    "usage-inside": used(USAGE | DETAILS, 20, 10),
    "usage-cached": used(USAGE | {"prompt_tokens_details": {"cached_tokens": 5}}, 20, 10),
    "usage-deepseek": used(
        {"prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 15, "completion_tokens": 10},
        20,
        10,
    ),
    "usage-list": used([USAGE], 20, 10),
    "usage-null-details": used(
        USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None}, 20, 10
    ),
    "no-usage": used(None, 0, 0),
    "impossible-usage": used({"prompt_tokens": -1, "completion_tokens": 10**12}, 0, 0),
    "zero-usage": used({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, 0, 0),
}
FLAT = {"name": "get_weather", "arguments": PARIS}
WORKERS: dict[str, Shape] = {
    "cf-mixed": native(
        {"response": "a"},
        event({"content": 6}),
        {"response": "", "usage": USAGE},
        body={"response": "a6", "usage": USAGE},
        text="a6",
    ),
    "cf-numbers": native(
        {"response": 4},
        {"response": 2},
        {"usage": USAGE},
        body={"response": 42, "usage": USAGE},
        text="42",
    ),
    "cf-object": native(
        {"response": {"a": 1}},
        {"response": "", "usage": USAGE},
        body={"response": {"a": 1}, "usage": USAGE},
        text='{"a":1}',
    ),
    "cf-call": native(
        {"response": None, "tool_calls": [FLAT]},
        {"response": "", "tool_calls": [{"name": None, "arguments": None}], "usage": USAGE},
        body={"response": None, "tool_calls": [FLAT], "usage": USAGE},
        calls=ONE,
    ),
    "cf-chat-call": native(
        event(calling(WEATHER | {"index": 0})),
        event(calling(TIME | {"index": 0})),
        event({}, "stop"),
        {"response": "", "usage": USAGE},
        body={"choices": [{"index": 0, "message": WHOLE, "finish_reason": "stop"}], "usage": USAGE},
        calls=TWO,
        ids=GIVEN,
    ),
    "cf-reasoning": native(
        {"reasoning_content": "hm"},
        {"response": "a", "usage": USAGE},
        body={
            "choices": [{"message": {"content": "a", "reasoning": "hm"}, "finish_reason": "stop"}],
            "usage": USAGE,
        },
        text="a",
        thought="hm",
    ),
}
SHAPES = CONTENT | REASONING | CALLS | USAGES | WORKERS

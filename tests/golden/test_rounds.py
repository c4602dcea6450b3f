"""What an answer holds comes back to its provider when a client sends it with the next request."""

import json
from typing import Any, Final

import pytest
from tests.golden.answers import usual
from tests.golden.asks import CLIENTS, ask
from tests.golden.case import Case, result_of
from tests.golden.clients import read_stream, read_whole
from tests.golden.harness import OK, Reply, as_bytes, play
from tests.golden.tables import cases

Json = dict[str, Any]
THOUGHT: Final = '{"type":"thinking","thinking":"I look outside.","signature":"c2lnbmVk"}'
SEALED: Final = '{"type":"redacted_thinking","data":"cmVkYWN0ZWQ="}'
SIGNED: Final = '"extra_content":{"google":{"thought_signature":"c2lnbmVk"}}'
# What must be found in the bytes that the provider gets back.
BACK: Final[dict[str, tuple[str, ...]]] = {
    "anthropic/thinking": (THOUGHT,),
    "anthropic/thinking_sealed": (SEALED,),
    "anthropic/call_thinking": (THOUGHT, SEALED),
    "anthropic/calls": ('"toolu_1"', '"toolu_2"'),
    "gemini/call_signed": (SIGNED,),
    "deepseek/call_reasoning": ('"reasoning_content":"I must look."',),
    "openrouter/reasoning_signed": ('"text":"I look outside."', '"signature":"c2lnbmVk"'),
    "openrouter/reasoning_sealed": ('"data":"gAAAAAB"', '"format":"openai-responses-v1"'),
    "chat/calls": ('"call_a1"', '"call_b2"', "Paris", "CET"),
    "chat/call_odd_id": ('"functions.get_weather:0"',),
    "responses/calls": ('"encrypted_content":"gAAAAAB"', '"call_a1"', '"call_b2"'),
}
ROUNDS: Final = [
    case for case in cases() if case.client in CLIENTS and f"{case.provider}/{case.name}" in BACK
]
# OpenAI's client joins the texts of fragments, their formats too: between it and OpenRouter bytes
# pass, and so do these.
JOINED: Final = frozenset({"chat-openrouter/reasoning_sealed"})


def next_of(client: str, answer: Json, request: Json) -> Json:
    """Give the request that a client sends after an answer, with results of its calls."""
    if client == "responses":
        results = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "21"}
            for item in answer["output"]
            if item["type"] == "function_call"
        ]
        asked = {"role": "user", "content": request["input"]}
        more = results or [{"role": "user", "content": "Go on."}]
        return {**request, "input": [asked, *answer["output"], *more]}
    if client == "messages":
        blocks = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "21"}
            for block in answer["content"]
            if block["type"] == "tool_use"
        ]
        turn = {"role": "assistant", "content": answer["content"]}
        more = [{"role": "user", "content": blocks or "Go on."}]
        return {**request, "messages": [*request["messages"], turn, *more]}
    message = answer["choices"][0]["message"]
    more = [
        {"role": "tool", "tool_call_id": call["id"], "content": "21"}
        for call in message.get("tool_calls") or ()
    ] or [{"role": "user", "content": "Go on."}]
    return {**request, "messages": [*request["messages"], message, *more]}


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", ROUNDS, ids=lambda case: case.id)
def test_what_was_answered_comes_back(case: Case, *, is_stream: bool) -> None:
    if is_stream and case.id in JOINED:
        return
    result = result_of(case)
    played = result.stream if is_stream else result.whole
    assert played is not None
    answer = (
        read_stream(case.client, played.delivered, is_native=case.is_native)
        if is_stream
        else read_whole(case.client, played.delivered)
    )
    assert answer is not None
    has_tools = "call" in case.name
    request = next_of(case.client, answer, ask(case.client, has_tools=has_tools))
    body = as_bytes({"model": f"{case.provider}/model", **request})
    sent = play(case.client, body, Reply(body=as_bytes(usual(case.provider).whole)), {})
    assert sent.status == OK, sent.delivered
    plain = json.dumps(json.loads(sent.sent), ensure_ascii=False, separators=(",", ":"))
    for needle in BACK[f"{case.provider}/{case.name}"]:
        assert needle in plain

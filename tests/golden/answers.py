"""Builds what providers say, whole and as a stream of the same, from its parts."""

import json
from typing import Any, Final

from tests.golden.case import Answer

CREATED: Final = 1_764_299_999
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
Json = dict[str, Any]


# ---------------------------------------------------------------------- Chat Completions


def chat(
    message: Json | None = None,
    finish: str | None = "stop",
    usage: Json | None = None,
    *,
    model: str = "local-model",
    **top: Any,
) -> Answer:
    """An answer of one choice, and the same in two or three fragments a text."""
    message = {"content": "Hello there."} if message is None else message
    usage = USAGE if usage is None else usage
    head = {"id": "chatcmpl-7Qz", "created": CREATED, "model": model}
    whole = {
        **head,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", **message},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": usage,
        **top,
    }
    head["object"] = "chat.completion.chunk"
    events = [chunk(delta, **head) for delta in deltas_of(message)]
    events.append(chunk({}, finish, **head))
    events.append({**head, "choices": [], "usage": usage})
    return Answer(whole=whole, events=tuple(events))


def chunk(delta: Json, finish: str | None = None, **head: Any) -> Json:
    """A chunk of the first choice."""
    named = {
        "id": "chatcmpl-7Qz",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "local-model",
        **head,
    }
    return {**named, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def deltas_of(message: Json) -> list[Json]:
    """Cut a message into fragments."""
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    if message.get("reasoning_details"):
        # Beside the words that they explain, as OpenRouter sends them.
        details = {"reasoning_details": message["reasoning_details"]}
        deltas.append({"content": "", "reasoning": message.get("reasoning"), **details})
        message = {name: value for name, value in message.items() if name != "reasoning"}
    for name in ("reasoning_content", "reasoning", "content", "refusal"):
        if isinstance(message.get(name), str):
            deltas += [{name: part} for part in _halves(message[name])]
    for name in ("annotations", "images", "audio"):
        if message.get(name):
            deltas.append({name: message[name]})
    for index, call in enumerate(message.get("tool_calls") or ()):
        deltas += _call_deltas(index, call)
    return deltas


def _call_deltas(index: int, call: Json) -> list[Json]:
    place = "custom" if call.get("type") == "custom" else "function"
    text = "input" if place == "custom" else "arguments"
    inner = call[place]
    first = {**call, "index": index, place: {**inner, text: ""}}
    return [
        {"tool_calls": [first]},
        *({"tool_calls": [{"index": index, place: {text: part}}]} for part in _halves(inner[text])),
    ]


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [part for part in (text[:middle], text[middle:]) if part]


def call(name: str, arguments: Any, call_id: str = "call_a1", **more: Any) -> Json:
    """A call of a function."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": function, **more}


# ---------------------------------------------------------------------- Anthropic


def anthropic(
    blocks: list[Json] | None = None,
    stop: str = "end_turn",
    usage: Json | None = None,
    **top: Any,
) -> Answer:
    """A message, and the same as events."""
    blocks = [{"type": "text", "text": "Hello there."}] if blocks is None else blocks
    usage = {"input_tokens": 20, "output_tokens": 10} if usage is None else usage
    whole = {
        "id": "msg_01XF",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
        **top,
    }
    began = {**whole, "content": [], "stop_reason": None, "stop_sequence": None}
    began["usage"] = {**usage, "output_tokens": 1}
    events: list[Json] = [{"type": "message_start", "message": began}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        events += block_events(index, block)
    ending = {"stop_reason": stop, "stop_sequence": whole["stop_sequence"]}
    last = {"type": "message_delta", "delta": ending, "usage": usage}
    return Answer(whole=whole, events=(*events, last, {"type": "message_stop"}))


def block_events(index: int, block: Json) -> list[Json]:
    """One block as events."""
    empty, deltas = _block_deltas(block)
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _block_deltas(block: Json) -> tuple[Json, list[Json]]:
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": c} for c in block.get("citations") or ()]
        texts = [{"type": "text_delta", "text": part} for part in _halves(block["text"])]
        empty = {**block, "text": ""}
        return empty | ({"citations": []} if cited else {}), [*cited, *texts]
    if kind == "thinking":
        thoughts = [
            {"type": "thinking_delta", "thinking": part} for part in _halves(block["thinking"])
        ]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*thoughts, signed]
    if kind in {"tool_use", "server_tool_use"}:
        text = json.dumps(block["input"])
        parts = [{"type": "input_json_delta", "partial_json": part} for part in _halves(text)]
        return {**block, "input": {}}, parts
    return block, []


# ---------------------------------------------------------------------- Workers AI


def workers_ai(
    text: str | None = "Hello there.",
    calls: list[Json] | None = None,
    usage: Json | None = None,
) -> Answer:
    """An answer of the native endpoint, and its stream."""
    usage = USAGE if usage is None else usage
    result: Json = {"response": text, "usage": usage}
    events: list[Json] = [{"response": part} for part in _halves(text or "")]
    if calls is not None:
        result["tool_calls"] = calls
        events.append({"response": "", "tool_calls": calls})
    events.append({"response": "", "usage": usage})
    whole = {"result": result, "success": True, "errors": [], "messages": []}
    return Answer(whole=whole, events=tuple(events))


# ---------------------------------------------------------------------- Responses


def responses(
    items: list[Json] | None = None,
    usage: Json | None = None,
    status: str = "completed",
    **top: Any,
) -> Answer:
    """A response, and the same as events."""
    items = [said("Hello there.")] if items is None else items
    usage = usage or {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 30,
    }
    whole = {
        "id": "resp_68af",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": "gpt-6-sol",
        "output": items,
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "store": False,
        **top,
    }
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = begun["error"] = None
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(items):
        events += _item_events(index, item)
    events.append({"type": f"response.{status}", "response": whole})
    numbered = [{**event, "sequence_number": place} for place, event in enumerate(events)]
    return Answer(whole=whole, events=tuple(numbered))


def said(text: str, **more: Any) -> Json:
    """A message of text."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": "msg_68b0",
        "status": "completed",
        "role": "assistant",
        "content": [part],
        **more,
    }


def _item_events(index: int, item: Json) -> list[Json]:
    place = {"output_index": index}
    empty: Json = {**item, "status": "in_progress"} if "status" in item else dict(item)
    here = {**place, "item_id": item.get("id", "")}
    inner: list[Json] = []
    if item["type"] == "message":
        empty["content"] = []
        for at, part in enumerate(item["content"]):
            inner += _part_events({**here, "content_index": at}, part)
    elif item["type"] in {"function_call", "custom_tool_call"}:
        is_custom = item["type"] == "custom_tool_call"
        name = "input" if is_custom else "arguments"
        kind = "custom_tool_call_input" if is_custom else "function_call_arguments"
        empty[name] = ""
        inner = [
            {"type": f"response.{kind}.delta", **here, "delta": part}
            for part in _halves(item[name])
        ]
        inner.append({"type": f"response.{kind}.done", **here, name: item[name]})
        if not is_custom:
            inner[-1]["name"] = item["name"]
    elif item["type"] == "reasoning":
        empty["summary"] = []
        for at, part in enumerate(item["summary"]):
            inner += _summary_events({**here, "summary_index": at}, part)
    return [
        {"type": "response.output_item.added", **place, "item": empty},
        *inner,
        {"type": "response.output_item.done", **place, "item": item},
    ]


def _part_events(here: Json, part: Json) -> list[Json]:
    name = "text" if part["type"] == "output_text" else "refusal"
    kind = "output_text" if name == "text" else "refusal"
    more = {"logprobs": []} if name == "text" else {}
    return [
        {"type": "response.content_part.added", **here, "part": {**part, name: ""}},
        *(
            {"type": f"response.{kind}.delta", **here, "delta": half, **more}
            for half in _halves(part[name])
        ),
        {"type": f"response.{kind}.done", **here, name: part[name], **more},
        {"type": "response.content_part.done", **here, "part": part},
    ]


def _summary_events(here: Json, part: Json) -> list[Json]:
    kind = "response.reasoning_summary"
    return [
        {"type": f"{kind}_part.added", **here, "part": {**part, "text": ""}},
        *({"type": f"{kind}_text.delta", **here, "delta": half} for half in _halves(part["text"])),
        {"type": f"{kind}_text.done", **here, "text": part["text"]},
        {"type": f"{kind}_part.done", **here, "part": part},
    ]


# ---------------------------------------------------------------------- what each says to anything


def usual(provider: str) -> Answer:
    """A short whole answer, where only the request is of interest."""
    made = {"anthropic": anthropic, "workers_ai": workers_ai, "responses": responses}
    full = made[provider]() if provider in made else chat()
    return Answer(whole=full.whole, is_usual=True)

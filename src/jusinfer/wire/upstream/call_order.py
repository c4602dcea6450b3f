"""Puts messages into the order that providers insist on: each call, then its result.

Clients send histories in which a message stands between a call and its result, in which results
were lost when the history was shortened, or in which a result has no call any more.
"""

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final

from jusinfer.wire.lenient_json import objects, text

LOST: Final = "(the result of this call is not known)"


def in_call_order(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with every result right after the turn that called; loses none.

    A call without a result gets one that says so, and a result without a call becomes words of the
    user. Messages that are in order are returned as they are.
    """
    if _is_ordered(messages):
        return messages
    waiting: dict[str, deque[int]] = {}
    for place, message in enumerate(messages):
        if message.get("role") == "tool":
            waiting.setdefault(text(message.get("tool_call_id")), deque()).append(place)
    answers: dict[int, list[dict[str, Any]]] = {}
    placed: set[int] = set()
    for place, message in enumerate(messages):
        for call_id in _calls(message):
            row = answers.setdefault(place, [])
            found = waiting.get(call_id)
            if found:
                placed.add(found[0])
                row.append(messages[found.popleft()])
            else:
                row.append({"role": "tool", "tool_call_id": call_id, "content": LOST})
    ordered: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if message.get("role") != "tool":
            ordered += [message, *answers.get(place, ())]
        elif place not in placed:
            ordered.append(_as_words(message))
    return ordered


def _is_ordered(messages: list[dict[str, Any]]) -> bool:
    """Tell whether every turn that calls is followed by exactly its results."""
    open_calls: Counter[str] = Counter()
    for message in messages:
        if message.get("role") == "tool":
            call_id = text(message.get("tool_call_id"))
            if open_calls[call_id] <= 0:
                return False
            open_calls[call_id] -= 1
            continue
        if open_calls.total():
            return False
        open_calls = Counter(_calls(message))
    return not open_calls.total()


def _calls(message: Mapping[str, Any]) -> list[str]:
    if message.get("role") != "assistant":
        return []
    return [text(call.get("id")) for call in objects(message.get("tool_calls"))]


def _as_words(result: Mapping[str, Any]) -> dict[str, Any]:
    content = result.get("content")
    what = "Error" if result.get("is_error") is True else "Result"
    said = f"{what} of the tool call {text(result.get('tool_call_id'))}:"
    if isinstance(content, list):
        return {"role": "user", "content": [{"type": "text", "text": said}, *content]}
    return {"role": "user", "content": f"{said}\n{content if isinstance(content, str) else ''}"}

"""The items of a response: what a choice says, in the shapes and under the names of Responses."""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from jusinfer.sandbox.chat import Choice, Piece

# What an item does not have yet when it begins.
OPENING: Final[Mapping[str, Mapping[str, Any]]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
}
PREFIXES: Final[Mapping[str, str]] = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_summary_text",
    "function_call": "response.function_call_arguments",
    "custom_tool_call": "response.custom_tool_call_input",
}
MEMBERS: Final[Mapping[str, str]] = {
    "message": "text",
    "reasoning": "text",
    "function_call": "arguments",
    "custom_tool_call": "input",
    "refusal": "refusal",
}


class Item(NamedTuple):
    """One item as it is in the end, and the tokens and names by which it is told."""

    kind: str
    whole: dict[str, Any]
    pieces: list[Piece]
    prefix: str
    member: str
    part: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """All that its deltas say."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def part_prefix(self) -> str:
        """The name under which its part begins and ends."""
        kind = "reasoning_summary_part" if self.kind == "reasoning" else "content_part"
        return f"response.{kind}"

    def place(self, index: int) -> dict[str, Any]:
        """Give the members that say where a delta belongs."""
        place: dict[str, Any] = {"item_id": self.whole["id"], "output_index": index}
        if self.kind == "reasoning":
            return place | {"summary_index": 0}
        return place | ({"content_index": 0} if self.part is not None else {})


def items_of(choice: Choice, seed: str, sealed: Callable[[str], str] | None) -> list[Item]:
    """Give the items of a choice in order; `sealed` seals thoughts, if that was asked for."""
    groups = groupby(choice.pieces, key=lambda piece: (piece.kind, piece.call))
    items: list[Item] = []
    for number, ((kind, call), pieces) in enumerate(groups):
        item_id = f"{seed[:20]}{number:04x}"
        if kind == "call":
            items.append(_call(choice, call, item_id, list(pieces)))
        elif kind == "reasoning":
            items.append(_thought(item_id, list(pieces), sealed))
        else:
            items.append(_message(kind, item_id, list(pieces)))
    return items


def _message(kind: str, item_id: str, pieces: list[Piece]) -> Item:
    text = "".join(piece.text for piece in pieces)
    part: dict[str, Any] = {"type": "refusal", "refusal": text}
    if kind != "refusal":
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    whole = {
        "id": f"msg_{item_id}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    prefix = "response.refusal" if kind == "refusal" else PREFIXES["message"]
    member = MEMBERS["refusal" if kind == "refusal" else "message"]
    return Item("message", whole, pieces, prefix, member, part)


def _thought(item_id: str, pieces: list[Piece], sealed: Callable[[str], str] | None) -> Item:
    text = "".join(piece.text for piece in pieces)
    part = {"type": "summary_text", "text": text}
    whole: dict[str, Any] = {"id": f"rs_{item_id}", "type": "reasoning", "summary": [part]}
    if sealed is not None:
        whole["encrypted_content"] = sealed(text)
    return Item("reasoning", whole, pieces, PREFIXES["reasoning"], MEMBERS["reasoning"], part)


def _call(choice: Choice, number: int, item_id: str, pieces: list[Piece]) -> Item:
    call = choice.calls[number]
    kind = "custom_tool_call" if call.kind == "custom" else "function_call"
    text = "".join(piece.text for piece in pieces)
    member = MEMBERS[kind]
    whole: dict[str, Any] = {
        "id": f"{'ctc' if call.kind == 'custom' else 'fc'}_{item_id}",
        "type": kind,
        "status": "completed",
        "call_id": call.call_id,
        "name": call.name,
        member: text,
    }
    if call.namespace:
        whole["namespace"] = call.namespace
    return Item(kind, whole, pieces, PREFIXES[kind], member)

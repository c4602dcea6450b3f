"""The wish for one call of a tool at a time, which not every provider can be told.

It promises that an answer holds one call at most, so that a provider without such a setting is
refused; where no tool may be called it asks for nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

from jusinfer.domain.inference.request import MemberNote

MEMBERS: Final = frozenset({"parallel_tool_calls", "tool_choice.disable_parallel_tool_use"})


def may_call(chat: Mapping[str, Any]) -> bool:
    """Tell whether an answer to a request in the canonical form may hold calls."""
    return bool(chat.get("tools")) and chat.get("tool_choice") != "none"


def without_wish(notes: tuple[MemberNote, ...]) -> tuple[MemberNote, ...]:
    """Give the notes of a request whose answer holds no call."""
    return tuple(note for note in notes if note.path not in MEMBERS)

"""What an attempt hears of the id by which its provider can be asked for its cost later."""

from typing import Final

from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.upstream.generation_id import generation_id

OK: Final = 200


class Generation:
    """Keeps the head and the first event of an attempt; they are read only when needed."""

    __slots__ = ("_first", "_headers", "_is_answer", "upstream")

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._headers: list[tuple[bytes, bytes]] = []
        self._first = b""
        self._is_answer = False

    def began(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Hear the head; a refusal has produced nothing that could be asked for."""
        if status == OK:
            self._headers = headers
            self._is_answer = True

    def heard(self, payload: bytes) -> None:
        """Hear an event, or the whole body; only the first is kept."""
        if self._is_answer and not self._first:
            self._first = payload

    def id_for(self, upstream: str, usage: TokenUsage) -> str:
        """Give the id where the upstream has not said what was used; else empty."""
        is_reported = not usage.is_estimated and (usage.prompt_tokens or usage.completion_tokens)
        if is_reported or upstream != self.upstream:
            return ""
        return generation_id(self._headers, self._first)

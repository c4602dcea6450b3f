"""The head of a request that has come in part: bounded, and counted with the bodies of strangers.

Nobody knows yet who sends it, and one client may begin very many of them.
"""

from collections.abc import Callable
from typing import Final

from jusinfer.gateway.http.request_body import hold, make_room
from jusinfer.gateway.http.request_parser import (
    HttpError,
    HttpErrorRaised,
    has_bare_newline,
    head_too_large,
)
from jusinfer.gateway.http.server_interface import ServerInterface

HEAD_END: Final = b"\r\n\r\n"


class UnfinishedHead:
    """`seen` is how many bytes need not be looked at again for the end of the head."""

    __slots__ = ("_end", "_server", "held_bytes", "seen")

    def __init__(self, server: ServerInterface, end: Callable[[HttpError], None]) -> None:
        """Begin; `end` refuses the request when others need its room."""
        self._server = server
        self._end = end
        self.held_bytes = 0
        self.seen = 0

    def wait(self, data: bytes) -> None:
        """Count all that has come of a head whose end has not; raises Refused."""
        server = self._server
        if len(data) > server.limits.head_bytes_max:
            raise head_too_large(server.limits.head_bytes_max)
        if has_bare_newline(data, self.seen):
            raise HttpErrorRaised(
                HttpError(400, "bare_newline", "a line of the head ends without a carriage return")
            )
        # What was looked at once is not looked at again, or heads sent byte by byte cost dearly.
        self.seen = max(0, len(data) - len(HEAD_END) + 1)
        more = len(data) - self.held_bytes
        make_room(server, self, more)
        hold(server, more)
        self.held_bytes += more
        server.stranger_bytes += more
        server.strangers[self] = self._end

    def let_go(self) -> None:
        """Count its bytes no longer."""
        server = self._server
        server.held_bytes -= self.held_bytes
        server.stranger_bytes -= self.held_bytes
        server.strangers.pop(self, None)
        self.held_bytes = 0
